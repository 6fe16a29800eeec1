"""Calibration errors against direct computations, in any order, and torchmetrics; the temperature."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from torchmetrics.functional.classification import binary_calibration_error as torch_binary
from torchmetrics.functional.classification import multiclass_calibration_error as torch_multiclass

from harmoseg import HarmosegError
from harmoseg.metrics import (
    CalibrationBins,
    binary_calibration,
    boundary_band,
    calibration,
    multiclass_calibration,
    pool_calibration,
    top_label,
)
from harmoseg.metrics.calibration import fit_temperature, rescale


def binary_case(seed: int, size: int = 500) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.random(size) ** random.uniform(0.2, 3)
    p[:4] = 0, 1, 0.5, 1
    return p, random.random(size) < p ** random.uniform(0.5, 2)


def multiclass_case(seed: int, classes: int = 4, size: int = 500):
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.full(classes, 0.4), size).T
    return p, random.integers(0, classes, size)


def direct(confidence: np.ndarray, outcome: np.ndarray, bins: int) -> tuple[float, float, float]:
    """Compute ECE, MCE and ACE pixel by pixel, a bin at a time."""
    gaps, weights = [], []
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        inside = (confidence >= low) & ((confidence < high) | (i == bins - 1))
        if inside.any():
            gaps.append(abs(outcome[inside].mean() - confidence[inside].mean()))
            weights.append(inside.mean())
    return float(np.dot(gaps, weights)), max(gaps), float(np.mean(gaps))


@given(seed=st.integers(0, 10**6), bins=st.sampled_from([1, 2, 8, 16]))
@settings(max_examples=40, deadline=None)
def test_binary_equals_the_direct_computation(seed, bins) -> None:
    p, y = binary_case(seed)
    found = binary_calibration(p, y, bins=bins)
    assert (found.ece(), found.mce(), found.ace()) == pytest.approx(direct(p, y, bins), abs=1e-8)
    assert found.brier() == pytest.approx(np.mean((p - y) ** 2), abs=1e-8)
    of_truth = np.maximum(np.where(y, p, 1 - p), np.finfo(np.float32).eps)
    assert found.nll() == pytest.approx(-np.log(of_truth).mean(), abs=1e-8)
    assert found.pixels == p.size


@given(seed=st.integers(0, 10**6), bins=st.sampled_from([1, 8, 16]))
@settings(max_examples=40, deadline=None)
def test_top_label_equals_the_direct_computation(seed, bins) -> None:
    p, y = multiclass_case(seed)
    found = multiclass_calibration(p, y, bins=bins)
    expected = direct(p.max(0), p.argmax(0) == y, bins)
    assert (found.ece(), found.mce(), found.ace()) == pytest.approx(expected, abs=1e-8)
    one_hot = np.eye(len(p))[y].T
    assert found.brier() == pytest.approx(((p - one_hot) ** 2).sum(0).mean(), abs=1e-8)
    of_truth = np.maximum((p * one_hot).sum(0), np.finfo(np.float32).eps)
    assert found.nll() == pytest.approx(-np.log(of_truth).mean(), abs=1e-8)


@pytest.mark.parametrize(("norm", "name"), [("l1", "ece"), ("max", "mce")])
def test_equals_torchmetrics(norm, name) -> None:
    p, y = binary_case(1, 4000)
    theirs = torch_binary(torch.tensor(p), torch.tensor(y).int(), n_bins=15, norm=norm)
    assert getattr(binary_calibration(p, y), name)() == pytest.approx(theirs.item(), abs=1e-6)
    p, y = multiclass_case(1, size=4000)
    theirs = torch_multiclass(torch.tensor(p.T), torch.tensor(y), 4, n_bins=15, norm=norm)
    assert getattr(multiclass_calibration(p, y), name)() == pytest.approx(theirs.item(), abs=1e-6)


def test_by_hand() -> None:
    p = np.array([[0.1, 0.1], [0.9, 1.0]])
    found = binary_calibration(p, np.array([[0, 1], [1, 1]]), bins=2)
    assert found.count.tolist() == [2, 2] and found.hits.tolist() == [1, 2]
    assert found.mean_confidence == pytest.approx([0.1, 0.95], abs=1e-8)
    assert found.frequency.tolist() == [0.5, 1]
    assert found.ece() == pytest.approx((0.4 + 0.05) / 2, abs=1e-8)
    assert found.mce() == pytest.approx(0.4, abs=1e-8)
    assert found.ace() == pytest.approx((0.4 + 0.05) / 2, abs=1e-8)
    assert found.brier() == pytest.approx((0.01 + 0.81 + 0.01 + 0) / 4, abs=1e-8)


def test_last_bin_is_closed_and_the_others_contain_their_lower_edge() -> None:
    p = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    assert binary_calibration(p, p > 2, bins=4).count.tolist() == [1, 1, 1, 2]


def test_probability_of_1_that_is_wrong_costs_a_finite_likelihood() -> None:
    wrong = binary_calibration(np.ones(3), np.zeros(3, int))
    assert wrong.nll() == pytest.approx(15.94, abs=0.01)
    assert (wrong.ece(), wrong.mce(), wrong.ace(), wrong.brier()) == (1, 1, 1, 1)


@pytest.mark.parametrize("block", [1, 7, 64, 2**15])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_streaming_in_any_order_and_blocks_changes_no_bit(block, seed) -> None:
    p, y = binary_case(seed)
    q, z = multiclass_case(seed)
    order = np.random.default_rng(seed).permutation(p.size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "_BLOCK", block)
        parts = [binary_calibration(p[i], y[i]) for i in np.array_split(order, 3)]
        whole = multiclass_calibration(q[:, order], z[order])
    assert same(pool_calibration(parts), binary_calibration(p, y))
    assert same(pool_calibration(parts[::-1]), binary_calibration(p, y))
    assert same(whole, multiclass_calibration(q, z))


def same(a: CalibrationBins, b: CalibrationBins) -> bool:
    ours, others = a.as_arrays(), b.as_arrays()
    return all((ours[name] == others[name]).all() for name in ours)


def test_many_blocks_are_exact_sums() -> None:
    p = np.full(200_000, 0.3, np.float32)
    found = binary_calibration(p, np.zeros(p.shape, bool), bins=10)
    assert found.count[3] == found.pixels == 200_000
    assert found.mce() == pytest.approx(float(np.float32(0.3)), abs=2e-9)


def test_only_pixels_that_count_are_counted() -> None:
    p, y = (a.reshape(20, 25) for a in binary_case(3))
    truth = np.zeros((20, 25), int)
    truth[5:15, 5:15] = 1
    band = boundary_band(truth, 2, spacing="pixel")
    assert same(binary_calibration(p, y, where=band), binary_calibration(p[band], y[band]))
    # An ignored label may be anything, and an ignored probability NaN.
    wild, unknown = np.where(band, p, np.nan), np.where(band, y, 255)
    assert same(binary_calibration(wild, unknown, where=band), binary_calibration(p[band], y[band]))
    q, z = multiclass_case(3)
    kept = z != 2
    everything = multiclass_calibration(q.reshape(4, 20, 25), z.reshape(20, 25), where=band)
    assert everything.pixels == band.sum()
    assert same(
        multiclass_calibration(q, z, where=kept), multiclass_calibration(q[:, kept], z[kept])
    )


def test_nothing_counted_is_nan() -> None:
    nothing = binary_calibration(
        np.zeros((2, 2)), np.zeros((2, 2), int), where=np.zeros((2, 2), bool)
    )
    for value in (nothing.ece(), nothing.mce(), nothing.ace(), nothing.brier(), nothing.nll()):
        assert np.isnan(value)
    assert np.isnan(nothing.mean_confidence).all() and np.isnan(nothing.frequency).all()
    assert nothing.pixels == 0


def test_bins_survive_a_file() -> None:
    found = multiclass_calibration(*multiclass_case(5))
    file = io.BytesIO()
    np.savez(file, **found.as_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        again = CalibrationBins.from_arrays(dict(arrays))
    assert again.convention == "top-label" and same(found, again)
    assert (again + again).pixels == 2 * found.pixels


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_precision_is_taken(dtype) -> None:
    p, y = multiclass_case(6)
    found = multiclass_calibration(p.astype(dtype), y)
    tolerance = 2e-3 if dtype == np.float16 else 1e-6
    assert found.brier() == pytest.approx(multiclass_calibration(p, y).brier(), abs=tolerance)


def test_wrong_input_is_named() -> None:
    p, y = np.full((4, 4), 0.5), np.zeros((4, 4), int)
    one_nan = p.copy()
    one_nan[0, 0] = np.nan
    cases = [
        (p, y[:3], {}, r"shape \(4, 4\) need a truth of shape \(4, 4\), found \(3, 4\)"),
        (p - 1, y, {}, "from -0.5 to -0.5"),
        (p + 1, y, {}, "from 1.5 to 1.5"),
        (one_nan, y, {}, "from 0.5 to 0.5, 1 of them NaN"),
        (p, y + 2, {}, "labels 2 to 2, expected 0 to 1"),
        (p, y - 1, {}, "labels -1 to -1"),
        (p, y + 0.5, {}, "truth is of float64"),
        (y, y, {}, "probabilities are of int64"),
        (p, y, {"where": y}, "where is of int64"),
        (p, y, {"where": np.ones(4, bool)}, r"bool and shape \(4,\), expected a mask"),
        (p, y, {"bins": 0}, "0 bins asked for"),
    ]
    for probabilities, truth, keywords, match in cases:
        with pytest.raises(HarmosegError, match=match):
            binary_calibration(probabilities, truth, **keywords)
    with pytest.raises(HarmosegError, match="add up to 1.5 to 1.5, expected 1; apply softmax"):
        multiclass_calibration(np.stack([p, p, p]), y)
    with pytest.raises(HarmosegError, match="labels 0 to 3, expected 0 to 1"):
        multiclass_calibration(np.stack([p, p]), np.diag([3, 0, 0, 0]))
    with pytest.raises(HarmosegError, match=r"need a truth of shape \(4, 4\)"):
        multiclass_calibration(np.stack([p, p]), y[None])


@pytest.mark.filterwarnings("error")
def test_all_nan_is_named_without_a_warning() -> None:
    with pytest.raises(HarmosegError, match="4 of them NaN"):
        binary_calibration(np.full(4, np.nan), np.zeros(4, int))


def test_bins_of_two_kinds_are_not_mixed() -> None:
    binary = CalibrationBins.empty("foreground")
    with pytest.raises(HarmosegError, match="15 bins of convention 'foreground' cannot be added"):
        binary + CalibrationBins.empty("top-label")
    with pytest.raises(HarmosegError, match="to 10 of 'foreground'"):
        binary + CalibrationBins.empty("foreground", 10)
    with pytest.raises(HarmosegError, match="no calibration bins"):
        pool_calibration([])
    with pytest.raises(HarmosegError, match="convention is 'bottom'"):
        CalibrationBins.empty("bottom")


def test_damaged_files_are_refused() -> None:
    arrays = CalibrationBins.empty("foreground").as_arrays()
    with pytest.raises(HarmosegError, match="need the arrays"):
        CalibrationBins.from_arrays({"count": arrays["count"]})
    for name, wrong in (
        ("hits", np.zeros(3, np.int64)),
        ("scores", np.zeros(2)),
        ("count", np.full(15, -1)),
    ):
        with pytest.raises(HarmosegError, match="calibration sums"):
            CalibrationBins.from_arrays({**arrays, name: wrong})


def test_large_sums_do_not_depend_on_the_order() -> None:
    """Beyond 2^53 units float64 would round: two million wrong pixels are enough."""
    p = np.random.default_rng(0).random(4_000_000, dtype=np.float32) * 1e-6
    truth = np.ones(p.size, bool)
    one = binary_calibration(p, truth)
    parts = (
        binary_calibration(part, truth[: part.size]) for part in np.split(p[::-1], [10**6 + 1])
    )
    other = pool_calibration(parts)
    assert one.scores[1] > 2**53
    assert np.array_equal(one.scores, other.scores)


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_top_label_is_the_first_of_the_largest(seed, classes) -> None:
    p = np.random.default_rng(seed).integers(0, 3, (classes, 5, 4)) / 3
    label, confidence = top_label(p)
    assert np.array_equal(label, p.argmax(0)) and np.array_equal(confidence, p.max(0))


def test_more_classes_than_a_label_can_hold_are_refused() -> None:
    with pytest.raises(HarmosegError, match="257 classes found"):
        top_label(np.zeros((257, 1)))


def draw_logits(classes: int, factor: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits, labels by their softmax, and make the logits too large by a factor."""
    random = np.random.default_rng(classes)
    logits = random.normal(0, 1.5, (classes, count))
    p = expit(logits) if classes == 1 else softmax(logits, 0)
    if classes == 1:
        truth = (random.random(count) < p[0]).astype(np.uint8)
    else:
        truth = (random.random(count) > p.cumsum(0)).sum(0).astype(np.uint8)
    return factor * logits, truth


