"""Means with their intervals, for curves of many points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harmoseg.statistics.intervals import Estimate, estimate_mean
from harmoseg.study.results import TaskResults

# The width of an interval is no matter of resampling, only how it is split between the two sides:
# a thousand draws place an end to within a few hundredths of the width, less than a line is wide.
_RESAMPLES = 1000
POINTS = (0.0, 100.0)
"""What a score in points can be."""


def estimate_point(values: NDArray[np.float64], groups: Sequence[str]) -> Estimate:
    """Estimate the mean of values (seeds, cases) for a figure; no seed at all gives NaN."""
    if not len(values):
        return Estimate(float("nan"), None, None, 0, 0, values.shape[1])
    return estimate_mean(values, groups, resamples=_RESAMPLES)


def estimate_score(
    task: TaskResults, method: str, store: str, measure: str, condition: str
) -> Estimate:
    """Estimate the mean of a measure of a method on a store under a condition."""
    values = task.values(method, store, measure, condition=condition)
    return estimate_point(values, task.groups(store))
