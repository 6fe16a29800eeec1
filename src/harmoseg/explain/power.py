"""At which frequencies images and masks have their power (Fig. 2 of the paper).

The zero frequency is told apart. It is the mean of a plane: how bright an image is, how large a
mask, and nothing of what they show; and in an image it is most of the power, so that shares with it
would say little else. All shares are therefore of the power that remains when the mean is taken
away, and what the zero frequency held is given beside them.

A transform takes the left border of a plane for the neighbour of the right one. Where they differ,
as in most images and few masks, the jump puts power at high frequencies that no structure has. So
images are also given a taper (a Hann window), which takes the jump away and blurs the spectrum by
about one ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from harmoseg.explain.slices import ShownSlice
from harmoseg.spectrum import Rings, make_rings, power_spectrum


@dataclass(frozen=True, eq=False)
class PowerShares:
    """The shares of power of planes of one kind.

    `edges` (rings,) are the lower edges of linear rings without the zero frequency, in cycles per
    pixel, each one cycle over the longest side wide; the last one takes the corners too. `shares`
    (planes, rings) add up to 1 in every plane; `zero` (planes,) is the zero frequency's share of
    all power. Planes without variation have no shares and are not among them.
    """

    kind: str
    edges: NDArray[np.float64]
    shares: NDArray[np.float64]
    zero: NDArray[np.float64]

    @property
    def cumulative(self) -> NDArray[np.float64]:
        """Return the share of power below each ring's upper edge: (planes, rings)."""
        return np.asarray(np.cumsum(self.shares, axis=1))

    @property
    def upper(self) -> NDArray[np.float64]:
        """Return the upper edges of the rings; that of the last leaves out the corners."""
        return np.asarray(self.edges + self.edges[0])

    def octaves(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Add the rings up to octaves: their lower edges (octaves,), shares (planes, octaves)."""
        first = 2 ** np.arange(int(np.log2(len(self.edges))) + 1) - 1
        return self.edges[first], np.add.reduceat(self.shares, first, axis=1)


def power_of_planes(
    kind: str, planes: Sequence[NDArray[np.float64]], *, taper: bool = False
) -> PowerShares:
    """Measure the shares of power of planes (H, W) or (H, W, C) of one size; channels are added up.

    With `taper` each plane is first multiplied by a Hann window over both axes.
    """
    rings = make_rings(planes[0].shape[:2], kind="linear")
    measured = [_shares(plane, rings, taper) for plane in planes]
    found = [item for item in measured if item is not None]
    shares = np.stack([share for share, _ in found]) if found else np.zeros((0, len(rings) - 1))
    zero = np.asarray([value for _, value in found])
    return PowerShares(kind, np.asarray(rings.edges[1:]), shares, zero)


def power_of_slices(shown: Sequence[ShownSlice]) -> list[PowerShares]:
    """Measure slices: their images, their images with a taper, the masks of all their classes.

    A mask is one foreground class of one slice.
    """
    images = [item.image / 255 for item in shown]
    masks = [mask.astype(np.float64) for item in shown for mask in item.masks()]
    return [
        power_of_planes("images", images),
        power_of_planes("images, tapered", images, taper=True),
        power_of_planes("masks", masks),
    ]


def _shares(
    plane: NDArray[np.float64], rings: Rings, taper: bool
) -> tuple[NDArray[np.float64], float] | None:
    """Return the share of every ring but the zero frequency, and that of the zero frequency."""
    channels = np.moveaxis(np.atleast_3d(plane), -1, 0)
    total = float(np.square(channels).sum())
    window = _hann(plane.shape[0], plane.shape[1]) if taper else np.ones(plane.shape[:2])
    # The mean under the window: what is left has no zero frequency once it is multiplied.
    means = (channels * window).sum((1, 2), keepdims=True) / window.sum()
    varying = power_spectrum(torch.from_numpy((channels - means) * window)).sum(0)
    sums = np.bincount(rings.index.numpy().ravel(), varying.numpy().ravel(), len(rings))[1:]
    if not total or sums.sum() <= 1e-20 * total:
        return None
    plain = channels.mean((1, 2))
    return sums / sums.sum(), float(np.square(plain).sum() * window.size / total)


def _hann(height: int, width: int) -> NDArray[np.float64]:
    # Of pixels' centres, so that no row or column is lost altogether.
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width))
    return np.asarray(rows[:, None] * columns)
