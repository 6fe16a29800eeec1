"""Flips and rotations, as in the paper: drawn in one place, applied in another.

A draw is a small tensor that can be written down; applying it to an image and to its label, now
or later, gives the same result.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ANGLE = 20.0
"""Largest small-angle rotation, in degrees, as in TransUNet's published training code."""


def draw_transforms(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw one geometric transform per sample: (B, 2, 3) matrices for `apply_transforms`.

    As in TransUNet's published training code: half of the samples are turned by a multiple of a
    right angle (of 180 degrees where the image is not square) and flipped along one axis, a
    quarter are turned by up to `MAX_ANGLE` degrees, a quarter stay as they are.
    """
    uniform = torch.rand(batch, 5, generator=generator)
    right_angled = uniform[:, 0] < 0.5
    turned = ~right_angled & (uniform[:, 1] < 0.5)
    step = 1 if height == width else 2
    quarters = torch.floor(uniform[:, 2] * 4 / step) * step * right_angled
    degrees = (uniform[:, 3] * 2 - 1) * MAX_ANGLE * turned
    flipped = torch.stack((uniform[:, 4] < 0.5, uniform[:, 4] >= 0.5), dim=1)
    flips = torch.where(flipped & right_angled[:, None], -1.0, 1.0)
    angle = quarters * (math.pi / 2) + degrees * (math.pi / 180)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # affine_grid works in coordinates of [-1, 1] on both axes; the aspect ratio keeps a rotation
    # of a non-square image from shearing it.
    aspect = height / width
    zero = torch.zeros(batch)
    x_axis = torch.stack((cos * flips[:, 0], -sin * aspect * flips[:, 1], zero), dim=1)
    y_axis = torch.stack((sin / aspect * flips[:, 0], cos * flips[:, 1], zero), dim=1)
    return torch.stack((x_axis, y_axis), dim=1)


def apply_transforms(images: Tensor, labels: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Transform images (B, C, H, W), bilinearly, and labels (B, H, W), by nearest neighbour.

    What turns in from outside is a reflection of the inside, for image and label alike. Returns
    float32 images on the scale of the input, and labels of the dtype of the input.
    """
    grid = F.affine_grid(
        matrices.to(images.device), [len(images), 1, *images.shape[2:]], align_corners=False
    )
    moved = F.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    turned = F.grid_sample(
        labels.unsqueeze(1).float(),
        grid,
        mode="nearest",
        padding_mode="reflection",
        align_corners=False,
    )
    return moved, turned.squeeze(1).to(labels.dtype)
