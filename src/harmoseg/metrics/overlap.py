"""Overlap of a predicted and a true label map.

Counted once per case and class, as true and false positives and negatives; every metric is a
formula of these four. Where a formula is 0/0 the metric is NaN: there was nothing to measure.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError

Metric = Literal["DSC", "IoU", "SE", "SP", "ACC"]
"""Dice similarity, intersection over union, sensitivity, specificity, accuracy; all in [0, 1]."""

METRICS: tuple[Metric, ...] = get_args(Metric)
COUNTS = ("tp", "fp", "fn", "tn")


def confusion_counts(
    pred: NDArray[np.integer], truth: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count the pixels of every class against the rest.

    `pred` and `truth` are label maps of one shape with values 0 ... classes - 1. Returns
    (classes, 4): tp, fp, fn, tn. Raises HarmosegError for shapes that differ or other values.
    """
    if pred.shape != truth.shape:
        raise HarmosegError(
            f"prediction of shape {pred.shape} and truth of shape {truth.shape} differ; resize the "
            "prediction to the truth first"
        )
    joint = np.bincount(
        truth.ravel().astype(np.int64) * classes + pred.ravel(), minlength=classes * classes
    )
    if joint.size != classes * classes or (pred.size and max(pred.max(), truth.max()) >= classes):
        raise HarmosegError(
            f"label values up to {max(pred.max(), truth.max())} found, expected 0 to {classes - 1}"
        )
    table = joint.reshape(classes, classes)
    tp = np.diagonal(table)
    fp, fn = table.sum(0) - tp, table.sum(1) - tp
    return np.stack((tp, fp, fn, table.sum() - tp - fp - fn), axis=1)


def overlap_metric(metric: Metric, counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Apply a metric's formula to counts (..., 4); NaN where it is 0/0.

    DSC = 2 tp / (2 tp + fp + fn), IoU = tp / (tp + fp + fn), SE = tp / (tp + fn),
    SP = tn / (tn + fp), ACC = (tp + tn) / all.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    parts = {
        "DSC": (2 * tp, 2 * tp + fp + fn),
        "IoU": (tp, tp + fp + fn),
        "SE": (tp, tp + fn),
        "SP": (tn, tn + fp),
        "ACC": (tp + tn, tp + tn + fp + fn),
    }
    if metric not in parts:
        raise HarmosegError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    part, whole = parts[metric]
    return divide_defined(part, whole)


def divide_defined(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Divide two arrays of one shape; NaN where the divisor is 0."""
    undefined = np.full(np.shape(whole), np.nan)
    quotient: NDArray[np.float64] = np.divide(part, whole, out=undefined, where=whole > 0)
    return quotient
