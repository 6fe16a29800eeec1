"""The spectral term alone: bands, modes, ignored pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from harmoseg import (
    HarmonizedLoss,
    SpectralCorrelationLoss,
    ring_correlation,
    spectral_correlation,
    window_weights,
)

# A fixed weight: a drawn one would give every process other names of tests.
WEIGHT = torch.arange(56.0).reshape(8, 7) % 11 / 10 + 0.1
BANDS = {
    "None": None,
    "rings": "rings",
    "low": "low",
    "mid": "mid",
    "high": "high",
    "weight": WEIGHT,
}
MODES = ["binary", "multiclass", "multilabel"]


def batch(mode: str, size=(8, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    channels = 1 if mode == "binary" else 3
    logits = torch.randn(2, channels, *size, dtype=torch.float64)
    if mode == "multiclass":
        return logits, torch.randint(0, 3, (2, *size))
    return logits, (torch.rand(2, channels, *size) > 0.5).double()


@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_bands_are_the_functions_of_their_names(reduction) -> None:
    logits, target = batch("multilabel")
    p = logits.sigmoid()

    def loss(bands) -> float:
        return SpectralCorrelationLoss("multilabel", bands=bands, reduction=reduction)(
            logits, target
        ).item()

    def scc(weights) -> float:
        return spectral_correlation(p, target, weights=weights, reduction=reduction).mean().item()

    assert loss(None) == pytest.approx(1 - scc(None), rel=1e-10)
    assert loss("mid") == pytest.approx(1 - scc(window_weights("mid", (8, 7))), rel=1e-10)
    assert loss(WEIGHT) == pytest.approx(1 - scc(WEIGHT.double()), rel=1e-6)
    rings = ring_correlation(p, target, reduction=reduction).correlation
    assert loss("rings") == pytest.approx(1 - rings.mean().item(), rel=1e-10)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bands", BANDS.values(), ids=BANDS)
def test_gradients_agree_with_finite_differences(mode, bands) -> None:
    logits, target = batch(mode)
    for reduction in ("batch", "sample"):
        for ignore_index in (None, 1):
            loss = HarmonizedLoss(mode, bands=bands, reduction=reduction, ignore_index=ignore_index)
            leaf = logits.clone().requires_grad_()
            # Along a drawn direction; the tests below take every number on its own.
            assert torch.autograd.gradcheck(loss, (leaf, target), fast_mode=True)


OPTIONS = [
    {"pixel": "bce"},
    {"class_weights": [1.0, 0.0, 3.0]},
    {"include_background": False},
    {"class_weights": [0.0, 2.0, 1.0], "include_background": False, "ignore_index": 1},
    {"bands": "rings", "spacing": (0.5, 2.0)},
    {"bands": "rings", "class_weights": [1.0, 2.0, 3.0], "reduction": "sample"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
def test_gradients_of_every_option(mode, options) -> None:
    logits, target = batch(mode)
    loss = HarmonizedLoss(mode, **options)
    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(), target))


@pytest.mark.parametrize("bands", [None, "rings", "low"])
def test_gradients_of_volumes(bands) -> None:
    logits, target = batch("multiclass", (4, 3, 5))
    loss = HarmonizedLoss("multiclass", bands=bands)
    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(), target))


@given(st.sampled_from(MODES), st.sampled_from(["batch", "sample"]), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_one_sweep_is_the_sum_of_three_separate_terms(mode, reduction, seed) -> None:
    torch.manual_seed(seed)
    logits, target = batch(mode)
    leaf = logits.clone().requires_grad_()
    found = HarmonizedLoss(mode, reduction=reduction)(leaf, target)
    found.backward()
    plain = logits.clone().requires_grad_()
    if mode == "multiclass":
        p, y = plain.softmax(1), F.one_hot(target, 3).movedim(-1, 1).double()
        pixel = F.cross_entropy(plain, target)
    else:
        p, y = plain.sigmoid(), target
        pixel = F.binary_cross_entropy_with_logits(plain, target)
    axes = (2, 3) if reduction == "sample" else (0, 2, 3)
    cross = 2 * (p * y).sum(axes)
    dice = (1 - cross / (p.sum(axes) + y.sum(axes))).mean()
    scc = (1 - cross / (p.square().sum(axes) + y.square().sum(axes))).mean()
    expected = pixel + dice + 0.2 * scc
    expected.backward()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(leaf.grad, plain.grad, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bands", BANDS.values(), ids=BANDS)
def test_ignored_pixels_touch_neither_value_nor_gradient(mode, bands) -> None:
    logits, target = batch(mode)
    hidden = torch.rand_like(target, dtype=torch.float64) < 0.3
    over = hidden if mode == "multilabel" else hidden.reshape(2, 1, 8, 7)
    loss = SpectralCorrelationLoss(mode, bands=bands, ignore_index=255)
    results = []
    for filling in (0.0, 50.0, float("nan")):
        leaf = torch.where(over, filling, logits).requires_grad_()
        value = loss(leaf, target.masked_fill(hidden, 255))
        value.backward()
        assert (leaf.grad[over.expand_as(leaf)] == 0).all()
        results.append((value.item(), leaf.grad))
    for value, gradient in results[1:]:
        assert value == results[0][0] and torch.equal(gradient, results[0][1])


def test_one_channel_of_multilabel_is_binary() -> None:
    logits, target = batch("binary")
    for bands in BANDS.values():
        one, two = (HarmonizedLoss(mode, bands=bands) for mode in ("binary", "multilabel"))
        assert one(logits, target).item() == two(logits, target).item()


def test_rings_see_fine_errors_that_the_full_spectrum_does_not() -> None:
    y, x = torch.meshgrid(*2 * [torch.arange(64.0) - 31.5], indexing="ij")
    disc = (torch.hypot(x, y) < 20).float()[None, None]
    blurred = torch.nn.functional.avg_pool2d(disc, 9, 1, 4).clamp(1e-4, 1 - 1e-4).logit()
    full = SpectralCorrelationLoss("binary")(blurred, disc)
    rings = SpectralCorrelationLoss("binary", bands="rings")(blurred, disc)
    assert rings > 4 * full


def test_spacing_reaches_the_rings() -> None:
    logits, target = batch("binary", (16, 8))
    plain = SpectralCorrelationLoss("binary", bands="rings")(logits, target)
    spaced = SpectralCorrelationLoss("binary", bands="rings", spacing=(1.0, 2.0))(logits, target)
    assert plain.item() != spaced.item()
    with pytest.raises(ValueError, match="2 spatial axes"):
        SpectralCorrelationLoss("binary", bands="rings", spacing=(1.0,))(logits, target)


def test_band_weights_move_with_the_module() -> None:
    loss = SpectralCorrelationLoss("binary", bands=torch.ones(4, 4)).to("meta")
    assert loss.band_weights.device.type == "meta"


@pytest.mark.parametrize("side", [3, 5])
def test_a_small_lesion_that_is_missed_costs_every_ring(side) -> None:
    target = torch.zeros(1, 1, 512, 512)
    target[..., 100 : 100 + side, 300 : 300 + side] = 1
    for pred, truth in ((torch.zeros_like(target), target), (torch.ones_like(target), 1 - target)):
        curve = ring_correlation(pred, truth).correlation[0]
        assert (curve[1:] == 0).all()


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to learn from"):
        HarmonizedLoss("binary", reduction="sample")(torch.zeros(0, 1, 4, 4), torch.zeros(0, 4, 4))


def test_a_control_logs_the_term_it_leaves_out() -> None:
    logits, target = batch("binary")
    control = HarmonizedLoss("binary", bands="rings", spectral_weight=0).terms(logits, target)
    rings = SpectralCorrelationLoss("binary", bands="rings")(logits, target)
    assert control["spectral"].item() == rings.item()
    assert control["total"].item() == (control["pixel"] + control["dice"]).item()


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="weights of 0 or more"):
        SpectralCorrelationLoss("binary", bands=-torch.ones(4, 4))
    with pytest.raises(ValueError, match="over the classes that count"):
        SpectralCorrelationLoss("multiclass", class_weights=[1.0, 0.0], include_background=False)
    with pytest.raises(ValueError, match="one of rings, midrings, low, mid, high, got 'ring'"):
        SpectralCorrelationLoss("binary", bands="ring")
    with pytest.raises(ValueError, match=r"one weight per frequency, shape \(8, 7\), got \(3, 3\)"):
        SpectralCorrelationLoss("binary", bands=torch.ones(3, 3))(*batch("binary"))
    with pytest.raises(ValueError, match="not all 0"):
        SpectralCorrelationLoss("multiclass", class_weights=[0.0, 0.0])
    with pytest.raises(ValueError, match=r"target must be \(2, 3, 8, 7\)"):
        SpectralCorrelationLoss("multilabel")(torch.zeros(2, 3, 8, 7), torch.zeros(2, 8, 7))
