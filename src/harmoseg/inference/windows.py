"""What a network sees of a case: planes resized, cut into squares, or under a sliding window.

The windows of all planes and of all cases have the network's size, so that they share batches.
That is why the sliding window is not MONAI's own, which takes one image at a time: only where the
windows lie had to be written for it, since overlapping parts are put together here anyhow
(`harmoseg.inference.planes`), and a test compares the whole with MONAI's. Importing MONAI would
also take 2.5 s more on top of 3.9 s for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harmoseg.inference.predictor import Predictor
from harmoseg.store.tiling import resize_image, squares


@dataclass(frozen=True, eq=False)
class Window:
    """One rectangle of a plane as the network sees it: `image` (h, w, C) of the network's size.

    `padding` counts the rows and columns (before, after, before, after) of `image` that lie beyond
    the plane, where that is smaller than a sliding window.
    """

    plane: int
    top: int
    left: int
    height: int
    width: int
    image: NDArray[np.uint8]
    padding: tuple[int, int, int, int] | None = None


def cut_windows(
    image: NDArray[np.uint8], size: tuple[int, int], *, tile: int = 0, overlap: float | None = None
) -> list[Window]:
    """Cut a case (D, H, W, C) into windows for a network of `size` (h, w), plane by plane.

    Planes, or with a `tile` squares of that side, are resized to `size` as in a store. With an
    `overlap`, the share of its side that a window has in common with the next, a window of `size`
    slides over the plane instead.
    """
    if overlap is not None:
        return _sliding(image, size, overlap)
    _, height, width, _ = image.shape
    windows = []
    for plane, pixels in enumerate(image):
        for top, left, rows, columns in squares(height, width, tile):
            part = pixels[top : top + rows, left : left + columns]
            windows.append(Window(plane, top, left, rows, columns, resize_image(part, *size)))
    return windows


def stack_windows(windows: Sequence[Window], predictor: Predictor) -> Tensor:
    """Make a batch of windows that a network takes; what lies beyond a plane is 0 to it."""
    prepared = predictor.prepare(np.stack([window.image for window in windows]))
    for number, window in enumerate(windows):
        if window.padding is not None:
            above, below, before, after = window.padding
            height, width = prepared.shape[2:]
            prepared[number, :, :above] = prepared[number, :, height - below :] = 0
            prepared[number, :, :, :before] = prepared[number, :, :, width - after :] = 0
    return prepared


def _sliding(image: NDArray[np.uint8], size: tuple[int, int], overlap: float) -> list[Window]:
    tops, lefts = (
        _starts(length, side, overlap) for length, side in zip(image.shape[1:3], size, strict=True)
    )
    # Half of what is missing goes before, and the other half after, as MONAI pads.
    missing = [max(0, side - length) for length, side in zip(image.shape[1:3], size, strict=True)]
    (above, below), (before, after) = ((n // 2, n - n // 2) for n in missing)
    padding = (above, below, before, after) if any(missing) else None
    windows: list[Window] = []
    for plane, pixels in enumerate(image):
        padded = pixels
        if padding is not None:
            padded = np.pad(pixels, ((above, below), (before, after), (0, 0)))
        windows.extend(
            Window(
                plane,
                top - above,
                left - before,
                *size,
                padded[top : top + size[0], left : left + size[1]],
                padding,
            )
            for top in tops
            for left in lefts
        )
    return windows


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Return where windows begin along an axis: in even steps, the last one at the end."""
    if length <= side:
        return [0]
    step = max(1, int(side * (1 - overlap)))
    return [*range(0, length - side, step), length - side]
