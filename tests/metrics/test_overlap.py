"""Counts, formulas and aggregates on masks whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medpy.metric import binary as medpy

from harmoseg import HarmosegError
from harmoseg.metrics import (
    METRICS,
    aggregate,
    average,
    confusion_counts,
    hausdorff,
    overlap_metric,
    transunet_dsc,
)

TRUTH = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
PRED = np.array([[1, 0, 1, 0], [1, 0, 0, 0]])
# Foreground: tp 2, fp 1, fn 2, tn 3.
EXPECTED = {"DSC": 4 / 7, "IoU": 2 / 5, "SE": 2 / 4, "SP": 3 / 4, "ACC": 5 / 8, "precision": 2 / 3}


def test_worked_example() -> None:
    counts = confusion_counts(PRED, TRUTH, 2)
    assert counts.tolist() == [[3, 2, 1, 2], [2, 1, 2, 3]]
    for metric in (*METRICS, "precision"):
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


def published_script(pred: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Score one class of one volume as the published TransUNet script does, voxels as units."""
    if pred.sum() > 0 and truth.sum() > 0:
        return medpy.dc(pred, truth), medpy.hd95(pred, truth)
    if pred.sum() > 0 and truth.sum() == 0:
        return 1, 0
    return 0, 0


def test_legacy_rule_equals_the_published_script_on_all_four_cases() -> None:
    for pred in (PRED, np.zeros_like(PRED)):
        for truth in (TRUTH, np.zeros_like(TRUTH)):
            dsc, hd95 = published_script(pred, truth)
            assert transunet_dsc(confusion_counts(pred, truth, 2))[1] == pytest.approx(dsc)
            found = hausdorff(pred, truth, spacing="pixel", on_empty="transunet")
            assert found == pytest.approx(hd95, abs=1e-12)


def test_precision_of_an_empty_prediction_is_undefined() -> None:
    counts = confusion_counts(np.zeros((3, 3), int), np.ones((3, 3), int), 2)
    assert np.isnan(overlap_metric("precision", counts)[1])


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


def test_average_counts_what_it_leaves_out() -> None:
    nan = np.nan
    found = average(np.array([[4.0, nan], [8.0, nan], [nan, 2.0]]))
    assert (found.value, found.scored, found.undefined) == ((6 + 2) / 2, 3, 3)
    assert np.isnan(average(np.full((2, 2), nan)).value)


def test_wrong_input_is_named() -> None:
    with pytest.raises(HarmosegError, match=r"\(2, 4\) and truth of shape \(3, 4\)"):
        confusion_counts(TRUTH, np.zeros((3, 4), int), 2)
    with pytest.raises(HarmosegError, match="0 to 3 found in the truth, expected 0 to 1"):
        confusion_counts(TRUTH, TRUTH * 3, 2)
    with pytest.raises(HarmosegError, match="-1 to 0 found in the prediction, expected 0 to 1"):
        confusion_counts(-TRUTH, TRUTH, 2)
    with pytest.raises(HarmosegError, match="prediction is of float64"):
        confusion_counts(PRED * 0.5, TRUTH, 2)
    with pytest.raises(HarmosegError, match="unknown metric"):
        overlap_metric("dice", confusion_counts(PRED, TRUTH, 2))
    with pytest.raises(HarmosegError, match="unknown aggregate 'median'"):
        aggregate("median", "DSC", np.ones((1, 2, 4), int))  # type: ignore[arg-type]


def test_labels_may_be_of_any_integer_type_or_a_list() -> None:
    truth = np.array([0, 1, 1, 2])
    expected = confusion_counts(truth, truth[::-1], 3)
    assert np.array_equal(confusion_counts(truth.astype(np.uint64), truth[::-1], 3), expected)
    assert np.array_equal(confusion_counts(truth.tolist(), truth[::-1].tolist(), 3), expected)
