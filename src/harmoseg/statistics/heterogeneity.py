"""Differences over several datasets and over centres: random effects, tables, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit

from harmoseg.errors import HarmosegError
from harmoseg.metrics.measures import Measure
from harmoseg.statistics.blocks import WHOLE, Block
from harmoseg.statistics.intervals import Estimate, variance_of_mean
from harmoseg.statistics.printing import (
    FOR_THESE_NETWORKS,
    Table,
    format_interval,
    format_number,
)

if TYPE_CHECKING:
    from harmoseg.statistics.comparison import Comparison, Difference

_FEWEST = 3
_LEVEL = 0.95
_RESAMPLES = 2000
_NUMBERS = ("mean", "low", "high", "predicted_low", "predicted_high", "between", "inconsistency")
_UNKNOWN = "not known"


@dataclass(frozen=True)
class PooledMean:
    """The mean of a difference over datasets, in printed units.

    Args:
        method: The method.
        reference: What it is compared with.
        measure: In what.
        mean: Random-effects mean: every dataset weighs 1 / (its variance + `between`).
        low: Lower end of the 95 % interval of the mean.
        high: Its upper end.
        predicted_low: Lower end of the 95 % prediction interval: of the true difference on a
            further dataset of this kind.
        predicted_high: Its upper end.
        between: Variance of true differences between datasets (Paule and Mandel).
        inconsistency: I squared, the share of the variation that is not within datasets.
        datasets: The difference on every dataset, for a forest.
    """

    method: str
    reference: str
    measure: Measure
    mean: float
    low: float
    high: float
    predicted_low: float
    predicted_high: float
    between: float
    inconsistency: float
    datasets: Mapping[str, Estimate]

    @property
    def sentence(self) -> str:
        """Return the mean and what to expect of a further dataset, in plain words."""
        digits, measure = self.measure.decimals, self.measure
        low, high = (format_number(x, digits) for x in (self.predicted_low, self.predicted_high))
        unit = f"{measure.unit} of {measure.title}".strip()
        fixed = any(estimate.fixed_networks for estimate in self.datasets.values())
        networks = f", {FOR_THESE_NETWORKS}" if fixed else ""
        return (
            f"Over {len(self.datasets)} datasets, {self.method} minus {self.reference} is "
            f"{format_number(self.mean, digits)} {format_interval(self.low, self.high, digits)} "
            f"{unit} (random-effects mean); on a further dataset of this kind it is expected "
            f"between {low} and {high}{networks}."
        )


@dataclass(frozen=True, eq=False)
class CentreSpread:
    """Variation of a difference over the centres of a test set, in printed units.

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


def pool_effects(
    effects: Sequence[float], variances: Sequence[float]
) -> tuple[float, float, float, float]:
    """Return mean, standard error, variance between datasets, and I squared of effects.

    The variance between datasets is that of R. C. Paule and J. Mandel (Journal of Research of the
    National Bureau of Standards 87, 1982); the standard error that of J. Hartung and G. Knapp
    (Statistics in Medicine 20, 2001), never below the plain one. Raises HarmosegError for fewer
    than three effects and for variances that are not above 0.
    """
    y, v = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if len(y) < _FEWEST:
        raise HarmosegError(f"{len(y)} datasets; a mean over datasets needs {_FEWEST} or more")
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise HarmosegError("an effect has no variance above 0; every dataset needs an interval")
    free = len(y) - 1

    def spread(between: float) -> float:
        weights = 1 / (v + between)
        mean = (weights * y).sum() / weights.sum()
        return float((weights * (y - mean) ** 2).sum())

    fixed = spread(0.0)
    between = 0.0
    if fixed > free:
        top = float(np.var(y, ddof=1)) + float(v.max())
        while spread(top) > free:
            top *= 2
        between = float(brentq(lambda x: spread(x) - free, 0.0, top, xtol=1e-14, rtol=1e-13))
    weights = 1 / (v + between)
    mean = float((weights * y).sum() / weights.sum())
    scale = max(1.0, spread(between) / free)
    error = float(np.sqrt(scale / weights.sum()))
    return mean, error, between, max(0.0, 1 - free / fixed) if fixed else 0.0


