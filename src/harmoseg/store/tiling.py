"""Cutting a case into the slices that a network sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmoseg.store.layout import Slice

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One case in memory, as its source has it.

    `image` is (D, H, W, C) uint8 and `label` (D, H, W) uint8 class indices; a plain image has
    depth 1. `spacing` and `affine` are those of `Case`. `remark` says what a person should know of
    its files, such as a part that was passed over.
    """

    image: Bytes
    label: Bytes
    spacing: tuple[float, ...] = ()
    affine: tuple[float, ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class CutSample:
    """The slices of a case at training resolution: images (S, h, w, C), labels (S, h, w)."""

    slices: tuple[Slice, ...]
    images: Bytes
    labels: Bytes


def cut(sample: Sample, *, size: int, tile: int = 0) -> CutSample:
    """Cut a sample into slices of `size` x `size` pixels.

    Every plane becomes one slice, or, with a `tile`, several: squares of that side in pixels of
    the source, evenly spread so that they cover the plane, overlapping where it is no multiple.
    """
    depth, height, width = sample.label.shape
    slices, images, labels = [], [], []
    for plane in range(depth):
        for top, left, rows, columns in squares(height, width, tile):
            window = (plane, slice(top, top + rows), slice(left, left + columns))
            label = sample.label[window]
            foreground = int(np.count_nonzero(label))
            slices.append(Slice(plane, top, left, rows, columns, foreground))
            images.append(resize_image(sample.image[window], size, size))
            labels.append(resize_label(label, size, size))
    return CutSample(tuple(slices), np.stack(images), np.stack(labels))


def squares(height: int, width: int, tile: int) -> list[tuple[int, int, int, int]]:
    """Cover a plane with squares of a tile's side: (top, left, height, width); 0 gives it whole."""
    return [
        (top, left, rows, columns)
        for top, rows in _intervals(height, tile)
        for left, columns in _intervals(width, tile)
    ]


def resize_image(image: Bytes, height: int, width: int) -> Bytes:
    """Resize (H', W', C) to (height, width, C) with antialiasing."""
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, image.shape[2])


def resize_label(label: Bytes, height: int, width: int) -> Bytes:
    """Resize a label map (H', W') to (height, width): each pixel takes the class that covers most.

    The nearest neighbour would instead move every outline by up to half a pixel, always to the
    same side when the scale is even.
    """
    if label.shape == (height, width):
        return label
    present = np.flatnonzero(np.bincount(label.ravel(), minlength=1)).astype(np.uint8)
    if len(present) == 1:
        return np.full((height, width), present[0])
    shares = [
        np.asarray(
            Image.fromarray((label == value).astype(np.float32)).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for value in present
    ]
    majority: Bytes = present[np.argmax(shares, axis=0)]
    return majority


def _intervals(length: int, tile: int) -> list[tuple[int, int]]:
    """Cover 0 ... length - 1 with intervals (start, length) of a tile's side."""
    if tile <= 0 or length <= tile:
        return [(0, length)]
    count = -(-length // tile)
    starts = np.rint(np.linspace(0, length - tile, count)).astype(int)
    return [(int(start), tile) for start in starts]
