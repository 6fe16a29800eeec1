"""`Scores`: one long table of scores with the meaning of every column.

One row per method, seed, test set, condition, case and class; one column per measure. Evaluation,
scoring and reading make it; statistics, tables, figures and the report read nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.metrics.measures import Measure, known_measure
from harmoseg.scores.numbers import row_of, to_numbers

CLEAN = "clean"
"""The condition of images as they are; every other condition is a corruption."""
BACKGROUND = "background"
"""The class of background rows: they enter pooled and macro aggregates and nothing else."""
RUN_KEYS = ("trained_on", "method", "seed")
IDENTITY = (*RUN_KEYS, "tested_on", "condition", "case", "class")
"""The columns that no two rows share."""
KEYS = (*RUN_KEYS, "tested_on", "condition", "case", "group", "subset", "class")
COUNTS = ("TP", "FP", "FN", "TN")
RING_COLUMNS = ("ring", "cycles_per_px", "cross", "power")
RESCALED = ", rescaled"
"""Ends the convention of bins of probabilities under the temperature of the network."""
BIN_COLUMNS = ("convention", "bin", "low", "high", "count", "confidence_sum", "right_sum")
_DEFAULTS = {
    "trained_on": "",
    "seed": "0",
    "tested_on": "",
    "condition": CLEAN,
    "subset": "",
    "class": "",
}
_TOLERANCE = 1e-9
"""Rounding that is allowed outside the range of a share, and between repeated values of a case."""


@dataclass(frozen=True, eq=False)
class Scores:
    """A validated table of scores; make one with `Scores.of`, `read_scores` or an evaluation.

    Args:
        frame: Columns `KEYS`, any of `COUNTS`, and one column per measure, in float64; NaN is
            undefined. Shares are fractions.
        measures: Meaning of every measure column.
        rings: Sums of ring correlation with the key columns and `RING_COLUMNS`; None without.
        bins: Sums of calibration bins with the key columns and `BIN_COLUMNS`; None without.
        remarks: What reading had to decide, one sentence each.
    """

    frame: pd.DataFrame
    measures: Mapping[str, Measure]
    rings: pd.DataFrame | None = None
    bins: pd.DataFrame | None = None
    remarks: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        measures: Mapping[str, Measure] | Iterable[Measure] = (),
        *,
        source: str = "the table",
        rings: pd.DataFrame | None = None,
        bins: pd.DataFrame | None = None,
        remarks: Sequence[str] = (),
    ) -> Scores:
        """Check a table and make `Scores` of it.

        `method` and `case` must be there; other key columns have defaults, `group` that of the
        case. `measures` are those that harmoseg does not know by their column. `source` names the
        table in errors.

        Raises HarmosegError naming the column and the row of what is wrong: a column missing or
        unknown, a case twice, a group or subset that changes within a case, text where a number
        belongs, a share outside 0 to 1.
        """
        declared = measures.values() if isinstance(measures, Mapping) else measures
        by_name = {measure.name: measure for measure in declared}
        frame, known = _check_columns(frame, by_name, source)
        table = _keys(frame, source)
        for name in (*(c for c in COUNTS if c in frame.columns), *known):
            table[name] = to_numbers(frame[name], source)
        for measure in known.values():
            _check_range(table[measure.name], measure, source)
        remarks = [*remarks, *_leave_out_infinite(table, known)]
        _check_identity(table, source)
        for measure in known.values():
            if measure.per == "case":
                _check_constant(table, measure.name, source)
        table = _in_order(table)
        return cls(
            table,
            known,
            _check_sums(rings, RING_COLUMNS, table, "the ring sums"),
            _check_sums(bins, BIN_COLUMNS, table, "the calibration bins"),
            tuple(remarks),
        )

    @classmethod
    def concat(cls, parts: Sequence[Scores]) -> Scores:
        """Join tables of different runs, test sets or conditions.

        A measure that some part lacks is undefined there. Raises HarmosegError where two parts
        have a row of the same identity, or give one column two meanings.
        """
        if not parts:
            raise HarmosegError("no scores were given; name at least one table or folder")
        measures: dict[str, Measure] = {}
        for part in parts:
            for name, measure in part.measures.items():
                if measures.setdefault(name, measure) != measure:
                    raise HarmosegError(f"column {name!r} is declared in two ways; declare it once")
        frame = pd.concat([_plain(part.frame) for part in parts], ignore_index=True)
        rings = [_plain(part.rings) for part in parts if part.rings is not None]
        bins = [_plain(part.bins) for part in parts if part.bins is not None]
        remarks = tuple(dict.fromkeys(remark for part in parts for remark in part.remarks))
        return cls.of(
            frame,
            measures,
            source="the joined tables",
            rings=pd.concat(rings, ignore_index=True) if rings else None,
            bins=pd.concat(_alike(bins), ignore_index=True) if bins else None,
            remarks=remarks,
        )

    def select(self, **wanted: str | Sequence[str]) -> Scores:
        """Return the rows whose key columns have the named values.

        Raises HarmosegError for a column that is no key column and for a value that no row has.
        """
        keep = {
            name: [value] if isinstance(value, str) else list(value)
            for name, value in wanted.items()
        }
        for name, values in keep.items():
            if name not in KEYS:
                raise HarmosegError(f"{name!r} is no key column; expected one of {', '.join(KEYS)}")
            found = set(self.frame[name])
            if unknown := [value for value in values if value not in found]:
                raise HarmosegError(
                    f"no row has {name} {unknown[0]!r}; found {', '.join(sorted(found))}"
                )

        def rows(table: pd.DataFrame) -> pd.DataFrame:
            chosen = np.ones(len(table), dtype=bool)
            for name, values in keep.items():
                if name in table.columns:
                    chosen &= table[name].isin(values).to_numpy()
            return table[chosen].reset_index(drop=True)

        rings, bins = (None if part is None else rows(part) for part in (self.rings, self.bins))
        return replace(self, frame=rows(self.frame), rings=rings, bins=bins)

    def values_of(self, column: str) -> list[str]:
        """Return the values of a key column in natural order, ``clean`` and ``''`` first."""
        return natural_order(self.frame[column].unique())

    @property
    def classes(self) -> list[str]:
        """Return the foreground classes."""
        return [name for name in self.values_of("class") if name != BACKGROUND]

    @property
    def has_counts(self) -> bool:
        """Return whether TP, FP, FN and TN are there."""
        return all(name in self.frame.columns for name in COUNTS)

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the table."""
        return self.frame.copy()

    def summary(self) -> str:
        """Return one line on what the table holds."""
        of = {name: len(self.values_of(name)) for name in ("method", "seed", "tested_on")}
        cases = self.frame[["tested_on", "case"]].drop_duplicates().shape[0]
        foreground = self.frame[self.frame["class"] != BACKGROUND]
        undefined = int(foreground[list(self.measures)].isna().sum().sum())
        return (
            f"{_plural(cases, 'case')}, {_plural(of['method'], 'method')}, "
            f"{_plural(of['seed'], 'seed')}, {_plural(of['tested_on'], 'test set')}; "
            f"{', '.join(self.measures)}; {_plural(undefined, 'undefined value')}"
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.frame)

    def __repr__(self) -> str:
        """Return the summary."""
        return f"Scores({self.summary()})"

    def _repr_html_(self) -> str:
        return f"<p>{self.summary()}</p>" + str(self.frame.head(10).to_html(index=False))


