"""Whether a difference is real: an interval over seeds and patients, a test, and plain words.

What is computed, why, and how often the intervals hold the truth is explained and measured in
``docs/explanation/statistics.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit
from scipy.stats import wilcoxon

RESAMPLES = 10_000
_CHUNK = 500
_LEVEL = 0.95
_POWER = 0.80
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
    study, in the unit of the values.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    cases: int
    dropped: int
    detectable: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Say whether the interval is there and lies on one side of 0."""
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
        """Give half the width of the 95 % confidence interval of the mean.

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
        random = np.random.default_rng(0)
        free = self.seeds - 1, self.groups - 1, (self.seeds - 1) * (self.groups - 1)
        squares = self.between_seeds, self.between_groups, self.residual
        drawn = (
            square * random.chisquare(df, count) / df
            for square, df in zip(squares, free, strict=True)
        )
        return Design(self.seeds, self.groups, *drawn)

    def detectable(self, repetitions: int = RESAMPLES) -> float:
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
        widths = found.repetitions(repetitions).half_width

        def shortfall(mean: float) -> float:
            seen = ndtr((mean - widths) / error) + ndtr((-mean - widths) / error)
            return float(_POWER - seen.mean())

        enough = float(np.quantile(widths, 0.9)) + 3 * error  # seen in 0.9 x 0.999 of them
        return float(brentq(shortfall, 0, enough, rtol=1e-4))


def estimate_mean(
    values: NDArray[np.float64],
    groups: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Estimate the mean of values (seeds, cases), NaN where undefined.

    The interval speaks for other trainings and for other patients. Its width is that of a
    t interval for two crossed random factors, seeds and groups of cases; how far it reaches to
    either side is that of a bootstrap which draws seeds and groups anew, each with replacement.
    The bootstrap alone would be far too narrow: from three seeds it can draw only what three seeds
    show. `groups` names the patient of every case; without it every case is a patient. The result
    is the same at every call.
    """
    seeds = values.shape[0]
    complete, sums, sizes = _sum_groups(values, groups)
    cases = int(sizes.sum())
    dropped = int((~complete).sum())
    if not cases or not seeds:
        return Estimate(float("nan"), None, None, seeds, 0, values.shape[1])
    mean = _round(values[:, complete].mean())
    if seeds < 2 or len(sizes) < 2:
        return Estimate(mean, None, None, seeds, cases, dropped)
    design = _analyse(sums, sizes)
    width = 2 * float(design.half_width)
    tail = (1 - _LEVEL) / 2
    means = _resampled_means(sums, sizes, resamples)
    below, above = np.quantile(means, (tail, 1 - tail)) - mean
    # Where all resamples are alike there is no shape to take from them.
    low, high = (below, above) / (above - below) if above > below else (-0.5, 0.5)
    return Estimate(
        mean,
        _round(mean + width * low),
        _round(mean + width * high),
        seeds,
        cases,
        dropped,
        _round(design.detectable(resamples)),
    )


def supported_best(
    values: Mapping[str, NDArray[np.float64]],
    groups: Sequence[str] | None = None,
    *,
    lower_is_better: bool = False,
) -> str | None:
    """Name the method that is best beyond chance, None where none can be said to be.

    `values` are those of each method, (seeds, cases), NaN where undefined. It is the one with the
    best mean if its paired difference to every other method, by seed and case, has an interval on
    the right side of 0. So there is none among fewer than two methods, and none from one seed.
    """
    sign = -1 if lower_is_better else 1
    means = {
        method: sign * scores[:, np.isfinite(scores).all(axis=0)].mean()
        for method, scores in values.items()
        if np.isfinite(scores).all(axis=0).any()
    }
    if len(means) < 2 or len(means) < len(values):
        return None
    best = max(means, key=lambda method: means[method])
    for method, scores in values.items():
        if method != best:
            gap = estimate_mean(sign * (values[best] - scores), groups)
            if not gap.excludes_zero or gap.mean < 0:
                return None
    return best


