"""What small changes of a mask do in space and in the spectrum (Fig. 3 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harmoseg.errors import HarmosegError
from harmoseg.metrics import confusion_counts, mean_of_defined, overlap_metric, spectral_fidelity
from harmoseg.spectrum import make_rings

Mask = NDArray[np.bool_]
Kind = Literal["shift", "dilate", "erode", "blob", "smooth"]
KINDS: tuple[Kind, ...] = get_args(Kind)


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
"""What the figure shows."""


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
    rings: NDArray[np.float64]


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
) -> tuple[NDArray[np.float64], list[Effect]]:
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


def _distance(mask: Mask) -> NDArray[np.float64]:
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