def natural_order(names: Iterable[Any]) -> list[str]:
    """Sort names so that 2 comes before 10, ``''`` and ``clean`` first."""

    def key(name: str) -> tuple[Any, ...]:
        parts = re.split(r"(\d+)", name)
        split = tuple(
            (0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts if p
        )
        return (name not in ("", CLEAN), split, name)

    return sorted((str(name) for name in names), key=key)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _check_columns(
    frame: pd.DataFrame, declared: Mapping[str, Measure], source: str
) -> tuple[pd.DataFrame, dict[str, Measure]]:
    """Return the table and the measure of every value column."""
    names = [str(name) for name in frame.columns]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise HarmosegError(
            f"{source}: column {doubled[0]!r} is there {names.count(doubled[0])} times; keep one"
        )
    if missing := [name for name in ("method", "case") if name not in names]:
        raise HarmosegError(
            f"{source}: the column {missing[0]!r} is missing; found {', '.join(names) or 'nothing'}"
        )
    known: dict[str, Measure] = {}
    for name in names:
        if name in KEYS or name in COUNTS:
            continue
        measure = declared.get(name) or known_measure(name)
        if measure is None:
            raise HarmosegError(
                f"{source}: the column {name!r} is neither a key column nor a known measure; "
                f"declare it, for example --measure '{name}:higher:fraction', or remove it"
            )
        known[name] = measure
    if unused := [name for name in declared if name not in names]:
        raise HarmosegError(
            f"{source}: there is no column {unused[0]!r}, which was declared; found "
            f"{', '.join(names)}"
        )
    if not known:
        raise HarmosegError(
            f"{source}: no column holds a measure; found {', '.join(names)}; name one as harmoseg "
            "does (DSC, IoU, HD95_mm) or declare it with --measure NAME:DIRECTION:UNIT"
        )
    return frame.set_axis(names, axis=1).reset_index(drop=True), known


def _keys(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return the key columns as text, with their defaults."""
    table = pd.DataFrame(index=frame.index)
    for name in KEYS:
        column = frame[name] if name in frame.columns else pd.Series("", frame.index)
        # A number that a reader made of a name: 1.0 of "1" is "1" again.
        whole = pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all()
        column = column.astype("Int64") if whole else column
        text = column.astype("string").fillna("").str.strip().astype(object)
        default = table["case"] if name == "group" else _DEFAULTS.get(name, "")
        table[name] = text.where(text != "", default)
    for name in ("method", "case"):
        empty = np.flatnonzero(table[name] == "")
        if empty.size:
            raise HarmosegError(f"{source}: row {row_of(empty[0])} has no {name}")
    unnamed = table["class"] == ""
    if unnamed.any() and not unnamed.all():
        raise HarmosegError(
            f"{source}: row {row_of(np.flatnonzero(unnamed)[0])} names no class, other rows do; "
            "name the class in every row"
        )
    return table.astype("category")


def _check_range(column: pd.Series, measure: Measure, source: str) -> None:
    low = -np.inf if measure.low is None else measure.low - _TOLERANCE
    high = np.inf if measure.high is None else measure.high + _TOLERANCE
    outside = np.flatnonzero((column < low) | (column > high))
    if outside.size:
        advice = "; percent must be declared as such" if measure.is_share else ""
        raise HarmosegError(
            f"{source}: row {row_of(outside[0])}, column {measure.name!r}: "
            f"{column.iloc[outside[0]]:g} lies outside {measure.low:g} to "
            f"{'any number' if measure.high is None else f'{measure.high:g}'}{advice}"
        )


def _leave_out_infinite(table: pd.DataFrame, measures: Iterable[str]) -> list[str]:
    """Make infinite values undefined in place; return a remark for every measure that had any.

    A distance is infinite where a method found nothing: without a word, its mean would be that of
    the cases it solved.
    """
    remarks = []
    for name in measures:
        is_infinite = np.isinf(table[name])
        if is_infinite.any():
            of = table["method"][is_infinite].value_counts()
            rows = ", ".join(f"{of[m]} of method {m!r}" for m in natural_order(of[of > 0].index))
            remarks.append(
                f"infinite values: {name} is infinite in {int(is_infinite.sum())} row(s) ({rows}); "
                "they count as undefined and are left out, which spares a method that missed a "
                "structure"
            )
            table[name] = table[name].mask(is_infinite)
    return remarks


def _check_identity(table: pd.DataFrame, source: str) -> None:
    doubled = np.flatnonzero(table.duplicated(list(IDENTITY)))
    if doubled.size:
        row = table.iloc[doubled[0]]
        raise HarmosegError(
            f"{source}: row {row_of(doubled[0])} repeats {_named(row)}; every case is there once "
            "for each method, seed, test set, condition and class"
        )
    for name, called in (("group", "patient"), ("subset", "centre")):
        cases = table[["tested_on", "case", name]].drop_duplicates()
        twice = cases[cases.duplicated(["tested_on", "case"], keep=False)]
        if len(twice):
            case = twice["case"].iloc[0]
            found = natural_order(twice[twice["case"] == case][name].unique())
            raise HarmosegError(
                f"{source}: case {case!r} has more than one {name} ({called}): "
                f"{', '.join(map(repr, found))}; give every row of a case the same"
            )


def _check_constant(table: pd.DataFrame, name: str, source: str) -> None:
    """Raise HarmosegError where a measure of a case differs between the case's classes."""
    keys = [key for key in IDENTITY if key != "class"]
    spread = table.groupby(keys, observed=True, sort=False)[name].agg(["min", "max"])
    wrong = np.flatnonzero(spread["max"] - spread["min"] > _TOLERANCE)
    if wrong.size:
        case = spread.index[wrong[0]][keys.index("case")]
        raise HarmosegError(
            f"{source}: {name} of case {case!r} differs between classes, though it is a measure of "
            "the whole case"
        )


def _check_sums(
    part: pd.DataFrame | None, columns: Sequence[str], table: pd.DataFrame, what: str
) -> pd.DataFrame | None:
    """Return a further table with its key columns as text; None where there is none.

    Columns that it lacks have their defaults; group and subset are those of the case.
    """
    if part is None or part.empty:
        return None
    if missing := [name for name in columns if name not in part.columns]:
        raise HarmosegError(f"{what}: the column {missing[0]!r} is missing; evaluate again")
    part = part.reset_index(drop=True)
    part = part.assign(
        **{k: v for k, v in _DEFAULTS.items() if k not in (*part, "subset", "class")}
    )
    of_case = table[["tested_on", "case", "group", "subset"]].drop_duplicates().astype(object)
    left = [name for name in of_case if name not in part]
    if left and "case" in part:  # bins may be sums over all cases
        part = part.merge(of_case[["tested_on", "case", *left]], how="left")
    for name in KEYS:
        if name in part.columns:
            text = part[name].astype("string").fillna("").astype(object)
            unknown = set(text) - set(table[name])
            if unknown and name != "class":
                raise HarmosegError(
                    f"{what}: {name} {min(unknown)!r} is in no row of the scores; evaluate again"
                )
            part[name] = text.astype("category")
    return part


def _alike(bins: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Add bins up over cases where some of the tables hold sums over all cases already."""
    if all("case" in part for part in bins):
        return list(bins)
    of_case = ("case", "group", "subset")
    found = []
    for part in bins:
        keys = [name for name in KEYS if name in part and name not in of_case]
        edges = {"low": "first", "high": "first"}
        sums = dict.fromkeys(("count", "confidence_sum", "right_sum"), "sum")
        of_bin = part.groupby([*keys, "convention", "bin"], sort=False)
        found.append(of_bin.agg({**edges, **sums}).reset_index())
    return found


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by their keys in natural order, so that no result depends on a file's order."""
    for name in KEYS:
        order = natural_order(table[name].cat.categories)
        table[name] = table[name].cat.set_categories(order, ordered=False)
    codes = [table[name].cat.codes.to_numpy() for name in reversed(IDENTITY)]
    return table.iloc[np.lexsort(codes)].reset_index(drop=True)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its key columns as text: categories of two tables do not join."""
    return frame.astype({name: object for name in KEYS if name in frame.columns})


def _named(row: pd.Series) -> str:
    return ", ".join(f"{name} {row[name]!r}" for name in IDENTITY if row[name] != "")
