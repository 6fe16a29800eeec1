"""MoNuSeg 2018: nuclei in tissue of several organs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

from harmoseg.datasets.annotations import rasterise
from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.label_values import BlackAndWhite
from harmoseg.datasets.pairing import Pair
from harmoseg.datasets.picture_cases import checked_sample, picture_case, read_black_and_white
from harmoseg.datasets.pictures import read_image
from harmoseg.datasets.readers.common import check_published, chosen_split
from harmoseg.datasets.sources import Listing, SourceOptions, list_files, make_listing
from harmoseg.errors import HarmosegError
from harmoseg.store.tiling import Sample

_PATIENT = 12
"""Length of the patient's part of a TCGA barcode: TCGA-18-5592-01Z-00-DX1 is of TCGA-18-5592."""
_TILES = frozenset({".tif", ".tiff"})


def list_monuseg(source: Path, options: SourceOptions) -> Listing:
    """List MoNuSeg's tiles with the official 30 / 14 split, wherever below `source` they lie.

    Labels are the official polygons (``.xml``) where every tile has them, else mask images (PNG)
    of the same name, in which nuclei may be white or numbered. Tiles that the official lists do
    not name, such as the seven more of the training archive, are passed over with a remark.
    """
    card = load_card("monuseg")
    chosen_split(options, "official")
    if not source.is_dir():
        raise HarmosegError(f"{source}: no such folder; expected the folder of {card.title}")
    splits = load_split("monuseg")
    files = list_files(source)
    images = _by_name(files, _TILES, splits)
    if not images:
        raise HarmosegError(f"{source}: no tiles of {card.title}; expected {card.layout}")
    check_published(sorted(images), splits, "MoNuSeg (30 / 14)", options)
    kind, labels = _labels(files, images, source)
    read = (
        _read_outlines
        if kind == "polygons"
        else partial(read_black_and_white, channels=3, rule=BlackAndWhite(numbered=True))
    )
    cases = (
        picture_case(
            Pair(name, image, labels[name]),
            splits[name],
            roots=(source, source),
            read=read,
            group=name[:_PATIENT],
        )
        for name, image in images.items()
    )
    others = {path.stem for path in files if path.suffix.lower() in _TILES} - splits.keys()
    remarks = [
        f"{len(others)} tile(s) passed over, which the official lists do not name: {_named(others)}"
    ]
    return make_listing(
        card,
        cases,
        roots=[source],
        determined_by={"labels": kind},
        remarks=remarks if others else [],
    )


def _by_name(
    files: Iterable[Path], endings: Collection[str], names: Collection[str]
) -> dict[str, Path]:
    """Find the files of these names; raise HarmosegError where there are two of one name."""
    found: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() not in endings or path.stem not in names:
            continue
        if path.stem in found:
            raise HarmosegError(f"two files of one name: {found[path.stem]} and {path}; keep one")
        found[path.stem] = path
    return found


def _labels(
    files: Iterable[Path], tiles: Collection[str], source: Path
) -> tuple[str, dict[str, Path]]:
    """Find the polygons, or else the masks, of all tiles."""
    outlines, masks = (_by_name(files, {ending}, tiles) for ending in (".xml", ".png"))
    for kind, labels in (("polygons", outlines), ("masks", masks)):
        if len(labels) == len(tiles):
            return kind, labels
    neither = [name for name in tiles if name not in outlines and name not in masks]
    # Where every tile has one or the other, the kind that lacks fewer is the one to complete.
    fuller = max(masks, outlines, key=len)
    lonely = neither or [name for name in tiles if name not in fuller]
    raise HarmosegError(
        f"{source}: {len(lonely)} tile(s) have no label ({_named(lonely)}); every tile needs "
        "an annotation (.xml), or every tile a mask (.png), of its own name"
    )


def _named(names: Collection[str], most: int = 7) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + rest


def _read_outlines(pair: Pair) -> Sample:
    image = read_image(pair.image, 3).pixels
    label, remark = rasterise(pair.mask, height=image.shape[0], width=image.shape[1])
    return checked_sample(pair, image, label, remark)
