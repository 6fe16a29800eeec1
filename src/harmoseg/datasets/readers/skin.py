"""Skin lesions in dermoscopy: ISIC-2018 Task 1, ISIC-2017 Task 1, PH2."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

from harmoseg.datasets.catalogue import load_card
from harmoseg.datasets.labels import BlackAndWhite
from harmoseg.datasets.pairing import Pair, pair_files
from harmoseg.datasets.picture_cases import picture_case, read_black_and_white
from harmoseg.datasets.pictures import SUFFIXES
from harmoseg.datasets.readers.common import chosen_split
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
    root = find_root(source, _2018["train"], dataset=card.title)
    pairs = _pairs(root, _2018["train"])
    sides = _draw([pair.case for pair in pairs])
    cases = (picture_case(pair, sides[pair.case], roots=(root, root), read=_read) for pair in pairs)
    return make_listing(card, cases, roots=[source], determined_by={"split": split})


def list_ph2(source: Path, options: SourceOptions) -> Listing:
    """List PH2 (``IMD002/IMD002_Dermoscopic_Image/IMD002.bmp``, ...), all for testing."""
    card = load_card("ph2")
    chosen_split(options, "test")
    root = _ph2_root(source, card)
    cases = []
    for folder in sorted(root.glob("IMD*")):
        name = folder.name
        image = folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp"
        mask = folder / f"{name}_lesion" / f"{name}_lesion.bmp"
        for file in (image, mask):
            if not file.is_file():
                raise HarmosegError(f"{file}: missing; complete or remove the folder {folder.name}")
        cases.append(picture_case(Pair(name, image, mask), "test", roots=(root, root), read=_read))
    return make_listing(card, cases, roots=[source])


def _ph2_root(source: Path, card: Card) -> Path:
    if list(source.glob("IMD*/IMD*_Dermoscopic_Image")):
        return source
    return find_root(source, ["PH2 Dataset images"], dataset=card.title) / "PH2 Dataset images"


def _by_folder(card: Card, source: Path, folders: dict[Split, tuple[str, str]]) -> Listing:
    """List the parts that are there: the test part alone serves as another dataset's partner."""
    root = find_root(source, *folders.values(), dataset=card.title)
    cases: list[SourceCase] = []
    remarks = []
    for split, names in folders.items():
        absent = [name for name in names if not (root / name).is_dir()]
        if absent:
            remarks.append(f"no {split} part: the folder(s) {', '.join(absent)} are not there")
            continue
        cases.extend(
            picture_case(pair, split, roots=(root, root), read=_read)
            for pair in _pairs(root, names)
        )
    return make_listing(card, cases, roots=[source], remarks=remarks)


def _pairs(root: Path, names: tuple[str, str]) -> list[Pair]:
    images, masks = (_innermost(root / name) for name in names)
    return pair_files(images, masks, ignore="_superpixels")


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
