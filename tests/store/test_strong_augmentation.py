"""The strong augmentation: as drawn, the same alone and in a batch, labels with their images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harmoseg.store.transforms import (
    BEND,
    FACTORS,
    SCALES,
    SIGMAS,
    STRONG_COLUMNS,
    apply_strong,
    draw_strong,
)

NOTHING = {"scale": 1.0, "brightness": 1.0, "contrast": 1.0, "saturation": 1.0}


def draw(**values: float) -> torch.Tensor:
    return torch.tensor([[({**NOTHING, **values}).get(name, 0.0) for name in STRONG_COLUMNS]])


def pair(channels: int = 3, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a disc of label 1, bright where it is, on 64 x 64."""
    y, x = np.mgrid[:64, :64]
    labels = torch.from_numpy((np.hypot(y - 31.5, x - 31.5) < 14).astype(np.uint8))
    image = 60 + 120 * labels[None].expand(channels, -1, -1)
    return image[None].repeat(batch, 1, 1, 1), labels[None].repeat(batch, 1, 1)


def test_draws_lie_in_their_ranges_and_are_as_frequent_as_said() -> None:
    drawn = draw_strong((8, 3, 64, 64), 4000, torch.Generator().manual_seed(0))
    found = {name: drawn[:, i] for i, name in enumerate(STRONG_COLUMNS)}
    for name, (low, high), nothing, share in (
        ("scale", SCALES, 1, 0.5), ("bend", (0.3 * BEND, BEND), 0, 0.25),
        ("brightness", FACTORS, 1, 0.3), ("contrast", FACTORS, 1, 0.3),
        ("saturation", FACTORS, 1, 0.3), ("sigma", SIGMAS, 0, 0.2),
    ):  # fmt: skip
        changed = found[name][found[name] != nothing]
        assert len(changed) / 4000 == pytest.approx(share, abs=0.03), name
        assert changed.min() >= low - 1e-6 and changed.max() <= high + 1e-6
        assert changed.mean() == pytest.approx((low + high) / 2, rel=0.03)


def test_nothing_drawn_changes_nothing() -> None:
    images, labels = pair()
    moved, turned = apply_strong(images, labels, draw())
    assert torch.equal(moved, images) and torch.equal(turned, labels)


@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_scale_changes_areas_by_its_square(scale) -> None:
    images, labels = pair()
    moved, turned = apply_strong(images, labels, draw(scale=scale))
    assert turned.sum() / labels.sum() == pytest.approx(scale**2, rel=0.03)
    assert moved.dtype == torch.uint8 and ((moved[0, 0] > 120) == turned[0]).float().mean() > 0.98


def test_a_bend_moves_image_and_label_alike() -> None:
    images, labels = pair()
    moved, turned = apply_strong(images, labels, draw(bend=BEND, bend_seed=3))
    assert not torch.equal(turned, labels)
    assert ((moved[0, 0] > 120) == turned[0]).float().mean() > 0.98
    other = apply_strong(images, labels, draw(bend=BEND, bend_seed=4))[1]
    assert not torch.equal(turned, other)


def test_colours_and_blur_leave_labels_alone() -> None:
    images, labels = pair()
    bright, same = apply_strong(images.clone(), labels, draw(brightness=1.2))
    assert torch.equal(same, labels) and bright.max() == 216 and bright.min() == 72
    flat = apply_strong(images.clone(), labels, draw(contrast=0.75))[0].float()
    assert flat.std() == pytest.approx(0.75 * float(images.float().std()), rel=0.02)
    smooth = apply_strong(images.clone(), labels, draw(sigma=5))[0]
    edge = images[0, 0].float().diff(dim=1).abs().max()
    assert smooth[0, 0].float().diff(dim=1).abs().max() < 0.6 * edge
    grey, labels = pair(channels=1)
    assert torch.equal(apply_strong(grey.clone(), labels, draw(saturation=1.2))[0], grey)


def test_a_sample_is_the_same_alone_and_among_others() -> None:
    images, labels = pair(batch=6)
    drawn = draw_strong(images.shape, 6, torch.Generator().manual_seed(1))
    together = apply_strong(images.clone(), labels.clone(), drawn)
    for i in range(6):
        one = slice(i, i + 1)
        alone = apply_strong(images[one].clone(), labels[one].clone(), drawn[one])
        assert torch.equal(alone[0][0], together[0][i]) and torch.equal(alone[1][0], together[1][i])
