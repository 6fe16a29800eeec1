"""Means with their 95 % intervals over seeds and patients, and rank tests of differences.

What is computed, why, and how often the intervals hold the truth is explained and measured in
``docs/explanation/statistics.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit
from scipy.stats import wilcoxon

RESAMPLES = 10_000
_CHUNK = 500
_AT_ONCE = 256
"""Samples resampled together: what bounds the memory."""
_LEVEL = 0.95
_POWER = 0.80
_REPETITIONS = 10_000
_PER_SLICE = 20
# Values are in points: what differs from here on is the last bit of a float, and no result.
_DECIMALS = 9


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % confidence interval, and what it rests on.

    `low`, `high` and `detectable` are None where the interval is not available: with fewer than
    two seeds nothing is known of how much training itself varies, with fewer than two groups
    (patients) nothing of how much patients do. `cases` counts the cases that were scored under
    every seed; `dropped` those left out because some value is undefined. `detectable` is the
    smallest true mean whose interval would exclude 0 in four of five repetitions of the whole
    study, in the unit of the values. `fixed_networks` says that there was one training, and that
    the interval is over patients alone: it speaks for these networks and not for their method.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    cases: int
    dropped: int
    detectable: float | None = None
    fixed_networks: bool = False

    @property
    def excludes_zero(self) -> bool:
        """Return whether the interval is there and lies on one side of 0."""
        return self.low is not None and self.high is not None and self.low * self.high > 0

    def fields(self, name: str = "") -> dict[str, float | None]:
        """Return mean and bounds as fields of a row: ``NAME``, ``NAME_low``, ``NAME_high``."""
        keys = (name, f"{name}_low", f"{name}_high") if name else ("mean", "low", "high")
        return dict(zip(keys, (self.mean, self.low, self.high), strict=True))

    @property
    def decimals(self) -> int:
        """Count the decimals to print it with: one, or more where one would mislead.

        That is where mean and bounds would all look the same though they differ, and where an
        interval that excludes 0 would seem to reach it.
        """
        if self.low is None or self.high is None:
            return 1
        numbers = {abs(self.mean), abs(self.low), abs(self.high)}
        for decimals in range(1, _DECIMALS):
            printed = {f"{number:.{decimals}f}" for number in numbers}
            alike = len(printed) == 1 < len(numbers)
            if not alike and not (self.excludes_zero and 0 in map(float, printed)):
                return decimals
        return _DECIMALS


@dataclass(frozen=True)
class Design:
    """The variance of a mean over seeds and groups, in the three mean squares of two-way ANOVA.

    Each is divided by seeds times groups, so that the variance of the mean is expected to be
    ``between_seeds + between_groups - residual``. They are numbers, or arrays of one shape.
    """

    seeds: int
    groups: int
    between_seeds: NDArray[np.float64]
    between_groups: NDArray[np.float64]
    residual: NDArray[np.float64]

    @property
    def half_width(self) -> NDArray[np.float64]:
        """Return half the width of the 95 % confidence interval of the mean.

        Student's quantiles for seeds and for groups are averaged, weighted with the variances that
        they belong to: Cochran's solution where no single number of degrees of freedom is right.
        """
        t_seeds, t_groups = stdtrit(np.array([self.seeds - 1, self.groups - 1]), (1 + _LEVEL) / 2)
        # The residual is in both mean squares and counts once. It is taken from the groups', which
        # are many: taken from that of two or three seeds it too often leaves nothing by chance.
        of_groups = np.maximum(self.between_groups - self.residual, 0)
        scale = np.sqrt(self.between_seeds + of_groups)
        weighted = t_seeds * self.between_seeds + t_groups * of_groups
        both = np.divide(weighted, scale, out=np.zeros_like(scale), where=scale > 0)
        # Other trainings and other patients together cannot vary less than other patients alone.
        widths: NDArray[np.float64] = np.maximum(both, t_groups * np.sqrt(self.between_groups))
        return widths

    def repetitions(self, count: int) -> Design:
        """Draw `count` designs as repetitions of the study would estimate them."""
        free = self.seeds - 1, self.groups - 1, (self.seeds - 1) * (self.groups - 1)
        squares = self.between_seeds, self.between_groups, self.residual
        drawn = (a * b for a, b in zip(squares, _chi_squares(free, count), strict=True))
        return Design(self.seeds, self.groups, *drawn)

    def detectable(self) -> float:
        """Find the true mean whose interval would exclude 0 in 80 % of repetitions."""
        # A mean square below the residual's is below it by chance.
        seeds, groups = (
            np.maximum(square, self.residual)
            for square in (self.between_seeds, self.between_groups)
        )
        error = float(np.sqrt(seeds + groups - self.residual))
        if not error:
            return 0.0
        found = Design(self.seeds, self.groups, seeds, groups, self.residual)
        # Means of a few hundred slices of the sorted widths: what is asked for is smooth in them.
        sorted_widths = np.sort(found.repetitions(_REPETITIONS).half_width)
        widths = sorted_widths.reshape(-1, _PER_SLICE).mean(axis=1)

        def shortfall(mean: float) -> float:
            seen = ndtr((mean - widths) / error) + ndtr((-mean - widths) / error)
            return float(_POWER - seen.mean())

        enough = float(np.quantile(sorted_widths, 0.9)) + 3 * error  # seen in 0.9 x 0.999 of them
        return float(brentq(shortfall, 0, enough, rtol=1e-4))


Groups = Sequence[str] | NDArray[np.intp]
"""The group (patient) of every case, by name or by number."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Values (seeds, cases), NaN where undefined, and the group (patient) of every case.

    Without `groups` every case is a patient.
    """

    values: NDArray[np.float64]
    groups: Groups | None = None

    def __sub__(self, other: Sample) -> Sample:
        """Return the differences to another sample of the same cases."""
        return Sample(self.values - other.values, self.groups)


def estimate_mean(
    values: NDArray[np.float64],
    groups: Groups | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Estimate the mean of one sample, as `estimate_means` does."""
    return estimate_means([Sample(values, groups)], resamples=resamples)[0]


