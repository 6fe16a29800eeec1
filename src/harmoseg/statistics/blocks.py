"""The scores of one training set on one test set, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.metrics.measures import Measure
from harmoseg.metrics.overlap import mean_of_defined
from harmoseg.scores.table import BACKGROUND, CLEAN, COUNTS, Scores, natural_order
from harmoseg.statistics.intervals import Sample

Values = NDArray[np.float64]


class Where(NamedTuple):
    """The part of a test set that a number is about: a condition, a class, a centre.

    `label` None means the mean over the foreground classes, `subset` None all cases.
    """

    condition: str = CLEAN
    label: str | None = None
    subset: str | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether this is all classes of all cases of the clean images."""
        return self == WHOLE

    @property
    def fields(self) -> dict[str, str]:
        """Return the part as fields of a row."""
        return {
            "condition": self.condition,
            "subset": self.subset or "",
            "class": self.label or "",
        }


WHOLE = Where()


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
    _arrays: dict[str, Values] = field(default_factory=dict)

    @property
    def sets(self) -> dict[str, str]:
        """Return the two sets as fields of a row."""
        return {"trained_on": self.trained_on, "tested_on": self.tested_on}

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
        at = self._runs(method, condition, seeds)
        chosen = self._array(measure.name)[at]
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

    def sample(
        self,
        method: str,
        measure: Measure,
        where: Where = WHOLE,
        *,
        seeds: Sequence[str] | None = None,
    ) -> Sample:
        """Return the values of a part of the test set, with the groups of the cases."""
        condition, label, subset = where
        found = self.values(method, measure, condition=condition, label=label, seeds=seeds)
        if subset is None:
            return Sample(found, self.group_codes)
        inside = np.asarray(self.subsets) == subset
        return Sample(found[:, inside], self.group_codes[inside])

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Return what has a row, shape (methods, seeds, conditions, cases, classes)."""
        shape = self._array(next(iter(self.measures))).shape
        rows = np.zeros((*shape[:-1], shape[-1] + 1), dtype=bool)
        rows[self._place_of_row] = True
        return rows[..., :-1]

    def cases_of(self, method: str) -> NDArray[np.bool_]:
        """Return which cases a method has a row of, shape (cases,)."""
        return np.asarray(self.present[self.methods.index(method)].any(axis=(0, 1, 3)))

    @cached_property
    def _lacking(self) -> NDArray[np.bool_]:
        """Return where other runs alone have a class: (methods, seeds, conditions, cases)."""
        expected = self.present.any(axis=(0, 1))
        return np.asarray((expected & ~self.present).any(axis=-1))

    def paired(
        self, method: str, reference: str, measure: Measure, where: Where = WHOLE
    ) -> tuple[Sample, Sample]:
        """Return the values of two methods under the same seeds, aligned."""
        ours, theirs = self.paired_seeds(method, reference)
        return (
            self.sample(method, measure, where, seeds=ours),
            self.sample(reference, measure, where, seeds=theirs),
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
        at = self._runs(method, condition, seeds)
        return np.stack([self._array(name, background=True)[at] for name in COUNTS], axis=-1)

    def has_rows(self, method: str, condition: str) -> bool:
        """Return whether a method was scored under a condition."""
        rows = self._rows
        return bool(((rows["method"] == method) & (rows["condition"] == condition)).any())

    def rows_of(self, table: pd.DataFrame | None) -> pd.DataFrame | None:
        """Return the rows of a table of ring sums or bins that are of this block's clean images.

        None where there are none.
        """
        if table is None:
            return None
        mine = (table["trained_on"] == self.trained_on) & (table["tested_on"] == self.tested_on)
        rows = table[mine & (table["condition"] == CLEAN) & table["method"].isin(self.methods)]
        return None if rows.empty else rows

    def places_of(self, rows: pd.DataFrame) -> tuple[NDArray[np.intp], ...]:
        """Return where rows stand among methods, seeds, conditions, cases and classes."""
        place_of_seed = {
            (method, seed): place
            for method, names in self.seeds.items()
            for place, seed in enumerate(names)
        }
        pairs = zip(rows["method"].astype(object), rows["seed"].astype(object), strict=True)
        return (
            _codes(rows["method"], self.methods),
            np.fromiter((place_of_seed[pair] for pair in pairs), np.intp, len(rows)),
            _codes(rows["condition"], self.conditions),
            _codes(rows["case"], self.cases),
            _codes(rows["class"], [*self.classes, BACKGROUND]),
        )

    @cached_property
    def _place_of_row(self) -> tuple[NDArray[np.intp], ...]:
        return self.places_of(self._rows)

    def _runs(
        self, method: str, condition: str, seeds: Sequence[str] | None
    ) -> tuple[int, list[int], int]:
        """Return where runs stand in the arrays: method, seeds, condition."""
        found = self.seeds[method]
        places = [found.index(seed) for seed in (found if seeds is None else seeds)]
        return self.methods.index(method), places, self.conditions.index(condition)

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
            array[self._place_of_row] = self._rows[column].to_numpy()
            self._arrays[column] = array
        array = self._arrays[column]
        return array if background else array[..., : len(self.classes)]


def split_into_blocks(scores: Scores, methods: Sequence[str] = ()) -> tuple[Block, ...]:
    """Split scores by training set and test set; `methods` come first, in this order."""
    pairs = scores.frame[["trained_on", "tested_on"]].drop_duplicates().astype(str)
    trainings = natural_order(pairs["trained_on"].unique())
    return tuple(
        _make_block(scores, trained, tested, len(trainings), methods)
        for trained in trainings
        # The set trained on comes before the others that it is tested on.
        for tested in sorted(
            pairs.loc[pairs["trained_on"] == trained, "tested_on"],
            key=lambda name: (name != trained, name),
        )
    )


def _make_block(
    scores: Scores, trained_on: str, tested_on: str, trainings: int, first: Sequence[str]
) -> Block:
    frame = scores.frame
    rows = frame[(frame["trained_on"] == trained_on) & (frame["tested_on"] == tested_on)]
    conditions, cases, classes, methods = (
        natural_order(rows[name].unique()) for name in ("condition", "case", "class", "method")
    )
    methods = list(dict.fromkeys([*(name for name in first if name in methods), *methods]))
    seeds = {
        method: tuple(natural_order(rows.loc[rows["method"] == method, "seed"].unique()))
        for method in methods
    }
    of_case = rows.drop_duplicates("case").set_index("case").loc[cases]
    alone = trained_on in ("", tested_on) or trainings == 1
    return Block(
        tested_on if alone else f"{trained_on} \N{RIGHTWARDS ARROW} {tested_on}",
        trained_on,
        tested_on,
        tuple(methods),
        seeds,
        tuple(conditions),
        tuple(cases),
        tuple(of_case["group"].astype(str)),
        tuple(of_case["subset"].astype(str)),
        tuple(name for name in classes if name != BACKGROUND),
        dict(scores.measures),
        rows,
    )


def _codes(column: pd.Series, order: Sequence[str]) -> NDArray[np.intp]:
    return np.asarray(column.cat.set_categories(order).cat.codes, dtype=np.intp)
