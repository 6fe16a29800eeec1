"""Several datasets together: a random-effects mean of differences with its prediction interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit

from harmoseg.errors import HarmosegError
from harmoseg.metrics.measures import Measure
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.differences import FOR_THESE_NETWORKS, Difference, Where
from harmoseg.statistics.intervals import Estimate, Sample, variance_of_mean

FEWEST = 3
_LEVEL = 0.95


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
        digits, unit = self.measure.decimals, self.measure.unit
        mean, low, high, predicted_low, predicted_high = (
            f"{value:+.{digits}f}"
            for value in (self.mean, self.low, self.high, self.predicted_low, self.predicted_high)
        )
        fixed = any(estimate.fixed_networks for estimate in self.datasets.values())
        networks = f", {FOR_THESE_NETWORKS}" if fixed else ""
        return (
            f"Over {len(self.datasets)} datasets, {self.method} minus {self.reference} is {mean} "
            f"[{low}, {high}] {unit} of {self.measure.title} (random-effects mean); on a further "
            f"dataset of this kind it is expected between {predicted_low} and {predicted_high}"
            f"{networks}."
        ).replace("]  of", "] of")


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
    if len(y) < FEWEST:
        raise HarmosegError(f"{len(y)} datasets; a mean over datasets needs {FEWEST} or more")
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise HarmosegError("an effect has no variance above 0; every dataset needs an interval")
    free = len(y) - 1

    def excess(between: float) -> float:
        return _spread(y, v, between) - free

    between = 0.0
    if excess(0.0) > 0:
        top = float(np.var(y, ddof=1)) + float(v.max())
        while excess(top) > 0:
            top *= 2
        between = float(brentq(excess, 0.0, top, xtol=1e-14, rtol=1e-13))
    weights = 1 / (v + between)
    mean = float((weights * y).sum() / weights.sum())
    scale = max(1.0, _spread(y, v, between) / free)
    error = float(np.sqrt(scale / weights.sum()))
    fixed = _spread(y, v, 0.0)
    return mean, error, between, max(0.0, 1 - free / fixed) if fixed else 0.0


def pool_datasets(
    comparison: Comparison, method: str, reference: str, measure: Measure | None = None
) -> PooledMean:
    """Pool the difference of two methods over all datasets of a comparison.

    Raises HarmosegError where fewer than three datasets have an interval of the difference.
    """
    wanted = measure or comparison.primary
    items = [
        item
        for item in comparison.find(measure=wanted, method=method, where=Where())
        if item.reference == reference and _is_poolable(item)
    ]
    if len(items) < FEWEST:
        raise HarmosegError(
            f"{method} and {reference} have {len(items)} dataset(s) with an interval in "
            f"{wanted.title}; a mean over datasets needs {FEWEST} or more"
        )
    variances = [_variance(item) for item in items]
    mean, error, between, inconsistency = pool_effects(
        [item.estimate.mean for item in items], variances
    )
    t_mean, t_next = stdtrit(
        np.array([len(items) - 1, len(items) - 2], dtype=float), (1 + _LEVEL) / 2
    )
    reach = float(t_next) * float(np.sqrt(between + error**2))
    half = float(t_mean) * error
    return PooledMean(
        method,
        reference,
        wanted,
        mean,
        mean - half,
        mean + half,
        mean - reach,
        mean + reach,
        between,
        inconsistency,
        {item.block.place or item.block.tested_on: item.estimate for item in items},
    )


def pool_all(comparison: Comparison) -> list[PooledMean]:
    """Pool every difference of the primary measure that three datasets or more have."""
    counts = Counter(
        (item.method, item.reference) for item in comparison.headline if _is_poolable(item)
    )
    return [
        pool_datasets(comparison, method, reference)
        for (method, reference), count in counts.items()
        if count >= FEWEST
    ]


def _is_poolable(item: Difference) -> bool:
    """Return whether a difference can be pooled: it varies, and shares its networks with none.

    Networks that were trained on one dataset and tested on several would count several times.
    """
    own = item.block.trained_on in ("", item.block.tested_on)
    return own and item.estimate.low is not None and _variance(item) > 0


def ranking_stability(comparison: Comparison, resamples: int = 2000) -> pd.DataFrame:
    """Return how often each method has each rank when datasets, patients and seeds are redrawn.

    Ranks are by the primary measure: its mean over a dataset's cases, then over datasets. Shape
    (methods, ranks), shares of `resamples`. Raises HarmosegError for fewer than three datasets.
    """
    blocks = comparison.blocks
    methods = [m for m in blocks[0].methods if all(m in block.methods for block in blocks)]
    if len(blocks) < FEWEST or len(methods) < 2:
        raise HarmosegError(
            f"{len(blocks)} datasets and {len(methods)} methods on all of them; a ranking over "
            f"datasets needs {FEWEST} datasets and two methods or more"
        )
    random = np.random.default_rng(0)
    drawn = np.stack(
        [_resampled(comparison, place, methods, random, resamples) for place in range(len(blocks))]
    )  # (datasets, resamples, methods)
    chosen = random.integers(len(blocks), size=(resamples, len(blocks)))
    means = drawn[chosen, np.arange(resamples)[:, None]].mean(axis=1)
    order = np.argsort(-comparison.primary.sign * means, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1)
    shares = [[float((ranks[:, m] == r).mean()) for r in range(len(methods))] for m, _ in
              enumerate(methods)]  # fmt: skip
    return pd.DataFrame(shares, index=methods, columns=range(1, len(methods) + 1))


def _resampled(
    comparison: Comparison,
    place: int,
    methods: Sequence[str],
    random: np.random.Generator,
    resamples: int,
) -> NDArray[np.float64]:
    """Return means of methods on one dataset with patients and seeds redrawn."""
    block = comparison.blocks[place]
    values = [block.values(method, comparison.primary) for method in methods]
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


def _spread(y: NDArray[np.float64], v: NDArray[np.float64], between: float) -> float:
    weights = 1 / (v + between)
    mean = (weights * y).sum() / weights.sum()
    return float((weights * (y - mean) ** 2).sum())


def _variance(item: Difference) -> float:
    ours, theirs = item.block.paired(item.method, item.reference, item.measure)
    return variance_of_mean(Sample(ours - theirs, item.block.group_codes))
