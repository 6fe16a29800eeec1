"""Counts, formulas and aggregates on masks whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmoseg import HarmosegError
from harmoseg.metrics import METRICS, aggregate, confusion_counts, overlap_metric

TRUTH = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
PRED = np.array([[1, 0, 1, 0], [1, 0, 0, 0]])
# Foreground: tp 2, fp 1, fn 2, tn 3.
EXPECTED = {"DSC": 4 / 7, "IoU": 2 / 5, "SE": 2 / 4, "SP": 3 / 4, "ACC": 5 / 8}


def test_worked_example() -> None:
    counts = confusion_counts(PRED, TRUTH, 2)
    assert counts.tolist() == [[3, 2, 1, 2], [2, 1, 2, 3]]
    for metric in METRICS:
        assert overlap_metric(metric, counts)[1] == pytest.approx(EXPECTED[metric])


@given(st.integers(2, 5), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_counts_equal_brute_force(classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    pred, truth = random.integers(0, classes, (2, 7, 5)).astype(np.uint8)
    counts = confusion_counts(pred, truth, classes)
    for c in range(classes):
        p, t = pred == c, truth == c
        expected = [(p & t).sum(), (p & ~t).sum(), (~p & t).sum(), (~p & ~t).sum()]
        assert counts[c].tolist() == expected


def test_nothing_to_measure_is_nan_and_a_miss_is_zero() -> None:
    empty, full = np.zeros((3, 3), int), np.ones((3, 3), int)
    both_empty = confusion_counts(empty, empty, 2)
    assert np.isnan(overlap_metric("DSC", both_empty)[1])
    assert np.isnan(overlap_metric("SE", both_empty)[1])
    assert overlap_metric("ACC", both_empty)[1] == 1
    assert overlap_metric("DSC", confusion_counts(empty, full, 2))[1] == 0
    assert overlap_metric("DSC", confusion_counts(full, empty, 2))[1] == 0


def test_three_aggregates_by_hand() -> None:
    empty = np.zeros_like(TRUTH)
    counts = np.stack(
        [
            confusion_counts(PRED, TRUTH, 2),
            confusion_counts(TRUTH, TRUTH, 2),
            confusion_counts(empty, empty, 2),
        ]
    )
    per_image = aggregate("per_image", "DSC", counts)
    assert per_image.value == pytest.approx((4 / 7 + 1) / 2)
    assert (per_image.scored, per_image.undefined) == (2, 1)
    # Pooled: tp 2 + 4, fp 1, fn 2.
    assert aggregate("pooled", "DSC", counts).value == pytest.approx(12 / 15)
    background = (2 * 3 / (2 * 3 + 2 + 1) + 1 + 1) / 3
    macro = aggregate("macro", "DSC", counts)
    assert macro.value == pytest.approx(((4 / 7 + 1) / 2 + background) / 2)


def test_wrong_input_is_named() -> None:
    with pytest.raises(HarmosegError, match=r"\(2, 4\) and truth of shape \(3, 4\)"):
        confusion_counts(TRUTH, np.zeros((3, 4), int), 2)
    with pytest.raises(HarmosegError, match="up to 3 found, expected 0 to 1"):
        confusion_counts(TRUTH, TRUTH * 3, 2)
    with pytest.raises(HarmosegError, match="unknown metric"):
        overlap_metric("dice", confusion_counts(PRED, TRUTH, 2))
