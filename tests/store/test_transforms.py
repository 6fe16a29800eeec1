"""Flips and rotations: exact where they can be, the same for image and label."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harmoseg.store.transforms import (
    BEND,
    FACTORS,
    MAX_ANGLE,
    SCALES,
    SIGMAS,
    STRONG_COLUMNS,
    apply_strong,
    apply_transforms,
    draw_strong,
    draw_transforms,
)


def pair(height: int = 8, width: int = 8, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    label = torch.randint(0, 4, (batch, height, width), dtype=torch.uint8)
    noise = torch.randint(0, 60, (batch, 3, height, width), dtype=torch.uint8)
    return noise + 60 * label[:, None], label


def draw(*rows: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def turned_and_flipped(quarters: int, flip: int):
    """Do with torch's own functions what a draw says, one after the other."""

    def do(x: torch.Tensor) -> torch.Tensor:
        x = torch.rot90(x, quarters, (-2, -1))
        return {0: x, 1: x.flip(-1), 2: x.flip(-2)}[flip]

    return do


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("flip", [0, 1, 2])
def test_flips_and_right_angles_move_pixels_exactly(quarters, flip, layout) -> None:
    images, labels = pair(batch=3)
    expected = turned_and_flipped(quarters, flip)
    drawn = draw((quarters, flip, 0), (0, 0, 0), (quarters, flip, 0))
    moved, turned = apply_transforms(images.contiguous(memory_format=layout), labels, drawn)
    for sample in (0, 2):
        assert torch.equal(moved[sample], expected(images[sample]))
        assert torch.equal(turned[sample], expected(labels[sample]))
    assert torch.equal(moved[1], images[1])


@pytest.mark.parametrize(("quarters", "degrees"), [(1, 90), (2, 180), (3, -90)])
def test_angles_turn_the_same_way_as_quarters(quarters, degrees) -> None:
    images, labels = pair()
    exact = apply_transforms(images, labels, draw((quarters, 0, 0)))
    sampled = apply_transforms(images, labels, draw((0, 0, degrees)))
    assert all(map(torch.equal, exact, sampled))


@pytest.mark.parametrize("degrees", [-17.0, 5.0])
def test_a_small_angle_is_that_of_affine_grid(degrees) -> None:
    """An independent way to the same rotation: torch's own grid from a matrix."""
    image = torch.rand(1, 2, 31, 45)
    angle, aspect = math.radians(degrees), 31 / 45
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[[cos, -sin * aspect, 0], [sin / aspect, cos, 0]]])
    grid = F.affine_grid(matrix, [1, 1, 31, 45], align_corners=False)
    expected = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    moved, _ = apply_transforms(image, torch.zeros(1, 31, 45), draw((0, 0, degrees)))
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_a_rotation_forth_and_back_finds_the_middle_where_it_was() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    image = (100 + 50 * torch.sin(x / 9) * torch.cos(y / 7)).to(torch.uint8)[None, None]
    label = image[:, 0]
    there = apply_transforms(image, label, draw((0, 0, 15)))
    back, _ = apply_transforms(*there, draw((0, 0, -15)))
    middle = (..., slice(20, 44), slice(20, 76))
    assert (back[middle].int() - image[middle].int()).abs().max() <= 4


def test_image_and_label_move_together() -> None:
    _, label = pair(64, 64)
    # Constant blocks, so that bilinear and nearest sampling agree away from edges.
    label = label[:, ::16, ::16].repeat_interleave(16, 1).repeat_interleave(16, 2)
    for row in draw_transforms(16, 64, 64, torch.Generator().manual_seed(3)):
        moved, turned = apply_transforms(label[:, None] * 10, label, row[None])
        assert ((moved[:, 0] + 5) // 10).eq(turned).float().mean() > 0.9


def test_no_class_appears_that_was_not_there() -> None:
    label = torch.tensor([0, 7], dtype=torch.uint8)[torch.randint(0, 2, (1, 32, 32))]
    _, turned = apply_transforms(label[:, None], label, draw((0, 0, 13)))
    assert set(turned.unique().tolist()) == {0, 7}


@pytest.mark.parametrize("dtypes", [(torch.uint8, torch.uint8), (torch.float32, torch.int64)])
def test_dtypes_stay_and_the_input_is_left_alone(dtypes) -> None:
    images, labels = pair(batch=8)
    images, labels = images.to(dtypes[0]), labels.to(dtypes[1])
    kept = images.clone(), labels.clone()
    drawn = draw_transforms(8, 8, 8, torch.Generator().manual_seed(0))
    found = apply_transforms(images, labels, drawn)
    assert tuple(tensor.dtype for tensor in found) == dtypes
    assert all(map(torch.equal, (images, labels), kept))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (17, 29)])