def estimate_means(
    samples: Sequence[Sample], *, resamples: int = RESAMPLES, fixed_networks: bool = False
) -> list[Estimate]:
    """Estimate the mean of every sample.

    The interval speaks for other trainings and for other patients. Its width is that of a
    t interval for two crossed random factors, seeds and groups of cases; how far it reaches to
    either side is that of a bootstrap which draws seeds and groups anew, each with replacement.
    The bootstrap alone would be far too narrow: from three seeds it can draw only what three seeds
    show. Samples with as many seeds and groups share the draws, so that the result of a sample is
    the same at every call and beside any other sample. Infinite values count as undefined.

    From one seed nothing is known of other trainings. With `fixed_networks` the interval is then
    that over patients: Student's quantile times the standard error of the patients' mean.
    """
    sums = [_Sums.of(sample) for sample in samples]
    found = [item.estimate() for item in sums]
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for place, item in enumerate(sums):
        if item.seeds > 1 and item.groups > 1:
            by_shape.setdefault(item.sums.shape, []).append(place)
        elif fixed_networks and item.seeds == 1 and item.groups > 1:
            found[place] = _over_patients(found[place], item)
    tail = (1 - _LEVEL) / 2
    for places in by_shape.values():
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            means = _resampled_means([sums[place] for place in part], resamples)
            ends = np.quantile(means, (tail, 1 - tail), axis=0)
            for place, (low, high) in zip(part, ends.T, strict=True):
                found[place] = _with_interval(found[place], sums[place], low, high)
    return found


def round_off(value: float) -> float:
    """Round to the digits that are not rounding noise of the sums."""
    # 0 is added because a negative number too small to print would otherwise become -0.
    return round(float(value), _DECIMALS) + 0.0


