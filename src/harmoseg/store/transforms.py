"""Transforms from stored bytes to a network's input: normalisation and augmentation.

Augmentation is drawn in one place and applied in another. A draw is a small tensor that can be
written down; applying it to an image and to its label, now or later, alone or in a batch, gives the
same bytes. The first columns of a strong draw are a draw of the paper's flips and rotations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

# ImageNet's mean and standard deviation, which pretrained encoders expect. Constants rather than
# statistics of a store: nothing of any split leaks, and a model means the same on every store.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)

MAX_ANGLE = 20.0
"""Largest small-angle rotation, in degrees, as in TransUNet's published training code."""

DRAW_COLUMNS = ("quarter_turns", "flip", "degrees")
"""Columns of a draw, in the order in which they are applied.

Quarter turns counter-clockwise (0 to 3), then a flip (0 none, 1 left to right, 2 upside down), then
a rotation by degrees counter-clockwise.
"""

STRONG_COLUMNS = (
    *DRAW_COLUMNS,
    *("scale", "bend", "bend_seed", "brightness", "contrast", "saturation", "sigma"),
)
"""Columns of a strong draw, in the order in which they are applied.

The `scale` of what is seen, the largest displacement of a `bend` as a share of the side, and the
seed of its field; factors of brightness, contrast and saturation; `sigma` of the blur in pixels of
a plane of 224, 0 for none.
"""

SCALES, FACTORS, SIGMAS = (0.7, 1.4), (0.75, 1.25), (0.5, 1.5)
BEND = 0.08
_CHANCES = {"scale": 0.5, "bend": 0.25, "brightness": 0.3, "contrast": 0.3, "saturation": 0.3,
            "sigma": 0.2}  # fmt: skip
_COLOURS = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "sigma": 0.0}
"""Columns of colour and blur, with the value that changes nothing."""
_KNOTS = 6
"""Points of the field of a bend along either side: what lies between is interpolated smoothly."""


def images_to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Turn (B, H, W, C) bytes into a (B, C, H, W) uint8 tensor, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def normalisation(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the deviation of every channel of images in [0, 1].

    Three channels have ImageNet's own values, any other number their mean over the channels.
    """
    if channels == 3:
        return _MEAN, _STD
    return (sum(_MEAN) / 3,) * channels, (sum(_STD) / 3,) * channels


def normalise(images: Tensor) -> Tensor:
    """Scale (B, C, H, W) images in [0, 255] to float32 by `normalisation`."""
    shape = (1, -1, 1, 1)
    mean, std = (
        torch.tensor(values, device=images.device).reshape(shape)
        for values in normalisation(images.shape[1])
    )
    return (images.float() / 255 - mean) / std


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


def draw_strong(shape: Sequence[int], batch: int, generator: torch.Generator) -> Tensor:
    """Draw for `batch` samples of a batch's `shape` (B, C, H, W): (batch, 10) float32.

    The paper's flips and rotations for every sample; then each of the others alone with a chance:
    scale 0.7 to 1.4 in half of them, a bend in a quarter, brightness, contrast and saturation by
    up to a quarter in three of ten each, blur in a fifth.
    """
    paper = draw_transforms(batch, shape[2], shape[3], generator)
    chance, amount = torch.rand(2, batch, len(_CHANCES), generator=generator)
    seed = torch.randint(2**20, (batch, 1), generator=generator).float()
    drawn = {}
    for place, (name, share) in enumerate(_CHANCES.items()):
        low, high = {"scale": SCALES, "bend": (0.3 * BEND, BEND), "sigma": SIGMAS}.get(
            name, FACTORS
        )
        nothing = 0.0 if name in ("bend", "sigma") else 1.0
        value = low + (high - low) * amount[:, place]
        drawn[name] = torch.where(chance[:, place] < share, value, nothing)[:, None]
    drawn["bend_seed"] = seed
    others = [drawn[name] for name in STRONG_COLUMNS[len(DRAW_COLUMNS) :]]
    return torch.cat([paper, *others], dim=1)


def apply_strong(images: Tensor, labels: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Change images (B, C, H, W) of bytes and labels (B, H, W) by a draw, on their device.

    What comes in from outside is a reflection of the inside. Colours are changed by torchvision.
    """
    images, labels = apply_transforms(images, labels, drawn[:, : len(DRAW_COLUMNS)])
    rows = [dict(zip(STRONG_COLUMNS, row, strict=True)) for row in drawn.tolist()]
    warped = [i for i, row in enumerate(rows) if row["scale"] != 1 or row["bend"] > 0]
    if warped:
        height, width = labels.shape[1:]
        grid = torch.stack([_grid(rows[i], height, width) for i in warped]).to(images.device)
        images[warped], labels[warped] = resample(images[warped], labels[warped], grid)
    for sample, row in enumerate(rows):
        if any(row[name] != nothing for name, nothing in _COLOURS.items()):
            images[sample] = _recolour(images[sample], row)
    return images, labels


def _grid(row: dict[str, float], height: int, width: int) -> Tensor:
    """Return where every pixel comes from: (H, W, 2) as `grid_sample` takes it."""
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1) / row["scale"]
    if row["bend"] > 0:
        generator = torch.Generator().manual_seed(int(row["bend_seed"]))
        knots = torch.rand(1, 2, _KNOTS, _KNOTS, generator=generator) * 2 - 1
        field = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)
        grid = grid + 2 * row["bend"] * field[0].permute(1, 2, 0)
    return grid


def _recolour(image: Tensor, row: dict[str, float]) -> Tensor:
    """Change one image (C, H, W) of bytes."""
    # Imported here: readers of stores need none of it.
    from torchvision.transforms.v2 import functional as vision

    if row["brightness"] != 1:
        image = vision.adjust_brightness(image, row["brightness"])
    if row["contrast"] != 1:
        image = vision.adjust_contrast(image, row["contrast"])
    if row["saturation"] != 1 and len(image) == 3:
        image = vision.adjust_saturation(image, row["saturation"])
    if row["sigma"] > 0:
        sigma = row["sigma"] * max(image.shape[1:]) / 224
        side = 2 * max(1, round(2 * sigma)) + 1
        image = vision.gaussian_blur(image, [side, side], [sigma, sigma])
    return image
