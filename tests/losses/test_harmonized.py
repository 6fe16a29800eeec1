"""The harmonized loss against its definition, written out plainly."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from harmoseg import HarmonizedLoss, SpectralCorrelationLoss
from harmoseg.losses import sums


def dice(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 2 * (p * y).sum() / (p.sum() + y.sum())


def scc(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Eq. (2), through the transform."""
    a, b = torch.fft.fftn(p, dim=(-2, -1)), torch.fft.fftn(y, dim=(-2, -1))
    return 2 * (a * b.conj()).real.sum() / (a.abs().square() + b.abs().square()).sum()


def binary_batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, 1, 6, 5).double(), (torch.rand(3, 1, 6, 5) > 0.6).double()


def multiclass_batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, 4, 6, 5).double(), torch.randint(0, 4, (3, 6, 5))


def test_binary_is_the_sum_of_the_papers_terms() -> None:
    logits, target = binary_batch()
    p = logits.sigmoid()
    terms = HarmonizedLoss("binary").terms(logits, target)
    assert terms["pixel"].item() == pytest.approx(
        F.binary_cross_entropy(p, target).item(), rel=1e-10
    )
    assert terms["dice"].item() == pytest.approx(1 - dice(p, target).item(), rel=1e-10)
    assert terms["spectral"].item() == pytest.approx(1 - scc(p, target).item(), rel=1e-10)
    expected = terms["pixel"] + terms["dice"] + 0.2 * terms["spectral"]
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert HarmonizedLoss("binary")(logits, target).item() == terms["total"].item()


def test_multiclass_averages_over_classes() -> None:
    logits, target = multiclass_batch()
    p, y = logits.softmax(1), F.one_hot(target, 4).movedim(-1, 1).double()
    terms = HarmonizedLoss("multiclass").terms(logits, target)
    assert terms["pixel"].item() == pytest.approx(F.cross_entropy(logits, target).item())
    for name, overlap in (("dice", dice), ("spectral", scc)):
        expected = sum(1 - overlap(p[:, c], y[:, c]).item() for c in range(4)) / 4
        assert terms[name].item() == pytest.approx(expected, rel=1e-10)


def test_sample_reduction_is_the_mean_over_samples() -> None:
    logits, target = binary_batch()
    p = logits.sigmoid()
    terms = HarmonizedLoss("binary", reduction="sample").terms(logits, target)
    for name, overlap in (("dice", dice), ("spectral", scc)):
        expected = sum(1 - overlap(p[i], target[i]).item() for i in range(3)) / 3
        assert terms[name].item() == pytest.approx(expected, rel=1e-10)


def test_literal_bce_is_a_sigmoid_per_channel() -> None:
    logits, target = multiclass_batch()
    y = F.one_hot(target, 4).movedim(-1, 1).double()
    found = HarmonizedLoss("multiclass", pixel="bce").terms(logits, target)["pixel"]
    assert found.item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, y).item())


def test_class_weights_weigh_pixels_and_overlaps() -> None:
    logits, target = multiclass_batch()
    weights = torch.tensor([1.0, 2.0, 0.0, 5.0]).double()
    p, y = logits.softmax(1), F.one_hot(target, 4).movedim(-1, 1).double()
    terms = HarmonizedLoss("multiclass", class_weights=weights).terms(logits, target)
    pixel = F.cross_entropy(logits, target, weights)
    assert terms["pixel"].item() == pytest.approx(pixel.item(), rel=1e-6)
    overlaps = torch.stack([1 - dice(p[:, c], y[:, c]) for c in range(4)])
    assert terms["dice"].item() == pytest.approx((overlaps @ weights / 8).item(), rel=1e-6)


def test_background_can_be_left_out_of_the_overlaps() -> None:
    logits, target = multiclass_batch()
    p, y = logits.softmax(1), F.one_hot(target, 4).movedim(-1, 1).double()
    found = HarmonizedLoss("multiclass", include_background=False).terms(logits, target)
    expected = sum(1 - dice(p[:, c], y[:, c]).item() for c in (1, 2, 3)) / 3
    assert found["dice"].item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    "options",
    [{}, {"reduction": "sample"}, {"pixel": "bce"}, {"class_weights": [1.0, 2.0, 3.0, 4.0]}],
)
def test_ignored_pixels_touch_neither_value_nor_gradient(options) -> None:
    logits, target = multiclass_batch()
    hidden = torch.rand(3, 6, 5) < 0.3
    loss = HarmonizedLoss("multiclass", ignore_index=255, **options)
    results = []
    for noise in (0.0, 7.0, float("nan")):
        leaf = (logits + noise * hidden[:, None]).requires_grad_()
        if noise != noise:
            leaf = torch.where(hidden[:, None], torch.nan, logits).requires_grad_()
        value = loss(leaf, target.masked_fill(hidden, 255))
        value.backward()
        assert (leaf.grad[hidden[:, None].expand_as(leaf)] == 0).all()
        results.append((value.item(), leaf.grad))
    assert results[0][0] == results[1][0] == results[2][0]
    assert torch.equal(results[0][1], results[1][1]) and torch.equal(results[0][1], results[2][1])


def test_ignoring_columns_equals_cropping_them() -> None:
    logits, target = binary_batch()
    marked = target.clone()
    marked[..., 3:] = 255
    loss = HarmonizedLoss("binary", ignore_index=255)
    cropped = HarmonizedLoss("binary")(logits[..., :3], target[..., :3])
    assert loss(logits, marked).item() == pytest.approx(cropped.item(), rel=1e-12)


