"""Three ways to make one number of many cases, side by side.

Published DSC and IoU values often fit one another under no single definition, so every summary
gives all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.metrics.overlap import Metric, divide_defined, overlap_metric

Aggregate = Literal["per_image", "pooled", "macro"]
"""``per_image``: the metric of every case, averaged over cases, then over foreground classes.

``pooled``: counts summed over all cases first, one metric per class, averaged over foreground
classes. ``macro``: as ``per_image`` but averaged over all classes, the background included.
"""

AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)


@dataclass(frozen=True)
class Aggregated:
    """A value (NaN if nothing could be scored) and how much went into it.

    `scored` counts the (case, class) pairs behind the value and `undefined` those left out
    because the metric is undefined there, for example the DSC of a class absent from both truth
    and prediction, or the surface distance of a class absent from one of them.
    """

    value: float
    scored: int
    undefined: int


def aggregate(how: Aggregate, metric: Metric, counts: NDArray[np.integer]) -> Aggregated:
    """Aggregate counts (cases, classes, 4), class 0 being the background.

    Raises HarmosegError for an unknown aggregate or metric.
    """
    if how not in AGGREGATES:
        raise HarmosegError(f"unknown aggregate {how!r}; expected one of {', '.join(AGGREGATES)}")
    chosen = counts if how == "macro" else counts[:, 1:]
    values = overlap_metric(metric, chosen)
    scored = int(np.isfinite(values).sum())
    undefined = values.size - scored
    if how == "pooled":
        per_class = overlap_metric(metric, chosen.sum(0))
    else:
        per_class = mean_of_defined(values)
    return Aggregated(float(mean_of_defined(per_class)), scored, undefined)


def average(values: NDArray[np.float64]) -> Aggregated:
    """Average values (cases, classes) over cases, then over classes, leaving NaN out but counted.

    For what has no counts to pool, such as distances. A mean over fewer cases can be the better
    for a miss; compare two methods on the cases that both have, or penalise misses.
    """
    scored = int(np.isfinite(values).sum())
    return Aggregated(float(mean_of_defined(mean_of_defined(values))), scored, values.size - scored)


def mean_of_defined(values: NDArray[np.float64], axis: int = 0) -> NDArray[np.float64]:
    """Average the values along an axis that are not NaN; NaN where there are none."""
    defined = np.isfinite(values)
    return divide_defined(np.where(defined, values, 0.0).sum(axis), defined.sum(axis))
