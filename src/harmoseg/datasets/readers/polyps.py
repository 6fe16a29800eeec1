"""Polyps in colonoscopy: Kvasir-SEG, PolypGen, ETIS-Larib."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.pairing import Pair, list_pictures, pair_files
from harmoseg.datasets.picture_cases import HALF, picture_case, read_picture_pair
from harmoseg.datasets.readers.common import check_published, chosen_split
from harmoseg.datasets.sources import Listing, SourceCase, SourceOptions, find_root, make_listing
from harmoseg.errors import HarmosegError

_read = partial(read_picture_pair, channels=3, rule=HALF)


def list_kvasir(source: Path, options: SourceOptions) -> Listing:
    """List Kvasir-SEG (``images/``, ``masks/``) with the official 880 / 120 split."""
    card = load_card("kvasir-seg")
    chosen_split(options, "official")
    root = find_root(source, "images", "masks", dataset=card.title)
    splits = load_split("kvasir-seg")
    pairs = pair_files(root / "images", root / "masks")
    check_published([pair.case for pair in pairs], splits, "Kvasir-SEG (880 / 120)", options)
    cases = (
        picture_case(pair, splits[pair.case], roots=(root, root), read=_read) for pair in pairs
    )
    return make_listing(card, cases, roots=[root])


def list_etis(source: Path, options: SourceOptions) -> Listing:
    """List ETIS-Larib: ``images/`` and ``masks/``, or the original folders, all for testing."""
    card = load_card("etis-larib")
    chosen_split(options, "test")
    try:
        root = find_root(source, "images", "masks", dataset=card.title)
    except HarmosegError:
        root = find_root(source, "ETIS-LaribPolypDB", "Ground Truth", dataset=card.title)
        pairs = _original_etis(root / "ETIS-LaribPolypDB", root / "Ground Truth")
    else:
        pairs = pair_files(root / "images", root / "masks")
    cases = (picture_case(pair, "test", roots=(root, root), read=_read) for pair in pairs)
    return make_listing(card, cases, roots=[root])


def list_polypgen(source: Path, options: SourceOptions) -> Listing:
    """List PolypGen's single frames (``data_C1/images_C1``, ``data_C1/masks_C1``, ... C6)."""
    card = load_card("polypgen")
    chosen_split(options, "test")
    root = find_root(source, "data_C1", dataset=card.title)
    cases: list[SourceCase] = []
    remarks = []
    for centre in ("C1", "C2", "C3", "C4", "C5", "C6"):
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
    return make_listing(card, cases, roots=[root], remarks=remarks)


def _original_etis(images: Path, masks: Path) -> list[Pair]:
    """Pair ``1.tif`` with ``p1.tif``, as the original release names them."""
    by_name = {path.stem: path for path in list_pictures(masks)}
    pairs = []
    for image in list_pictures(images):
        mask = by_name.pop(f"p{image.stem}", None)
        if mask is None:
            raise HarmosegError(f"{image}: no mask; expected p{image.stem}.tif in {masks}")
        pairs.append(Pair(image.stem, image, mask))
    if by_name:
        raise HarmosegError(f"{next(iter(by_name.values()))}: a mask without an image in {images}")
    return pairs
