"""Overlap of a predicted and a true label map.

Counted once per case and class, as true and false positives and negatives; every metric is a
formula of these four. Where a formula is 0/0 the metric is NaN: there was nothing to measure.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError

Metric = Literal["DSC", "IoU", "SE", "SP", "ACC", "precision"]
"""Dice similarity, intersection over union, sensitivity, specificity, accuracy, precision.

All lie in [0, 1].
"""

# What the paper's tables have, and studies compare; precision is reported beside them.
METRICS: tuple[Metric, ...] = ("DSC", "IoU", "SE", "SP", "ACC")
_FEW = 10
_BLOCK = 1 << 17


def confusion_counts(
    pred: NDArray[np.integer], truth: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count the pixels of every class against the rest.

    `pred` and `truth` are label maps of one shape with values 0 ... classes - 1. Returns
    (classes, 4): tp, fp, fn, tn. Raises HarmosegError for shapes that differ and for other values.
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if pred.shape != truth.shape:
        raise HarmosegError(
            f"prediction of shape {pred.shape} and truth of shape {truth.shape} differ; resize the "
            "prediction to the truth first"
        )
    for name, labels in (("prediction", pred), ("truth", truth)):
        if labels.dtype.kind not in "bui":
            raise HarmosegError(
                f"the {name} is of {labels.dtype}, expected labels, which are integers; threshold "
                "probabilities first"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise HarmosegError(
                f"label values {labels.min()} to {labels.max()} found in the {name}, expected 0 to "
                f"{classes - 1}"
            )
    if classes <= _FEW and pred.dtype == truth.dtype == np.uint8:
        return _count_bytes(pred, truth, classes)
    joint = np.bincount(
        truth.ravel().astype(np.int64) * classes + pred.ravel().astype(np.int64, copy=False),
        minlength=classes * classes,
    )
    table = joint.reshape(classes, classes)
    tp = np.diagonal(table)
    fp, fn = table.sum(0) - tp, table.sum(1) - tp
    return np.stack((tp, fp, fn, table.sum() - tp - fp - fn), axis=1)


def _count_bytes(
    pred: NDArray[np.integer], truth: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count few classes of bytes: comparisons take a quarter of the time of a histogram."""
    ours, theirs = pred.ravel(), truth.ravel()
    sums = np.zeros((classes, 3), dtype=np.int64)
    for start in range(0, ours.size, _BLOCK):  # small enough to stay in the processor's cache
        p, t = ours[start : start + _BLOCK], theirs[start : start + _BLOCK]
        for c in range(classes):
            in_p, in_t = p == c, t == c
            sums[c] += [np.count_nonzero(mask) for mask in (in_p & in_t, in_p, in_t)]
    tp, n_pred, n_truth = sums.T
    return np.stack((tp, n_pred - tp, n_truth - tp, pred.size - n_pred - n_truth + tp), axis=1)


def overlap_metric(metric: Metric, counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Apply a metric's formula to counts (..., 4); NaN where it is 0/0.

    DSC = 2 tp / (2 tp + fp + fn), IoU = tp / (tp + fp + fn), SE = tp / (tp + fn),
    SP = tn / (tn + fp), ACC = (tp + tn) / all, precision = tp / (tp + fp).
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    parts = {
        "DSC": (2 * tp, 2 * tp + fp + fn),
        "IoU": (tp, tp + fp + fn),
        "SE": (tp, tp + fn),
        "SP": (tn, tn + fp),
        "ACC": (tp + tn, tp + tn + fp + fn),
        "precision": (tp, tp + fp),
    }
    if metric not in parts:
        raise HarmosegError(f"unknown metric {metric!r}; expected one of {', '.join(parts)}")
    part, whole = parts[metric]
    return divide_defined(part, whole)


def transunet_dsc(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the DSC of counts (..., 4) as the script of most published Synapse tables does.

    A false positive where the truth is empty scores 1, a miss 0, and so does a class absent from
    both. Only for parity with those tables, beside ``on_empty="transunet"`` of the distances.
    """
    tp, fp, fn, _ = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    dsc = np.nan_to_num(divide_defined(2 * tp, 2 * tp + fp + fn))
    return np.where((tp + fn == 0) & (fp > 0), 1.0, dsc)


def divide_defined(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Divide two arrays of one shape; NaN where the divisor is 0."""
    undefined = np.full(np.shape(whole), np.nan)
    quotient: NDArray[np.float64] = np.divide(part, whole, out=undefined, where=whole > 0)
    return quotient
