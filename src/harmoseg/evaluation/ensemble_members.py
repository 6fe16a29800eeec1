"""How far the members of an ensemble agree on a case, and how sure the ensemble is of it.

Both are known without the truth, so that they may tell which cases fail. They are measured at
training resolution, where all members are at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harmoseg.inference.labels import labels_of
from harmoseg.metrics.overlap import divide_defined

AGREEMENT, CONFIDENCE = "agreement", "confidence"


@dataclass(frozen=True, eq=False)
class MemberSums:
    """Sums over pixels, by class with the background first.

    `both` and `either` (pairs, classes) count the pixels that both members of a pair gave a class,
    and the sum of what each gave. `confidence` and `pixels` (classes,) are the summed probability
    of the class over the pixels that the ensemble gave it, and their number.
    """

    both: NDArray[np.int64]
    either: NDArray[np.int64]
    confidence: NDArray[np.float64]
    pixels: NDArray[np.int64]


def sum_members(parts: Sequence[Tensor], classes: int) -> MemberSums:
    """Sum over the parts of a plane, each with the probabilities (members, C, h, w)."""
    pairs = list(combinations(range(len(parts[0])), 2))
    both, either = np.zeros((2, len(pairs), classes), np.int64)
    confidence, pixels = np.zeros(classes), np.zeros(classes, np.int64)
    for part in parts:
        found = part.cpu().numpy()
        labels = np.stack([labels_of(member) for member in found])
        mean = found.mean(0)
        whole = np.concatenate([1 - mean, mean]) if len(mean) == 1 else mean
        decided = labels_of(mean)
        for c in range(classes):
            given = labels == c
            size = given.sum((1, 2))
            for place, (i, j) in enumerate(pairs):
                both[place, c] += int((given[i] & given[j]).sum())
                either[place, c] += size[i] + size[j]
            chosen = decided == c
            confidence[c] += whole[c][chosen].sum(dtype=np.float64)
            pixels[c] += int(chosen.sum())
    return MemberSums(both, either, confidence, pixels)


def measure_members(planes: Sequence[MemberSums]) -> dict[str, NDArray[np.float64]]:
    """Return agreement and confidence of a case by class (classes,); nothing without planes.

    Agreement is the mean Dice over the pairs of members that marked the class at all, NaN where
    none did. Confidence is NaN where the ensemble marked nothing. Both are NaN of the background.
    """
    if not planes:
        return {}
    both, either, confidence, pixels = (
        np.sum([getattr(plane, field.name) for plane in planes], axis=0)
        for field in fields(MemberSums)
    )
    dice = divide_defined(2 * both, either)
    marked = np.isfinite(dice)
    agreement = divide_defined(np.where(marked, dice, 0).sum(0), marked.sum(0))
    mean_confidence = divide_defined(confidence, pixels)
    agreement[0] = mean_confidence[0] = np.nan
    return {AGREEMENT: agreement, CONFIDENCE: mean_confidence}
