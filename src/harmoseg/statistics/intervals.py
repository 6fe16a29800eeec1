"""Means with their 95 % intervals over seeds and patients.

What is computed, why, and how often the intervals hold the truth is explained and measured in
``docs/explanation/statistics.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit

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
    found: dict[int, Estimate] = {}
    drawn: dict[tuple[int, int], list[tuple[int, _Sums]]] = {}
    for place, sample in enumerate(samples):
        sums = _sum_groups(sample)
        found[place] = sums.estimate()
        if found[place].cases and sums.seeds > 1 and len(sums.sizes) > 1:
            drawn.setdefault((sums.seeds, len(sums.sizes)), []).append((place, sums))
        elif fixed_networks and found[place].cases and sums.seeds == 1 and len(sums.sizes) > 1:
            found[place] = _over_patients(found[place], sums)
    tail = (1 - _LEVEL) / 2
    for shape, items in drawn.items():
        for start in range(0, len(items), _AT_ONCE):
            part = items[start : start + _AT_ONCE]
            means = _resampled_means(shape, [sums for _, sums in part], resamples)
            ends = np.quantile(means, (tail, 1 - tail), axis=0)
            for (place, sums), (low, high) in zip(part, ends.T, strict=True):
                found[place] = _with_interval(found[place], sums, low, high)
    return [found[place] for place in range(len(samples))]


@dataclass(frozen=True, eq=False)
class _Sums:
    """Values summed within groups: `sums` (seeds, groups) of `sizes` (groups,) cases each.

    Only cases that are defined under every seed count; `dropped` counts the others.
    """

    mean: float
    sums: NDArray[np.float64]
    sizes: NDArray[np.intp]
    dropped: int

    @property
    def seeds(self) -> int:
        return len(self.sums)

    def estimate(self) -> Estimate:
        """Return the mean without an interval."""
        cases = int(self.sizes.sum())
        if not cases or not self.seeds:
            return Estimate(float("nan"), None, None, self.seeds, 0, cases + self.dropped)
        return Estimate(self.mean, None, None, self.seeds, cases, self.dropped)


def _with_interval(estimate: Estimate, sums: _Sums, low: float, high: float) -> Estimate:
    """Add the interval, given the quantiles of the resampled means."""
    design = _analyse(sums.sums, sums.sizes)
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


def analyse_sample(sample: Sample) -> Design | None:
    """Return the mean squares of a sample; None with fewer than two seeds or groups."""
    sums = _sum_groups(sample)
    if sums.seeds < 2 or len(sums.sizes) < 2:
        return None
    return _analyse(sums.sums, sums.sizes)


def variance_of_mean(sample: Sample) -> float:
    """Return the variance of a sample's mean over seeds and groups; of one seed, over groups."""
    sums = _sum_groups(sample)
    if sums.seeds == 1:
        return _error_over_patients(sums) ** 2
    design = _analyse(sums.sums, sums.sizes)
    of_groups = max(float(design.between_groups - design.residual), 0.0)
    return max(float(design.between_seeds) + of_groups, float(design.between_groups))


def _error_over_patients(sums: _Sums) -> float:
    groups = len(sums.sizes)
    moves = (sums.sums[0] - sums.mean * sums.sizes) / sums.sizes.mean()
    return float(np.sqrt((moves**2).sum() / (groups * (groups - 1))))


def _over_patients(estimate: Estimate, sums: _Sums) -> Estimate:
    """Add the interval over patients of one training."""
    half = float(stdtrit(len(sums.sizes) - 1, (1 + _LEVEL) / 2)) * _error_over_patients(sums)
    return replace(
        estimate,
        low=round_off(estimate.mean - half),
        high=round_off(estimate.mean + half),
        fixed_networks=True,
    )


def round_off(value: float) -> float:
    """Round to the digits that are not rounding noise of the sums."""
    # 0 is added because a negative number too small to print would otherwise become -0.
    return round(float(value), _DECIMALS) + 0.0


def mean_per_group(sample: Sample) -> NDArray[np.float64]:
    """Average over seeds and within groups the cases that are defined under every seed."""
    sums = _sum_groups(sample)
    # Rounded: values that are equal, or 0, must not be ranked by the last bit of a float.
    means: NDArray[np.float64] = np.round(sums.sums.mean(0) / sums.sizes, _DECIMALS)
    return means


def _sum_groups(sample: Sample) -> _Sums:
    values = sample.values
    complete = np.asarray(np.isfinite(values).all(axis=0))
    if sample.groups is None:
        codes = np.arange(values.shape[1])
    elif isinstance(sample.groups, np.ndarray) and sample.groups.dtype.kind == "i":
        codes = sample.groups
    else:
        codes = np.unique(np.asarray(sample.groups), return_inverse=True)[1]
    kept = values[:, complete]
    sizes = np.bincount(codes[complete])
    there = sizes > 0
    sums = [np.bincount(codes[complete], weights=row)[there] for row in kept]
    return _Sums(
        round_off(kept.mean()) if kept.size else float("nan"),
        np.array(sums, dtype=np.float64).reshape(len(values), int(there.sum())),
        sizes[there],
        int((~complete).sum()),
    )


def _analyse(sums: NDArray[np.float64], sizes: NDArray[np.intp]) -> Design:
    """Split the variation of sums (seeds, groups) over groups of given sizes (groups,)."""
    seeds, groups = sums.shape
    # What each seed and group moves the mean by. Groups of several sizes: the mean is a ratio of
    # two sums, linearised here as usual in survey statistics.
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


def _resampled_means(
    shape: tuple[int, int], items: Sequence[_Sums], resamples: int
) -> NDArray[np.float64]:
    """Draw means of sums (seeds, groups) of one shape: (resamples, items)."""
    seeds, groups = shape
    stacked = np.stack([item.sums for item in items]).reshape(-1, groups).T  # (groups, items seeds)
    sizes = np.stack([item.sizes for item in items]).T.astype(np.float64)
    means = []
    for of_seeds, of_groups in _draws(seeds, groups, resamples):
        totals = (of_groups @ stacked).reshape(len(of_groups), len(items), seeds)
        means.append(np.einsum("rks,rs->rk", totals, of_seeds) / (of_groups @ sizes))
    return np.concatenate(means)


def _draws(
    seeds: int, groups: int, resamples: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Draw weights of seeds (n, seeds) and of groups (n, groups), in chunks.

    In chunks: the draws of all resamples at once would not fit for large test sets.
    """
    random = np.random.default_rng(0)
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds
        # Counted from draws of single groups: several times as fast as drawing from a multinomial.
        drawn = random.integers(groups, size=(count, groups)) + groups * np.arange(count)[:, None]
        counted = np.bincount(drawn.ravel(), minlength=count * groups).reshape(count, groups)
        yield of_seeds, counted.astype(np.float64)


@lru_cache(maxsize=16)
def _chi_squares(free: tuple[int, int, int], count: int) -> tuple[NDArray[np.float64], ...]:
    """Draw chi-square variables over their degrees of freedom, the same at every call."""
    random = np.random.default_rng(0)
    return tuple(random.chisquare(df, count) / df for df in free)