@dataclass(frozen=True, eq=False)
class _Sums:
    """Values summed within groups: `sums` (seeds, groups) of `sizes` (groups,) cases each.

    Only cases that are defined under every seed count; `dropped` counts the others.
    """

    mean: float
    sums: NDArray[np.float64]
    sizes: NDArray[np.intp]
    dropped: int

    @classmethod
    def of(cls, sample: Sample) -> _Sums:
        """Sum a sample within its groups, in the order of their names."""
        values, codes = sample.values, sample.groups
        complete = np.asarray(np.isfinite(values).all(axis=0))
        if codes is None:
            codes = np.arange(values.shape[1])
        elif not (isinstance(codes, np.ndarray) and codes.dtype.kind == "i"):
            codes = np.unique(np.asarray(codes), return_inverse=True)[1]
        kept, codes = values[:, complete], codes[complete]
        sizes = np.bincount(codes)
        there = sizes > 0
        sums = [np.bincount(codes, weights=row)[there] for row in kept]
        return cls(
            round_off(kept.mean()) if kept.size else float("nan"),
            np.array(sums, dtype=np.float64).reshape(len(values), int(there.sum())),
            sizes[there],
            int((~complete).sum()),
        )

    @property
    def seeds(self) -> int:
        return len(self.sums)

    @property
    def groups(self) -> int:
        return len(self.sizes)

    def estimate(self) -> Estimate:
        """Return the mean without an interval."""
        cases = int(self.sizes.sum())
        if not cases or not self.seeds:
            return Estimate(float("nan"), None, None, self.seeds, 0, cases + self.dropped)
        return Estimate(self.mean, None, None, self.seeds, cases, self.dropped)

    def design(self) -> Design:
        """Split the variation over two or more seeds and groups."""
        sums, sizes, seeds, groups = self.sums, self.sizes, self.seeds, self.groups
        # What each seed and group moves the mean by. Groups of several sizes: the mean is a ratio
        # of two sums, linearised here as usual in survey statistics.
        moves = (sums - sums.sum() / (seeds * sizes.sum()) * sizes) / sizes.mean()
        of_seeds = moves.mean(1, keepdims=True)
        of_groups = moves.mean(0)
        # A seed moves a group's sum in proportion to the group's size.
        rest = moves - of_seeds * sizes / sizes.mean() - of_groups
        free_seeds, free_groups = seeds - 1, groups - 1
        return Design(
            seeds,
            groups,
            (of_seeds**2).sum() / (seeds * free_seeds),
            (of_groups**2).sum() / (groups * free_groups),
            (rest**2).sum() / (seeds * groups * free_seeds * free_groups),
        )

    def error_over_patients(self) -> float:
        """Return the standard error of the mean of one training over two or more groups."""
        moves = (self.sums[0] - self.mean * self.sizes) / self.sizes.mean()
        return float(np.sqrt((moves**2).sum() / (self.groups * (self.groups - 1))))


def _with_interval(estimate: Estimate, sums: _Sums, low: float, high: float) -> Estimate:
    """Add the interval, given the quantiles of the resampled means."""
    design = sums.design()
    width = 2 * float(design.half_width)
    below, above = low - estimate.mean, high - estimate.mean
    # Where all resamples are alike there is no shape to take from them.
    down, up = (below / (above - below), above / (above - below)) if above > below else (-0.5, 0.5)
    return replace(
        estimate,
        low=round_off(estimate.mean + width * down),
        high=round_off(estimate.mean + width * up),
        detectable=round_off(design.detectable()),
    )


def _over_patients(estimate: Estimate, sums: _Sums) -> Estimate:
    """Add the interval over patients of one training."""
    half = float(stdtrit(sums.groups - 1, (1 + _LEVEL) / 2)) * sums.error_over_patients()
    low, high = round_off(estimate.mean - half), round_off(estimate.mean + half)
    return replace(estimate, low=low, high=high, fixed_networks=True)


def analyse_sample(sample: Sample) -> Design | None:
    """Return the mean squares of a sample; None with fewer than two seeds or groups."""
    sums = _Sums.of(sample)
    return None if sums.seeds < 2 or sums.groups < 2 else sums.design()


