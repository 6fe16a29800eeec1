"""Spectra of images and masks: their maps, their power, and what changes of masks do to them.

These are the numbers of the paper's Figs. 8, 2 and 3.

The zero frequency is told apart. It is the mean of a plane: how bright an image is, how large a
mask, and nothing of what they show; and in an image it is most of the power, so that shares with it
would say little else. All shares of power are therefore of what remains when the mean is taken
away, and what the zero frequency held is given beside them.

A transform takes the left border of a plane for the neighbour of the right one. Where they differ,
as in most images and few masks, the jump puts power at high frequencies that no structure has. So
images are also given a taper (a Hann window), which takes the jump away and blurs the spectrum by
about one ring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from harmoseg.errors import HarmosegError
from harmoseg.metrics import (
    confusion_counts,
    log_magnitude_correlation,
    mean_of_defined,
    overlap_metric,
    spectral_fidelity,
)
from harmoseg.spectrum import Rings, log_magnitude, make_rings, power_spectrum

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Plane = NDArray[np.float64]
Kind = Literal["shift", "dilate", "erode", "blob", "smooth"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class MapCorrelation:
    """Correlation of the spectral maps of a prediction with those of the truth.

    `per_class` has every foreground class that prediction or truth holds; NaN where one of the two
    holds none of it, since the map of an empty mask is flat. `mean` is over the `defined` ones,
    NaN where there are none.
    """

    per_class: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Average over the classes whose correlation is defined."""
        return float(mean_of_defined(np.asarray(list(self.per_class.values()), np.float64)))

    @property
    def defined(self) -> int:
        """Count the classes whose correlation is defined."""
        return sum(bool(np.isfinite(value)) for value in self.per_class.values())


def classes_in(label: Labels) -> list[int]:
    """List the foreground classes of a label map."""
    return [int(value) for value in np.unique(label) if value > 0]


def spectral_map(label: Labels, classes: list[int] | None = None) -> Plane:
    """Return the centred log-magnitude log(1 + |P|) of a label map (H, W), zero in the middle.

    Of several classes it is the mean of the maps of each: of `classes` where they are given, so
    that a prediction is pictured by its truth's classes, else of those that the label map holds.
    Without any it is 0 everywhere.
    """
    wanted = classes_in(label) if classes is None else classes
    if label.ndim != 2:
        raise HarmosegError(f"a label map of shape {label.shape}, expected (H, W)")
    if not wanted:
        return np.zeros(label.shape)
    masks = torch.from_numpy(np.stack([label == value for value in wanted]))
    return np.asarray(log_magnitude(masks.double()).mean(0).numpy())


def map_correlation(pred: Labels, truth: Labels) -> MapCorrelation:
    """Correlate the spectral maps of two label maps, class by class.

    By `log_magnitude_correlation`, Pearson's r over the very values that the maps picture. The
    paper gives no formula for its "Corr."; the other candidate, `spectral_correlation` over all
    frequencies, is the Dice coefficient of two binary masks by Parseval's theorem, and so would
    say nothing of the spectra.
    """
    found = sorted({*classes_in(pred), *classes_in(truth)})
    return MapCorrelation(
        {value: log_magnitude_correlation(pred == value, truth == value) for value in found}
    )


@dataclass(frozen=True, eq=False)
class PowerShares:
    """The shares of power of planes of one kind.

    `edges` (rings,) are the lower edges of linear rings without the zero frequency, in cycles per
    pixel, each one cycle over the longest side wide; the last one takes the corners too. `shares`
    (planes, rings) add up to 1 in every plane; `zero` (planes,) is the zero frequency's share of
    all power. Planes without variation have no shares and are not among them.
    """

    kind: str
    edges: Plane
    shares: Plane
    zero: Plane

    @property
    def cumulative(self) -> Plane:
        """Return the share of power below each ring's upper edge: (planes, rings)."""
        return np.asarray(np.cumsum(self.shares, axis=1))

    @property
    def upper(self) -> Plane:
        """Return the upper edges of the rings; that of the last leaves out the corners."""
        return np.asarray(self.edges + self.edges[0])

    def octaves(self) -> tuple[Plane, Plane]:
        """Add the rings up to octaves: their lower edges (octaves,), shares (planes, octaves)."""
        first = 2 ** np.arange(int(np.log2(len(self.edges))) + 1) - 1
        return self.edges[first], np.add.reduceat(self.shares, first, axis=1)


def power_of_planes(kind: str, planes: Sequence[Plane], *, taper: bool = False) -> PowerShares:
    """Measure the shares of power of planes (H, W) or (H, W, C) of one size; channels are added up.

    With `taper` each plane is first multiplied by a Hann window over both axes.
    """
    rings = make_rings(planes[0].shape[:2], kind="linear")
    measured = [_shares(plane, rings, taper) for plane in planes]
    found = [item for item in measured if item is not None]
    shares = np.stack([share for share, _ in found]) if found else np.zeros((0, len(rings) - 1))
    zero = np.asarray([value for _, value in found])
    return PowerShares(kind, np.asarray(rings.edges[1:]), shares, zero)