def _reach(degrees: int, error: float) -> float:
    """Return half the width of a 95 % interval by Student's quantile."""
    return float(stdtrit(degrees, (1 + _LEVEL) / 2)) * error


def pool_datasets(
    comparison: Comparison, method: str, reference: str, measure: Measure | None = None
) -> PooledMean:
    """Pool the difference of two methods over all datasets of a comparison.

    Raises HarmosegError where fewer than three datasets have an interval of the difference.
    """
    wanted = measure or comparison.primary
    found = {
        item.block.place or item.block.tested_on: (item.estimate, variance)
        for item in comparison.find(measure=wanted, method=method, where=WHOLE)
        if item.reference == reference and (variance := _variance_if_own(item)) > 0
    }
    if len(found) < _FEWEST:
        raise HarmosegError(
            f"{method} and {reference} have {len(found)} dataset(s) with an interval in "
            f"{wanted.title}; a mean over datasets needs {_FEWEST} or more"
        )
    estimates = {name: estimate for name, (estimate, _) in found.items()}
    mean, error, between, inconsistency = pool_effects(
        [estimate.mean for estimate in estimates.values()],
        [variance for _, variance in found.values()],
    )
    half = _reach(len(found) - 1, error)
    further = _reach(len(found) - 2, float(np.sqrt(between + error**2)))
    ends = mean - half, mean + half, mean - further, mean + further
    return PooledMean(method, reference, wanted, mean, *ends, between, inconsistency, estimates)


def pool_all(comparison: Comparison) -> list[PooledMean]:
    """Pool every difference of the primary measure that three datasets or more have."""
    found = []
    for method, reference in dict.fromkeys((x.method, x.reference) for x in comparison.headline):
        try:
            found.append(pool_datasets(comparison, method, reference))
        except HarmosegError:  # fewer datasets
            continue
    return found


def _variance_if_own(item: Difference) -> float:
    """Return the variance of a difference; 0 where it has no interval or shares its networks.

    Networks that were trained on one dataset and tested on several would count several times.
    """
    own = item.block.trained_on in ("", item.block.tested_on)
    return variance_of_mean(item.gaps) if own and item.estimate.low is not None else 0.0


def pooled_table(comparison: Comparison) -> Table | None:
    """Return the random-effects mean of every difference of the primary measure."""
    measure = comparison.primary
    digits = measure.decimals
    found = pool_all(comparison)
    rows = [
        {
            "method": item.method,
            "minus": item.reference,
            "datasets": str(len(item.datasets)),
            measure.heading: f"{format_number(item.mean, digits)} "
            f"{format_interval(item.low, item.high, digits)}",
            "on a further dataset": format_interval(
                item.predicted_low, item.predicted_high, digits
            ),
            "SD between datasets": f"{item.between**0.5:.{digits}f}",
            "I squared": f"{100 * item.inconsistency:.0f} %",
        }
        for item in found
    ]
    records = [
        {
            "method": item.method,
            "reference": item.reference,
            "measure": measure.name,
            "unit": measure.unit,
            "datasets": len(item.datasets),
            **{name: getattr(item, name) for name in _NUMBERS},
        }
        for item in found
    ]
    caption = (
        f"Random-effects mean of the paired differences in {measure.title} over datasets (Paule "
        "and Mandel; interval of Hartung and Knapp). On a further dataset: the 95 % prediction "
        "interval of the true difference on another dataset of this kind. I squared: the share of "
        "the variation that is not chance within datasets."
    )
    return Table.of("pooled", "Over all datasets", caption, rows, records) if rows else None


