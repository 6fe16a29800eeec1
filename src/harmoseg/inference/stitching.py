"""One plane at the resolution of its source, put together from what the network saw of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

_SIGMA = 0.125
"""Of the Gaussian weights, in sides of a window: MONAI's and nnU-Net's."""


class Place(Protocol):
    """A rectangle of a plane, in pixels of the source; it may reach beyond the plane."""

    @property
    def top(self) -> int:
        """Give the first row."""

    @property
    def left(self) -> int:
        """Give the first column."""

    @property
    def height(self) -> int:
        """Count the rows."""

    @property
    def width(self) -> int:
        """Count the columns."""


Weights = Callable[[tuple[int, int], torch.device], Tensor]
"""Gives the weights (h, w) of the pixels of a rectangle of that shape."""


def taper(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Weigh a slice's pixels from 1 in the middle down to nearly 0 at its border: (h, w)."""
    rows, columns = (1 - (2 * (torch.arange(n, device=device) + 0.5) / n - 1).abs() for n in shape)
    return rows[:, None] * columns


def gaussian(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Weigh a window's pixels by a Gaussian as MONAI's sliding windows do: (h, w)."""
    rows, columns = (
        torch.exp(-((torch.arange(n, device=device) - (n - 1) / 2) ** 2) / (2 * (_SIGMA * n) ** 2))
        for n in shape
    )
    weights = rows[:, None] * columns
    return weights.clamp(min=max(float(weights.min()), 1e-3))


@dataclass
class Canvas:
    """The probabilities of one plane of `height` x `width`, put together from its parts."""

    height: int
    width: int
    weigh: Weights = taper
    sums: Tensor | None = field(default=None, init=False)
    weights: Tensor | None = field(default=None, init=False)

    def add(self, place: Place, probabilities: Tensor) -> None:
        """Put the probabilities (C, h, w) of a part in their place."""
        shape = (place.height, place.width)
        if probabilities.shape[1:] != shape:
            probabilities = F.interpolate(
                probabilities[None], size=shape, mode="bilinear", align_corners=False
            )[0]
        if shape == (self.height, self.width):
            self.sums = probabilities
            return
        if self.sums is None or self.weights is None:
            self.sums = probabilities.new_zeros(len(probabilities), self.height, self.width)
            self.weights = probabilities.new_zeros(self.height, self.width)
        rows, source_rows = _overlap(place.top, place.height, self.height)
        columns, source_columns = _overlap(place.left, place.width, self.width)
        weights = self.weigh(shape, probabilities.device)[source_rows, source_columns]
        self.sums[:, rows, columns] += weights * probabilities[:, source_rows, source_columns]
        self.weights[rows, columns] += weights

    def finish(self) -> NDArray[np.float32]:
        """Give the plane (C, H, W)."""
        if self.sums is None:
            raise RuntimeError("a plane without slices")
        mean = self.sums if self.weights is None else self.sums / self.weights
        plane: NDArray[np.float32] = mean.cpu().numpy()
        # Rounding may carry a mean of probabilities just beyond 1.
        return np.clip(plane, 0, 1, out=plane)


def _overlap(start: int, length: int, extent: int) -> tuple[slice, slice]:
    """Give what an interval covers of 0 ... extent - 1, and which part of the interval that is."""
    first, last = max(start, 0), min(start + length, extent)
    return slice(first, last), slice(first - start, last - start)
