"""Polyps in colonoscopy: Kvasir-SEG, PolypGen, ETIS-Larib, CVC-ClinicDB."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.label_values import BlackAndWhite
from harmoseg.datasets.pairing import Pair, list_pictures, pair_files
from harmoseg.datasets.picture_cases import picture_case, read_black_and_white
from harmoseg.datasets.readers.common import (
    USUAL,
    check_published,
    check_sizes,
    chosen_split,
    pairs_in,
)
from harmoseg.datasets.sources import Listing, SourceCase, SourceOptions, find_root, make_listing
from harmoseg.errors import HarmosegError

_ETIS = [str(number) for number in range(1, 197)]
"""The images of ETIS-Larib, which are numbered; other sets of polyps are numbered otherwise."""
_ETIS_SIZE = (1225, 966)
_CLINIC = [str(number) for number in range(1, 613)]
_CLINIC_SIZE = (384, 288)
_CENTRES = ("C1", "C2", "C3", "C4", "C5", "C6")

_read = partial(read_black_and_white, channels=3, rule=BlackAndWhite())


def list_kvasir(source: Path, options: SourceOptions) -> Listing:
    """List Kvasir-SEG (``images/``, ``masks/``) with the official 880 / 120 split."""
    card = load_card("kvasir-seg")
    chosen_split(options, "official")
    root = find_root(source, *USUAL, dataset=card.title)
    splits = load_split("kvasir-seg")
    pairs = pairs_in(root, *USUAL)
    check_published([pair.case for pair in pairs], splits, "Kvasir-SEG (880 / 120)", options)
    cases = (
        picture_case(pair, splits[pair.case], roots=(root, root), read=_read) for pair in pairs
    )
    return make_listing(card, cases, roots=[source])


def list_etis(source: Path, options: SourceOptions) -> Listing:
    """List ETIS-Larib: ``images/`` and ``masks/``, or the original folders; all for testing."""
    card = load_card("etis-larib")
    chosen_split(options, "test")
    original = ("ETIS-LaribPolypDB", "Ground Truth")
    root = find_root(source, *USUAL, original, dataset=card.title)
    pairs = pairs_in(root, *USUAL) or _original_etis(*(root / part for part in original))
    check_published(
        [pair.case for pair in pairs],
        dict.fromkeys(_ETIS),
        "ETIS-Larib (images 1 to 196)",
        options,
    )
    remarks = check_sizes(pairs, [_ETIS_SIZE], len(_ETIS), card.title)
    cases = (picture_case(pair, "test", roots=(root, root), read=_read) for pair in pairs)
    return make_listing(card, cases, roots=[source], remarks=remarks)


def list_clinic(source: Path, options: SourceOptions) -> Listing:
    """List CVC-ClinicDB: ``Original/`` and ``Ground Truth/``, or PraNet's copy, all for testing."""
    card = load_card("cvc-clinicdb")
    chosen_split(options, "test")
    original = ("Original", "Ground Truth")
    root = find_root(source, original, *USUAL, dataset=card.title)
    pairs = pairs_in(root, original, *USUAL)
    check_published(
        [pair.case for pair in pairs],
        dict.fromkeys(_CLINIC),
        "CVC-ClinicDB (images 1 to 612)",
        options,
    )
    remarks = check_sizes(pairs, [_CLINIC_SIZE], len(_CLINIC), card.title)
    cases = (picture_case(pair, "test", roots=(root, root), read=_read) for pair in pairs)
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
            picture_case(
                pair,
                "test",
                roots=(root, root),
                read=_read,
                case=f"{centre}/{pair.case}",
                subset=centre,
            )
            for pair in pairs
        )
    return make_listing(card, cases, roots=[source], remarks=remarks)


def _original_etis(images: Path, masks: Path) -> list[Pair]:
    """Pair ``1.tif`` with ``p1.tif``, as the original release names them."""
    by_name = {path.stem: path for path in list_pictures(masks)}
    pairs = []
    for image in list_pictures(images):
        mask = by_name.pop(f"p{image.stem}", None)
        if mask is None:
            raise HarmosegError(
                f"{image}: no mask; expected p{image.stem}.tif in {masks}; complete or replace the "
                "download"
            )
        pairs.append(Pair(image.stem, image, mask))
    if by_name:
        raise HarmosegError(
            f"{next(iter(by_name.values()))}: a mask without an image in {images}; complete or "
            "replace the download"
        )
    return pairs