def _shares(plane: Plane, rings: Rings, taper: bool) -> tuple[Plane, float] | None:
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


def _hann(height: int, width: int) -> Plane:
    # Of pixels' centres, so that no row or column is lost altogether.
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width))
    return np.asarray(rows[:, None] * columns)


@dataclass(frozen=True)
class Change:
    """A change of a mask by `amount` pixels.

    ``shift`` moves it to the right, and loses what leaves the image; ``dilate`` and ``erode`` move
    its outline outwards and inwards; ``blob`` adds a disc of that radius in the middle of the
    largest empty place; ``smooth`` blurs it by a Gaussian of that deviation and cuts it at one
    half again, which rounds its outline off.
    """

    kind: Kind
    amount: int


CHANGES = tuple(
    Change(kind, amount)
    for kind in KINDS
    for amount in ((1, 2, 4, 8, 16) if kind == "shift" else (1, 2, 4, 8))
)
"""Changes that the figure shows."""


@dataclass(frozen=True, eq=False)
class Effect:
    """The effect of a change, averaged over `masks` masks.

    `spatial` is 1 - Dice. `rings` (rings,) is 1 - the ring correlation, in octave rings.
    `spectrum` is 1 - the correlation over all frequencies at once, which Parseval's theorem makes
    equal to `spatial`, and `magnitude` is 1 - the correlation of the log-magnitude maps, which
    know no place.
    """

    change: Change
    masks: int
    spatial: float
    spectrum: float
    magnitude: float
    rings: Plane


def change_mask(mask: Mask, change: Change) -> Mask | None:
    """Change a mask (H, W); None where a blob has no room beside it.

    Raises HarmosegError for an amount below 1.
    """
    if change.amount < 1:
        raise HarmosegError(f"{change.kind} by {change.amount}, expected 1 pixel or more")
    changes: dict[Kind, Callable[[Mask, int], Mask | None]] = {
        "shift": _shift,
        "dilate": lambda mask, amount: _distance(~mask) <= amount,
        "erode": lambda mask, amount: _distance(mask) > amount,
        "blob": _add_blob,
        "smooth": _smooth,
    }
    return changes[change.kind](mask, change.amount)


def change_effects(
    masks: Sequence[Mask], changes: Sequence[Change] = CHANGES
) -> tuple[Plane, list[Effect]]:
    """Measure changes of masks (H, W) of one size: edges of the octave rings, and the effects.

    The edges (rings,) are in cycles per pixel, the first 0: a ring of the zero frequency alone.
    Every mask counts equally. A mask that an erosion removes counts with a change of 1. Raises
    HarmosegError where no mask has any foreground.
    """
    chosen = [np.asarray(mask, np.bool_) for mask in masks if np.any(mask)]
    if not chosen:
        raise HarmosegError("no mask has any foreground; there is nothing to change")
    rings = make_rings(chosen[0].shape, kind="octave")
    effects = []
    for change in changes:
        pairs = ((change_mask(mask, change), mask) for mask in chosen)
        found = []
        for changed, mask in pairs:
            if changed is None:
                continue
            fidelity, magnitude = spectral_fidelity(changed, mask, spacing="pixel", rings=rings)
            counts = confusion_counts(changed.astype(np.uint8), mask.astype(np.uint8), 2)[1]
            dice = float(overlap_metric("DSC", counts))
            whole_spectrum = 2 * fidelity.cross.sum() / fidelity.power.sum()
            found.append((dice, whole_spectrum, magnitude, *fidelity.correlation))
        values = mean_of_defined(1 - np.asarray(found).reshape(len(found), 3 + len(rings)))
        spatial, spectrum, maps = values[:3].tolist()
        effects.append(Effect(change, len(found), spatial, spectrum, maps, values[3:]))
    return np.asarray(rings.edges), effects


def _distance(mask: Mask) -> Plane:
    """Return the distance of every pixel of a mask to the outside; the border is no edge."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(mask))


def _shift(mask: Mask, amount: int) -> Mask:
    moved = np.zeros_like(mask)
    moved[:, amount:] = mask[:, :-amount]
    return moved


def _smooth(mask: Mask, amount: int) -> Mask:
    blurred = ndimage.gaussian_filter(mask.astype(np.float64), amount, mode="nearest")
    return np.asarray(blurred > 0.5)


def _add_blob(mask: Mask, amount: int) -> Mask | None:
    # A frame counts as taken, so that the disc lies wholly inside the image.
    room = np.asarray(ndimage.distance_transform_edt(np.pad(~mask, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(int(room.argmax()), mask.shape)
    if room[row, column] <= amount + 1:
        return None
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return mask | ((y - row) ** 2 + (x - column) ** 2 <= amount**2)
