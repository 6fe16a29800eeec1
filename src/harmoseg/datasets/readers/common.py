"""What several readers need: the split that was asked for, usual layouts, checks of a copy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harmoseg.datasets.pairing import Pair, pair_files
from harmoseg.datasets.pictures import picture_size
from harmoseg.datasets.sources import SourceOptions
from harmoseg.datasets.splitting import check_listed
from harmoseg.errors import HarmosegError

USUAL = (("images", "masks"), ("imgs", "masks"))
"""Folders of images and masks, as many copies of datasets of pictures name them."""


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


def check_published(
    found: Sequence[str], listed: Mapping[str, object], title: str, options: SourceOptions
) -> None:
    """Raise HarmosegError unless the cases found are those of a published list.

    With `allow_missing` some may have no files, but not all of them.
    """
    # To allow missing cases is no cure for cases that should not be there.
    cure = (
        "complete or replace the download, or, where only a part is wanted, prepare it with "
        "--allow-missing"
        if set(found) <= listed.keys()
        else "remove what is no part of the dataset, or replace the download"
    )
    check_listed(
        found,
        dict.fromkeys(listed, ""),
        title,
        allow_missing=options.allow_missing,
        cure=cure,
    )


def pairs_in(root: Path, *layouts: tuple[str, str]) -> list[Pair]:
    """Pair the files of the first layout that a folder has; return none where it has none."""
    for images, masks in layouts:
        if (root / images).is_dir() and (root / masks).is_dir():
            return pair_files(root / images, root / masks)
    return []


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
    sizes: dict[tuple[int, int], Path] = {}
    counts: Counter[tuple[int, int]] = Counter()
    for pair in pairs:
        with suppress(HarmosegError):  # named when it is read
            size = picture_size(pair.image)
            sizes.setdefault(size, pair.image)
            counts[size] += 1
    original = " or ".join(_told(size) for size in published)
    for size, image in sizes.items():
        if len(pairs) < total and not any(_is_scaled(size, other) for other in published):
            raise HarmosegError(
                f"{image}: {_told(size)}, but the images of {title} have {original}, and only "
                f"{len(pairs)} of its {total} are here; this seems to be another dataset: check "
                "its name, or complete the download"
            )
    resized = [size for size in sizes if size not in published]
    if not resized:
        return []
    number, told = sum(counts[size] for size in resized), ", ".join(map(_told, resized[:3]))
    more = ", ..." if len(resized) > 3 else ""
    return [f"{number} image(s) were resized, to {told}{more}; published are {original}"]


def _told(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} px"


def _is_scaled(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes have the same proportions, up to rounding of each side."""
    return abs(size[1] * other[0] - size[0] * other[1]) < sum(other)
