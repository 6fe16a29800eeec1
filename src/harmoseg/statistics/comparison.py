"""`compare`: paired differences of every measure, with intervals and a word for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from typing import Any, Literal

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.losses.method import Kind, parse_method, references_of
from harmoseg.metrics.measures import Measure
from harmoseg.scores.table import CLEAN, Scores
from harmoseg.statistics.blocks import WHOLE, Block, Values, Where, split_into_blocks
from harmoseg.statistics.intervals import (
    Estimate,
    Sample,
    adjust_holm,
    estimate_means,
    signed_rank_p,
)
from harmoseg.statistics.printing import (
    FOR_THESE_NETWORKS,
    format_estimate,
    to_html,
    to_latex,
    to_markdown,
)
from harmoseg.statistics.sentences import describe, find_remarks
from harmoseg.statistics.tables import difference_table

NOTHING = Estimate(float("nan"), None, None, 0, 0, 0)
"""The estimate of what no case shows."""
Word = Literal["better", "worse", "equivalent", "open"]
_FALSE_MARKS = ("DSC", "IoU")
"""Families of measures that are defined where a method marks something on an empty truth."""
_FEW = 3


@dataclass(frozen=True)
class MethodMean:
    """The mean of one measure of one method, in printed units."""

    block: Block
    method: str
    measure: Measure
    where: Where
    estimate: Estimate


@dataclass(frozen=True)
class Difference:
    """A method minus its reference in one measure, in printed units.

    `kind` says what the reference is. `p` is that of `signed_rank_p`, `p_holm` the same corrected
    for all comparisons of the primary measure; both are None for other measures. `margin` is the
    largest difference that counts as none. `false_marks` is that of `count_false_marks`.
    `in_order` says that the methods share no seed and were paired in order.
    """

    block: Block
    method: str
    reference: str
    kind: Kind
    measure: Measure
    where: Where
    estimate: Estimate
    primary: bool
    margin: float | None = None
    p: float | None = None
    p_holm: float | None = None
    false_marks: tuple[int, int] = (0, 0)
    in_order: bool = False

    @property
    def lacks_control(self) -> bool:
        """Return whether more than a term may differ, though the method is one of harmoseg's.

        Of methods of other people nothing is known that a control could hold fixed.
        """
        return self.kind == "no control" and _parsed(self.method) is not None

    @property
    def shown_kind(self) -> str:
        """Return what the reference is, for people; empty where nothing is known of the methods."""
        return "" if self.kind == "no control" and not self.lacks_control else self.kind

    @property
    def turned(self) -> tuple[float, float] | None:
        """Return the interval with its sign turned so that larger is better; None without one."""
        low, high = self.estimate.low, self.estimate.high
        if low is None or high is None:
            return None
        return (low, high) if self.measure.sign > 0 else (-high, -low)

    @property
    def word(self) -> Word:
        """Return the verdict: better, worse, equivalent or open."""
        if self.turned is None:
            return "open"
        low, high = self.turned
        if self.margin is not None and -self.margin < low and high < self.margin:
            return "equivalent"
        return "better" if low > 0 else "worse" if high < 0 else "open"

    @property
    def verdict(self) -> str:
        """Return the word; with one training per method it ends 'for these networks'."""
        return f"{self.word} {FOR_THESE_NETWORKS}" if self.estimate.seeds == 1 else self.word

    @property
    def shown(self) -> str:
        """Return the estimate in words: ``+1.2 [+0.4, +2.0]``."""
        return format_estimate(self.estimate, self.measure.decimals, signed=True)

    @property
    def gaps(self) -> Sample:
        """Return the paired differences that the estimate is of."""
        ours, theirs = self.block.paired(self.method, self.reference, self.measure, self.where)
        return ours - theirs

    def to_record(self) -> dict[str, Any]:
        """Return the fields of a row."""
        return {
            **self.block.sets,
            **self.where.fields,
            "method": self.method,
            "minus": self.reference,
            "kind": self.kind,
            "measure": self.measure.name,
            "unit": self.measure.unit,
            "primary": self.primary,
            **self.estimate.fields(),
            "word": self.verdict,
            "margin": self.margin,
            "seeds": self.estimate.seeds,
            "cases": self.estimate.cases,
            "left_out": self.estimate.dropped,
            "detectable": self.estimate.detectable,
            "p": self.p,
            "p_holm": self.p_holm,
            "more_false_alarms": self.false_marks[0],
            "fewer_false_alarms": self.false_marks[1],
        }


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
        return self.find(measure=self.primary, where=WHOLE)

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
            MethodMean(block, method, measure, where, NOTHING)
            for block in self.blocks
            for method in block.methods
            for measure in self.measures
            for where in _places(block, measure)
            if block.has_rows(method, where.condition)
        ]
        samples = [item.block.sample(item.method, item.measure, item.where) for item in found]
        estimates = estimate_means(samples, fixed_networks=True)
        return tuple(
            replace(item, estimate=within(estimate, item.measure))
            for item, estimate in zip(found, estimates, strict=True)
        )

    def mean_of(self, block: Block, method: str, condition: str = CLEAN) -> Estimate:
        """Return the mean of the primary measure of a method over all classes."""
        wanted = (block, method, self.primary, Where(condition))
        for item in self.means:
            if (item.block, item.method, item.measure, item.where) == wanted:
                return item.estimate
        return NOTHING

    @property
    def methods(self) -> tuple[str, ...]:
        """Return every method, in the order of the blocks."""
        return tuple(dict.fromkeys(method for block in self.blocks for method in block.methods))

    @property
    def sentences(self) -> list[str]:
        """Return what was found, in plain words: see `harmoseg.statistics.sentences`."""
        return describe(self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per difference, in printed units."""
        return pd.DataFrame([item.to_record() for item in self.differences])

    def to_markdown(self) -> str:
        """Return the main table of differences in Markdown."""
        return to_markdown(difference_table(self))

    def to_latex(self) -> str:
        """Return the main table of differences in LaTeX (booktabs)."""
        return to_latex(difference_table(self))

    def __repr__(self) -> str:
        """Return the title and what was found."""
        return "\n".join([self.title, *self.sentences])

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{escape(text, quote=False)}</li>" for text in self.sentences)
        title = escape(self.title, quote=False)
        return f"<h3>{title}</h3><ul>{said}</ul>{to_html(difference_table(self))}"


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
    if not isinstance(scores, Scores):
        raise HarmosegError(
            f"compare takes Scores, got {type(scores).__name__}; harmoseg.read_scores reads them "
            "from a file or a folder, harmoseg.score makes them of masks"
        )
    names = scores.values_of("method")
    chosen = [
        _measure(scores, name) for name in (scores.measures if measures is None else measures)
    ]
    if primary is not None:
        main = _measure(scores, primary)
    else:
        main = next((measure for measure in chosen if measure.family == "DSC"), chosen[0])
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
    notes = find_remarks([pair[:3] for pair in planned], main)
    chosen = list(dict.fromkeys([main, *chosen]))
    return Comparison(
        scores,
        blocks,
        main,
        tuple(chosen),
        margins,
        tuple(_differences(planned, chosen, main, margins)),
        title or _title(scores),
        notes,
    )