def variance_of_mean(sample: Sample) -> float:
    """Return the variance of a sample's mean over seeds and groups; of one seed, over groups."""
    sums = _Sums.of(sample)
    if sums.seeds == 1:
        return sums.error_over_patients() ** 2
    design = sums.design()
    of_groups = max(float(design.between_groups - design.residual), 0.0)
    return max(float(design.between_seeds) + of_groups, float(design.between_groups))


def _resampled_means(items: Sequence[_Sums], resamples: int) -> NDArray[np.float64]:
    """Draw means of sums (seeds, groups) of one shape: (resamples, items)."""
    seeds, groups = items[0].sums.shape
    stacked = np.stack([item.sums for item in items]).reshape(-1, groups).T  # (groups, items seeds)
    sizes = np.stack([item.sizes for item in items]).T.astype(np.float64)
    random = np.random.default_rng(0)
    means = []
    # In chunks: the draws of all resamples at once would not fit for large test sets.
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds
        # Counted from draws of single groups: several times as fast as drawing from a multinomial.
        drawn = random.integers(groups, size=(count, groups)) + groups * np.arange(count)[:, None]
        counted = np.bincount(drawn.ravel(), minlength=count * groups).reshape(count, groups)
        of_groups = counted.astype(np.float64)
        totals = (of_groups @ stacked).reshape(count, len(items), seeds)
        means.append(np.einsum("rks,rs->rk", totals, of_seeds) / (of_groups @ sizes))
    return np.concatenate(means)


@lru_cache(maxsize=16)
def _chi_squares(free: tuple[int, int, int], count: int) -> tuple[NDArray[np.float64], ...]:
    """Draw chi-square variables over their degrees of freedom, the same at every call."""
    random = np.random.default_rng(0)
    return tuple(random.chisquare(df, count) / df for df in free)


def signed_rank_p(values: NDArray[np.float64], groups: Groups | None = None) -> float | None:
    """Test differences (seeds, cases) by Wilcoxon's signed-rank test, two-sided.

    NaN is undefined. Values are averaged over seeds first and then within groups (patients), so
    that the units of the test are independent. The p-value speaks for other patients under these
    trained networks, not for training anew. None with fewer than two seeds, where it would be read
    as evidence about a method though it is about one network of each, and with fewer than two
    groups.
    """
    sums = _Sums.of(Sample(values, groups))
    # Rounded: values that are equal, or 0, must not be ranked by the last bit of a float.
    differences = np.round(sums.sums.mean(0) / sums.sizes, _DECIMALS)
    if len(values) < 2 or len(differences) < 2:
        return None
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def adjust_holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for their number by Holm's step-down method; None stays and counts not.

    The chance of one or more false rejections among all, at any level, is then at most that level
    (S. Holm, Scandinavian Journal of Statistics 6, 1979).
    """
    adjusted: list[float | None] = [None] * len(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[i] = largest
    return adjusted


def supported_best(
    values: Mapping[str, NDArray[np.float64]],
    groups: Groups | None = None,
    *,
    lower_is_better: bool = False,
) -> str | None:
    """Return the method that is best beyond chance; None where no method is.

    `values` are those of each method, (seeds, cases), NaN where undefined. The best method has the
    best mean, and its paired difference to every other method, by seed and case, has an interval on
    the right side of 0. There is none among fewer than two methods, and none from one seed.
    """
    sign = -1 if lower_is_better else 1
    means = {
        method: sign * scores[:, complete].mean()
        for method, scores in values.items()
        if (complete := np.isfinite(scores).all(axis=0)).any()
    }
    if len(means) < 2 or len(means) < len(values):
        return None
    best = max(means, key=lambda method: means[method])
    gaps = [
        Sample(sign * (values[best] - scores), groups)
        for method, scores in values.items()
        if method != best
    ]
    found = estimate_means(gaps)
    return best if all(gap.excludes_zero and gap.mean > 0 for gap in found) else None
