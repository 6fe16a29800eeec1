"""Which mask belongs to which image: by path and stem, with the usual suffixes."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harmoseg.datasets.pictures import SUFFIXES
from harmoseg.datasets.sources import list_files
from harmoseg.errors import HarmosegError

_MASK_MARK = re.compile(
    r"(?i)([ _.-](segmentation|mask|masks|lesion|label|labels|gt|groundtruth|ground_truth|seg|"
    r"annotation|anno)\d{0,2})$|^(mask|label|gt|seg)[ _.-]"
)
_FURTHER_MARK = re.compile(r"(?i)(?<=[ _.-]mask)[ _.-]\d{1,2}$")
"""Of a further object of an image, whose first mask has no number: BUSI's ``_mask_1``."""
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


_COMPLETE = "complete or replace the download"


def pair_files(
    images: Path,
    masks: Path,
    *,
    skip_unpaired: bool = False,
    ignore: str | None = None,
    cure: str = _COMPLETE,
) -> list[Pair]:
    """Pair the files of two folders (which may be one and the same), subfolders included.

    A mask belongs to the image of the same relative path, endings aside, or after a suffix such
    as ``_segmentation``, ``_mask`` or ``_lesion`` is taken off. Beside a ``_mask``, ``_mask_1`` and
    so on are further masks of the same image. Files whose name matches the regular expression
    `ignore` are passed over. Returned in order of case.

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
    by_key = _by_key(image_files, images, "images")
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


def _by_key(files: Iterable[Path], folder: Path, what: str) -> dict[str, Path]:
    keyed: dict[str, Path] = {}
    for file in files:
        key = _key(file, folder)
        if key in keyed:
            raise HarmosegError(
                f"{folder}: two {what} of one name, {keyed[key].name} and {file.name}; "
                "keep one of them"
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


def _name_unpaired(images: list[Path], masks: list[Path], most: int = 5) -> str:
    parts = []
    for files, what in ((images, "image(s) without a mask"), (masks, "mask(s) without an image")):
        if files:
            names = ", ".join(file.name for file in files[:most])
            rest = f" and {len(files) - most} more" if len(files) > most else ""
            parts.append(f"{len(files)} {what}: {names}{rest}")
    rule = "A mask has its image's name, or that name with a suffix such as _mask"
    return f"{'; '.join(parts)}. {rule}"
