"""MoNuSeg 2018: nuclei in tissue of several organs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harmoseg.datasets.annotations import rasterise
from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.pairing import Pair
from harmoseg.datasets.picture_cases import HALF, picture_case, read_picture_pair
from harmoseg.datasets.pictures import read_image
from harmoseg.datasets.readers.common import check_published, chosen_split
from harmoseg.datasets.sources import Listing, SourceOptions, make_listing
from harmoseg.errors import HarmosegError
from harmoseg.store.cutting import Sample

_PATIENT = 12
"""Length of the patient's part of a TCGA barcode: TCGA-18-5592-01Z-00-DX1 is of TCGA-18-5592."""


def list_monuseg(source: Path, options: SourceOptions) -> Listing:
    """List MoNuSeg's tiles with the official 30 / 14 split, wherever below `source` they lie.

    Labels are the official polygons (``.xml``) where every tile has them, else mask images (PNG)
    of the same name.
    """
    card = load_card("monuseg")
    chosen_split(options, "official")
    if not source.is_dir():
        raise HarmosegError(f"{source}: no such folder; expected the folder of {card.title}")
    images = _by_name(source, "*.tif")
    if not images:
        raise HarmosegError(f"{source}: no tiles; expected {card.layout}")
    outlines, masks = _by_name(source, "*.xml"), _by_name(source, "*.png")
    labels = outlines if outlines.keys() >= images.keys() else masks
    lonely = sorted(images.keys() - labels.keys())
    if lonely:
        raise HarmosegError(
            f"{source}: {len(lonely)} tile(s) have no label ({', '.join(lonely[:3])}); every tile "
            "needs an annotation (.xml), or every tile a mask (.png), of its own name"
        )
    splits = load_split("monuseg")
    check_published(sorted(images), splits, "MoNuSeg (30 / 14)", options)
    read = (
        _read_outlines if labels is outlines else partial(read_picture_pair, channels=3, rule=HALF)
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
    kind = "polygons" if labels is outlines else "masks"
    return make_listing(card, cases, roots=[source], determined_by={"labels": kind})


def _by_name(source: Path, pattern: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(source.rglob(pattern)):
        if path.name.startswith("."):
            continue
        if path.stem in found:
            raise HarmosegError(f"two files of one name: {found[path.stem]} and {path}; keep one")
        found[path.stem] = path
    return found


def _read_outlines(pair: Pair) -> Sample:
    image = read_image(pair.image, 3)
    label = rasterise(pair.mask, height=image.shape[0], width=image.shape[1])
    return Sample(image[None], label[None])
