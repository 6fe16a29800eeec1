"""Cases that are an image file and a mask file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.label_values import BlackAndWhite, LabelRule
from harmoseg.datasets.pairing import Pair
from harmoseg.datasets.pictures import Decoded, read_image, read_mask_shades, read_mask_values
from harmoseg.datasets.sources import SourceCase, relative_name
from harmoseg.errors import HarmosegError
from harmoseg.store.layout import Split
from harmoseg.store.tiling import Sample


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
        files=(pair.image, *pair.masks),
        read=lambda: read(pair),
    )


def read_picture_pair(pair: Pair, *, channels: int, rule: LabelRule) -> Sample:
    """Decode an image and its mask, whose values are taken as they stand in the file.

    Several masks of one image are joined: what is foreground in one of them is foreground.

    Raises HarmosegError where a file cannot be read, where the two differ in size, where the mask
    holds other values than the rule's, where it cannot be told whether the mask was drawn on the
    turned image, where two masks give a pixel two classes, or where the image is of one value all
    over.
    """

    def read(path: Path) -> tuple[Decoded[np.integer], NDArray[np.uint8]]:
        mask = read_mask_values(path)
        return mask, rule.apply(mask, path)

    return _read_pair(pair, channels, read)


def read_black_and_white(pair: Pair, *, channels: int, rule: BlackAndWhite) -> Sample:
    """Decode an image and its mask of black and white; raises as `read_picture_pair` does."""

    def read(path: Path) -> tuple[Decoded[np.integer], NDArray[np.uint8]]:
        mask = read_mask_shades(path)
        return mask, rule.apply(mask, path)

    return _read_pair(pair, channels, read)


def checked_sample(
    pair: Pair, image: NDArray[np.uint8], label: NDArray[np.uint8], remark: str = ""
) -> Sample:
    """Make a sample of an image (H, W, C) and its class indices (H, W).

    Raises HarmosegError where the image is of one value all over: nothing can be seen on it.
    """
    low, high = int(image.min()), int(image.max())
    if low == high:
        raise HarmosegError(
            f"{pair.image}: every pixel has the value {low}: an empty image; replace or remove it"
        )
    return Sample(image[None], label[None], remark=remark)


def _read_pair(
    pair: Pair,
    channels: int,
    read: Callable[[Path], tuple[Decoded[np.integer], NDArray[np.uint8]]],
) -> Sample:
    image = read_image(pair.image, channels)
    height, width = image.pixels.shape[:2]
    joined = np.zeros((height, width), np.uint8)
    for path in pair.masks:
        mask, label = read(path)
        if (height, width) != label.shape:
            raise HarmosegError(
                f"sizes differ: {pair.image} is {width} x {height} (width x height), its mask "
                f"{path.name} is {label.shape[1]} x {label.shape[0]}; an image and its mask must "
                "cover the same pixels"
            )
        _check_orientation(pair.image, path, image, mask)
        both = (joined > 0) & (label > 0) & (joined != label)
        if both.any():
            raise HarmosegError(
                f"{path}: {int(both.sum())} pixel(s) are of another class than in "
                f"{pair.mask.name}, another mask of the same image; give each pixel one class"
            )
        joined = np.maximum(joined, label)
    return checked_sample(pair, image.pixels, joined)


def _check_orientation(
    image_path: Path, mask_path: Path, image: Decoded[np.uint8], mask: Decoded[np.integer]
) -> None:
    """Refuse a pair of which one file alone is turned, unless the sizes show that they fit.

    A mask without a tag may have been drawn on the image as it is stored or as it is shown.
    """
    for this, other, path, untagged in (
        (image, mask, image_path, mask_path),
        (mask, image, mask_path, image_path),
    ):
        if this.turned_unseen and other.orientation == 1:
            raise HarmosegError(
                f"{path}: an orientation tag (EXIF {this.orientation}) turns it, and "
                f"{untagged.name} has none, so it cannot be told whether the two cover the same "
                "pixels; look at them, then save both upright and without the tag"
            )
