"""The one inference path: cases -> windows -> network -> planes at the resolution of the source.

The windows of all planes and of all cases have the network's size, so that they share batches.
That is why the sliding window is not MONAI's own, which takes one image at a time: only where the
windows lie had to be written for it, since overlapping parts are put together here anyhow, and a
test compares the whole with MONAI's. Importing MONAI would also take 2.5 s more on top of 3.9 s for
everything else.

Probabilities are resized bilinearly to the source and decided there, so that a network of low
resolution does not also give outlines of low resolution. Where windows overlap, probabilities are
averaged with weights that fall towards the border of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from harmoseg.inference.predictor import BATCH, Predictor, labels_of, mean_of_members
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


_SIGMA = 0.125
"""Of the Gaussian weights, in sides of a window: MONAI's and nnU-Net's."""

Item = TypeVar("Item")
Weights = Callable[[tuple[int, int], torch.device], Tensor]
"""Returns the weights (h, w) of the pixels of a window of that shape."""


def taper(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return weights from 1 in the middle down to nearly 0 at the border: (h, w)."""
    rows, columns = (1 - (2 * (torch.arange(n, device=device) + 0.5) / n - 1).abs() for n in shape)
    return rows[:, None] * columns


def gaussian(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return the Gaussian weights of MONAI's sliding windows: (h, w)."""
    rows, columns = (
        torch.exp(-((torch.arange(n, device=device) - (n - 1) / 2) ** 2) / (2 * (_SIGMA * n) ** 2))
        for n in shape
    )
    weights = rows[:, None] * columns
    return weights.clamp(min=max(float(weights.min()), 1e-3))


@dataclass(eq=False)
class Plane(Generic[Item]):
    """One predicted plane, `height` x `width`, of a case.

    `item` is what the caller named the case by, `number` the plane's. `parts` are the windows with
    the probabilities (networks, C, h, w) of every network at its resolution, `seconds` what the
    networks took for them, and `last` marks the case's last plane.
    """

    item: Item
    number: int
    height: int
    width: int
    last: bool
    weigh: Weights = taper
    parts: list[tuple[Window, Tensor]] = field(default_factory=list)
    seconds: float = 0.0

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Put the parts together: (C, height, width) at the resolution of the source."""
        (window, found), *others = self.parts
        whole = _resize(mean_of_members(found), window)
        if others or whole.shape[1:] != (self.height, self.width):
            whole = self._average()
        plane: NDArray[np.float32] = whole.cpu().numpy()
        # Rounding may carry a mean of probabilities just beyond 1.
        return np.clip(plane, 0, 1)

    @cached_property
    def label(self) -> NDArray[np.uint8]:
        """Decide every pixel: class indices (height, width)."""
        return labels_of(self.probabilities)

    def _average(self) -> Tensor:
        found = mean_of_members(self.parts[0][1])
        sums = found.new_zeros(len(found), self.height, self.width)
        weights = found.new_zeros(self.height, self.width)
        for window, probabilities in self.parts:
            rows, rows_there = _overlap(window.top, window.height, self.height)
            columns, columns_there = _overlap(window.left, window.width, self.width)
            there = (rows_there, columns_there)
            weight = self.weigh((window.height, window.width), found.device)[there]
            resized = _resize(mean_of_members(probabilities), window)
            sums[:, rows, columns] += weight * resized[:, *there]
            weights[rows, columns] += weight
        return sums / weights


def predict_planes(
    predictor: Predictor,
    cases: Iterable[tuple[Item, tuple[int, ...], Iterable[Window]]],
    *,
    weigh: Weights = taper,
    batch_size: int = BATCH,
) -> Generator[Plane[Item]]:
    """Predict cases plane by plane, in order; windows of all cases share batches.

    A case is whatever names it, its shape (D, H, W, ...), and its windows in order of their planes,
    one or more of each plane. Planes are put together when they are first asked for their
    probabilities, which other threads can do.
    """

    def windows() -> Iterator[tuple[tuple[Item, tuple[int, ...]], Window]]:
        for item, shape, found in cases:
            case = (item, shape)
            yield from ((case, window) for window in found)

    batches = (
        (batch, stack_windows([window for _, window in batch], predictor))
        for batch in batched(windows(), batch_size)
    )
    plane: Plane[Item] | None = None
    owner: object = None
    for batch, found, seconds in predictor.in_order(batches):
        for (case, window), probabilities in zip(batch, found, strict=True):
            if plane is None or owner is not case or plane.number != window.plane:
                if plane is not None:
                    yield plane
                item, (depth, height, width, *_) = case
                last = window.plane == depth - 1
                plane, owner = Plane(item, window.plane, height, width, last, weigh), case
            plane.parts.append((window, probabilities))
            plane.seconds += seconds / len(batch)
    if plane is not None:
        yield plane


def batched(items: Iterable[Item], size: int = BATCH) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`, the last of which may be shorter."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _resize(probabilities: Tensor, window: Window) -> Tensor:
    size = (window.height, window.width)
    if probabilities.shape[1:] == size:
        return probabilities
    resized: Tensor = F.interpolate(
        probabilities[None], size=size, mode="bilinear", align_corners=False
    )
    return resized[0]


def _overlap(start: int, length: int, extent: int) -> tuple[slice, slice]:
    """Return the part of 0 ... extent - 1 that an interval covers, and which part of it that is."""
    first, last = max(start, 0), min(start + length, extent)
    return slice(first, last), slice(first - start, last - start)
