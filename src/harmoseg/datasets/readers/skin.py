"""Skin lesions in dermoscopy: ISIC-2018 Task 1, ISIC-2017 Task 1, PH2."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

from harmoseg.datasets.catalogue import load_card
from harmoseg.datasets.label_values import BlackAndWhite
from harmoseg.datasets.pairing import Pair, pair_files
from harmoseg.datasets.picture_cases import picture_case, read_black_and_white
from harmoseg.datasets.pictures import SUFFIXES
from harmoseg.datasets.readers.common import USUAL, check_names, chosen_split, pairs_in
from harmoseg.datasets.sources import Listing, SourceCase, SourceOptions, find_root, make_listing
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.layout import Split

_2017: dict[Split, tuple[str, str]] = {
    "train": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
    "val": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
    "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
}
_2018: dict[Split, tuple[str, str]] = {
    "train": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
    "val": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
    "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
}
_DRAWN: dict[Split, int] = {"train": 1815, "val": 259, "test": 520}
"""Sizes of the parts that the prior work draws from the 2594 training images of ISIC-2018."""
_PH2 = "PH2 Dataset images"
_X2 = "_x2"
"""Ending of the folders of a copy of ISIC-2018 that many people have."""
_OFFICIAL_2018: dict[str, int] = {"train": 2594, "val": 100, "test": 1000}

_read = partial(read_black_and_white, channels=3, rule=BlackAndWhite())


def list_isic_2017(source: Path, options: SourceOptions) -> Listing:
    """List ISIC-2017 Task 1 by its official folders; superpixel files are passed over."""
    card = load_card("isic-2017")
    chosen_split(options, "official")
    return _by_folder(card, source, _2017)


def list_isic_2018(source: Path, options: SourceOptions) -> Listing:
    """List ISIC-2018 Task 1.

    The split ``drawn`` cuts the 2594 training images into 1815 / 259 / 520 as the prior work
    does, whose lists were never published; ours is drawn by a hash of the names. ``official`` is
    the challenge's own, by folder.
    """
    card = load_card("isic-2018")
    split = chosen_split(options, "drawn", "official")
    if split == "official":
        return _by_folder(replace(card, counts=_OFFICIAL_2018), source, _2018)
    root, parts = _find_parts(source, _2018, card)
    pairs = _pairs(root, parts["train"], card) if "train" in parts else []
    if "train" in parts and _is_plain(parts["train"]) and len(pairs) < sum(_DRAWN.values()):
        # Somebody's own split of the same images, which are drawn from all the same.
        pairs = [pair for names in parts.values() for pair in _pairs(root, names, card)]
    sides = _draw([pair.case for pair in pairs])
    cases = (picture_case(pair, sides[pair.case], roots=(root, root), read=_read) for pair in pairs)
    return make_listing(card, cases, roots=[source], determined_by={"split": split})


def list_ph2(source: Path, options: SourceOptions) -> Listing:
    """List PH2, all for testing.

    Reads the official folders (``IMD002/IMD002_Dermoscopic_Image/IMD002.bmp``, ...), or ``images/``
    and ``masks/`` with files of the same names.
    """
    card = load_card("ph2")
    chosen_split(options, "test")
    root = source
    if not list(source.glob("IMD*/IMD*_Dermoscopic_Image")):
        root = find_root(source, [_PH2], *USUAL, dataset=card.title)
        root = root / _PH2 if (root / _PH2).is_dir() else root
    flat = pairs_in(root, *USUAL)
    check_names(flat, r"IMD\d{3}", card.title, "IMD002.bmp")
    pairs = flat or _original_ph2(root)
    cases = (picture_case(pair, "test", roots=(root, root), read=_read) for pair in pairs)
    return make_listing(card, cases, roots=[source])


def _original_ph2(root: Path) -> list[Pair]:
    pairs = []
    for folder in sorted(root.glob("IMD*")):
        name = folder.name
        image = folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp"
        mask = folder / f"{name}_lesion" / f"{name}_lesion.bmp"
        for file in (image, mask):
            if not file.is_file():
                raise HarmosegError(f"{file}: missing; complete or remove the folder {folder.name}")
        pairs.append(Pair(name, image, mask))
    return pairs


_Parts = dict[Split, tuple[str, str]]


def _by_folder(card: Card, source: Path, folders: _Parts) -> Listing:
    """List the parts that are there: the test part alone serves as another dataset's partner."""
    root, parts = _find_parts(source, folders, card)
    cases: list[SourceCase] = []
    remarks = []
    plain = any(map(_is_plain, parts.values()))
    for split, official in folders.items():
        if split not in parts:
            expected = _plain(split) if plain else official
            absent = [name for name in expected if not (root / name).is_dir()]
            remarks.append(f"no {split} part: the folder(s) {', '.join(absent)} are not there")
            continue
        cases.extend(
            picture_case(pair, split, roots=(root, root), read=_read)
            for pair in _pairs(root, parts[split], card)
        )
    return make_listing(card, cases, roots=[source], remarks=remarks)


def _find_parts(source: Path, folders: _Parts, card: Card) -> tuple[Path, _Parts]:
    """Find the root of a dataset, and the folders of images and masks of the parts in it.

    They have their official names, these with ``_x2`` behind, or are ``train/images``,
    ``train/masks`` and so on.
    """
    forms = {
        split: (names, (names[0] + _X2, names[1] + _X2), _plain(split))
        for split, names in folders.items()
    }
    root = find_root(
        source, *(form for named in forms.values() for form in named), dataset=card.title
    )
    parts: _Parts = {}
    for split, named in forms.items():
        for form in named:
            if split not in parts and all((root / name).is_dir() for name in form):
                parts[split] = form
    return root, parts


def _plain(split: Split) -> tuple[str, str]:
    return (f"{split}/images", f"{split}/masks")


def _is_plain(names: tuple[str, str]) -> bool:
    return "/" in names[0]


def _pairs(root: Path, names: tuple[str, str], card: Card) -> list[Pair]:
    images, masks = (_innermost(root / name) for name in names)
    pairs = pair_files(images, masks, ignore="_superpixels")
    if _is_plain(names):  # which may be anybody's
        check_names(pairs, r"ISIC_\d{7}", card.title, "ISIC_0000000.jpg")
    return pairs


def _innermost(folder: Path) -> Path:
    """Step into a folder that holds another of its name, as "extract all" of Windows makes it."""
    inner = folder / folder.name
    alone = inner.is_dir() and not any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
    return inner if alone else folder


def _draw(cases: list[str]) -> dict[str, Split]:
    """Draw the parts by a hash of each name, so that the draw needs no list and no generator.

    Raises HarmosegError unless all images are there: with some of them absent others would change
    sides, and a score would depend on what was downloaded.
    """
    total = sum(_DRAWN.values())
    if len(cases) != total:
        raise HarmosegError(
            f"{len(cases)} training images, and the split 'drawn' needs all {total}: it ranks them "
            "by a hash of their names; complete or replace the download, or take another split "
            "with --split official"
        )
    order = sorted(cases, key=lambda case: hashlib.sha256(f"isic-2018:{case}".encode()).digest())
    sides: dict[str, Split] = {}
    for split, count in _DRAWN.items():
        start = len(sides)
        sides |= dict.fromkeys(order[start : start + count], split)
    return sides