def test_a_draw_can_be_replayed_alone_as_in_a_batch(height, width) -> None:
    images, labels = pair(height, width, batch=16)
    draws = [draw_transforms(16, height, width, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(draws[0], draws[1])
    together = apply_transforms(images, labels, draws[0])
    for i in range(16):
        # Written down as numbers and read again, for one sample in another layout.
        row = torch.tensor([draws[1][i].tolist()])
        alone = apply_transforms(images[i : i + 1].clone(), labels[i : i + 1], row)
        assert torch.equal(alone[0][0], together[0][i])
        assert torch.equal(alone[1][0], together[1][i])


def test_draws_have_the_shares_of_the_rule() -> None:
    quarters, flip, degrees = draw_transforms(4000, 8, 8, torch.Generator().manual_seed(0)).T
    unchanged = (quarters == 0) & (flip == 0) & (degrees == 0)
    assert 0.22 < unchanged.float().mean() < 0.28
    assert 0.22 < (degrees != 0).float().mean() < 0.28
    assert 0.47 < (flip > 0).float().mean() < 0.53
    assert not ((flip > 0) & (degrees != 0)).any()
    assert MAX_ANGLE * 0.98 < degrees.abs().max() <= MAX_ANGLE
    assert set(quarters.tolist()) == {0, 1, 2, 3} and set(flip.tolist()) == {0, 1, 2}


def test_non_square_images_are_not_turned_on_their_side() -> None:
    image, label = torch.zeros(1, 1, 8, 16), torch.zeros(1, 8, 16, dtype=torch.long)
    image[..., 3:5, :], label[:, 3:5, :] = 1.0, 1  # a horizontal bar
    drawn = draw_transforms(64, 8, 16, torch.Generator().manual_seed(1))
    assert set(drawn[:, 0].tolist()) == {0, 2}
    for row in drawn:
        moved, turned = apply_transforms(image, label, row[None])
        assert moved.shape == image.shape
        # A bar turned by 20 degrees at the most still covers more columns than rows.
        assert turned.any(1).sum() >= turned.any(2).sum()


def test_what_turns_in_is_a_reflection_of_the_inside() -> None:
    image = torch.full((1, 1, 32, 32), 200, dtype=torch.uint8)
    moved, _ = apply_transforms(image, image[:, 0], draw((0, 0, 20)))
    assert (moved == 200).all()  # no black corners


# The strong augmentation: as drawn, the same alone and in a batch, labels with their images


NOTHING = {"scale": 1.0, "brightness": 1.0, "contrast": 1.0, "saturation": 1.0}


def strong(**values: float) -> torch.Tensor:
    return torch.tensor([[({**NOTHING, **values}).get(name, 0.0) for name in STRONG_COLUMNS]])


def disc(channels: int = 3, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
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
    images, labels = disc()
    moved, turned = apply_strong(images, labels, strong())
    assert torch.equal(moved, images) and torch.equal(turned, labels)


@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_scale_changes_areas_by_its_square(scale) -> None:
    images, labels = disc()
    moved, turned = apply_strong(images, labels, strong(scale=scale))
    assert turned.sum() / labels.sum() == pytest.approx(scale**2, rel=0.03)
    assert moved.dtype == torch.uint8 and ((moved[0, 0] > 120) == turned[0]).float().mean() > 0.98


def test_a_bend_moves_image_and_label_alike() -> None:
    images, labels = disc()
    moved, turned = apply_strong(images, labels, strong(bend=BEND, bend_seed=3))
    assert not torch.equal(turned, labels)
    assert ((moved[0, 0] > 120) == turned[0]).float().mean() > 0.98
    other = apply_strong(images, labels, strong(bend=BEND, bend_seed=4))[1]
    assert not torch.equal(turned, other)


def test_colours_and_blur_leave_labels_alone() -> None:
    images, labels = disc()
    bright, same = apply_strong(images.clone(), labels, strong(brightness=1.2))
    assert torch.equal(same, labels) and bright.max() == 216 and bright.min() == 72
    flat = apply_strong(images.clone(), labels, strong(contrast=0.75))[0].float()
    assert flat.std() == pytest.approx(0.75 * float(images.float().std()), rel=0.02)
    smooth = apply_strong(images.clone(), labels, strong(sigma=5))[0]
    edge = images[0, 0].float().diff(dim=1).abs().max()
    assert smooth[0, 0].float().diff(dim=1).abs().max() < 0.6 * edge
    grey, labels = disc(channels=1)
    assert torch.equal(apply_strong(grey.clone(), labels, strong(saturation=1.2))[0], grey)


def test_a_sample_is_the_same_alone_and_among_others() -> None:
    images, labels = disc(batch=6)
    drawn = draw_strong(images.shape, 6, torch.Generator().manual_seed(1))
    together = apply_strong(images.clone(), labels.clone(), drawn)
    for i in range(6):
        one = slice(i, i + 1)
        alone = apply_strong(images[one].clone(), labels[one].clone(), drawn[one])
        assert torch.equal(alone[0][0], together[0][i]) and torch.equal(alone[1][0], together[1][i])
