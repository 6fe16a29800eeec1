"""What an evaluation has measured so far, so that it continues after an interruption."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from filelock import BaseFileLock

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.measuring import CaseScores
from harmoseg.files import make_folder, unwritable
from harmoseg.locks import drop_lock, take_lock


class Journal(AbstractContextManager["Journal"]):
    """A folder of scores, one line of JSON per condition and case, and of probabilities.

    The first line says what determines the scores: what was measured otherwise is never used.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._path = folder / "scores.jsonl"
        self._key = key
        self._found: dict[tuple[str, int], CaseScores] = {}
        self._stream: TextIO | None = None
        self._lock: BaseFileLock | None = None

    @classmethod
    def beside(cls, out: Path, determined_by: Mapping[str, Any]) -> Journal:
        """Make the journal of the folder `out`; other determinants begin another journal."""
        key = hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()
        # Named by the key, so that a mistyped option does not end another evaluation's journal.
        return cls(out.parent / f".{out.name}.unfinished-{key[:8]}", key)

    def __enter__(self) -> Journal:
        """Take up what is there, if it is of the same evaluation, and open it for more."""
        make_folder(self._folder)
        self._lock = take_lock(
            self._folder / ".lock",
            busy=f"{self._folder}: another process is making this evaluation; wait for it, or "
            "choose another --out",
        )
        try:
            whole = self._read()
            if not whole:
                shutil.rmtree(self._probabilities, ignore_errors=True)
            # A line that was cut off in the middle is cut off for good.
            with self._path.open("ab") as stream:
                stream.truncate(whole)
            self._stream = self._path.open("a", encoding="utf-8")
            if not whole:
                self._write({"key": self._key})
        except OSError as error:
            self._close()
            raise unwritable(self._path, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the journal, and keep it unless nothing was measured."""
        # Every line was flushed when it was written: what closing cannot flush was told then.
        with suppress(OSError):
            self._close()
        if not self._found:
            self.remove()

    def found(self, condition: str) -> dict[int, CaseScores]:
        """Return the scores of the cases measured under a condition, by the case's number."""
        return {number: scores for (at, number), scores in self._found.items() if at == condition}

    def add(self, condition: str, number: int, scores: CaseScores) -> None:
        """Write down one case. Raises HarmosegError where the disk is full."""
        try:
            self._write({"condition": condition, "case": number, "scores": scores.to_json()})
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._found[condition, number] = scores

    def probabilities(self, condition: str) -> Callable[[int], Path]:
        """Give, for the number of a case, the file of its probabilities under a condition."""
        # A colon in a file's name is not allowed everywhere.
        folder = self._probabilities / condition.replace(":", "-")
        return lambda number: folder / f"{number:06d}.npy"

    def move_probabilities(self, conditions: Iterable[str], to: Path) -> None:
        """Move the probabilities of some conditions to the folder where they stay."""
        make_folder(to)
        for condition in conditions:
            folder = self.probabilities(condition)(0).parent
            folder.rename(to / folder.name)

    def remove(self) -> None:
        """Remove the journal of an evaluation that is whole."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _probabilities(self) -> Path:
        return self._folder / "probabilities"

    def _close(self) -> None:
        try:
            if self._stream is not None:
                self._stream.close()
        finally:
            if self._lock is not None:
                drop_lock(self._lock)
                self._lock = None

    def _write(self, value: Mapping[str, Any]) -> None:
        if self._stream is None:
            raise RuntimeError("the journal is not open")
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()

    def _read(self) -> int:
        """Read the whole lines; return how many bytes they are, 0 where nothing can be used."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        try:
            if not lines or json.loads(lines[0])["key"] != self._key:
                return 0
            for line in lines[1:]:
                value = json.loads(line)
                place = (str(value["condition"]), int(value["case"]))
                self._found[place] = CaseScores.from_json(value["scores"])
        except (ValueError, KeyError, TypeError, HarmosegError):
            # Damaged: measuring again costs minutes, a wrong score costs more.
            self._found.clear()
            return 0
        return whole
