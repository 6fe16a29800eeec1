"""Datasets of photographs: polyps in colonoscopy, lesions of the skin, vessels of the retina."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.pairing import Pair, pair_files, picture_case
from harmoseg.datasets.pictures import SUFFIXES
from harmoseg.datasets.readers.common import (
    USUAL,
    by_id,
    check_names,
    check_published,
    check_sizes,
    chosen_split,
    draw_order,
    files_below,
    pairs_in,
)
from harmoseg.datasets.sources import Listing, SourceCase, SourceOptions, find_root, make_listing
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.layout import Split

_EYES = {"h": "healthy", "g": "glaucoma", "dr": "diabetic retinopathy"}
"""Endings of the names of HRF's images, and the state of the eye."""
_HRF = {f"{number:02d}_{end}": subset for end, subset in _EYES.items() for number in range(1, 16)}


@dataclass(frozen=True)
class _Folders:
    """A dataset of one folder of images and one of masks, whose images are known by name.

    `listed` is the title of the list of their names. With `names` all of them test; otherwise they
    are those of the published split. `size` is that of all images; `mark` is that of `pair_files`.
    """

    listed: str
    layouts: tuple[tuple[str, str], ...]
    names: Collection[str] = ()
    size: tuple[int, int] | None = None
    subsets: Mapping[str, str] = field(default_factory=dict)
    mark: str | None = None


_FOLDERS = {
    "kvasir-seg": _Folders("Kvasir-SEG (880 / 120)", USUAL),
    "etis-larib": _Folders(
        "ETIS-Larib (images 1 to 196)",
        # The original release pairs 1.tif with p1.tif.
        (*USUAL, ("ETIS-LaribPolypDB", "Ground Truth")),
        names=[str(number) for number in range(1, 197)],
        size=(1225, 966),
        mark=r"^p(?=\d)",
    ),
    # The original release, or PraNet's copy.
    "cvc-clinicdb": _Folders(
        "CVC-ClinicDB (images 1 to 612)",
        (("Original", "Ground Truth"), *USUAL),
        names=[str(number) for number in range(1, 613)],
        size=(384, 288),
    ),
    "hrf": _Folders("HRF (45 images)", (("images", "manual1"),), names=_HRF, subsets=_HRF),
}


def list_folders(name: str, source: Path, options: SourceOptions) -> Listing:
    """List a dataset of `_FOLDERS`."""
    card, known = load_card(name), _FOLDERS[name]
    chosen_split(options, "test" if known.names else "official")
    root = find_root(source, *known.layouts, dataset=card.title)
    pairs = pairs_in(root, *known.layouts, mark=known.mark)
    splits: dict[str, Split] = (
        dict.fromkeys(known.names, "test") if known.names else load_split(name)
    )
    check_published([pair.case for pair in pairs], splits, known.listed, options)
    remarks = check_sizes(pairs, [known.size], len(splits), card.title) if known.size else []
    cases = [
        picture_case(pair, splits[pair.case], root, subset=known.subsets.get(pair.case, ""))
        for pair in pairs
    ]
    return make_listing(card, cases, roots=[source], remarks=remarks)


def list_polypgen(source: Path, options: SourceOptions) -> Listing:
    """List PolypGen's single frames (``data_C1/images_C1``, ``data_C1/masks_C1``, ... C6)."""
    card = load_card("polypgen")
    chosen_split(options, "test")
    root = find_root(source, *([f"data_{centre}"] for centre in _CENTRES), dataset=card.title)
    cases: list[SourceCase] = []
    remarks = []
    for centre in _CENTRES:
        folder = root / f"data_{centre}"
        if not folder.is_dir():
            remarks.append(f"centre {centre} (folder data_{centre}) is not in this copy")
            continue
        pairs = pair_files(folder / f"images_{centre}", folder / f"masks_{centre}")
        cases.extend(
            picture_case(pair, "test", root, case=f"{centre}/{pair.case}", subset=centre)
            for pair in pairs
        )
    return make_listing(card, cases, roots=[source], remarks=remarks)


_CENTRES = ("C1", "C2", "C3", "C4", "C5", "C6")
_CHASE = re.compile(r"(?P<case>Image_(?P<child>\d+)[LR])(?P<observer>_1stHO|_2ndHO)?")


def list_chase(source: Path, options: SourceOptions) -> Listing:
    """List CHASE_DB1 with the first observer's masks, wherever its files lie below `source`.

    Children 01 to 10 train and 11 to 14 test; a child, with both eyes, is one group.
    """
    card = load_card("chase-db1")
    chosen_split(options, "usual")
    splits = load_split("chase-db1")
    named = ((_CHASE.fullmatch(path.stem), path) for path in files_below(source, card.title))
    files = by_id(
        ((name["case"], name["observer"]), path)
        for name, path in named
        if name and path.suffix.lower() in SUFFIXES
    )
    images = {case: path for (case, observer), path in files.items() if observer is None}
    masks = {case: path for (case, observer), path in files.items() if observer == "_1stHO"}
    if not images:
        raise HarmosegError(f"{source}: no images of {card.title}; expected {card.layout}")
    check_published(images, splits, "CHASE_DB1 (20 / 8)", options)
    for these, others, what in ((images, masks, "mask _1stHO"), (masks, images, "image")):
        lonely = sorted(these.keys() - others.keys())
        if lonely:
            raise HarmosegError(
                f"{these[lonely[0]]}: no {what} of its name, nor of {len(lonely) - 1} more; "
                "complete or replace the download"
            )
    cases = [
        picture_case(Pair(case, image, masks[case]), splits[case], source, group=case[:-1])
        for case, image in images.items()
    ]
    return make_listing(card, cases, roots=[source])


