"""Steps of several readers: the split that was asked for, finding files, checks of a copy."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from harmoseg.datasets.catalogue import check_listed
from harmoseg.datasets.pairing import Pair, pair_files
from harmoseg.datasets.pictures import picture_size
from harmoseg.datasets.sources import OR_PART, REMOVE, SourceOptions, list_files
from harmoseg.errors import HarmosegError

USUAL = (("images", "masks"), ("imgs", "masks"))
"""Folders of images and masks, as many copies of datasets of pictures name them."""

Key = TypeVar("Key")


def chosen_split(options: SourceOptions, *known: str, in_folds: Collection[str] = ()) -> str:
    """Return the split that was asked for, or the first one that is known.

    Raises HarmosegError for one that the dataset does not have, and for a fold unless the split is
    one of those `in_folds`.
    """
    split = known[0] if options.split is None else options.split
    if split not in known:
        raise HarmosegError(f"unknown split {split!r}; this dataset has: {', '.join(known)}")
    if options.fold is not None and split not in in_folds:
        raise HarmosegError(
            f"fold {options.fold}: the split {split!r} is not in folds; leave --fold away"
        )
    return split


def files_below(source: Path, title: str) -> list[Path]:
    """List all files below a source; raise HarmosegError where it is no folder."""
    if not source.is_dir():
        raise HarmosegError(f"{source}: no such folder; expected the folder of {title}")
    return list_files(source)


def by_id(found: Iterable[tuple[Key, Path]]) -> dict[Key, Path]:
    """Index files by what their names say they are; raise HarmosegError where two say the same."""
    files: dict[Key, Path] = {}
    for key, path in found:
        first = files.setdefault(key, path)
        if first != path:
            raise HarmosegError(
                f"two files with one id: {first} and {path}; keep the one that is meant"
            )
    return files


def _matching(
    pattern: re.Pattern[str], files: list[Path], name: str
) -> Iterator[tuple[str, re.Match[str], Path]]:
    """Yield the files whose names fit a pattern, with the case, made by `name` of its groups."""
    for file in files:
        if match := pattern.fullmatch(file.name):
            yield name.format(*match.groups()).lower(), match, file


def by_case(pattern: re.Pattern[str], files: list[Path], name: str) -> dict[str, Path]:
    """Index files by case, which `name` makes of the groups of the pattern."""
    return by_id((case, file) for case, _, file in _matching(pattern, files, name))


def slices_by_case(
    pattern: re.Pattern[str], files: list[Path], name: str
) -> dict[str, dict[int, Path]]:
    """Index slices by case and number, the last group of the pattern."""
    found = by_id(
        ((case, int(match.groups()[-1])), file)
        for case, match, file in _matching(pattern, files, name)
    )
    slices: dict[str, dict[int, Path]] = defaultdict(dict)
    for (case, number), file in found.items():
        slices[case][number] = file
    return slices


def mask_of(case: str, image: Path, masks: Mapping[str, Path], expected: str) -> Path:
    """Return the mask of a case; raise HarmosegError where there is none."""
    if case not in masks:
        raise HarmosegError(
            f"{image}: patient without mask, {expected}.nii.gz is missing; complete the download, "
            f"or remove the files of {case}"
        )
    return masks[case]


def check_slices(case: str, found: int, published: int | None, place: Path) -> None:
    """Raise HarmosegError where the number of slices differs from the published one, if any."""
    if published is not None and found != published:
        raise HarmosegError(
            f"{place}: {found} slice(s) of {case}, the release has {published}; complete or "
            "replace the download, or remove the case"
        )


def in_order(parts: Mapping[int, Path], case: str, *, first: int) -> tuple[Path, ...]:
    """Order the slices of a case, numbered from `first` or below.

    Raises HarmosegError where numbers are missing between the first and the last that is there.
    """
    absent = sorted(set(range(min(first, *parts), max(parts) + 1)) - parts.keys())
    if absent:
        raise HarmosegError(
            f"{parts[max(parts)].parent}: slice(s) {absent[:5]} of {case} are missing; complete "
            "the download"
        )
    return tuple(parts[number] for number in sorted(parts))


def pairs_in(root: Path, *layouts: tuple[str, str], mark: str | None = None) -> list[Pair]:
    """Pair the files of the first layout that a folder has; return none where it has none.

    `mark` as for `pair_files`.
    """
    for images, masks in layouts:
        if (root / images).is_dir() and (root / masks).is_dir():
            return pair_files(root / images, root / masks, mark=mark)
    return []


def check_published(
    found: Collection[str], listed: Collection[str], title: str, options: SourceOptions
) -> None:
    """Raise HarmosegError unless the cases found are those of a published list.

    With `allow_missing` some may have no files. A case that is not listed is an error all the same:
    nobody knows on which side it belongs.
    """
    if options.allow_missing:
        listed = set(found) & set(listed)
    # To allow missing cases is no cure for cases that should not be there.
    cure = f"complete or replace the download{OR_PART}" if set(found) <= set(listed) else REMOVE
    check_listed(found, listed, title, cure)


def check_names(pairs: Sequence[Pair], pattern: str, title: str, example: str) -> None:
    """Raise HarmosegError for an image that is named otherwise than those of the dataset.

    For layouts that are anybody's, such as ``images/`` and ``masks/``.
    """
    foreign = [pair.image for pair in pairs if not re.fullmatch(pattern, pair.case)]
    if foreign:
        raise HarmosegError(
            f"{foreign[0]}: {len(foreign)} of {len(pairs)} images are not named as those of "
            f"{title}, such as {example}; remove what is no part of the dataset, or check its name"
        )


def check_sizes(
    pairs: Sequence[Pair], published: Sequence[tuple[int, int]], total: int, title: str
) -> list[str]:
    """Compare the (width, height) of images with the published ones; return remarks on the copy.

    Raises HarmosegError where some of the dataset's `total` images are missing and an image has
    other proportions: bare numbers for names do not tell one dataset from another.
    """
    sizes: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for pair in pairs:
        with suppress(HarmosegError):  # named when it is read
            sizes[picture_size(pair.image)].append(pair.image)
    original = " or ".join(_told(size) for size in published)
    for size, images in sizes.items():
        if len(pairs) < total and not any(_is_scaled(size, other) for other in published):
            raise HarmosegError(
                f"{images[0]}: {_told(size)}, but the images of {title} have {original}, and only "
                f"{len(pairs)} of its {total} are here; this seems to be another dataset: check "
                "its name, or complete the download"
            )
    resized = [size for size in sizes if size not in published]
    if not resized:
        return []
    number, told = sum(len(sizes[size]) for size in resized), ", ".join(map(_told, resized[:3]))
    more = ", ..." if len(resized) > 3 else ""
    return [f"{number} image(s) were resized, to {told}{more}; published are {original}"]


def _told(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} px"


def _is_scaled(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes have the same proportions, up to rounding of each side."""
    return abs(size[1] * other[0] - size[0] * other[1]) < sum(other)


def draw_order(names: Iterable[str], dataset: str) -> list[str]:
    """Order names by a hash, so that a draw from them needs no list and no generator."""
    return sorted(names, key=lambda name: sha256(f"{dataset}:{name}".encode()).digest())