def count_false_marks(ours: Values, theirs: Values) -> tuple[int, int]:
    """Count the cases that pairing leaves out at the cost of one method and those of the other.

    `ours` and `theirs` are the values of a method and of its reference, (seeds, cases). DSC and IoU
    are undefined only where truth and prediction are both empty, so that a pair drops a right
    "nothing there" together with the 0 of a false alarm. A case whose row is missing under one
    method has another value under the other. Returns in how many of the cases left out the method
    has more runs with a false alarm than the reference, and in how many fewer.
    """
    left_out = ~(np.isfinite(ours) & np.isfinite(theirs)).all(axis=0)
    more = ((ours == 0).sum(0) - (theirs == 0).sum(0))[left_out]
    return int((more > 0).sum()), int((more < 0).sum())


def within(estimate: Estimate, measure: Measure) -> Estimate:
    """Cut an interval to what a mean can be; nothing true is cut off."""
    if estimate.low is None or estimate.high is None:
        return estimate
    smallest, largest = measure.bounds
    return replace(estimate, low=max(smallest, estimate.low), high=min(largest, estimate.high))


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
    methods = block.methods
    if controls is not None:
        for method in methods:
            if (control := controls.get(method)) in methods:
                yield method, str(control), "control"
    elif all(_parsed(method) == method for method in methods):
        for method in methods:
            for item in references_of(method, methods):
                yield method, item.method, item.kind
    else:
        first = reference if reference in methods else methods[0]
        for method in methods:
            if method != first:
                yield method, str(first), "no control"


def _parsed(name: str) -> str | None:
    """Return the name of a method as harmoseg spells it; None where it is no method of harmoseg."""
    try:
        return str(parse_method(name))
    except HarmosegError:
        return None


def _differences(
    planned: Sequence[tuple[Block, str, str, Kind]],
    measures: Sequence[Measure],
    primary: Measure,
    margins: Mapping[str, float],
) -> Iterator[Difference]:
    found: list[Difference] = []
    samples: list[Sample] = []
    for block, method, reference, kind in planned:
        seeds = block.paired_seeds(method, reference)
        for measure in measures:
            for where in _places(block, measure):
                ours, theirs = block.paired(method, reference, measure, where)
                gaps = ours - theirs
                is_primary = measure == primary
                item = Difference(
                    block, method, reference, kind, measure, where, NOTHING, is_primary,
                    margin=margins.get(measure.name),
                    in_order=seeds[0] != seeds[1],
                )  # fmt: skip
                if is_primary and where.is_whole:
                    item = replace(item, p=signed_rank_p(gaps.values, gaps.groups))
                if measure.family in _FALSE_MARKS:
                    marks = count_false_marks(ours.values, theirs.values)
                    item = replace(item, false_marks=marks)
                found.append(item)
                samples.append(gaps)
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


def _title(scores: Scores) -> str:
    methods = scores.values_of("method")
    told = " against ".join(methods) if len(methods) <= _FEW else f"{len(methods)} methods"
    tested = [name for name in scores.values_of("tested_on") if name]
    return f"{told} on {', '.join(tested)}" if tested else told
