"""Counts, formulas and aggregates on masks whose values are known, and thin structures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medpy.metric import binary as medpy
from monai.losses.cldice import soft_skel
from skimage.measure import euler_number, label
from skimage.morphology import skeletonize

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
from harmoseg.metrics.overlap import betti0_error, centreline_dice

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
    with pytest.raises(HarmosegError, match="the truth holds labels 0 to 3, expected 0 to 1"):
        confusion_counts(TRUTH, TRUTH * 3, 2)
    with pytest.raises(HarmosegError, match="the prediction holds labels -1 to 0, expected 0 to 1"):
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


def line(*, gap: int = 0, shift: int = 0, length: int = 40, ndim: int = 2) -> np.ndarray:
    """Draw a line of one pixel, which is its own skeleton, with a gap in its middle."""
    mask = np.zeros((12,) * (ndim - 1) + (60,), bool)
    at = (5 + shift, *(5,) * (ndim - 2))
    mask[(*at, slice(10, 10 + length))] = True
    mask[(*at, slice(30 - gap // 2, 30 - gap // 2 + gap))] = False
    return mask


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_gap_costs_its_share_of_the_length(ndim) -> None:
    truth, broken = line(ndim=ndim), line(gap=8, ndim=ndim)
    # Every predicted pixel lies in the truth; 32 of 40 true ones are found.
    assert centreline_dice(broken, truth) == pytest.approx(2 * 1 * 0.8 / 1.8)
    assert centreline_dice(truth, broken) == pytest.approx(2 * 1 * 0.8 / 1.8)
    assert betti0_error(broken, truth) == 1
    assert centreline_dice(truth, truth) == 1 and betti0_error(truth, truth) == 0


def test_a_line_beside_the_line_is_worth_nothing_and_a_broad_one_all() -> None:
    truth = line()
    assert centreline_dice(line(shift=1), truth) == 0
    broad = line() | line(shift=1) | line(shift=-1)
    assert centreline_dice(broad, truth) > 0.98  # its skeleton is the truth's but for an end


def test_empty_masks() -> None:
    nothing, truth = np.zeros((12, 60), bool), line()
    assert np.isnan(centreline_dice(nothing, nothing)) and np.isnan(betti0_error(nothing, nothing))
    assert centreline_dice(nothing, truth) == 0 == centreline_dice(truth, nothing)
    assert betti0_error(nothing, truth) == 1
    with pytest.raises(HarmosegError, match="expected two masks of one shape"):
        centreline_dice(nothing, truth[1:])


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    smooth = torch.nn.functional.avg_pool2d(
        torch.from_numpy(random.random((2, 1, 80, 90))), 7, 1, 3
    ).numpy()[:, 0]
    return smooth[0] > 0.5, 0.5 * (smooth[0] + smooth[1]) > 0.5


def flooded(mask: np.ndarray) -> int:
    """Count components by filling one after another, written down apart."""
    left = {tuple(pixel) for pixel in np.argwhere(mask)}
    count = 0
    while left:
        count += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            for dy, dx in itertools.product((-1, 0, 1), repeat=2):
                if (y + dy, x + dx) in left:
                    left.remove((y + dy, x + dx))
                    edge.append((y + dy, x + dx))
    return count


@pytest.mark.parametrize("seed", range(4))
def test_components_are_counted_as_by_flooding(seed) -> None:
    pred, truth = blobs(seed)
    assert betti0_error(pred, truth) == abs(flooded(pred) - flooded(truth))
    holes = label(~np.pad(truth, 1), connectivity=1).max() - 1
    assert flooded(truth) == euler_number(truth, connectivity=2) + holes


@pytest.mark.parametrize("seed", range(4))
def test_centreline_dice_is_the_formula_on_the_authors_other_skeleton(seed) -> None:
    """MONAI's soft skeleton of a hard mask is thicker, so the two agree to some points."""
    pred, truth = blobs(seed)
    soft = [
        soft_skel(torch.from_numpy(mask[None, None]).float(), 20)[0, 0].numpy() > 0.5
        for mask in (pred, truth)
    ]
    precision = (soft[0] & truth).sum() / soft[0].sum()
    sensitivity = (soft[1] & pred).sum() / soft[1].sum()
    expected = 2 * precision * sensitivity / (precision + sensitivity)
    assert centreline_dice(pred, truth) == pytest.approx(expected, abs=0.06)
    thin = [skeletonize(mask) for mask in (pred, truth)]
    counted = [(thin[0] & truth).sum() / thin[0].sum(), (thin[1] & pred).sum() / thin[1].sum()]
    assert centreline_dice(pred, truth) == pytest.approx(2 / (1 / counted[0] + 1 / counted[1]))
