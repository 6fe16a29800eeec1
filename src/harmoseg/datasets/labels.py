"""From the values that stand in mask files to class indices 0, 1, 2, ..."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.pictures import LOSSY_SUFFIXES, read_mask_values
from harmoseg.errors import HarmosegError

_HALF = 127
_MOST_CLASSES = 64
_NEAR = 32
"""How far from 0 or 255 the losses of JPEG, or a softened edge, leave nearly all pixels."""
_SMEARED = 0.98
"""The share of the pixels that must lie so near."""
_FEW = 8
"""Up to so many values are labels of somebody's; what is smeared has more."""
_PAIRS = ({0, 255}, {0, 1}, {0, 65535})
"""How black and white are stored: 8 bits, class indices, 16 bits."""


@dataclass(frozen=True)
class LabelRule:
    """How mask values become class indices.

    With a `threshold`, values above it are class 1. Otherwise `values[i]` becomes class i and any
    other value is an error.
    """

    threshold: int | None = None
    values: tuple[int, ...] = ()

    @property
    def classes(self) -> int:
        """Count the classes, the background included."""
        return 2 if self.threshold is not None else len(self.values)

    def apply(self, mask: NDArray[np.integer], path: Path) -> NDArray[np.uint8]:
        """Give class indices (H, W); raise HarmosegError naming the file and unexpected values."""
        if self.threshold is not None:
            return (mask > self.threshold).astype(np.uint8)
        order = np.argsort(self.values)
        known = np.asarray(self.values)[order]
        places = np.clip(np.searchsorted(known, mask), 0, len(known) - 1)
        wrong = known[places] != mask
        if wrong.any():
            values, counts = np.unique(mask[wrong], return_counts=True)
            listed = ", ".join(f"{v} ({n} px)" for v, n in zip(values[:5], counts[:5], strict=True))
            raise HarmosegError(
                f"{path}: unexpected mask value(s) {listed}; expected {list(self.values)}"
            )
        return order[places].astype(np.uint8)


@dataclass(frozen=True)
class BlackAndWhite:
    """How the masks of a published binary dataset become class indices, each file by itself.

    White is 255, 1 or 65535. Soft edges and the losses of JPEG are cut at 127. With `numbered`,
    any further values are the numbers of objects, each of them foreground.
    """

    numbered: bool = False

    def apply(self, mask: NDArray[np.integer], path: Path) -> NDArray[np.uint8]:
        """Give class indices (H, W); raise HarmosegError naming the file and unexpected values."""
        found = _count(mask)
        lossless = path.suffix.lower() not in LOSSY_SUFFIXES
        if lossless and any(found.keys() <= pair for pair in _PAIRS):
            return (mask > 0).astype(np.uint8)
        many = len(found) > _FEW and max(found) > _HALF
        if (many or not lossless) and _share_near_extremes(found) > _SMEARED:
            return (mask > _HALF).astype(np.uint8)
        if self.numbered and lossless:
            return (mask > 0).astype(np.uint8)
        usual = sorted(found, key=lambda value: -found[value])
        listed = ", ".join(f"{value} ({found[value]} px)" for value in usual[:6])
        more = f" and {len(usual) - 6} more" if len(usual) > 6 else ""
        raise HarmosegError(
            f"{path}: mask with the value(s) {listed}{more}; expected black and white, stored as 0 "
            "and 255 (or 0 and 1, or 0 and 65535); replace the file with the published one, or "
            "set every pixel to one of the two values"
        )


@dataclass
class ValueSurvey:
    """Which values stand in the masks of a dataset, counted over all of them."""

    pixels: Counter[int] = field(default_factory=Counter)
    files: Counter[int] = field(default_factory=Counter)
    first: dict[int, Path] = field(default_factory=dict)
    lossy: bool = False

    def add(self, path: Path, values: Mapping[int, int]) -> None:
        """Count one mask: value to number of pixels."""
        self.pixels.update(values)
        self.files.update(values.keys())
        for value in values:
            self.first.setdefault(value, path)
        self.lossy = self.lossy or path.suffix.lower() in LOSSY_SUFFIXES

    def rule(self) -> LabelRule:
        """Decide how to read the masks, or raise HarmosegError saying what was found.

        Two values are background and foreground, whatever they are. Values 0, 1, ..., K are
        class indices. JPEG masks, whose values are smeared by compression, are cut at 127 when
        nearly all pixels lie near 0 or 255.
        """
        found = sorted(self.pixels)
        if len(found) == 1:
            raise HarmosegError(
                f"every pixel of every mask has the value {found[0]}: a single class is present, "
                "so there is nothing to learn; check that these are the masks"
            )
        if self.lossy and max(found) > _HALF and _share_near_extremes(self.pixels) > _SMEARED:
            return LabelRule(threshold=_HALF)
        if len(found) == 2:
            return LabelRule(values=tuple(found))
        if found == list(range(len(found))) and len(found) <= _MOST_CLASSES:
            return LabelRule(values=tuple(found))
        raise HarmosegError(self._complaint())

    def _complaint(self) -> str:
        rare_first = sorted(self.files, key=lambda value: (self.files[value], value))
        listed = ", ".join(
            f"{value} ({self.pixels[value]} px in {self.files[value]} file(s), first in "
            f"{self.first[value].name})"
            for value in rare_first[:6]
        )
        rest = f" and {len(rare_first) - 6} more" if len(rare_first) > 6 else ""
        return (
            f"the masks hold {len(rare_first)} values that are neither two values nor 0, 1, ..., "
            f"K; the rarest: {listed}{rest}. If these are classes, pass --label_values with all of "
            "them, background first; if the masks are binary with soft edges, pass --threshold "
            "127; else repair the files named"
        )


def label_rule(
    survey: ValueSurvey, *, label_values: Sequence[int] | None, threshold: int | None
) -> LabelRule:
    """Take the caller's rule where one is given, else decide from the survey."""
    if threshold is not None:
        if label_values is not None:
            raise HarmosegError("give either threshold or label_values, not both")
        above = any(value > threshold for value in survey.pixels)
        below = any(value <= threshold for value in survey.pixels)
        if not (above and below):
            side = "below or at" if below else "above"
            raise HarmosegError(
                f"threshold {threshold}: all mask values ({min(survey.pixels)} to "
                f"{max(survey.pixels)}) lie {side} it, so a single class is present"
            )
        return LabelRule(threshold=threshold)
    if label_values is not None:
        if len(set(label_values)) != len(label_values) or len(label_values) < 2:
            raise HarmosegError(
                f"label_values must be two or more different values, got {list(label_values)}"
            )
        present = set(survey.pixels) & set(label_values)
        if len(present) < 2:
            raise HarmosegError(
                f"of label_values {list(label_values)} only {sorted(present)} stand in the masks "
                f"(values found: {sorted(survey.pixels)[:10]}): a single class is present"
            )
        return LabelRule(values=tuple(label_values))
    return survey.rule()


def count_values(path: Path) -> dict[int, int]:
    """Count the pixels of each value in one mask file."""
    return _count(read_mask_values(path).pixels)


def _count(mask: NDArray[np.integer]) -> dict[int, int]:
    values, counts = np.unique(mask, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _share_near_extremes(pixels: Mapping[int, int]) -> float:
    near = sum(n for v, n in pixels.items() if v <= _NEAR or 255 - _NEAR <= v <= 255)
    return near / sum(pixels.values())
