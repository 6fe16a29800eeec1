"""Read an evaluation folder: every measure of every case, and what its figures are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.tables import BIN_COLUMNS, CALIBRATION, RING_COLUMNS
from harmoseg.files import check_schema, read_csv, read_json
from harmoseg.metrics.overlap import COUNTS

SCHEMA = 3
CASES_FILE = "cases.csv"
CALIBRATION_FILE = "calibration.csv"
BINS_FILE = "bins.csv"
RINGS_FILE = "rings.csv"
SUMMARY_FILE = "summary.json"
CLEAN = "clean"
_NAMES = ("case", "subset", "class", "condition")
_AGAIN = "evaluate again"


@dataclass(frozen=True)
class Bins:
    """The calibration bins of a condition, pooled over cases: arrays (bins,), NaN where empty."""

    convention: str
    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]


@dataclass(frozen=True)
class Rings:
    """The ring sums of a condition: `cross` and `power` (cases, foreground classes, rings).

    `frequency` (rings,) is in cycles per pixel of the training resolution. The correlation of a
    ring is 2 cross / power, and 1 where there is no power; sums of cases can be added.
    """

    frequency: NDArray[np.float64]
    cross: NDArray[np.float64]
    power: NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation folder holds.

    `counts_of` gives for every condition, ``clean`` first, the counts (cases, classes, 4) with the
    background as class 0; `cases` and `classes` name the first two axes. `measures` gives by its
    column's name every measure of every condition: (cases, classes), or (cases,) for calibration;
    NaN where it is undefined.
    """

    folder: Path
    cases: tuple[str, ...]
    classes: tuple[str, ...]
    counts_of: dict[str, NDArray[np.int64]]
    measures: dict[str, dict[str, NDArray[np.float64]]]
    summary: dict[str, Any]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Give the counts of the clean images."""
        return self.counts_of[CLEAN]

    def bins(self) -> dict[str, Bins]:
        """Read the calibration bins of every condition; raise HarmosegError where damaged."""
        rows = _rows(self.folder / BINS_FILE, BIN_COLUMNS, "the calibration bins")
        found = {}
        for condition in self.counts_of:
            mine = [row for row in rows if row["condition"] == condition]
            found[condition] = Bins(
                mine[0]["convention"] if mine else "",
                _numbers(mine, "count").astype(np.int64),
                _numbers(mine, "confidence"),
                _numbers(mine, "frequency"),
            )
        return found

    def rings(self) -> dict[str, Rings]:
        """Read the ring sums of every condition; raise HarmosegError where damaged."""
        file = self.folder / RINGS_FILE
        rows = _rows(file, RING_COLUMNS, "the ring sums")
        found = {}
        for condition in self.counts_of:
            mine = [row for row in rows if row["condition"] == condition]
            shape = (len(self.cases), len(self.classes) - 1, -1)
            try:
                frequency, cross, power = (
                    _numbers(mine, name).reshape(shape)
                    for name in ("cycles_per_px", "cross", "power")
                )
            except ValueError as error:
                raise HarmosegError(f"{file}: rows are missing; {_AGAIN}") from error
            found[condition] = Rings(frequency[0, 0], cross, power)
        return found


def open_evaluation(path: Path) -> Evaluation:
    """Read an evaluation folder; raise HarmosegError where it is missing or damaged."""
    summary = read_json(path / SUMMARY_FILE, what="the summary of an evaluation")
    check_schema(summary.get("schema"), SCHEMA, path / SUMMARY_FILE, cure=_AGAIN)
    try:
        classes = tuple(summary["classes"])
        conditions = (CLEAN, *summary["conditions"])
        cases = int(summary["cases"])
    except (KeyError, TypeError, ValueError) as error:
        raise HarmosegError(
            f"{path / SUMMARY_FILE}: damaged, {error} is missing or wrong; {_AGAIN}"
        ) from error
    file = path / CASES_FILE
    rows = _rows(file, (*_NAMES, *COUNTS), "the table of an evaluation")
    expected = [(name, c) for name in conditions for _ in range(cases) for c in classes]
    if [(row["condition"], row["class"]) for row in rows] != expected:
        raise HarmosegError(f"{file}: {len(rows)} rows do not fit {SUMMARY_FILE}; {_AGAIN}")
    shape = (len(conditions), cases, len(classes))
    counts = np.stack([_table(file, rows, name, shape) for name in COUNTS], axis=-1)
    if np.isnan(counts).any():
        raise HarmosegError(f"{file}: a count is no number; {_AGAIN}")
    names = [name for name in rows[0] if name not in (*_NAMES, *COUNTS)] if rows else []
    tables = {name: _table(file, rows, name, shape) for name in names}
    file = path / CALIBRATION_FILE
    rows_of_cases = _rows(file, ("condition", "case", *CALIBRATION), "the calibration of cases")
    if len(rows_of_cases) != len(conditions) * cases:
        raise HarmosegError(
            f"{file}: {len(rows_of_cases)} rows do not fit {SUMMARY_FILE}; {_AGAIN}"
        )
    for name in CALIBRATION:
        tables[name] = _table(file, rows_of_cases, name, shape[:2])
    return Evaluation(
        path,
        tuple(row["case"] for row in rows[: cases * len(classes) : len(classes)]),
        classes,
        dict(zip(conditions, counts.astype(np.int64), strict=True)),
        {name: dict(zip(conditions, table, strict=True)) for name, table in tables.items()},
        summary,
    )


def _rows(file: Path, columns: Sequence[str], what: str) -> list[dict[str, str]]:
    return read_csv(file, columns=columns, what=what)


def _table(
    file: Path, rows: Sequence[dict[str, str]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    try:
        return _numbers(rows, name).reshape(shape)
    except ValueError as error:
        raise HarmosegError(
            f"{file}: a value of {name} is no number ({error}); {_AGAIN}"
        ) from error


def _numbers(rows: Sequence[dict[str, str]], name: str) -> NDArray[np.float64]:
    """Read a column; an empty field is an undefined value."""
    return np.asarray([float(row[name] or "nan") for row in rows], dtype=np.float64)
