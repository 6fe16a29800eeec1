"""Values of mask files, and their class indices 0, 1, 2, ..."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.pictures import BLACK, WHITE, Colour, Decoded, read_mask_values
from harmoseg.datasets.sources import name_some
from harmoseg.errors import HarmosegError

_HALF = 127
_MOST_CLASSES = 64
_NEAR = 32
"""Distance from 0 or 255 in which the losses of JPEG, or soft edges, leave nearly all pixels."""
_SMEARED = 0.98
"""The share of the pixels that must lie so near."""
_FEW = 8
"""Masks with at most so many distinct values are label maps; more values mean compression noise."""
_PAIRS = ({0, 255}, {0, 1}, {0, 65535})
"""Values of black and white: 8 bits, class indices, 16 bits."""
_WITHOUT_LOSS = "save the masks without loss, as PNG, from where they were made"


@dataclass(frozen=True)
class LabelRule:
    """Rule that turns mask values into class indices.

    With a `threshold`, values above it are class 1. Otherwise `values[i]` becomes class i and any
    other value is an error. `white` is the value of white in masks of a palette of black and white,
    or of one bit; None takes the indices of palettes as they are.
    """

    threshold: int | None = None
    values: tuple[int, ...] = ()
    white: int | None = None

    @property
    def classes(self) -> int:
        """Count the classes, the background included."""
        return 2 if self.threshold is not None else len(self.values)

    def apply(self, mask: Decoded[np.integer], path: Path) -> NDArray[np.uint8]:
        """Return class indices (H, W); raise HarmosegError naming file and unexpected values."""
        pixels = _shown(mask, self.white)
        if self.threshold is not None:
            return (pixels > self.threshold).astype(np.uint8)
        order = np.argsort(self.values)
        known = np.asarray(self.values)[order]
        places = np.clip(np.searchsorted(known, pixels), 0, len(known) - 1)
        wrong = known[places] != pixels
        if wrong.any():
            values, counts = np.unique(pixels[wrong], return_counts=True)
            listed = ", ".join(f"{v} ({n} px)" for v, n in zip(values[:5], counts[:5], strict=True))
            raise HarmosegError(
                f"{path}: unexpected mask value(s) {listed}; expected {list(self.values)}"
            )
        return order[places].astype(np.uint8)


@dataclass(frozen=True)
class BlackAndWhite:
    """Rule that turns the masks of a published binary dataset into classes, each file by itself.

    White is 255, 1 or 65535. Soft edges and the losses of JPEG are cut at 127. With `numbered`,
    any further values are the numbers of objects, each of them foreground.
    """

    numbered: bool = False

    def apply(self, mask: Decoded[np.integer], path: Path) -> NDArray[np.uint8]:
        """Return class indices (H, W); raise HarmosegError naming file and unexpected values."""
        pixels = mask.pixels
        found = _count(pixels)
        if any(found.keys() <= pair for pair in _PAIRS[: 1 if mask.lossy else None]):
            return (pixels > 0).astype(np.uint8)
        if mask.lossy and max(found) <= _HALF:
            raise _too_dim(path, max(found))
        many = len(found) > _FEW and max(found) > _HALF
        if (many or mask.lossy) and _share_near_extremes(found) > _SMEARED:
            return (pixels > _HALF).astype(np.uint8)
        if self.numbered and not mask.lossy:
            return (pixels > 0).astype(np.uint8)
        usual = sorted(found, key=lambda value: -found[value])
        listed = name_some((f"{value} ({found[value]} px)" for value in usual), 6)
        raise HarmosegError(
            f"{path}: mask with the value(s) {listed}; expected black and white, stored as 0 "
            "and 255 (or 0 and 1, or 0 and 65535); replace the file with the published one, or "
            "set every pixel to one of the two values"
        )


@dataclass(frozen=True)
class MaskValues:
    """Content of one mask file: pixels by value, the palette of these values, whether with losses.

    The palette is empty where the values are grey values.
    """

    pixels: Mapping[int, int]
    palette: tuple[Colour, ...] = ()
    lossy: bool = False


@dataclass
class _Tally:
    """Values counted over files: their pixels, their files, the first of these."""

    pixels: Counter[int] = field(default_factory=Counter)
    files: Counter[int] = field(default_factory=Counter)
    first: dict[int, Path] = field(default_factory=dict)

    def add(self, value: int, pixels: int, path: Path, files: int = 1) -> None:
        self.pixels[value] += pixels
        self.files[value] += files
        self.first.setdefault(value, path)

    def joined(self, other: _Tally, white: int = 1) -> _Tally:
        """Return the tally of both; the value 1 of the other becomes `white`."""
        made = _Tally(self.pixels.copy(), self.files.copy(), {**self.first})
        for value, pixels in other.pixels.items():
            name = white if value == 1 else value
            made.add(name, pixels, other.first[value], other.files[value])
        return made


@dataclass
class _Palettes:
    """Colours that the palettes of several masks give to their values.

    `contradiction` says where a value has one colour in one file and another in the next, and
    `misplaced` where black is not the value 0, which is the background.
    """

    black_and_white: bool = True
    white: int | None = None
    contradiction: str = ""
    misplaced: str = ""
    _colours: dict[int, tuple[Colour, Path]] = field(default_factory=dict)
    _values: dict[Colour, tuple[int, Path]] = field(default_factory=dict)

    @property
    def agree(self) -> bool:
        return not (self.contradiction or self.misplaced)

    def add(self, path: Path, found: MaskValues) -> None:
        for value in found.pixels:
            colour = found.palette[value] if value < len(found.palette) else BLACK
            self.black_and_white = self.black_and_white and colour in (BLACK, WHITE)
            if colour == WHITE and self.white is None:
                self.white = value
            if colour == BLACK and value and not self.misplaced:
                self.misplaced = f"{path}: the palette has black at {value}"
            other, file = self._colours.setdefault(value, (colour, path))
            if other != colour:
                self._contradict(f"value {value} is {other} in {file} and {colour} in {path}")
            place, file = self._values.setdefault(colour, (value, path))
            # One palette may have a colour twice; two palettes have it at one place.
            if place != value and found.palette[place : place + 1] != (colour,):
                self._contradict(f"{colour} is value {place} in {file} and {value} in {path}")

    def _contradict(self, text: str) -> None:
        self.contradiction = self.contradiction or f"palettes of masks differ: {text}"


@dataclass
class ValueSurvey:
    """Count of the values in all masks of a dataset."""

    _plain: _Tally = field(default_factory=_Tally)
    _indexed: _Tally = field(default_factory=_Tally)
    _seen: _Tally = field(default_factory=_Tally)
    _palettes: _Palettes = field(default_factory=_Palettes)
    _dimmest: dict[bool, tuple[int, Path]] = field(default_factory=dict)
    _ones: Path | None = None
    _pairs: bool = True

    def add(self, path: Path, found: MaskValues) -> None:
        """Count one mask."""
        highest = max(found.pixels)
        self._pairs = self._pairs and found.pixels.keys() <= {0, highest}
        if found.palette:
            self._palettes.add(path, found)
            # By what is seen: in a palette of black and white 0 is black and 1 white.
            seen: Counter[int] = Counter()
            for value, pixels in found.pixels.items():
                self._indexed.add(value, pixels, path)
                seen[int(found.palette[value : value + 1] == (WHITE,))] += pixels
            for value, pixels in seen.items():
                self._seen.add(value, pixels, path)
            return
        for value, pixels in found.pixels.items():
            self._plain.add(value, pixels, path)
        if highest:
            self._dimmest[found.lossy] = min(
                self._dimmest.get(found.lossy, (highest, path)), (highest, path)
            )
        if found.pixels.keys() == {0, 1}:
            self._ones = self._ones or path

    def rule(self, label_values: Sequence[int] | None, threshold: int | None) -> LabelRule:
        """Decide how to read the masks, or raise HarmosegError saying what was found.

        A caller's rule is taken where it is given. Otherwise two values are background and
        foreground, whatever they are, and values 0, 1, ..., K are class indices. Masks of JPEG,
        whose values are smeared by compression, are cut at 127 when nearly all pixels lie near 0
        or 255.
        """
        if threshold is not None and label_values is not None:
            raise HarmosegError("give either threshold or label_values, not both")
        if True in self._dimmest and self._dimmest[True][0] <= _NEAR:
            raise _too_dim(self._dimmest[True][1], self._dimmest[True][0])
        white = self._white(label_values, threshold)
        if white is None:
            tally = self._plain.joined(self._indexed)
        else:
            tally = self._plain.joined(self._seen, white)
        if threshold is not None:
            return self._cut(tally, threshold, white)
        if label_values is not None:
            return self._listed(tally, label_values, white)
        return self._found(tally, white)

    def _white(self, label_values: Sequence[int] | None, threshold: int | None) -> int | None:
        """Return the value that white stands for in palettes of black and white.

        None takes palettes by their indices: they agree, and no other mask says what white is.
        Raises HarmosegError where other colours are one class in one file and another in the next.
        """
        palettes = self._palettes
        if not palettes.black_and_white:
            cure = (
                "a value must be one class in all masks: save them with one palette, black first, "
                "or as 8-bit grey PNG of class indices"
            )
            if palettes.contradiction:
                raise HarmosegError(f"{palettes.contradiction}; {cure}")
            if palettes.misplaced and label_values is None:
                raise HarmosegError(
                    f"{palettes.misplaced}, and 0 is the background; {cure}, or pass "
                    "--label-values with all indices, that of the background first"
                )
            return None
        if not self._indexed.pixels:
            return None
        if threshold is not None:
            return 65535  # above any threshold
        if label_values is not None:
            if palettes.agree and (palettes.white is None or palettes.white in label_values):
                return None
            return next((value for value in (255, 65535, 1) if value in label_values), 255)
        usual = next((value for value in (255, 65535) if value in self._plain.pixels), None)
        if usual is None and not palettes.agree:
            usual = 1 if 1 in self._plain.pixels else 255
        return usual

    def _cut(self, tally: _Tally, threshold: int, white: int | None) -> LabelRule:
        low, high = min(tally.pixels), max(tally.pixels)
        if not low <= threshold < high:
            side = "above" if threshold < low else "below or at"
            raise HarmosegError(
                f"threshold {threshold}: all mask values ({low} to {high}) lie {side} it, so a "
                "single class is present"
            )
        if self._ones and threshold >= 1:
            raise HarmosegError(
                f"threshold {threshold}: {self._ones} holds 0 and 1 alone, so nothing would be "
                "left of it, while other masks go beyond; pass --threshold 0 if all above 0 is "
                "foreground"
            )
        return LabelRule(threshold=threshold, white=white)

    def _listed(self, tally: _Tally, values: Sequence[int], white: int | None) -> LabelRule:
        if len(set(values)) != len(values) or len(values) < 2:
            raise HarmosegError(
                f"label_values must be two or more different values, got {list(values)}"
            )
        present = set(tally.pixels) & set(values)
        if len(present) < 2:
            raise HarmosegError(
                f"of label_values {list(values)} only {sorted(present)} stand in the masks "
                f"(values found: {sorted(tally.pixels)[:10]}): a single class is present"
            )
        if True in self._dimmest and min(np.diff(sorted(values))) <= _NEAR:
            raise HarmosegError(
                f"{self._dimmest[True][1]}: a JPEG mask, and label_values {list(values)} are so "
                f"close that its losses turn one into another; {_WITHOUT_LOSS}"
            )
        return LabelRule(values=tuple(values), white=white)

    def _found(self, tally: _Tally, white: int | None) -> LabelRule:
        found = sorted(tally.pixels)
        if len(found) == 1:
            raise HarmosegError(
                f"every pixel of every mask has the value {found[0]}: a single class is present, "
                "so there is nothing to learn; check that these are the masks"
            )
        lossy = True in self._dimmest
        smeared = lossy and max(found) > _HALF and self._palettes.black_and_white
        if smeared and _share_near_extremes(tally.pixels) > _SMEARED:
            highest, path = min(self._dimmest.values())
            if highest <= _HALF:
                raise HarmosegError(
                    f"{path}: the highest value is {highest}, while other masks are black and "
                    "white up to 255 with the losses of JPEG; save this mask with 0 and 255, too"
                )
            # White of one bit per pixel is above any threshold.
            return LabelRule(threshold=_HALF, white=255 if self._indexed.pixels else None)
        if len(found) == 2 and not (lossy and found[1] - found[0] <= 2 * _NEAR):
            return LabelRule(values=tuple(found), white=white)
        indices = found == list(range(len(found))) and len(found) <= _MOST_CLASSES
        if indices and not lossy:
            return LabelRule(values=tuple(found), white=white)
        raise HarmosegError(self._complaint(tally))

    def _complaint(self, tally: _Tally) -> str:
        rare_first = sorted(tally.files, key=lambda value: (tally.files[value], value))
        told = (
            f"{value} ({tally.pixels[value]} px in {tally.files[value]} file(s), first in "
            f"{tally.first[value].name})"
            for value in rare_first
        )
        lossy = self._dimmest.get(True)
        kind = f"{lossy[1].name} is JPEG, whose losses make values; " if lossy else ""
        highest = min(self._dimmest.values())[0] if self._dimmest else 0
        cut = ""
        if self._pairs:
            cut = (
                "; if the masks are binary, each black (0) and one value for white, pass "
                "--threshold 0"
            )
        elif highest > _HALF:
            cut = "; if the masks are binary with soft edges, pass --threshold 127"
        return (
            f"the masks hold {len(rare_first)} values that are neither two values nor 0, 1, ..., "
            f"K; the rarest: {name_some(told, 6)}. {kind}If these are classes, pass --label-values "
            f"with all of them, background first{cut}; else repair the files named"
        )


def count_values(path: Path) -> MaskValues:
    """Count the pixels of each value in one mask file."""
    mask = read_mask_values(path)
    return MaskValues(_count(mask.pixels), mask.palette, mask.lossy)


def _shown(mask: Decoded[np.integer], white: int | None) -> NDArray[np.integer]:
    """Take the values of a mask; those of a palette of black and white as 0 and `white`."""
    if white is None or not mask.palette:
        return mask.pixels
    seen = np.array([white if colour == WHITE else 0 for colour in mask.palette], np.int64)
    return np.asarray(seen[np.minimum(mask.pixels, len(seen) - 1)])


def _too_dim(path: Path, highest: int) -> HarmosegError:
    return HarmosegError(
        f"{path}: a JPEG mask whose highest value is {highest}; its losses are of that size, so "
        f"it can hold neither class indices nor 0 and 1; {_WITHOUT_LOSS}, or write white as 255"
    )


def _count(mask: NDArray[np.integer]) -> dict[int, int]:
    values, counts = np.unique(mask, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _share_near_extremes(pixels: Mapping[int, int]) -> float:
    near = sum(n for v, n in pixels.items() if v <= _NEAR or 255 - _NEAR <= v <= 255)
    return near / sum(pixels.values())
