"""Rank tests of paired differences, and their correction for the number of comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from harmoseg.statistics.intervals import Groups, Sample, estimate_means, mean_per_group

Values = NDArray[np.float64]


def signed_rank_p(values: Values, groups: Groups | None = None) -> float | None:
    """Test differences (seeds, cases), NaN where undefined, by Wilcoxon's test.

    The signed-rank test, two-sided.

    They are averaged over seeds first and then within groups (patients), so that the units of the
    test are independent. The p-value speaks for other patients under these trained networks, not
    for training anew. None with fewer than two seeds, where it would be read as evidence about a
    method though it is about one network of each, and with fewer than two groups.
    """
    differences = mean_per_group(Sample(values, groups))
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
    values: Mapping[str, Values],
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