_Parts = dict[Split, tuple[str, str]]
_PARTS_2017: _Parts = {
    "train": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
    "val": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
    "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
}
_PARTS_2018: _Parts = {
    "train": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
    "val": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
    "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
}
_OFFICIAL_2018 = {"train": 2594, "val": 100, "test": 1000}
_DRAWN: dict[Split, int] = {"train": 1815, "val": 259, "test": 520}
"""Sizes of the parts that the prior work draws from the 2594 training images of ISIC-2018."""
_X2 = "_x2"
"""Ending of the folders of a copy of ISIC-2018 that many people have."""


def list_isic_2017(source: Path, options: SourceOptions) -> Listing:
    """List ISIC-2017 Task 1 by its official folders; superpixel files are passed over."""
    chosen_split(options, "official")
    return _list_parts(load_card("isic-2017"), source, _PARTS_2017)


def list_isic_2018(source: Path, options: SourceOptions) -> Listing:
    """List ISIC-2018 Task 1.

    The split ``drawn`` cuts the 2594 training images into 1815 / 259 / 520 as the prior work
    does, whose lists were never published; ours is drawn by a hash of the names. ``official`` is
    the challenge's own, by folder.
    """
    card = load_card("isic-2018")
    split = chosen_split(options, "drawn", "official")
    if split == "official":
        return _list_parts(replace(card, counts=_OFFICIAL_2018), source, _PARTS_2018)
    root, parts = _find_parts(source, _PARTS_2018, card)
    pairs = _pairs_of_part(root, parts["train"], card) if "train" in parts else []
    if "train" in parts and _is_plain(parts["train"]) and len(pairs) < sum(_DRAWN.values()):
        # Somebody's own split of the same images, which are drawn from all the same.
        pairs = [pair for names in parts.values() for pair in _pairs_of_part(root, names, card)]
    sides = _draw([pair.case for pair in pairs])
    cases = [picture_case(pair, sides[pair.case], root) for pair in pairs]
    return make_listing(card, cases, roots=[source], determined_by={"split": split})


def _draw(cases: list[str]) -> dict[str, Split]:
    """Draw the parts of ISIC-2018.

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
    sides: list[Split] = [split for split, count in _DRAWN.items() for _ in range(count)]
    return dict(zip(draw_order(cases, "isic-2018"), sides, strict=True))


def _list_parts(card: Card, source: Path, folders: _Parts) -> Listing:
    """List the parts that are there: the test part alone serves as another dataset's partner."""
    root, parts = _find_parts(source, folders, card)
    cases: list[SourceCase] = []
    remarks = []
    plain = any(map(_is_plain, parts.values()))
    for split, official in folders.items():
        if split in parts:
            pairs = _pairs_of_part(root, parts[split], card)
            cases.extend(picture_case(pair, split, root) for pair in pairs)
        else:
            expected = _plain(split) if plain else official
            absent = [name for name in expected if not (root / name).is_dir()]
            remarks.append(f"no {split} part: the folder(s) {', '.join(absent)} are not there")
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
    every = [form for named in forms.values() for form in named]
    root = find_root(source, *every, dataset=card.title)
    parts: _Parts = {
        split: form
        for split, named in forms.items()
        for form in reversed(named)  # so that the official form is kept where several are there
        if all((root / name).is_dir() for name in form)
    }
    return root, parts


def _plain(split: Split) -> tuple[str, str]:
    return (f"{split}/images", f"{split}/masks")


def _is_plain(names: tuple[str, str]) -> bool:
    return "/" in names[0]


def _pairs_of_part(root: Path, names: tuple[str, str], card: Card) -> list[Pair]:
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


_PH2 = "PH2 Dataset images"


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
    pairs = pairs_in(root, *USUAL)
    check_names(pairs, r"IMD\d{3}", card.title, "IMD002.bmp")
    for folder in [] if pairs else sorted(root.glob("IMD*")):
        name = folder.name
        image = folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp"
        mask = folder / f"{name}_lesion" / f"{name}_lesion.bmp"
        for file in (image, mask):
            if not file.is_file():
                raise HarmosegError(f"{file}: missing; complete or remove the folder {name}")
        pairs.append(Pair(name, image, mask))
    cases = [picture_case(pair, "test", root) for pair in pairs]
    return make_listing(card, cases, roots=[source])
