"""Named losses against independent implementations, closed forms and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harmoseg import HarmosegError
from harmoseg.losses.frequencies import _conditional_log_det, steerable_pyramid
from harmoseg.losses.method import LOSSES, SHELF, parse_loss
from harmoseg.losses.named import _MAKERS, make_loss
from harmoseg.losses.regions import soft_centre_line
from harmoseg.losses.shelf import centre_tubes, outline_distances, signed_distances

DRAW = torch.Generator().manual_seed(3)
BINARY = (
    torch.randn(2, 1, 24, 20, generator=DRAW),
    (torch.rand(2, 24, 20, generator=DRAW) > 0.6).long(),
)
MULTICLASS = (
    torch.randn(2, 3, 24, 20, generator=DRAW),
    torch.randint(3, (2, 24, 20), generator=DRAW),
)


def made(text: str, mode: str = "binary", reduction: str = "batch"):
    return make_loss(parse_loss(text), mode, reduction=reduction)  # type: ignore[arg-type]


def batch(mode: str):
    logits, target = BINARY if mode == "binary" else MULTICLASS
    hot = (
        target[:, None].float() if mode == "binary" else F.one_hot(target, 3).movedim(-1, 1).float()
    )
    return logits, target, hot


def activated(mode: str) -> dict[str, bool]:
    return {"sigmoid": mode == "binary", "softmax": mode == "multiclass"}


def test_every_name_is_made_and_every_maker_has_a_name() -> None:
    assert set(_MAKERS) == set(LOSSES)


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_gradient_and_prefers_the_truth(name, mode) -> None:
    _, target, hot = batch(mode)
    loss = made(name, mode)
    truth = (12 * hot - 6).requires_grad_()
    value = loss(truth, target)
    assert value.ndim == 0 and bool(torch.isfinite(value))
    (gradient,) = torch.autograd.grad(value, truth)
    assert bool(torch.isfinite(gradient).all())
    inverse = float(loss(-truth.detach(), target))
    if (name, mode) == ("cwmi", "binary"):  # information does not depend on the sign
        assert float(value.detach()) == pytest.approx(inverse, rel=1e-6)
    else:
        assert float(value.detach()) < inverse - 0.01
    for odd in (torch.zeros_like(target), torch.ones_like(target)):
        assert bool(torch.isfinite(loss(batch(mode)[0], odd)))


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
@pytest.mark.parametrize("name", [name for name in SHELF if name not in ("topk", "cwmi")])
def test_gradients_are_those_of_finite_differences(name, mode) -> None:
    logits = torch.randn(2, 1 if mode == "binary" else 3, 6, 5, generator=DRAW).double()
    target = torch.randint(2 if mode == "binary" else 3, (2, 6, 5), generator=DRAW)
    loss = made(name, mode)
    if name == "focal-frequency":  # its weight takes no part in the gradient
        loss = made("focal-frequency(alpha=0)", mode)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.requires_grad_())


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_monai_agrees(mode) -> None:
    losses = pytest.importorskip("monai.losses")
    logits, target, hot = batch(mode)
    softmax = {"use_softmax": mode == "multiclass"}
    whole = {"include_background": True, "smooth_nr": 0.0, "smooth_dr": 1e-12}
    inner = {"include_background": False} if mode == "multiclass" else {"include_background": True}
    for text, reduction, other in (
        ("focal(gamma=1.5)", "batch", losses.FocalLoss(gamma=1.5, **softmax)),
        (
            "tversky(alpha=0.2,beta=0.9)",
            "sample",
            losses.TverskyLoss(alpha=0.2, beta=0.9, **activated(mode), **whole),
        ),
        (
            "tversky(alpha=0.2,beta=0.9)",
            "batch",
            losses.TverskyLoss(alpha=0.2, beta=0.9, batch=True, **activated(mode), **whole),
        ),
        ("boundary", "batch", losses.BoundaryLoss(**activated(mode), **inner)),
        ("hausdorff-dt", "batch", losses.HausdorffDTLoss(**activated(mode), **inner)),
        ("hausdorff-dt(alpha=1)", "batch", losses.HausdorffDTLoss(1.0, **activated(mode), **inner)),
    ):
        found = made(text, mode, reduction)(logits, target)
        expected = other(logits, hot)
        scale = 3 if text.startswith("focal") and mode == "multiclass" else 1  # a mean over classes
        assert float(found) == pytest.approx(scale * float(expected), rel=1e-4), text
    found = made("generalised-dice", "multiclass", "sample")(MULTICLASS[0], MULTICLASS[1])
    other = losses.GeneralizedDiceLoss(softmax=True, to_onehot_y=True, smooth_nr=0, smooth_dr=0)
    assert float(found) == pytest.approx(
        float(other(MULTICLASS[0], MULTICLASS[1][:, None])), rel=1e-5
    )
    found = made("cldice", "binary", "sample")(*BINARY)
    other = losses.SoftclDiceLoss(sigmoid=True, smooth=1e-12)
    assert float(found) == pytest.approx(
        float(other(BINARY[0], BINARY[1][:, None].float())), rel=1e-5
    )


def test_generalised_dice_of_one_channel_has_two_classes() -> None:
    logits, target = BINARY
    two = torch.cat([-logits / 2, logits / 2], 1)  # its softmax is the sigmoid
    found = made("generalised-dice")(logits, target)
    assert torch.isclose(found, made("generalised-dice", "multiclass")(two, target))


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_segmentation_models_pytorch_agrees(mode) -> None:
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    logits, target, _ = batch(mode)
    given = target[:, None].float() if mode == "binary" else target
    for reduction, per_image in (("batch", False), ("sample", True)):
        other = losses.LovaszLoss(mode, per_image=per_image)(logits, given)
        assert float(made("lovasz", mode, reduction)(logits, target)) == pytest.approx(
            float(other), rel=1e-5
        )
    other = losses.FocalLoss("binary", alpha=0.25, gamma=2.0)(BINARY[0], BINARY[1][:, None].float())
    assert float(made("focal(alpha=0.25)")(*BINARY)) == pytest.approx(float(other), rel=1e-4)


def test_lovasz_is_the_jaccard_loss_of_whole_predictions() -> None:
    # At corners of the cube the extension is the set function itself: 1 - IoU (Berman, prop. 1).
    target = torch.tensor([[[1, 1, 0, 0, 0, 1]]])
    predicted = torch.tensor([[[1, 0, 1, 0, 0, 1]]])
    logits = torch.stack([1.0 - predicted, 1.0 * predicted], 1) * 200 - 100
    loss = made("lovasz(include_background=false)", "multiclass")
    assert float(loss(logits, target)) == pytest.approx(1 - 2 / 4, abs=1e-6)


def test_closed_forms() -> None:
    logits, target = BINARY
    losses = F.binary_cross_entropy_with_logits(logits, target[:, None].float(), reduction="none")
    largest = np.sort(losses.flatten().numpy())[-96:]  # a tenth of 2 x 24 x 20
    assert float(made("topk")(logits, target)) == pytest.approx(float(largest.mean()), rel=1e-6)
    assert torch.isclose(made("topk(percent=100)")(logits, target), made("bce")(logits, target))
    assert torch.isclose(made("focal(gamma=0)")(logits, target), made("bce")(logits, target))
    assert torch.isclose(
        made("tversky(alpha=0.5,beta=0.5)")(logits, target), made("dice")(logits, target)
    )
    tversky, focal = made("tversky")(logits, target), made("focal-tversky")(logits, target)
    assert float(focal) == pytest.approx(float(tversky) ** 0.75, rel=1e-6)
    # One wrong pixel has the same power at every frequency: every weight is 1.
    mask = torch.zeros(1, 8, 8, dtype=torch.long)
    wrong = torch.full((1, 1, 8, 8), -100.0)
    wrong[0, 0, 3, 4] = 100.0
    assert float(made("focal-frequency")(wrong, mask)) == pytest.approx(1 / 64, rel=1e-5)
    mean_square = (logits.sigmoid() - target[:, None]).square().mean()
    found = made("focal-frequency(alpha=0)")(logits, target)
    assert float(found) == pytest.approx(float(mean_square), rel=1e-5)


def test_a_pyramid_keeps_power_and_tells_directions() -> None:
    x = np.mgrid[:32, :48][1]
    wave = torch.from_numpy(np.cos(2 * np.pi * x / 8))[None, None]  # 1/8: the second octave
    bands = list(steerable_pyramid(wave, 4, 4))
    assert [tuple(band.shape[2:]) for band in bands][:2] == [(4, 32, 48), (4, 17, 25)]
    power = torch.stack([band.abs().square().sum((0, 1, 3, 4)) for band in bands])
    assert float(power.sum()) == pytest.approx(float(wave.square().sum()), rel=1e-9)
    assert power.argmax() == 4 and float(power[:, 2].sum()) < 1e-9  # across x, never along it
    image = torch.randn(1, 1, 32, 48, generator=DRAW).double()
    spectrum = torch.fft.fft2(image, norm="ortho")
    radius = torch.hypot(torch.fft.fftfreq(32)[:, None], torch.fft.fftfreq(48)[None]).double()
    inside = (radius > 1 / 32) & (radius < 1 / 4)  # where both residuals are 0
    limited = torch.fft.ifft2(spectrum * inside, norm="ortho").real
    total = sum(float(band.abs().square().sum()) for band in steerable_pyramid(limited, 4, 4))
    assert total == pytest.approx(float(limited.square().sum()), rel=1e-6)


def test_wavelet_information_is_the_log_determinant_of_what_is_left() -> None:
    truth, pred = (torch.randn(1, 1, 3, 8, 8, dtype=torch.complex128, generator=DRAW) for _ in "ab")
    pred = pred + truth
    y, p = (z[0, 0].reshape(3, -1).numpy() for z in (truth, pred))
    y, p = y - y.mean(1, keepdims=True), p - p.mean(1, keepdims=True)
    # What a least-squares fit of the truth by the prediction leaves.
    fit = np.linalg.lstsq(p.T, y.T, rcond=None)[0]
    left = y.T - p.T @ fit
    expected = np.linalg.slogdet(left.T @ left.conj())[1]
    assert float(_conditional_log_det(truth, pred)) == pytest.approx(expected, abs=1e-3)


def test_wavelet_information_has_the_gradient_of_finite_differences() -> None:
    logits = torch.randn(1, 1, 16, 18, generator=DRAW).double().requires_grad_()
    target = (torch.rand(1, 16, 18, generator=DRAW) > 0.5).long()
    loss = made("cwmi")
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits, fast_mode=True)
    with pytest.raises(ValueError, match="2-D images of 16 pixels or more"):
        loss(torch.zeros(1, 1, 8, 8), torch.zeros(1, 8, 8))


def test_distances_and_centre_lines() -> None:
    mask = torch.zeros(1, 1, 9, 20, dtype=torch.bool)
    mask[..., 2:7, 3:17] = True
    found = outline_distances(mask.numpy())[0, 0]
    assert found[4, 10] == 3 and found[2, 10] == 1
    assert found[0, 0] == pytest.approx(math.hypot(2, 3))
    # Below 0 inside, 0 on the outline's own pixels, 1 beside them.
    assert np.array_equal(
        signed_distances(mask.numpy())[0, 0], np.where(mask[0, 0], 1 - found, found)
    )
    for odd in (np.ones((1, 1, 4, 4), bool), np.zeros((1, 1, 4, 4), bool)):
        assert not outline_distances(odd).any() and not signed_distances(odd).any()
    line = soft_centre_line(mask.float(), 3)[0, 0]
    assert line[4, 6:14].eq(1).all() and not line[[0, 1, 2, 6, 7, 8]].any()
    tube = torch.zeros(1, 1, 7, 7, 12)
    tube[..., 2:5, 2:5, :] = 1
    assert soft_centre_line(tube, 2)[0, 0, 3, 3, 2:10].eq(1).all()
    for name in ("cldice", "boundary", "hausdorff-dt"):
        volume = tube[:, 0].long()
        good, bad = made(name)(8 * tube - 4, volume), made(name)(8 * tube.roll(2, -3) - 4, volume)
        assert float(good) < float(bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("focal(gamma=-1)", "gamma must be 0 or more, got -1"),
        ("topk(percent=0)", "percent must be above 0"),
        ("focal-tversky(gamma=0.5)", "gamma must be 1 or more"),
        ("hausdorff-dt(alpha=0)", "alpha must be above 0"),
        ("cldice(iterations=1.5)", "iterations must be a whole number"),
        (
            "cldice(iteration=1)",
            "unknown option 'iteration'; it has iterations, include_background",
        ),
        ("boundary(include_background=0.5,x=1)", "unknown option 'x'"),
    ],
)
def test_mistakes_are_named(text, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        made(text)


def test_skeleton_recall_counts_the_centre_line_that_was_found() -> None:
    truth = torch.zeros(1, 24, 24, dtype=torch.long)
    truth[0, 9:16, 2:22] = 1  # a bar seven pixels high
    line = torch.from_numpy(centre_tubes(truth[:, None].bool().numpy(), 0))[0, 0]
    rows, columns = torch.nonzero(line, as_tuple=True)
    middle = (columns > 7) & (columns < 17)
    assert set(rows[middle].tolist()) == {12}  # the axis of the bar, away from its ends
    tube = torch.from_numpy(centre_tubes(truth[:, None].bool().numpy(), 2))[0, 0]
    assert bool((tube <= truth[0]).all()) and int(tube.sum()) > 4 * int(line.sum())
    loss = made("skeleton-recall")
    half = torch.full((1, 1, 24, 24), -40.0)
    half[..., 12:] = 40.0  # the right half of the image
    expected = 1 - float(tube[:, 12:].sum() / tube.sum())
    assert float(loss(half, truth)) == pytest.approx(expected, abs=1e-6)
    assert float(loss(torch.full_like(half, 40.0), truth)) == pytest.approx(0, abs=1e-6)
    assert float(loss(half, torch.zeros_like(truth))) == 0  # nothing to find
    assert float(made("skeleton-recall(tube=0)")(half, truth)) == pytest.approx(
        1 - float(line[:, 12:].sum() / line.sum()), abs=1e-6
    )


def test_skeleton_recall_takes_volumes() -> None:
    truth = torch.zeros(1, 12, 12, 12, dtype=torch.long)
    truth[0, 5:8, 5:8, 1:11] = 1
    logits = torch.zeros(1, 1, 12, 12, 12, requires_grad=True)
    value = made("skeleton-recall")(logits, truth)
    assert float(value.detach()) == pytest.approx(0.5)
    (gradient,) = torch.autograd.grad(value, logits)
    inside = torch.from_numpy(centre_tubes(truth[:, None].bool().numpy(), 2)).bool()
    assert bool((gradient[inside] < 0).all()) and not bool(gradient[~inside].any())