def test_everything_ignored_is_zero_with_zero_gradient() -> None:
    for mode, logits in (
        ("binary", torch.randn(2, 1, 4, 4)),
        ("multiclass", torch.randn(2, 3, 4, 4)),
    ):
        leaf = logits.requires_grad_()
        value = HarmonizedLoss(mode, ignore_index=9)(leaf, torch.full((2, 4, 4), 9))
        value.backward()
        assert value.item() == 0
        assert (leaf.grad == 0).all()


@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_gradients_agree_with_finite_differences(reduction) -> None:
    for mode, (logits, target) in (("binary", binary_batch()), ("multiclass", multiclass_batch())):
        loss = HarmonizedLoss(mode, reduction=reduction)
        assert torch.autograd.gradcheck(loss, (logits.requires_grad_(), target))


@pytest.mark.parametrize("ignore_index", [None, 2])
@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_a_gradient_taken_part_by_part_is_the_whole_one(monkeypatch, reduction, ignore_index):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 7, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (2, 7, 9), generator=generator)
    loss = HarmonizedLoss("multiclass", reduction=reduction, ignore_index=ignore_index)
    (whole,) = torch.autograd.grad(loss(logits, target), logits)
    monkeypatch.setattr(sums, "_BACKWARD_VALUES", 60)  # 63 pixels in parts of 20
    (parts,) = torch.autograd.grad(loss(logits, target), logits)
    assert torch.equal(parts, whole)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), logits)


def test_perfect_prediction_costs_nothing() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., 2:5, 3:6] = 1
    assert HarmonizedLoss("binary")(80 * (2 * target - 1), target).item() < 1e-6


@pytest.mark.parametrize("filled", [0.0, 1.0])
@pytest.mark.parametrize("logit", [-80.0, 80.0, 1e30, -1e30])
def test_extreme_logits_and_uniform_masks_stay_finite(filled, logit) -> None:
    logits = torch.full((1, 1, 1, 1), logit, requires_grad=True)
    value = HarmonizedLoss("binary")(logits, torch.full((1, 1, 1, 1), filled))
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_summed_in_float32(dtype) -> None:
    logits = torch.zeros(1, 1, 512, 512, dtype=dtype, requires_grad=True)
    value = HarmonizedLoss("binary")(logits, torch.ones(1, 512, 512))
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite()
    assert logits.grad.dtype == dtype


def test_three_dimensional_masks() -> None:
    logits, target = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 4, 5, 6))
    flat = HarmonizedLoss("multiclass")(logits.flatten(3), target.flatten(2))
    assert HarmonizedLoss("multiclass")(logits, target).item() == pytest.approx(flat.item())


def test_class_weights_move_with_the_module() -> None:
    loss = HarmonizedLoss("multiclass", class_weights=[1.0, 2.0]).to("meta")
    assert loss.spectral.class_weights.device.type == "meta"
    assert not list(loss.parameters()) and not loss.state_dict()


BAD = [
    ({"mode": "multi"}, None, None, "mode must be one of"),
    ({"mode": "binary", "spectral_weight": -1}, None, None, "spectral_weight must be 0 or more"),
    ({"mode": "binary", "pixel": "focal"}, None, None, "pixel must be one of"),
    ({"mode": "binary", "reduction": "none"}, None, None, "reduction must be"),
    ({"mode": "binary", "class_weights": [1.0]}, None, None, "no meaning"),
    ({"mode": "binary"}, (2, 3, 4, 4), (2, 4, 4), "1 channel, got 3"),
    ({"mode": "multiclass"}, (2, 1, 4, 4), (2, 4, 4), "2 or more channels"),
    ({"mode": "multiclass"}, (2, 3, 4, 4), (2, 5, 4), r"got \(2, 5, 4\)"),
    ({"mode": "multiclass", "class_weights": [1.0, 2.0]}, (2, 3, 4, 4), (2, 4, 4), "3 classes"),
    ({"mode": "binary"}, (2, 1), (2,), r"\(batch, channel, \*space\)"),
]


@pytest.mark.parametrize(("options", "logits", "target", "message"), BAD)
def test_mistakes_are_named(options, logits, target, message) -> None:
    with pytest.raises(ValueError, match=message):
        loss = HarmonizedLoss(**options)
        loss(torch.zeros(logits), torch.zeros(target, dtype=torch.long))


def test_floating_point_class_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="integer class indices"):
        HarmonizedLoss("multiclass")(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3))


@pytest.mark.parametrize("mode", ["binary", "multilabel", "multiclass"])
@pytest.mark.parametrize("make", [HarmonizedLoss, SpectralCorrelationLoss])
def test_values_that_no_target_has_are_refused_by_name(make, mode) -> None:
    channels = 1 if mode == "binary" else 3
    logits = torch.randn(2, channels, 8, 8)
    target = torch.zeros((2, 8, 8) if mode == "multiclass" else logits.shape).long()
    loss = make(mode)
    loss(logits, target)  # nothing is known of a target without foreground
    target[:, ..., 2:5] = 255
    with pytest.raises(ValueError, match=f"values from 0 to 255, mode '{mode}' takes 0 to"):
        loss(logits, target)
    with pytest.raises(ValueError, match="values from -1"):
        loss(logits, torch.where(target > 0, -1, 0))
    assert torch.isfinite(make(mode, ignore_index=255)(logits, target))
    loss(logits, (target > 0).long())


def test_soft_targets_are_taken_as_they_are() -> None:
    assert torch.isfinite(HarmonizedLoss("binary")(torch.randn(1, 1, 8, 8), torch.rand(1, 1, 8, 8)))