def ranking_stability(comparison: Comparison, resamples: int = _RESAMPLES) -> pd.DataFrame:
    """Return how often each method has each rank when datasets, patients and seeds are redrawn.

    Ranks are by the primary measure: its mean over a dataset's cases, then over datasets. Shape
    (methods, ranks), shares of `resamples`. Raises HarmosegError for fewer than three datasets.
    """
    blocks = comparison.blocks
    methods = [m for m in blocks[0].methods if all(m in block.methods for block in blocks)]
    if len(blocks) < _FEWEST or len(methods) < 2:
        raise HarmosegError(
            f"{len(blocks)} datasets and {len(methods)} methods on all of them; a ranking over "
            f"datasets needs {_FEWEST} datasets and two methods or more"
        )
    random = np.random.default_rng(0)
    drawn = np.stack(
        [_resampled(block, comparison.primary, methods, random, resamples) for block in blocks]
    )  # (datasets, resamples, methods)
    chosen = random.integers(len(blocks), size=(resamples, len(blocks)))
    means = drawn[chosen, np.arange(resamples)[:, None]].mean(axis=1)
    order = np.argsort(-comparison.primary.sign * means, axis=1, kind="stable")
    places = np.arange(len(methods))
    shares = (np.argsort(order, axis=1)[..., None] == places).mean(axis=0)
    return pd.DataFrame(shares, index=methods, columns=places + 1)


def _resampled(
    block: Block,
    measure: Measure,
    methods: Sequence[str],
    random: np.random.Generator,
    resamples: int,
) -> NDArray[np.float64]:
    """Return means of methods on one dataset with patients and seeds redrawn."""
    values = [block.values(method, measure) for method in methods]
    complete = np.logical_and.reduce([np.isfinite(v).all(axis=0) for v in values])
    if not complete.any():
        raise HarmosegError(f"{block.place}: no case is defined for all methods")
    _, codes = np.unique(block.group_codes[complete], return_inverse=True)
    sizes = np.bincount(codes).astype(np.float64)
    weights = random.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=resamples)
    means = []
    for found in values:
        sums = np.stack([np.bincount(codes, weights=row) for row in found[:, complete]])
        of_seeds = random.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
        means.append(np.einsum("rg,sg,rs->r", weights, sums, of_seeds / len(sums)))
    return np.stack(means, axis=1) / (weights @ sizes)[:, None]


def ranking_table(comparison: Comparison) -> Table | None:
    """Return how often each method has each rank; None where it cannot be said."""
    try:
        shares = ranking_stability(comparison)
    except HarmosegError:  # fewer than three datasets, or than two methods on all of them
        return None
    rows = [
        {
            "method": str(method),
            **{f"rank {rank}": f"{100 * share:.0f} %" for rank, share in of.items()},
        }
        for method, of in shares.iterrows()
    ]
    records = [
        {"method": method, "rank": rank, "share": share}
        for method, of in shares.iterrows()
        for rank, share in of.items()
    ]
    caption = (
        f"Share of {_RESAMPLES} resamples of datasets, patients and trainings in which a method "
        f"has a rank by its mean {comparison.primary.title} over datasets; 1 is best."
    )
    return Table.of("ranking", "How stable the ranking is", caption, rows, records)


def make_pooled_tables(comparison: Comparison) -> list[Table]:
    """Return the tables over datasets; none where fewer than three have the same comparison."""
    return [table for make in (pooled_table, ranking_table) if (table := make(comparison))]


def too_few_datasets(comparison: Comparison) -> str:
    """Return why two datasets have no mean over datasets; empty where that is no question."""
    count = len({block.tested_on for block in comparison.blocks})
    if count != _FEWEST - 1:
        return ""
    return f"A mean over datasets needs {_FEWEST} datasets or more; there are {count}."


def measure_spread(comparison: Comparison) -> list[CentreSpread]:
    """Return how every difference of the primary measure varies over centres.

    Test sets with fewer than two centres have none.
    """
    return [
        _spread(whole, centres)
        for whole in comparison.headline
        if (centres := _by_centre(comparison, whole))
    ]


