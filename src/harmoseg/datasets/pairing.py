"""Pairs of an image file and its mask: which belong together, and how they are read."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.label_values import BlackAndWhite, LabelRule
from harmoseg.datasets.pictures import (
    SUFFIXES,
    Decoded,
    read_image,
    read_mask_shades,
    read_mask_values,
)
from harmoseg.datasets.sources import SourceCase, list_files, name_some, relative_name
from harmoseg.errors import HarmosegError
from harmoseg.store.layout import Split
from harmoseg.store.tiling import Sample

_MASK_MARK = re.compile(
    r"(?i)([ _.-](segmentation|mask|masks|lesion|label|labels|gt|groundtruth|ground_truth|seg|"
    r"annotation|anno)\d{0,2})$|^(mask|label|gt|seg)[ _.-]"
)
_FURTHER_MARK = re.compile(r"(?i)(?<=[ _.-]mask)[ _.-]\d{1,2}$")
"""Mark of a further mask of an image, whose first mask has no number: BUSI's ``_mask_1``."""
_IMAGE_MARK = re.compile(r"(?i)[ _.-](image|img|0000)$")


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `case` is the image's path below its folder, without ending.

    `further` are masks of more objects of the same image, each in a file of its own.
    """

    case: str
    image: Path
    mask: Path
    further: tuple[Path, ...] = ()

    @property
    def masks(self) -> tuple[Path, ...]:
        """Return all masks of the image."""
        return (self.mask, *self.further)


def pair_files(
    images: Path,
    masks: Path,
    *,
    skip_unpaired: bool = False,
    ignore: str | None = None,
    mark: str | None = None,
    cure: str = "complete or replace the download",
) -> list[Pair]:
    """Pair the files of two folders (which may be one and the same), subfolders included.

    A mask belongs to the image of the same relative path, endings aside, or after a suffix such
    as ``_segmentation``, ``_mask`` or ``_lesion`` is taken off. Beside a ``_mask``, ``_mask_1`` and
    so on are further masks of the same image. A `mark`, a regular expression, is taken off the
    names of masks like a suffix. Files whose name matches the regular expression `ignore` are
    passed over. Returned in order of case.

    Raises HarmosegError where a folder is missing or empty, where two files claim one case, and,
    unless `skip_unpaired`, naming the images without mask and the masks without image; `cure` says
    what to do about these.
    """
    image_files, mask_files = (list_pictures(folder, ignore=ignore) for folder in (images, masks))
    if images.resolve() in masks.resolve().parents:  # masks in a folder below the images
        image_files = [file for file in image_files if masks not in file.parents]
    if images.resolve() == masks.resolve():
        mask_files = [file for file in image_files if _is_mask(file)]
        image_files = [file for file in image_files if not _is_mask(file)]
    by_key = _by_key(image_files, images)
    by_bare_key = {_strip(_IMAGE_MARK, key): key for key in by_key}
    found: dict[str, list[Path]] = defaultdict(list)
    further: dict[str, list[Path]] = defaultdict(list)
    orphans: list[Path] = []
    firsts = {_key(mask, masks) for mask in mask_files}
    for mask in mask_files:
        key = _key(mask, masks)
        first = _strip(_FURTHER_MARK, key)
        if first != key and first in firsts and key not in by_key:
            further[first].append(mask)
            continue
        stripped = _strip(_MASK_MARK, key)
        stripped = _strip(re.compile(mark), stripped) if mark else stripped
        case = next((name for name in (key, stripped) if name in by_key), None)
        case = case or by_bare_key.get(stripped)
        if case is None:
            orphans.append(mask)
        else:
            found[case].append(mask)
    for case, claims in found.items():
        if len(claims) > 1:
            raise HarmosegError(
                f"two masks for image {by_key[case]}: {claims[0].name} and {claims[1].name}; "
                "keep one of them"
            )
    lonely = [by_key[case] for case in sorted(by_key.keys() - found.keys())]
    if (lonely or orphans) and not skip_unpaired:
        raise HarmosegError(f"{_name_unpaired(lonely, orphans)}; {cure}")
    if not found:
        raise HarmosegError(f"no image of {images} has a mask in {masks}: nothing to prepare")
    return [
        Pair(case, by_key[case], mask, tuple(further[_key(mask, masks)]))
        for case, (mask,) in sorted(found.items())
    ]


def list_pictures(folder: Path, *, ignore: str | None = None) -> list[Path]:
    """List the image files below a folder, sorted; raise HarmosegError if there are none.

    Files whose name matches the regular expression `ignore` are passed over.
    """
    if not folder.is_dir():
        raise HarmosegError(f"{folder}: no such folder; expected a folder of image files")
    files = [
        path
        for path in list_files(folder)
        if path.suffix.lower() in SUFFIXES and not (ignore and re.search(ignore, path.name))
    ]
    if not files:
        raise HarmosegError(
            f"{folder}: no image files; expected files ending in {', '.join(sorted(SUFFIXES))}"
        )
    return files


def _is_mask(file: Path) -> bool:
    return bool(_MASK_MARK.search(_FURTHER_MARK.sub("", file.stem)))


def _by_key(files: Iterable[Path], folder: Path) -> dict[str, Path]:
    keyed: dict[str, Path] = {}
    for file in files:
        key = _key(file, folder)
        if key in keyed:
            raise HarmosegError(
                f"{folder}: two images of one name, {keyed[key].name} and {file.name}; keep one "
                "of them"
            )
        keyed[key] = file
    return keyed


def _key(file: Path, folder: Path) -> str:
    key = file.relative_to(folder).with_suffix("").as_posix()
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise HarmosegError(f"{file!r}: the name is not valid UTF-8; rename the file") from error
    # Composed letters: some systems store an accent as a character of its own.
    return unicodedata.normalize("NFC", key)


def _strip(mark: re.Pattern[str], key: str) -> str:
    parent, slash, stem = key.rpartition("/")
    return parent + slash + mark.sub("", stem)


def _name_unpaired(images: list[Path], masks: list[Path]) -> str:
    kinds = ((images, "image(s) without a mask"), (masks, "mask(s) without an image"))
    parts = [
        f"{len(files)} {what}: {name_some(file.name for file in files)}"
        for files, what in kinds
        if files
    ]
    rule = "A mask has its image's name, or that name with a suffix such as _mask"
    return f"{'; '.join(parts)}. {rule}"


def picture_case(
    pair: Pair,
    split: Split,
    root: Path,
    *,
    mask_root: Path | None = None,
    read: Callable[[Pair], Sample] | None = None,
    case: str | None = None,
    group: str | None = None,
    subset: str = "",
) -> SourceCase:
    """Make a case of a pair of files, which lie below `root`, or the mask below `mask_root`.

    Without `read` it is read by `read_black_and_white`.
    """
    name = case or pair.case
    return SourceCase(
        case=name,
        group=group or name,
        split=split,
        subset=subset,
        image=relative_name(pair.image, root),
        mask=relative_name(pair.mask, mask_root or root),
        files=(pair.image, *pair.masks),
        read=lambda: (read or read_black_and_white)(pair),
    )


def read_picture_pair(pair: Pair, *, channels: int, rule: LabelRule) -> Sample:
    """Decode an image and its mask, whose values are taken as they stand in the file.

    Several masks of one image are joined: what is foreground in one of them is foreground.

    Raises HarmosegError where a file cannot be read, where the two differ in size, where the mask
    holds other values than the rule's, where it cannot be told whether the mask was drawn on the
    turned image, where two masks give a pixel two classes, or where the image is of one value all
    over.
    """
    return _read_pair(pair, channels, read_mask_values, rule)


def read_black_and_white(pair: Pair, *, channels: int = 3, numbered: bool = False) -> Sample:
    """Decode an image and its mask of black and white; raise as `read_picture_pair` does.

    `numbered` as for `BlackAndWhite`.
    """
    return _read_pair(pair, channels, read_mask_shades, BlackAndWhite(numbered))


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
    decode: Callable[[Path], Decoded[np.integer]],
    rule: LabelRule | BlackAndWhite,
) -> Sample:
    image = read_image(pair.image, channels)
    height, width = image.pixels.shape[:2]
    joined = np.zeros((height, width), np.uint8)
    for path in pair.masks:
        mask = decode(path)
        label = rule.apply(mask, path)
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