def signed_rank_p(values: NDArray[np.float64], groups: Sequence[str] | None = None) -> float | None:
    """Test differences (seeds, cases), NaN where undefined: Wilcoxon's signed-rank test, two-sided.

    They are averaged over seeds first and then within groups (patients), so that the units of the
    test are independent. The p-value speaks for other patients under these trained networks, not
    for training anew. None with fewer than two seeds, where it would be read as evidence about a
    method though it is about one network of each, and with fewer than two groups.
    """
    _, sums, sizes = _sum_groups(values, groups)
    if values.shape[0] < 2 or len(sizes) < 2:
        return None
    # Rounded: differences that are equal, or 0, must not be ranked by the last bit of a float.
    differences = np.round(sums.mean(0) / sizes, _DECIMALS)
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


def describe_difference(
    difference: Estimate,
    better: str,
    reference: str,
    unit: str,
    false_marks: tuple[int, int] = (0, 0),
) -> str:
    """Say in one sentence whether `better` scores higher than `reference`, and what is left out.

    `difference` is that of `better` minus `reference`, in `unit`. `false_marks` counts, among the
    cases left out, those without anything to find where `better` marks something in more runs than
    `reference`, and those where it is the other way round.
    """
    left_out = _describe_left_out(difference.dropped, better, reference, false_marks)
    unknown = f"Not known whether {better} differs from {reference}"
    if not difference.seeds:
        return f"{unknown}: there is no seed that both have finished."
    if not difference.cases:
        return f"{unknown}: no case could be scored{left_out}."
    over = f"over {difference.seeds} seed(s) and {difference.cases} cases"
    number = f"+.{difference.decimals}f"
    value = f"{difference.mean:{number}}"
    if difference.low is None or difference.high is None:
        return (
            f"{unknown}: {value} {unit} {over}; an interval needs two seeds and two patients or "
            f"more{left_out}."
        )
    value = f"{value} [{difference.low:{number}}, {difference.high:{number}}] {unit} {over}"
    if not difference.excludes_zero:
        sentence = f"No difference between {better} and {reference} can be seen: {value}"
        smallest = f"{difference.detectable or 0:.{difference.decimals}f}"
        if float(smallest):
            sentence += f"; a difference of {smallest} or more would probably have been seen"
        return f"{sentence}{left_out}."
    direction = "higher" if difference.mean > 0 else "lower"
    return f"{better} scores {direction} than {reference}: {value}{left_out}."


def _describe_left_out(
    dropped: int, better: str, reference: str, false_marks: tuple[int, int]
) -> str:
    """Say how many cases are left out and whom that spares; nothing where there are none."""
    if not dropped:
        return ""
    words = f"; {dropped} {'case' if dropped == 1 else 'cases'} left out, undefined under some run"
    sides = zip(false_marks, ((better, reference), (reference, better)), strict=True)
    spared = [
        f"on {count} of them {one} marks something where there is nothing in more runs than {other}"
        for count, (one, other) in sides
        if count
    ]
    return f"{words}; {' and '.join(spared)}" if spared else words


def _round(value: float) -> float:
    # 0 is added because a negative number too small to print would otherwise become -0.
    return round(float(value), _DECIMALS) + 0.0


def _sum_groups(
    values: NDArray[np.float64], groups: Sequence[str] | None
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.intp]]:
    """Sum values (seeds, cases) within groups.

    Returns which cases are defined under every seed, (cases,); the sums over these, (seeds,
    groups); and how many of them each group has, (groups,).
    """
    complete = np.asarray(np.isfinite(values).all(axis=0))
    labels = np.arange(values.shape[1]) if groups is None else np.asarray(groups)
    members = np.unique(labels[complete], return_inverse=True)[1]
    sizes = np.bincount(members)
    sums = [np.bincount(members, weights=row) for row in values[:, complete]]
    return complete, np.array(sums, dtype=np.float64), sizes


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
    sums: NDArray[np.float64], sizes: NDArray[np.intp], resamples: int
) -> NDArray[np.float64]:
    """Draw means of sums (seeds, groups) over groups of given sizes (groups,)."""
    seeds, groups = sums.shape
    random = np.random.default_rng(0)
    means = []
    # In chunks: the draws of all resamples at once would not fit for large test sets.
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds
        # Counted from draws of single groups: several times as fast as drawing from a multinomial.
        drawn = random.integers(groups, size=(count, groups)) + groups * np.arange(count)[:, None]
        of_groups = np.bincount(drawn.ravel(), minlength=count * groups).reshape(count, groups)
        totals = np.einsum("rs,sg,rg->r", of_seeds, sums, of_groups, optimize=True)
        means.append(totals / (of_groups @ sizes))
    return np.concatenate(means)
