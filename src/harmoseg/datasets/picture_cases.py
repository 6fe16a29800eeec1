"""Cases that are an image file and a mask file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harmoseg.datasets.labels import LabelRule
from harmoseg.datasets.pairing import Pair
from harmoseg.datasets.pictures import read_image, read_mask_values
from harmoseg.datasets.sources import SourceCase, relative_name
from harmoseg.errors import HarmosegError
from harmoseg.store.cutting import Sample
from harmoseg.store.layout import Split

HALF = LabelRule(threshold=127)
"""For masks of black and white, also where JPEG has smeared them."""


def picture_case(
    pair: Pair,
    split: Split,
    *,
    roots: tuple[Path, Path],
    read: Callable[[Pair], Sample],
    case: str | None = None,
    group: str | None = None,
    subset: str = "",
) -> SourceCase:
    """Make a case of a pair of files, which lie below `roots`: that of images, that of masks."""
    name = case or pair.case
    return SourceCase(
        case=name,
        group=group or name,
        split=split,
        subset=subset,
        image=relative_name(pair.image, roots[0]),
        mask=relative_name(pair.mask, roots[1]),
        files=(pair.image, pair.mask),
        read=lambda: read(pair),
    )


def read_picture_pair(pair: Pair, *, channels: int, rule: LabelRule) -> Sample:
    """Decode an image and its mask.

    Raises HarmosegError where a file cannot be read, where the two differ in size, where the mask
    holds other values than the rule's, or where the image is of one value all over.
    """
    image = read_image(pair.image, channels)
    label = rule.apply(read_mask_values(pair.mask), pair.mask)
    if image.shape[:2] != label.shape:
        raise HarmosegError(
            f"sizes differ: {pair.image} is {image.shape[1]} x {image.shape[0]} (width x "
            f"height), its mask {pair.mask.name} is {label.shape[1]} x {label.shape[0]}; "
            "an image and its mask must cover the same pixels"
        )
    low, high = int(image.min()), int(image.max())
    if low == high:
        raise HarmosegError(
            f"{pair.image}: every pixel has the value {low}: an empty image; replace or remove it"
        )
    return Sample(image[None], label[None])
