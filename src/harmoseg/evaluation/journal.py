"""Files that an interruption leaves as they are: a journal of what was measured, probabilities."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from harmoseg.files import discard, make_folder, unwritable
from harmoseg.locks import locked


class Journal(AbstractContextManager["Journal"]):
    """Lines of JSON with what was measured so far, each with a key that says what determines it.

    `found` holds what an earlier process wrote; lines that are cut off or damaged are left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = {}
        self.is_empty = True
        self._stream: TextIO | None = None

    def __enter__(self) -> Journal:
        """Read the file, and open it for more. Raises HarmosegError where it cannot be written."""
        try:
            content = self.path.read_bytes() if self.path.is_file() else b""
            whole = content.rfind(b"\n") + 1
            for line in content[:whole].splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    self.found[entry["key"]] = entry["found"]
            self.is_empty = not self.found
            self._stream = self.path.open("a", encoding="utf-8")
            self._stream.truncate(whole)
        except OSError as error:
            raise unwritable(self.path, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        # Every line was flushed when it was written: what closing cannot flush was told then.
        with suppress(OSError):
            if self._stream is not None:
                self._stream.close()

    def add(self, key: str, found: Mapping[str, Any]) -> None:
        """Write down one case. Raises HarmosegError where the disk is full."""
        if self._stream is None:
            raise RuntimeError("the journal is not open")
        try:
            self._stream.write(json.dumps({"key": key, "found": found}) + "\n")
            self._stream.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.is_empty = False


@contextmanager
def unfinished(out: Path, determined_by: Mapping[str, Any]) -> Iterator[Journal]:
    """Yield the journal of an evaluation, in a folder beside `out` that no other process is at.

    Other determinants have another folder. It is removed when the block ends well, and where
    nothing was measured.
    """
    key = hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()
    # Named by the key, so that a mistyped option does not end another evaluation's journal.
    folder = out.parent / f".{out.name}.unfinished-{key[:16]}"
    make_folder(folder)
    busy = (
        f"{folder}: another process is making this evaluation; wait for it, or choose another --out"
    )
    with locked(folder / ".lock", busy=busy), Journal(folder / "scores.jsonl") as journal:
        is_whole = False
        try:
            yield journal
            is_whole = True
        finally:
            if is_whole or journal.is_empty:
                shutil.rmtree(folder, ignore_errors=True)


class ProbabilityFile:
    """Write (D, C, H, W) in float16 to a .npy file; it gets its name with its last plane.

    Appended as a stream: a full disk is then an error that can be told, which in a memory map it
    is not.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Begin the file. Raises HarmosegError where it cannot be written."""
        self._path = path
        self._partial = path.with_suffix(".partial")
        make_folder(path.parent)
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        try:
            self._stream = self._partial.open("wb")
            np.lib.format.write_array_header_1_0(self._stream, header)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """Remove what was not finished."""
        with suppress(OSError):  # what cannot be flushed is removed in the next line
            self._stream.close()
        discard(self._partial)

    def append(self, plane: NDArray[np.float32], *, last: bool) -> None:
        """Write a plane (C, H, W), with the last one the name of the whole file.

        Raises HarmosegError where the disk is full.
        """
        try:
            self._stream.write(plane.astype("<f2").tobytes())
            if last:
                self._stream.close()
                self._partial.replace(self._path)
        except OSError as error:
            raise unwritable(self._path, error) from error
