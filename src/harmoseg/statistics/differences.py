"""What a comparison is made of: where a number belongs, means, and differences with their word."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from harmoseg.errors import HarmosegError
from harmoseg.losses.method import Kind, parse_method
from harmoseg.metrics.measures import Measure
from harmoseg.scores.table import CLEAN
from harmoseg.statistics.blocks import Block
from harmoseg.statistics.intervals import Estimate

NOTHING = Estimate(float("nan"), None, None, 0, 0, 0)
"""The estimate of what no case shows."""
Word = Literal["better", "worse", "equivalent", "open"]
FOR_THESE_NETWORKS = "for these networks"
"""End of every verdict from one training per method."""


class Where(NamedTuple):
    """What part of a test set a number speaks of: a condition, a class, a centre.

    `label` None means the mean over the foreground classes, `subset` None all cases.
    """

    condition: str = CLEAN
    label: str | None = None
    subset: str | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether this is all classes of all cases of the clean images."""
        return self == Where()


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
        if self.kind != "no control":
            return False
        try:
            parse_method(self.method)
        except HarmosegError:
            return False
        return True

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


def within(estimate: Estimate, measure: Measure) -> Estimate:
    """Cut an interval to what a mean can be; nothing true is cut off."""
    if estimate.low is None or estimate.high is None:
        return estimate
    smallest, largest = measure.bounds
    return replace(estimate, low=max(smallest, estimate.low), high=min(largest, estimate.high))


def record_of(item: Difference) -> dict[str, Any]:
    """Return a difference as the fields of a row."""
    estimate = item.estimate
    return {
        "trained_on": item.block.trained_on,
        "tested_on": item.block.tested_on,
        "condition": item.where.condition,
        "subset": item.where.subset or "",
        "class": item.where.label or "",
        "method": item.method,
        "minus": item.reference,
        "kind": item.kind,
        "measure": item.measure.name,
        "unit": item.measure.unit,
        "primary": item.primary,
        "mean": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "word": item.verdict,
        "margin": item.margin,
        "seeds": estimate.seeds,
        "cases": estimate.cases,
        "left_out": estimate.dropped,
        "detectable": estimate.detectable,
        "p": item.p,
        "p_holm": item.p_holm,
        "more_false_alarms": item.false_marks[0],
        "fewer_false_alarms": item.false_marks[1],
    }
