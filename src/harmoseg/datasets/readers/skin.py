"""Skin lesions in dermoscopy: ISIC-2018 Task 1, ISIC-2017 Task 1, PH2."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

from harmoseg.datasets.catalogue import load_card
from harmoseg.datasets.pairing import Pair, pair_files
from harmoseg.datasets.picture_cases import HALF, picture_case, read_picture_pair
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

_read = partial(read_picture_pair, channels=3, rule=HALF)


def list_isic_2017(source: Path, options: SourceOptions) -> Listing:
    """List ISIC-2017 Task 1 by its official folders; superpixel files are passed over."""
    card = load_card("isic-2017")
    chosen_split(options, "official")
    root = find_root(source, _2017["train"][0], dataset=card.title)
    return _by_folder(card, root, _2017)


def list_isic_2018(source: Path, options: SourceOptions) -> Listing:
    """List ISIC-2018 Task 1.

    The split ``drawn`` cuts the 2594 training images into 1815 / 259 / 520 as the prior work
    does, whose lists were never published; ours is drawn by a hash of the names. ``official`` is
    the challenge's own, by folder.
    """
    card = load_card("isic-2018")
    split = chosen_split(options, "drawn", "official")
    root = find_root(source, _2018["train"][0], dataset=card.title)
    if split == "official":
        return _by_folder(replace(card, counts=_OFFICIAL_2018), root, _2018)
    pairs = _pairs(root, _2018["train"])
    sides = _draw([pair.case for pair in pairs])
    cases = (picture_case(pair, sides[pair.case], roots=(root, root), read=_read) for pair in pairs)
    return make_listing(card, cases, roots=[root], determined_by={"split": split})


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
    return make_listing(card, cases, roots=[root])


def _ph2_root(source: Path, card: Card) -> Path:
    for part in ("PH2 Dataset images", "PH2Dataset/PH2 Dataset images", "."):
        if list((source / part).glob("IMD*/IMD*_Dermoscopic_Image")):
            return source / part
    return find_root(source, "PH2 Dataset images", dataset=card.title) / "PH2 Dataset images"


def _by_folder(card: Card, root: Path, folders: dict[Split, tuple[str, str]]) -> Listing:
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
    return make_listing(card, cases, roots=[root], remarks=remarks)


def _pairs(root: Path, names: tuple[str, str]) -> list[Pair]:
    return pair_files(root / names[0], root / names[1], ignore="_superpixels")


def _draw(cases: list[str]) -> dict[str, Split]:
    """Draw the parts by a hash of each name, so that the draw needs no list and no generator."""
    order = sorted(cases, key=lambda case: hashlib.sha256(f"isic-2018:{case}".encode()).digest())
    total = sum(_DRAWN.values())
    sides: dict[str, Split] = {}
    start = 0.0
    for split, count in _DRAWN.items():
        # In proportion, should there be fewer images than the official number.
        stop = start + count * len(cases) / total
        sides |= dict.fromkeys(order[round(start) : round(stop)], split)
        start = stop
    return sides
