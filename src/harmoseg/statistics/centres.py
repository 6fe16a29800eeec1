"""Differences by centre: the worst centre with its interval, and how much centres differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from harmoseg.statistics.blocks import Block
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.differences import Difference, MethodMean, Where
from harmoseg.statistics.intervals import Sample, variance_of_mean
from harmoseg.statistics.pooling import FEWEST, pool_effects
from harmoseg.statistics.printing import Table, format_estimate
from harmoseg.statistics.tables import headline_measures

_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class CentreSpread:
    """How a difference varies over the centres of a test set, in printed units.

    Args:
        whole: The difference over all centres.
        centres: The difference in every centre, by name.
        worst: That of the centre where the method does worst, of those with an interval; None
            where no centre has one.
        between: Standard deviation of true differences between centres (Paule and Mandel); None
            with fewer than three centres with an interval.
        inconsistency: I squared, the share of the variation that is not within centres; or None.
        predicted: 95 % prediction interval of the difference in a further centre; or None.
    """

    whole: Difference
    centres: dict[str, Difference]
    worst: Difference | None
    between: float | None = None
    inconsistency: float | None = None
    predicted: tuple[float, float] | None = None

    @property
    def without_interval(self) -> list[str]:
        """Return the centres with no interval, such as those with one patient."""
        return [name for name, item in self.centres.items() if item.estimate.low is None]


def measure_spread(comparison: Comparison) -> list[CentreSpread]:
    """Return how every difference of the primary measure varies over centres.

    Test sets with fewer than two centres have none.
    """
    return [
        _spread(whole, centres)
        for whole in comparison.headline
        if (centres := _by_centre(comparison, whole))
    ]


def worst_centre(comparison: Comparison, block: Block, method: str) -> MethodMean | None:
    """Return the mean of the centre where a method scores worst in the primary measure.

    None where the test set has fewer than two centres.
    """
    found = [
        item
        for item in comparison.means
        if item.block is block
        and item.method == method
        and item.measure == comparison.primary
        and item.where.subset is not None
        and np.isfinite(item.estimate.mean)
    ]
    sign = comparison.primary.sign
    return min(found, key=lambda item: sign * item.estimate.mean, default=None)


def describe_centres(comparison: Comparison) -> list[str]:
    """Return a sentence on every difference over centres."""
    return [describe_spread(item) for item in measure_spread(comparison)]


def centre_table(comparison: Comparison) -> Table | None:
    """Return the mean of every method in every centre, the worst bold; None without centres."""
    shown = headline_measures(comparison)
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    worst = set()
    for block in comparison.blocks:
        for method in block.methods:
            if (found := worst_centre(comparison, block, method)) is not None:
                worst.add((block.place, method, found.where.subset))
    for item in comparison.means:
        if item.where.subset is not None and item.measure in shown:
            key = (item.block.place, item.method, item.where.subset)
            cells.setdefault(key, {"cases": str(item.estimate.cases)})
            cells[key][item.measure.name] = format_estimate(item.estimate, item.measure)
    if not cells:
        return None
    header = ("tested on", "method", "centre", "cases", *(m.heading for m in shown))
    rows = tuple(
        (*key, found["cases"], *(found.get(m.name, "") for m in shown))
        for key, found in cells.items()
    )
    bold = frozenset((r, 4) for r, key in enumerate(cells) if key in worst)
    caption = (
        "Mean per case in every centre; brackets: 95 % interval. Bold: the centre where the method "
        f"scores worst in {comparison.primary.title}; its interval is not widened for having been "
        "chosen. A centre with one patient has no interval. The CSV file has every measure."
    )
    records = tuple(
        {
            "trained_on": item.block.trained_on,
            "tested_on": item.block.tested_on,
            "method": item.method,
            "subset": item.where.subset,
            "measure": item.measure.name,
            "mean": item.estimate.mean,
            "low": item.estimate.low,
            "high": item.estimate.high,
            "cases": item.estimate.cases,
        }
        for item in comparison.means
        if item.where.subset is not None
    )
    return Table("means-by-centre", "Results by centre", caption, header, rows, (), bold, records)


def spread_table(comparison: Comparison) -> Table | None:
    """Return the worst centre and the heterogeneity of every difference; None without centres."""
    items = measure_spread(comparison)
    if not items:
        return None
    header = (
        *("tested on", "method", "minus", "all centres", "worst centre", "its difference"),
        *("SD between", "I squared", "a further centre"),
    )
    rows, records = [], []
    for item in items:
        whole, worst, measure = item.whole, item.worst, item.whole.measure
        digits = measure.decimals
        ends = item.predicted
        rows.append(
            (
                whole.block.place,
                whole.method,
                whole.reference,
                format_estimate(whole.estimate, measure, signed=True),
                str(worst.where.subset) if worst else "not known",
                format_estimate(worst.estimate, measure, signed=True) if worst else "",
                "not known" if item.between is None else f"{item.between:.{digits}f}",
                "not known" if item.inconsistency is None else f"{100 * item.inconsistency:.0f} %",
                f"[{ends[0]:+.{digits}f}, {ends[1]:+.{digits}f}]" if ends else "not known",
            )
        )
        records.append(
            {
                "trained_on": whole.block.trained_on,
                "tested_on": whole.block.tested_on,
                "method": whole.method,
                "minus": whole.reference,
                "measure": measure.name,
                "worst_centre": worst.where.subset if worst else "",
                "worst_mean": worst.estimate.mean if worst else None,
                "worst_low": worst.estimate.low if worst else None,
                "worst_high": worst.estimate.high if worst else None,
                "sd_between": item.between,
                "i_squared": item.inconsistency,
                "predicted_low": ends[0] if ends else None,
                "predicted_high": ends[1] if ends else None,
            }
        )
    caption = (
        f"Differences in {comparison.primary.heading}, paired by case and seed. Worst centre: "
        "where the method does worst against its reference, of those with an interval, which is "
        "not widened for having been chosen. SD between: standard deviation of true differences "
        "between centres; I squared: share of the variation that is not within centres; a further "
        f"centre: 95 % prediction interval. They need {FEWEST} centres with an interval."
    )
    return Table(
        "centres", "How much centres differ", caption, header, tuple(rows), records=tuple(records)
    )


def _by_centre(comparison: Comparison, whole: Difference) -> dict[str, Difference]:
    found = comparison.find(measure=whole.measure, block=whole.block, method=whole.method)
    return {
        str(item.where.subset): item
        for item in found
        if item.reference == whole.reference and item.where == Where(subset=item.where.subset)
        if item.where.subset is not None
    }


def _spread(whole: Difference, centres: dict[str, Difference]) -> CentreSpread:
    known = [item for item in centres.values() if item.estimate.low is not None]
    sign = whole.measure.sign
    worst = min(known, key=lambda item: sign * item.estimate.mean, default=None)
    variances = [_variance(item) for item in known]
    if len(known) < FEWEST or min(variances) <= 0:
        return CentreSpread(whole, centres, worst)
    mean, error, between, share = pool_effects([x.estimate.mean for x in known], variances)
    half = float(stdtrit(len(known) - 2, (1 + _LEVEL) / 2)) * float(np.sqrt(between + error**2))
    return CentreSpread(
        whole, centres, worst, float(np.sqrt(between)), share, (mean - half, mean + half)
    )


def _variance(item: Difference) -> float:
    ours, theirs = item.block.paired(item.method, item.reference, item.measure)
    chosen = np.asarray(item.block.subsets) == item.where.subset
    return variance_of_mean(Sample((ours - theirs)[:, chosen], item.block.group_codes[chosen]))


def describe_spread(item: CentreSpread) -> str:
    """Return a sentence on the worst centre of a difference, and on how much centres differ."""
    whole, worst = item.whole, item.worst
    measure = whole.measure
    unit = f" {measure.unit} of {measure.title}" if measure.unit else f" of {measure.title}"
    where = f"On {whole.block.place}: " if whole.block.place else ""
    text = f"{where}{whole.method} against {whole.reference} in {len(item.centres)} centres: "
    if worst is None:
        text += "no centre has an interval"
    else:
        told = format_estimate(worst.estimate, measure, signed=True)
        text += f"worst in {worst.where.subset}, {told}{unit} ({worst.estimate.cases} cases)"
    if item.inconsistency is not None and item.predicted is not None:
        low, high = (f"{end:+.{measure.decimals}f}" for end in item.predicted)
        text += (
            f"; I squared {100 * item.inconsistency:.0f} %, in a further centre [{low}, {high}] is "
            "to be expected"
        )
    return f"{text}{_lacking(item.without_interval)}."


def _lacking(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"; without an interval, as from one patient: {', '.join(names)}"
