"""The folder that predictions are written to: whose it is, and what of it is done.

A folder is::

    predictions.json   the model and the options; written first, as a claim
    predictions.csv    a row per input
    masks/             a mask per input, under its name
    overlays/          if asked for: pictures with the outlines
    probabilities/     if asked for
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from harmoseg.datasets.sources import hash_files
from harmoseg.errors import HarmosegError
from harmoseg.files import (
    PARTIAL,
    check_schema,
    discard,
    make_folder,
    printable,
    read_csv,
    read_json,
    unwritable,
    write_csv,
    write_json,
)
from harmoseg.inference.inputs import Input
from harmoseg.inference.writing import MASKS, OVERLAYS, PROBABILITIES
from harmoseg.locks import locked

SCHEMA = 1
CLAIM_FILE = "predictions.json"
TABLE_FILE = "predictions.csv"
DONE, FAILED = "done", "failed"

_COLUMNS = ("input", "kind", "shape", "spacing_mm", "seconds")
_LAST_COLUMNS = ("status", "error", "mask", "sha256")


@dataclass(frozen=True)
class Row:
    """Outcome of one input.

    `shape` is (D, H, W) of a volume, (H, W) of an image; `spacing` in mm in that order, empty where
    it is not known; `voxels` counts each foreground class; `mask` names what was written.
    """

    input: str
    kind: str
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    seconds: float | None = None
    voxels: tuple[int, ...] = ()
    error: str = ""
    mask: str = ""
    sha256: str = ""

    @property
    def status(self) -> str:
        """Return ``done`` or ``failed``."""
        return FAILED if self.error else DONE

    def to_mapping(self, columns: Sequence[str]) -> dict[str, Any]:
        """Return the row as it is written; `columns` name the foreground classes."""
        counts = self.voxels or (None,) * len(columns)
        return {
            "input": self.input,
            "kind": self.kind,
            "shape": " ".join(map(str, self.shape)),
            "spacing_mm": " ".join(map(repr, self.spacing)),
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            **dict(zip(columns, counts, strict=True)),
            "status": self.status,
            "error": self.error,
            "mask": self.mask,
            "sha256": self.sha256,
        }

    @classmethod
    def from_mapping(cls, row: Mapping[str, str], columns: Sequence[str]) -> Row:
        """Return the row that `to_mapping` wrote; raise ValueError for a damaged row."""
        counts = [row[name] for name in columns]
        found = cls(
            row["input"],
            row["kind"],
            tuple(int(n) for n in row["shape"].split()),
            tuple(float(n) for n in row["spacing_mm"].split()),
            float(row["seconds"]) if row["seconds"] else None,
            tuple(int(n) for n in counts) if any(counts) else (),
            row["error"],
            row["mask"],
            row["sha256"],
        )
        if found.status != row["status"]:
            raise ValueError("status and error do not fit")
        return found


@dataclass
class PredictionFolder(AbstractContextManager["PredictionFolder"]):
    """The output folder, held by this process while it is open.

    `claim` is what determines the masks: a folder that was begun otherwise is refused, naming what
    differs, unless it is to be replaced. `classes` are those of the foreground.
    """

    path: Path
    claim: Mapping[str, Any]
    classes: Sequence[str]
    overwrite: bool = False
    rows: dict[str, Row] = field(default_factory=dict, init=False)
    _held: ExitStack = field(default_factory=ExitStack, init=False)
    _stream: TextIO | None = field(default=None, init=False)

    def __enter__(self) -> PredictionFolder:
        """Claim the folder, or take up what was done in it; raise HarmosegError if it is not free.

        What a killed process left half written is removed.
        """
        claimed = self._check()
        make_folder(self.path)
        busy = (
            f"{self.path}: another process is predicting into it; wait for it, or choose another "
            "output"
        )
        with ExitStack() as stack:
            stack.enter_context(locked(self.path / ".lock", busy=busy))
            self._begin(claimed)
            self._held = stack.pop_all()
        return self

    def _begin(self, claimed: bool) -> None:
        table = self.path / TABLE_FILE
        try:
            if claimed and self.overwrite:
                for name in (MASKS, OVERLAYS, PROBABILITIES):
                    shutil.rmtree(self.path / name, ignore_errors=True)
                table.unlink(missing_ok=True)
            for left in self.path.rglob(f"{PARTIAL}*"):
                discard(left)
            if self.overwrite or not claimed:
                write_json(self.path / CLAIM_FILE, {"schema": SCHEMA, **self.claim})
            self._read_rows()
            self._write_table()
            self._stream = table.open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise unwritable(table, error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the table in order of the names, and let the folder go."""
        with self._held:
            if self._stream is not None:
                with suppress(OSError):  # the table is written anew in the next line
                    self._stream.close()
            with suppress(HarmosegError) if error else nullcontext():
                self._write_table()

    def is_done(self, item: Input, outputs: Sequence[str]) -> bool:
        """Return whether an input with this content was predicted, and all is still there."""
        row = self.rows.get(printable(item.name))
        return (
            row is not None
            and row.status == DONE
            and row.sha256 == hash_files(item.files)
            and all((self.path / output).is_file() for output in outputs)
        )

    def add(self, row: Row) -> None:
        """Write down what became of an input at once, names that are no Unicode spelled out."""
        row = replace(
            row, input=printable(row.input), error=printable(row.error), mask=printable(row.mask)
        )
        self.rows[row.input] = row
        if self._stream is None:
            raise RuntimeError("the folder is not open")
        writer = csv.DictWriter(self._stream, self._columns, lineterminator="\n")
        try:
            writer.writerow(row.to_mapping(self._counts))
            self._stream.flush()
        except OSError as error:
            raise unwritable(self.path / TABLE_FILE, error) from error

    @property
    def _counts(self) -> list[str]:
        return [f"voxels_{name}" for name in self.classes]

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*_COLUMNS, *self._counts, *_LAST_COLUMNS)

    def _check(self) -> bool:
        """Return whether the folder was claimed alike; raise HarmosegError if it is another's."""
        if not self.path.exists():
            return False
        file = self.path / CLAIM_FILE
        if not file.is_file():
            if not self.path.is_dir() or any(self.path.iterdir()):
                raise HarmosegError(
                    f"{self.path}: exists and holds something else than predictions ({CLAIM_FILE} "
                    "is missing); choose another output"
                )
            return False
        if self.overwrite:
            return True
        found = read_json(file, what="what predictions were made with")
        check_schema(found.get("schema"), SCHEMA, file, cure="choose another output")
        differing = list(_differences(found, self.claim))
        if differing:
            raise HarmosegError(
                f"{self.path}: was predicted otherwise ({'; '.join(differing)}); choose another "
                "output, or pass --overwrite to replace these predictions"
            )
        return True

    def _read_rows(self) -> None:
        file = self.path / TABLE_FILE
        if not file.is_file():
            return
        try:
            found = read_csv(
                file, columns=self._columns, what="the table of predictions", cut_off=True
            )
        except HarmosegError:
            return  # damaged: predicting again costs little
        for row in found:
            with suppress(ValueError):  # a field that was cut off
                self.rows[row["input"]] = Row.from_mapping(row, self._counts)

    def _write_table(self) -> None:
        rows = [self.rows[name].to_mapping(self._counts) for name in sorted(self.rows)]
        write_csv(self.path / TABLE_FILE, self._columns, rows)


def _differences(found: Mapping[str, Any], claim: Mapping[str, Any]) -> list[str]:
    """Name what differs between two claims, down to single options."""
    differing = []
    for name, value in claim.items():
        other = found.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            differing.extend(_differences(other, value))
        elif other != value:
            differing.append(f"{name}: {value!r} instead of {other!r}")
    return differing
