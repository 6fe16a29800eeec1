"""The strong augmentation: the paper's, and scale, elastic bending, colour and blur.

A draw is a small tensor, as that of the paper's augmentation: its first columns are that draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoseg.store.augmentation import DRAW_COLUMNS, apply_transforms, draw_transforms, resample

STRONG_COLUMNS = (
    *DRAW_COLUMNS,
    *("scale", "bend", "bend_seed", "brightness", "contrast", "saturation", "sigma"),
)
"""What a strong draw says of a sample, in the order in which it is done.

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
"""Of the field of a bend along either side: what lies between is interpolated smoothly."""


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
