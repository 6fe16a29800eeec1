"""Keeping the probabilities of a case, plane by plane, in a file that is whole or not there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from harmoseg.files import discard, make_folder, unwritable


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

    def __enter__(self) -> ProbabilityFile:
        """Take the file as it is."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what was not finished."""
        with suppress(OSError):  # what cannot be flushed is removed in the next line
            self._stream.close()
        discard(self._partial)

    def append(self, plane: NDArray[np.float32]) -> None:
        """Write the next plane (C, H, W). Raises HarmosegError where the disk is full."""
        try:
            self._stream.write(plane.astype("<f2").tobytes())
        except OSError as error:
            raise unwritable(self._path, error) from error

    def finish(self) -> None:
        """Rename the whole file. Raises HarmosegError where the disk is full."""
        try:
            self._stream.close()
            self._partial.replace(self._path)
        except OSError as error:
            raise unwritable(self._path, error) from error
