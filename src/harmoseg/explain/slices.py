"""Which cases are shown: by name, or spread over their sizes; of each its fullest slice."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.explain.spectra import PowerShares, classes_in, power_of_planes
from harmoseg.store.layout import SLICE_FIELDS, Split
from harmoseg.store.reading import Store


@dataclass(frozen=True, eq=False)
class ShownSlice:
    """One slice of a case, as the network sees it.

    `image` is (H, W, C) bytes and `truth` (H, W) class indices, at training resolution; `aspect`
    is the height of the source over its width. `case` is the name of the case, and `plane` counts
    from 1 in volumes; 0 is a plain image.
    """

    case: str
    plane: int
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    aspect: float

    @property
    def name(self) -> str:
        """Return the case, with the plane of a volume."""
        return f"{self.case}, plane {self.plane}" if self.plane else self.case

    @property
    def largest_class(self) -> int:
        """Return the foreground class with the most pixels; 0 where there is none."""
        counts = np.bincount(self.truth.ravel(), minlength=2)
        return int(counts[1:].argmax()) + 1 if counts[1:].any() else 0

    def masks(self) -> list[NDArray[np.bool_]]:
        """Return the mask of every foreground class that the slice holds."""
        return [self.truth == value for value in classes_in(self.truth)]


def choose_slices(store: Store, split: Split, cases: Sequence[str]) -> list[ShownSlice]:
    """Choose cases of a split, and of each the slice with the most foreground.

    `cases` are their names, or one number: that many, spread evenly from the smallest foreground
    to the largest, so that no result has a say in what is shown. Cases without any foreground are
    then left out.

    Raises HarmosegError for names that the split does not have, and where there is nothing to show.
    """
    if len(cases) == 1 and cases[0].isdecimal() and cases[0] not in _names(store, split):
        numbers = _spread(store, split, int(cases[0]))
    else:
        numbers = [_find_case(store, split, name) for name in cases]
    if not numbers:
        raise HarmosegError(
            f"{store.path}: nothing to show; give names of cases of the split {split}, or how "
            "many, 1 or more"
        )
    return [_shown(store, number) for number in numbers]


def choose_planes(store: Store, split: Split, cases: Sequence[str], most: int) -> list[ShownSlice]:
    """Return the planes of cases to scroll through: all of a volume, or about `most` in total.

    Of longer volumes every second plane, every third and so on is left, beside the fullest one. A
    case that is no volume has its fullest slice.
    """
    numbers = [_find_case(store, split, name) for name in cases]
    total = sum(store.cases[number].slices for number in numbers)
    step = max(1, -(-total // most))
    found = []
    for number in numbers:
        rows = store.rows_of(number)
        fullest = int(_foreground(store, number).argmax())
        if store.cases[number].depth == 1:
            places = [fullest]
        else:
            places = sorted({*range(0, len(rows), step), fullest})
        found += [_shown(store, number, place) for place in places]
    return found


def _names(store: Store, split: Split) -> dict[str, int]:
    return {store.cases[number].case: number for number in store.cases_of(split)}


def _find_case(store: Store, split: Split, name: str) -> int:
    names = _names(store, split)
    if name in names:
        return names[name]
    for case in store.cases:
        if case.case == name:
            raise HarmosegError(
                f"{store.path}: case {name!r} is of the split {case.split}, not {split}; pass "
                f"--split {case.split}"
            )
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"the split {split} has no cases"
    raise HarmosegError(f"{store.path}: no case {name!r}; {hint}")


def _spread(store: Store, split: Split, count: int) -> list[int]:
    """Choose `count` cases evenly by the share of their fullest slice that is foreground."""
    numbers = store.cases_of(split)
    if not numbers:
        raise HarmosegError(
            f"{store.path}: no case has the split {split}; found {store.info.told_counts()}; "
            "choose one of these with --split"
        )
    shares = [float(_foreground(store, number).max()) for number in numbers]
    chosen = spread_over_sizes(shares, count)
    if count and not chosen:
        raise HarmosegError(
            f"{store.path}: the split {split} has no case with any foreground; choose another split"
        )
    return [numbers[i] for i in chosen]


def spread_over_sizes(sizes: Sequence[float], count: int) -> list[int]:
    """Choose the places of `count` sizes, evenly from the smallest to the largest; 0 is none."""
    ordered = sorted((i for i, size in enumerate(sizes) if size > 0), key=lambda i: (sizes[i], i))
    # The middles of `count` equal parts: one alone is the median.
    places = (np.arange(count) + 0.5) / max(count, 1) * len(ordered)
    return [ordered[i] for i in dict.fromkeys(places.astype(int).tolist())]


def _foreground(store: Store, number: int) -> NDArray[np.float64]:
    """Return the share of foreground in every slice of a case."""
    rows = store.rows_of(number)
    columns = [SLICE_FIELDS.index(name) for name in ("foreground", "height", "width")]
    foreground, height, width = store.slices[rows.start : rows.stop, columns].T
    return np.asarray(foreground / (height * width), np.float64)


def _shown(store: Store, number: int, place: int | None = None) -> ShownSlice:
    """Return a slice of a case by its place in it, the fullest one if none is named."""
    case = store.cases[number]
    if place is None:
        place = int(_foreground(store, number).argmax())
    row = store.rows_of(number)[place]
    part = store.slice(row)
    plane = part.plane + 1 if case.depth > 1 else 0
    image, truth = np.array(store.images[row]), np.array(store.labels[row])
    return ShownSlice(case.case, plane, image, truth, part.height / part.width)


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
