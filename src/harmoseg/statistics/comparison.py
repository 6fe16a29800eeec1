"""`compare`: paired differences of every measure, with intervals and a word for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.losses.method import Kind, parse_method, references_of
from harmoseg.metrics.measures import Measure
from harmoseg.scores.table import CLEAN, Scores
from harmoseg.statistics.blocks import Block, Values, split_into_blocks
from harmoseg.statistics.differences import (
    NOTHING,
    Difference,
    MethodMean,
    Where,
    record_of,
    within,
)
from harmoseg.statistics.intervals import Estimate, Sample, estimate_means
from harmoseg.statistics.remarks import find_remarks
from harmoseg.statistics.significance import adjust_holm, signed_rank_p


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare`: every paired difference, and what tables and figures need.

    Args:
        scores: The table that was judged.
        blocks: Its parts by training set and test set.
        primary: The measure that was declared primary; all others are secondary.
        margins: Largest difference that counts as none, by measure, in printed units.
        differences: All of them: by measure, condition, class and centre.
        title: What was compared on what.
        notes: What was found beside the differences: one run under two names, cases left out.
    """

    scores: Scores
    blocks: tuple[Block, ...]
    primary: Measure
    measures: tuple[Measure, ...]
    margins: Mapping[str, float]
    differences: tuple[Difference, ...]
    title: str
    notes: tuple[str, ...] = field(default=())

    @property
    def headline(self) -> tuple[Difference, ...]:
        """Return the differences of the primary measure over all classes of clean images."""
        return self.find(measure=self.primary, where=Where())

    def find(
        self,
        *,
        measure: Measure | None = None,
        where: Where | None = None,
        block: Block | None = None,
        method: str | None = None,
    ) -> tuple[Difference, ...]:
        """Return the differences that fit everything that is named."""
        return tuple(
            item
            for item in self.differences
            if (measure is None or item.measure == measure)
            and (where is None or item.where == where)
            and (block is None or item.block is block)
            and (method is None or item.method == method)
        )

    @cached_property
    def means(self) -> tuple[MethodMean, ...]:
        """Return the mean of every measure of every method, with its interval."""
        found = [
            (MethodMean(block, method, measure, where, NOTHING), values)
            for block in self.blocks
            for method in block.methods
            for measure in self.measures
            for where in _places(block, measure)
            if block.has_rows(method, where.condition)
            for values in [_values(block, method, measure, where)]
        ]
        estimates = estimate_means([sample for _, sample in found], fixed_networks=True)
        return tuple(
            replace(item, estimate=within(estimate, item.measure))
            for (item, _), estimate in zip(found, estimates, strict=True)
        )

    @cached_property
    def _mean_by_place(self) -> dict[tuple[str, str, str, str, Where], Estimate]:
        return {
            (
                item.block.trained_on,
                item.block.tested_on,
                item.method,
                item.measure.name,
                item.where,
            ): item.estimate
            for item in self.means
        }

    def mean_of(
        self, block: Block, method: str, measure: Measure | None = None, condition: str = CLEAN
    ) -> Estimate:
        """Return the mean of a method over all classes; of the primary measure if none is named."""
        name = (measure or self.primary).name
        key = (block.trained_on, block.tested_on, method, name, Where(condition))
        return self._mean_by_place.get(key, NOTHING)

    @property
    def methods(self) -> tuple[str, ...]:
        """Return every method, in the order of the blocks."""
        return tuple(dict.fromkeys(method for block in self.blocks for method in block.methods))

    @property
    def sentences(self) -> list[str]:
        """Return what was found, in plain words: see `harmoseg.statistics.sentences`."""
        from harmoseg.statistics.sentences import describe

        return describe(self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per difference, in printed units."""
        return pd.DataFrame([record_of(item) for item in self.differences])

    def to_markdown(self) -> str:
        """Return the main table of differences in Markdown."""
        from harmoseg.statistics.printing import to_markdown
        from harmoseg.statistics.tables import difference_table

        return to_markdown(difference_table(self))

    def to_latex(self) -> str:
        """Return the main table of differences in LaTeX (booktabs)."""
        from harmoseg.statistics.printing import to_latex
        from harmoseg.statistics.tables import difference_table

        return to_latex(difference_table(self))

    def __repr__(self) -> str:
        """Return the title and what was found."""
        return "\n".join([self.title, *self.sentences])

    def _repr_html_(self) -> str:
        from harmoseg.statistics.printing import to_html
        from harmoseg.statistics.tables import difference_table

        said = "".join(f"<li>{text}</li>" for text in map(_escaped, self.sentences))
        return f"<h3>{_escaped(self.title)}</h3><ul>{said}</ul>{to_html(difference_table(self))}"


def compare(
    scores: Scores,
    *,
    reference: str | None = None,
    controls: Mapping[str, str] | None = None,
    primary: str | None = None,
    measures: Sequence[str] | None = None,
    margin: float | Mapping[str, float] | None = None,
    title: str = "",
) -> Comparison:
    """Compare the methods of a table, paired by case and seed, in every measure.

    Args:
        scores: The table.
        reference: The method that all others are compared with; the first in natural order if not
            named. Where every method has its own control, it is the control that counts.
        controls: Maps a method to its control. Without it the grammar of methods decides where all
            names parse: ``unet+scc`` has the controls ``unet`` and ``unet+dice``.
        primary: The measure declared primary beforehand; DSC where it is there, else the first.
        measures: The measures to compare; all if not named.
        margin: The largest difference that counts as none, in printed units: a number for the
            primary measure, or a mapping from measures. Without one nothing is called equivalent.
        title: Heading of the report.

    With one training per method the interval is over patients, and every verdict ends 'for these
    networks'. Cases that one of two methods lacks are left out and counted. Raises HarmosegError
    for a method or measure that the table does not have, and where no two methods share a case.
    """
    names = scores.values_of("method")
    chosen = _choose_measures(scores, measures)
    main = _choose_primary(scores, primary, chosen)
    chosen = (main, *(measure for measure in chosen if measure != main))
    margins = _choose_margins(margin, main, scores)
    for name in (reference, *(controls or {}), *(controls or {}).values()):
        if name is not None and name not in names:
            raise HarmosegError(f"no method is named {name!r}; found {', '.join(names)}")
    blocks = split_into_blocks(scores, [reference] if reference else [])
    planned = [
        (block, method, other, kind)
        for block in blocks
        for method, other, kind in _references(block, reference, controls)
    ]
    notes = find_remarks(planned, main)
    return Comparison(
        scores,
        blocks,
        main,
        chosen,
        margins,
        tuple(_differences(planned, chosen, main, margins)),
        title or _title(scores),
        notes,
    )


def count_false_marks(ours: Values, theirs: Values) -> tuple[int, int]:
    """Count the cases that pairing leaves out at the cost of one method and those of the other.

    `ours` and `theirs` are the values of a method and of its reference, (seeds, cases). DSC and IoU
    are undefined only where truth and prediction are both empty, so that a pair drops a right
    "nothing there" together with the 0 of a false alarm. Returns in how many of the cases left out
    the method has more runs with a false alarm than the reference, and in how many fewer.
    """
    mine, others = np.isfinite(ours), np.isfinite(theirs)
    left_out = ~(mine & others).all(axis=0)
    more = (mine.sum(0) - others.sum(0))[left_out]
    return int((more > 0).sum()), int((more < 0).sum())


_FALSE_MARKS = ("DSC", "IoU")
"""Families of measures that are defined where a method marks something on an empty truth."""


def _choose_measures(scores: Scores, names: Sequence[str] | None) -> tuple[Measure, ...]:
    if names is None:
        return tuple(scores.measures.values())
    return tuple(_measure(scores, name) for name in names)


def _choose_primary(scores: Scores, name: str | None, chosen: Sequence[Measure]) -> Measure:
    if name is not None:
        return _measure(scores, name)
    return next((measure for measure in chosen if measure.family == "DSC"), chosen[0])


def _measure(scores: Scores, name: str) -> Measure:
    """Find a measure by its column, or by its family where one column alone has it."""
    if name in scores.measures:
        return scores.measures[name]
    of_family = [measure for measure in scores.measures.values() if measure.family == name]
    if len(of_family) == 1:
        return of_family[0]
    raise HarmosegError(f"no column holds the measure {name!r}; found {', '.join(scores.measures)}")


def _choose_margins(
    margin: float | Mapping[str, float] | None, primary: Measure, scores: Scores
) -> dict[str, float]:
    if margin is None:
        return {}
    given = margin if isinstance(margin, Mapping) else {primary.name: margin}
    margins = {_measure(scores, name).name: float(value) for name, value in given.items()}
    for name, value in margins.items():
        if not 0 < value < float("inf"):
            raise HarmosegError(
                f"margin {value:g} of {name}; expected a number above 0 in "
                f"{scores.measures[name].unit or 'the unit of the measure'}"
            )
    return margins


def _references(
    block: Block, reference: str | None, controls: Mapping[str, str] | None
) -> Iterator[tuple[str, str, Kind]]:
    """Return which methods of a block are compared with which."""
    if controls is not None:
        for method in block.methods:
            if (control := controls.get(method)) in block.methods:
                yield method, str(control), "control"
        return
    if _all_parse(block.methods):
        for method in block.methods:
            for item in references_of(method, block.methods):
                yield method, item.method, item.kind
        return
    first = reference if reference in block.methods else block.methods[0]
    for method in block.methods:
        if method != first:
            yield method, str(first), "no control"


def _all_parse(methods: Sequence[str]) -> bool:
    try:
        return all(str(parse_method(method)) == method for method in methods)
    except HarmosegError:
        return False


def _differences(
    planned: Sequence[tuple[Block, str, str, Kind]],
    measures: Sequence[Measure],
    primary: Measure,
    margins: Mapping[str, float],
) -> Iterator[Difference]:
    found: list[Difference] = []
    samples: list[Sample] = []
    for block, method, reference, kind in planned:
        ours, theirs = block.paired_seeds(method, reference)
        for measure in measures:
            for where in _places(block, measure):
                pair = [
                    _values(block, name, measure, where, seeds)
                    for name, seeds in ((method, ours), (reference, theirs))
                ]
                gap = Sample(pair[0].values - pair[1].values, pair[0].groups)
                is_primary = measure == primary
                family = is_primary and where.is_whole
                marks = measure.family in _FALSE_MARKS
                found.append(
                    Difference(
                        block,
                        method,
                        reference,
                        kind,
                        measure,
                        where,
                        NOTHING,
                        is_primary,
                        margins.get(measure.name),
                        signed_rank_p(gap.values, gap.groups) if family else None,
                        None,
                        count_false_marks(pair[0].values, pair[1].values) if marks else (0, 0),
                        ours != theirs,
                    )
                )
                samples.append(gap)
    corrected = adjust_holm([item.p for item in found])
    estimates = estimate_means(samples, fixed_networks=True)
    for item, estimate, p in zip(found, estimates, corrected, strict=True):
        yield replace(item, estimate=estimate, p_holm=p)


def _places(block: Block, measure: Measure) -> Iterator[Where]:
    """Return what a measure is compared on: conditions, classes if several, centres."""
    for condition in block.conditions:
        yield Where(condition)
        if len(block.classes) > 1 and measure.per == "class":
            yield from (Where(condition, label) for label in block.classes)
    yield from (Where(CLEAN, None, subset) for subset in block.centres)


def _values(
    block: Block,
    method: str,
    measure: Measure,
    where: Where,
    seeds: Sequence[str] | None = None,
) -> Sample:
    values = block.values(
        method, measure, condition=where.condition, label=where.label, seeds=seeds
    )
    groups = block.group_codes
    if where.subset is not None:
        chosen = np.asarray(block.subsets) == where.subset
        values, groups = values[:, chosen], groups[chosen]
    return Sample(values, groups)


def _title(scores: Scores) -> str:
    methods = scores.values_of("method")
    told = " against ".join(methods) if len(methods) <= _FEW else f"{len(methods)} methods"
    tested = [name for name in scores.values_of("tested_on") if name]
    return f"{told} on {', '.join(tested)}" if tested else told


_FEW = 3


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