def _by_centre(comparison: Comparison, whole: Difference) -> dict[str, Difference]:
    found = comparison.find(measure=whole.measure, block=whole.block, method=whole.method)
    return {
        item.where.subset: item
        for item in found
        if item.where.subset is not None and item.reference == whole.reference
    }


def _spread(whole: Difference, centres: dict[str, Difference]) -> CentreSpread:
    known = [item for item in centres.values() if item.estimate.low is not None]
    sign = whole.measure.sign
    worst = min(known, key=lambda item: sign * item.estimate.mean, default=None)
    variances = [variance_of_mean(item.gaps) for item in known]
    if len(known) < _FEWEST or min(variances) <= 0:
        return CentreSpread(whole, centres, worst)
    mean, error, between, share = pool_effects([x.estimate.mean for x in known], variances)
    half = _reach(len(known) - 2, float(np.sqrt(between + error**2)))
    predicted = mean - half, mean + half
    return CentreSpread(whole, centres, worst, float(np.sqrt(between)), share, predicted)


def spread_table(comparison: Comparison) -> Table | None:
    """Return the worst centre and the heterogeneity of every difference; None without centres."""
    rows, records = [], []
    for item in measure_spread(comparison):
        whole, worst, measure = item.whole, item.worst, item.whole.measure
        ends, share, digits = item.predicted, item.inconsistency, measure.decimals
        row = {
            "tested on": whole.block.place,
            "method": whole.method,
            "minus": whole.reference,
            "all centres": whole.shown,
            "worst centre": str(worst.where.subset) if worst else _UNKNOWN,
            "its difference": worst.shown if worst else "",
            "SD between": _UNKNOWN if item.between is None else f"{item.between:.{digits}f}",
            "I squared": _UNKNOWN if share is None else f"{100 * share:.0f} %",
            "a further centre": format_interval(*ends, digits) if ends else _UNKNOWN,
        }
        rows.append(row)
        records.append(
            {
                **whole.block.sets,
                "method": whole.method,
                "minus": whole.reference,
                "measure": measure.name,
                "worst_centre": worst.where.subset if worst else "",
                "worst_mean": worst.estimate.mean if worst else None,
                "worst_low": worst.estimate.low if worst else None,
                "worst_high": worst.estimate.high if worst else None,
                "sd_between": item.between,
                "i_squared": share,
                "predicted_low": ends[0] if ends else None,
                "predicted_high": ends[1] if ends else None,
            }
        )
    caption = (
        f"Differences in {comparison.primary.heading}, paired by case and seed. Worst centre: "
        "where the method does worst against its reference, of those with an interval, which is "
        "not widened for having been chosen. SD between: standard deviation of true differences "
        "between centres; I squared: share of the variation that is not within centres; a further "
        f"centre: 95 % prediction interval. They need {_FEWEST} centres with an interval."
    )
    title = "How much centres differ"
    return Table.of("centres", title, caption, rows, records) if rows else None


def describe_centres(comparison: Comparison) -> list[str]:
    """Return a sentence on every difference over centres."""
    return [describe_spread(item) for item in measure_spread(comparison)]


def describe_spread(item: CentreSpread) -> str:
    """Return a sentence on the worst centre of a difference, and on how much centres differ."""
    whole, worst, measure = item.whole, item.worst, item.whole.measure
    unit = f" {measure.unit} of {measure.title}" if measure.unit else f" of {measure.title}"
    where = f"On {whole.block.place}: " if whole.block.place else ""
    text = f"{where}{whole.method} against {whole.reference} in {len(item.centres)} centres: "
    if worst is None:
        text += "no centre has an interval"
    else:
        cases = worst.estimate.cases
        text += f"worst in {worst.where.subset}, {worst.shown}{unit} ({cases} cases)"
    if item.inconsistency is not None and item.predicted is not None:
        text += (
            f"; I squared {100 * item.inconsistency:.0f} %, in a further centre "
            f"{format_interval(*item.predicted, measure.decimals)} is to be expected"
        )
    if item.without_interval:
        text += f"; without an interval, as from one patient: {', '.join(item.without_interval)}"
    return f"{text}."
