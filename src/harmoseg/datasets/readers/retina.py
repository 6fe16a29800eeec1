"""Vessels in photographs of the retina: CHASE_DB1, HRF."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.label_values import BlackAndWhite
from harmoseg.datasets.pairing import Pair, pair_files
from harmoseg.datasets.picture_cases import picture_case, read_black_and_white
from harmoseg.datasets.pictures import SUFFIXES
from harmoseg.datasets.readers.common import check_published, chosen_split
from harmoseg.datasets.readers.finding import by_id, files_below
from harmoseg.datasets.sources import Listing, SourceOptions, find_root, make_listing
from harmoseg.errors import HarmosegError

_CHASE = re.compile(r"(?P<case>Image_(?P<child>\d+)[LR])(?P<observer>_1stHO|_2ndHO)?")
_EYES = {"h": "healthy", "g": "glaucoma", "dr": "diabetic retinopathy"}
"""What ends the names of HRF's images, and what it says of the eye."""
_HRF = {f"{number:02d}_{end}": subset for end, subset in _EYES.items() for number in range(1, 16)}

_read = partial(read_black_and_white, channels=3, rule=BlackAndWhite())


def list_chase(source: Path, options: SourceOptions) -> Listing:
    """List CHASE_DB1 with the first observer's masks, wherever its files lie below `source`.

    Children 01 to 10 train and 11 to 14 test; a child, with both eyes, is one group.
    """
    card = load_card("chase-db1")
    chosen_split(options, "usual")
    splits = load_split("chase-db1")
    files = by_id(_chase_files(files_below(source, card.title)))
    images = {case: path for (case, observer), path in files.items() if observer is None}
    masks = {case: path for (case, observer), path in files.items() if observer == "_1stHO"}
    if not images:
        raise HarmosegError(f"{source}: no images of {card.title}; expected {card.layout}")
    check_published(sorted(images), splits, "CHASE_DB1 (20 / 8)", options)
    for these, others, what in ((images, masks, "mask _1stHO"), (masks, images, "image")):
        lonely = sorted(these.keys() - others.keys())
        if lonely:
            raise HarmosegError(
                f"{these[lonely[0]]}: no {what} of its name, nor of {len(lonely) - 1} more; "
                "complete or replace the download"
            )
    cases = (
        picture_case(
            Pair(case, image, masks[case]),
            splits[case],
            roots=(source, source),
            read=_read,
            group=case[:-1],
        )
        for case, image in images.items()
    )
    return make_listing(card, cases, roots=[source])


def list_hrf(source: Path, options: SourceOptions) -> Listing:
    """List HRF (``images/01_h.jpg``, ``manual1/01_h.tif``, ... ``15_dr``), all for testing."""
    card = load_card("hrf")
    chosen_split(options, "test")
    root = find_root(source, ("images", "manual1"), dataset=card.title)
    pairs = pair_files(root / "images", root / "manual1")
    check_published([pair.case for pair in pairs], _HRF, "HRF (45 images)", options)
    cases = (
        picture_case(pair, "test", roots=(root, root), read=_read, subset=_HRF[pair.case])
        for pair in pairs
    )
    return make_listing(card, cases, roots=[source])


def _chase_files(files: list[Path]) -> Iterator[tuple[tuple[str, str | None], Path]]:
    for path in files:
        name = _CHASE.fullmatch(path.stem)
        if name and path.suffix.lower() in SUFFIXES:
            yield (name["case"], name["observer"]), path
