"""The scores of one training set on one test set, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.metrics.aggregates import mean_of_defined
from harmoseg.metrics.measures import Measure
from harmoseg.scores.table import BACKGROUND, CLEAN, COUNTS, Scores, natural_order

Values = NDArray[np.float64]
ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True, eq=False)
class Block:
    """The scores of all methods that were trained on one set and tested on one set.

    `place` is how tables and sentences call the two sets. `seeds` names the seeds of every method;
    `groups` (patients) and `subsets` (centres) go with `cases`, `classes` are of the foreground.
    """

    place: str
    trained_on: str
    tested_on: str
    methods: tuple[str, ...]
    seeds: dict[str, tuple[str, ...]]
    conditions: tuple[str, ...]
    cases: tuple[str, ...]
    groups: tuple[str, ...]
    subsets: tuple[str, ...]
    classes: tuple[str, ...]
    measures: dict[str, Measure]
    _rows: pd.DataFrame
    _place_of_row: dict[str, NDArray[np.intp]]
    _arrays: dict[str, Values] = field(default_factory=dict)

    @cached_property
    def group_codes(self) -> NDArray[np.intp]:
        """Return a number for the group of every case."""
        return np.unique(np.asarray(self.groups, dtype=str), return_inverse=True)[1]

    @property
    def names_patients(self) -> bool:
        """Return whether some group is not simply its case."""
        return self.groups != self.cases

    @property
    def centres(self) -> tuple[str, ...]:
        """Return the named subsets; none where there are fewer than two."""
        names = natural_order({name for name in self.subsets if name})
        return tuple(names) if len(names) > 1 else ()

    def values(
        self,
        method: str,
        measure: Measure,
        *,
        condition: str = CLEAN,
        label: str | None = None,
        seeds: Sequence[str] | None = None,
    ) -> Values:
        """Return a measure per case in printed units, shape (seeds, cases); NaN where undefined.

        `label` names a class; None means the mean over the foreground classes that are defined,
        and is undefined where a class in the truth was missed and the measure needs both.
        """
        array = self._array(measure.name)
        places = [self.seeds[method].index(seed) for seed in self._seeds(method, seeds)]
        at = self.methods.index(method), places, self.conditions.index(condition)
        chosen = array[at]
        if measure.per == "case":
            found = np.fmax.reduce(chosen, axis=-1)  # repeated in the rows of the case's classes
        elif label is not None:
            found = chosen[..., self.classes.index(label)]
        else:
            found = mean_of_defined(chosen, axis=-1)
            found[self._lacking[at]] = np.nan
            found[np.isinf(chosen).any(axis=-1)] = np.nan
            if measure.needs_both and self.has_counts:
                counts = self.counts(method, condition, seeds=seeds)[:, :, : len(self.classes)]
                in_truth = counts[..., 0] + counts[..., 2] > 0
                found[(in_truth & np.isnan(chosen)).any(axis=-1)] = np.nan
        return np.asarray(found * measure.scale)

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Return what has a row, shape (methods, seeds, conditions, cases, classes)."""
        shape = self._array(next(iter(self.measures))).shape
        rows = np.zeros((*shape[:-1], shape[-1] + 1), dtype=bool)
        rows[tuple(self._place_of_row.values())] = True
        return rows[..., :-1]

    @cached_property
    def _lacking(self) -> NDArray[np.bool_]:
        """Return where other runs alone have a class: (methods, seeds, conditions, cases)."""
        expected = self.present.any(axis=(0, 1))
        return np.asarray((expected & ~self.present).any(axis=-1))

    def paired(
        self, method: str, reference: str, measure: Measure, **where: Any
    ) -> tuple[Values, Values]:
        """Return the values of two methods under the same seeds, aligned."""
        ours, theirs = self.paired_seeds(method, reference)
        return (
            self.values(method, measure, seeds=ours, **where),
            self.values(reference, measure, seeds=theirs, **where),
        )

    def paired_seeds(self, method: str, reference: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the seeds to pair: equal ones; in order where no seed is in both methods."""
        ours, theirs = self.seeds[method], self.seeds[reference]
        both = tuple(seed for seed in ours if seed in theirs)
        if both:
            return both, both
        count = min(len(ours), len(theirs))
        return ours[:count], theirs[:count]

    @property
    def has_counts(self) -> bool:
        """Return whether TP, FP, FN and TN are known."""
        return all(name in self._rows.columns for name in COUNTS)

    @property
    def has_background(self) -> bool:
        """Return whether the background has rows, as macro aggregates need."""
        return bool((self._rows["class"] == BACKGROUND).any())

    def counts(
        self, method: str, condition: str = CLEAN, *, seeds: Sequence[str] | None = None
    ) -> Values:
        """Return TP, FP, FN and TN, shape (seeds, cases, classes, 4), the background last."""
        if not self.has_counts:
            raise HarmosegError(f"the scores have no columns {', '.join(COUNTS)}")
        places = [self.seeds[method].index(seed) for seed in self._seeds(method, seeds)]
        at = self.methods.index(method), places, self.conditions.index(condition)
        return np.stack([self._array(name, background=True)[at] for name in COUNTS], axis=-1)

    def has_rows(self, method: str, condition: str) -> bool:
        """Return whether a method was scored under a condition."""
        rows = self._rows
        return bool(((rows["method"] == method) & (rows["condition"] == condition)).any())

    def rows_of(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a further table, of ring sums or of bins, that are of this block."""
        mine = (table["trained_on"] == self.trained_on) & (table["tested_on"] == self.tested_on)
        return table[mine & table["method"].isin(self.methods)]

    def places_of(self, rows: pd.DataFrame) -> dict[str, NDArray[np.intp]]:
        """Return where rows stand among methods, seeds, conditions, cases and classes."""
        place_of_seed = {
            (method, seed): place
            for method, names in self.seeds.items()
            for place, seed in enumerate(names)
        }
        pairs = zip(rows["method"].astype(object), rows["seed"].astype(object), strict=True)
        return {
            "method": _codes(rows["method"], self.methods),
            "seed": np.fromiter((place_of_seed[pair] for pair in pairs), np.intp, len(rows)),
            "condition": _codes(rows["condition"], self.conditions),
            "case": _codes(rows["case"], self.cases),
            "class": _codes(rows["class"], [*self.classes, BACKGROUND]),
        }

    def _seeds(self, method: str, seeds: Sequence[str] | None) -> Sequence[str]:
        return self.seeds[method] if seeds is None else seeds

    def _array(self, column: str, *, background: bool = False) -> Values:
        """Return a column as (methods, seeds, conditions, cases, classes); NaN without a row."""
        if column not in self._arrays:
            sizes = (
                len(self.methods),
                max(map(len, self.seeds.values())),
                len(self.conditions),
                len(self.cases),
                len(self.classes) + 1,
            )
            array = np.full(sizes, np.nan)
            array[tuple(self._place_of_row.values())] = self._rows[column].to_numpy()
            self._arrays[column] = array
        array = self._arrays[column]
        return array if background else array[..., : len(self.classes)]


def split_into_blocks(scores: Scores, methods: Sequence[str] = ()) -> tuple[Block, ...]:
    """Split scores by training set and test set; `methods` come first, in this order."""
    frame = scores.frame
    pairs = frame[["trained_on", "tested_on"]].drop_duplicates().astype(str)
    # The set trained on comes before the others that it is tested on.
    pairs["other"] = pairs["trained_on"] != pairs["tested_on"]
    ordered = [
        (trained, str(tested))
        for trained in natural_order(pairs["trained_on"].unique())
        for _, tested in sorted(
            (bool(row.other), str(row.tested_on))
            for row in pairs.itertuples()
            if row.trained_on == trained
        )
    ]
    trainings = pairs["trained_on"].nunique()
    return tuple(
        _make_block(scores, trained, tested, trainings, methods) for trained, tested in ordered
    )


def _make_block(
    scores: Scores, trained_on: str, tested_on: str, trainings: int, first: Sequence[str]
) -> Block:
    frame = scores.frame
    rows = frame[(frame["trained_on"] == trained_on) & (frame["tested_on"] == tested_on)]
    there = {
        name: natural_order(rows[name].unique())
        for name in ("method", "condition", "case", "class")
    }
    methods = [name for name in first if name in there["method"]]
    methods += [name for name in there["method"] if name not in methods]
    classes = [name for name in there["class"] if name != BACKGROUND]
    seeds = {
        method: tuple(natural_order(rows.loc[rows["method"] == method, "seed"].unique()))
        for method in methods
    }
    of_cases = rows[["case", "group", "subset"]].drop_duplicates("case").set_index("case")
    of_cases = of_cases.loc[there["case"]]
    alone = trained_on in ("", tested_on) or trainings == 1
    block = Block(
        tested_on if alone else f"{trained_on} {ARROW} {tested_on}",
        trained_on,
        tested_on,
        tuple(methods),
        seeds,
        tuple(there["condition"]),
        tuple(there["case"]),
        tuple(of_cases["group"].astype(str)),
        tuple(of_cases["subset"].astype(str)),
        tuple(classes),
        dict(scores.measures),
        rows,
        {},
    )
    block._place_of_row.update(block.places_of(rows))
    return block


def _codes(column: pd.Series, order: Sequence[str]) -> NDArray[np.intp]:
    return np.asarray(column.cat.set_categories(order).cat.codes, dtype=np.intp)