def fit_directly(logits: np.ndarray, truth: np.ndarray) -> float:
    """Minimise the loss of PyTorch over the inverse temperature by Newton's steps on a grid."""
    z, y = torch.tensor(logits.T), torch.tensor(truth).long()
    best = 1.0
    for width in (4.0, 0.4, 0.04, 0.004, 0.0004):
        grid = best * np.exp(np.linspace(-1, 1, 41) * np.log1p(width))
        losses = [
            torch.nn.functional.binary_cross_entropy_with_logits(z[:, 0] / t, y.double()).item()
            if z.shape[1] == 1
            else torch.nn.functional.cross_entropy(z / t, y).item()
            for t in grid
        ]
        best = float(grid[int(np.argmin(losses))])
    return best


@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_the_temperature_is_that_of_a_direct_minimisation(classes, factor) -> None:
    logits, truth = draw_logits(classes, factor)
    p = expit(logits) if classes == 1 else softmax(logits, 0)
    found = fit_temperature(p, truth)
    assert found == pytest.approx(fit_directly(logits, truth), rel=1e-3)
    assert found == pytest.approx(factor, rel=0.06)  # labels were drawn by the logits before


@pytest.mark.parametrize("classes", [1, 3])
def test_rescaled_probabilities_are_those_of_logits_over_the_temperature(classes) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (classes, 6, 7))
    of = expit if classes == 1 else lambda z: softmax(z, 0)
    np.testing.assert_allclose(rescale(of(logits), 1.7), of(logits / 1.7), atol=1e-6)
    np.testing.assert_allclose(rescale(of(logits), 1.0), of(logits), atol=1e-6)
    assert rescale(of(logits), 3.0).dtype == np.float32
    labels = (of(logits) > 0.5) if classes == 1 else of(logits).argmax(0)
    after = (rescale(of(logits), 3.0) > 0.5) if classes == 1 else rescale(of(logits), 3.0).argmax(0)
    assert np.array_equal(labels, after)


@pytest.mark.parametrize("classes", [1, 3])
def test_a_probability_of_exactly_0_or_1_stays_finite(classes) -> None:
    p = np.zeros((classes, 2), np.float32)
    p[0, 0] = p[-1, 1] = 1
    found = rescale(p, 2.0)
    assert np.isfinite(found).all() and found[0, 0] > 0.99
    assert np.isfinite(fit_temperature(p, np.array([0, 1])))


def test_a_wrong_temperature_is_named() -> None:
    with pytest.raises(HarmosegError, match="temperature is 0.0, expected a number above 0"):
        rescale(np.ones((1, 2)), 0.0)
    with pytest.raises(HarmosegError, match="no pixel to fit"):
        fit_temperature(np.ones((1, 0)), np.zeros(0, int))
