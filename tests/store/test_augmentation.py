"""Flips and rotations: exact where they can be, the same for image and label."""

from __future__ import annotations

import math

import pytest
import torch

from harmoseg.store.augmentation import apply_transforms, draw_transforms


def pair(height: int = 8, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    label = torch.randint(0, 4, (1, height, width))
    return label[:, None].float() * 10, label


def rotation(degrees: float) -> torch.Tensor:
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]])


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (rotation(0), lambda x: x),
        (rotation(90), lambda x: torch.rot90(x, 1, (-2, -1))),
        (rotation(180), lambda x: torch.rot90(x, 2, (-2, -1))),
        (torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]), lambda x: x.flip(-1)),
        (torch.tensor([[[1.0, 0, 0], [0, -1, 0]]]), lambda x: x.flip(-2)),
    ],
)
def test_flips_and_right_angles_move_pixels_exactly(matrix, expected) -> None:
    image, label = pair()
    moved, turned = apply_transforms(image, label, matrix)
    torch.testing.assert_close(moved, expected(image), atol=1e-4, rtol=0)
    assert torch.equal(turned, expected(label))


def test_image_and_label_move_together() -> None:
    image, label = pair(64, 64)
    # Constant blocks, so that bilinear and nearest sampling agree away from edges.
    label = label[:, ::16, ::16].repeat_interleave(16, 1).repeat_interleave(16, 2)
    image = label[:, None].float() * 10
    matrices = draw_transforms(1, 64, 64, torch.Generator().manual_seed(3))
    moved, turned = apply_transforms(image, label, matrices)
    assert (moved[:, 0] / 10).round().long().eq(turned).float().mean() > 0.9


def test_a_draw_can_be_replayed() -> None:
    image, label = pair()
    draws = [draw_transforms(16, 8, 8, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(draws[0], draws[1])
    first = apply_transforms(image, label, draws[0][:1])
    assert all(map(torch.equal, first, apply_transforms(image, label, draws[1][:1])))


def test_a_quarter_of_the_draws_changes_nothing_and_all_keep_areas() -> None:
    matrices = draw_transforms(4000, 8, 8, torch.Generator().manual_seed(0))
    unchanged = (matrices == torch.eye(2, 3)).flatten(1).all(1).float().mean()
    assert 0.22 < unchanged < 0.28
    torch.testing.assert_close(torch.det(matrices[:, :, :2]).abs(), torch.ones(4000))


def test_non_square_images_are_not_turned_on_their_side() -> None:
    image, label = torch.zeros(1, 1, 8, 16), torch.zeros(1, 8, 16, dtype=torch.long)
    image[..., 3:5, :], label[:, 3:5, :] = 1.0, 1  # a horizontal bar
    for matrix in draw_transforms(64, 8, 16, torch.Generator().manual_seed(1)):
        moved, turned = apply_transforms(image, label, matrix[None])
        assert moved.shape == image.shape
        # A bar turned by 20 degrees at the most still covers more columns than rows.
        assert turned.any(1).sum() >= turned.any(2).sum()
