"""Flips and rotations, as in the paper: drawn in one place, applied in another.

A draw is a small tensor that can be written down; applying it to an image and to its label, now
or later, alone or in a batch, gives the same bytes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ANGLE = 20.0
"""Largest small-angle rotation, in degrees, as in TransUNet's published training code."""

DRAW_COLUMNS = ("quarter_turns", "flip", "degrees")
"""What a draw says of a sample, in the order in which it is done.

Quarter turns counter-clockwise (0 to 3), then a flip (0 none, 1 left to right, 2 upside down), then
a rotation by degrees counter-clockwise.
"""


def draw_transforms(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw one geometric transform per sample: (B, 3) float32, columns as in `DRAW_COLUMNS`.

    As in TransUNet's published training code: half of the samples are turned by a multiple of a
    right angle (of 180 degrees where the image is not square) and flipped along one axis, a
    quarter are turned by up to `MAX_ANGLE` degrees, a quarter stay as they are.
    """
    uniform = torch.rand(batch, 5, generator=generator)
    right_angled = uniform[:, 0] < 0.5
    turned = ~right_angled & (uniform[:, 1] < 0.5)
    step = 1 if height == width else 2
    quarters = torch.floor(uniform[:, 2] * 4 / step) * step * right_angled
    flip = torch.where(uniform[:, 4] < 0.5, 1.0, 2.0) * right_angled
    degrees = (uniform[:, 3] * 2 - 1) * MAX_ANGLE * turned
    return torch.stack((quarters, flip, degrees), dim=1)


def apply_transforms(images: Tensor, labels: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Transform images (B, C, H, W) and labels (B, H, W) by a draw (B, 3), on their device.

    Flips and right angles move pixels exactly. Other angles sample images bilinearly and labels
    by nearest neighbour; what turns in from outside is a reflection of the inside, for image and
    label alike. Returns tensors of the dtypes of the input, bytes rounded.
    """
    # Sample by sample: views of whole images, put together at the end in one copy, are several
    # times faster than indexing with a list.
    moved, turned = list(images), list(labels)
    tilted: dict[int, float] = {}
    for sample, (quarters, flip, degrees) in enumerate(drawn.tolist()):
        moved[sample] = _turn_and_flip(images[sample], int(quarters), int(flip))
        turned[sample] = _turn_and_flip(labels[sample], int(quarters), int(flip))
        if degrees != 0:
            tilted[sample] = degrees
    if tilted:
        several = _tilt(
            torch.stack([moved[sample] for sample in tilted]),
            torch.stack([turned[sample] for sample in tilted]),
            list(tilted.values()),
        )
        for sample, image, label in zip(tilted, *several, strict=True):
            moved[sample], turned[sample] = image, label
    # Into the memory layout of the input, whatever that of the pieces.
    return (
        torch.stack(moved, out=torch.empty_like(images)),
        torch.stack(turned, out=torch.empty_like(labels)),
    )


def _turn_and_flip(tensor: Tensor, quarters: int, flip: int) -> Tensor:
    """Turn (..., H, W) counter-clockwise by right angles, then flip it."""
    # An odd number of quarter turns is a transposition and a flip; every further turn or flip
    # only adds flips, of which two of one axis cancel. So the pixels are moved once.
    upside_down = (quarters in (1, 2)) != (flip == 2)
    left_to_right = (quarters in (2, 3)) != (flip == 1)
    if quarters % 2:
        tensor = tensor.transpose(-2, -1)
    axes = [axis for axis, wanted in ((-2, upside_down), (-1, left_to_right)) if wanted]
    return tensor.flip(axes) if axes else tensor


def _tilt(images: Tensor, labels: Tensor, degrees: list[float]) -> tuple[Tensor, Tensor]:
    """Rotate images (B, C, H, W) and labels (B, H, W) by any angles about their middle."""
    grid = _rotation_grid(degrees, images.shape[2], images.shape[3]).to(images.device)
    return resample(images, labels, grid)


def resample(images: Tensor, labels: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Take images (B, C, H, W) and labels (B, H, W) from the places of a grid (B, H, W, 2).

    Images bilinearly, labels by nearest neighbour; outside lies a reflection of the inside.
    """
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
    if not images.is_floating_point():
        moved = moved.round_()
    return moved.to(images.dtype), turned.squeeze(1).to(labels.dtype)


def _rotation_grid(degrees: list[float], height: int, width: int) -> Tensor:
    """Return the source of every pixel: (B, H, W, 2) as `grid_sample` takes it."""
    # Written out rather than left to affine_grid, whose matrix product may round differently
    # for another size of batch: a sample would not be the same alone and among others.
    x = (2 * torch.arange(width) + 1) / width - 1
    y = ((2 * torch.arange(height) + 1) / height - 1).unsqueeze(1)
    # grid_sample counts both axes from -1 to 1; the aspect ratio keeps a rotation of a non-square
    # image from shearing it.
    aspect = height / width
    grid = torch.empty(len(degrees), height, width, 2)
    for plane, angle in zip(grid, (math.radians(number) for number in degrees), strict=True):
        cos, sin = math.cos(angle), math.sin(angle)
        torch.sub(x * cos, y * (sin * aspect), out=plane[..., 0])
        torch.add(x * (sin / aspect), y * cos, out=plane[..., 1])
    return grid
