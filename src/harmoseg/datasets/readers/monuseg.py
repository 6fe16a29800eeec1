"""MoNuSeg 2018: nuclei in tissue of several organs, outlined by hand.

The outlines are polygons in XML, as the slide viewer Aperio ImageScope saves them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree as SafeTree
import numpy as np
from defusedxml import DefusedXmlException
from numpy.typing import NDArray

from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.pairing import Pair, checked_sample, picture_case, read_black_and_white
from harmoseg.datasets.pictures import read_image
from harmoseg.datasets.readers.common import by_id, check_published, chosen_split, files_below
from harmoseg.datasets.sources import Listing, SourceOptions, make_listing, name_some
from harmoseg.errors import HarmosegError
from harmoseg.store.tiling import Sample

_Vertices = list[tuple[float, float]]

_PATIENT = 12
"""Length of the patient's part of a TCGA barcode: TCGA-18-5592-01Z-00-DX1 is of TCGA-18-5592."""
_TILES = frozenset({".tif", ".tiff"})
_CENTRE = 0.5
"""Distance of a pixel's centre from its corner. The viewer counts from the corner of the image: at
a zoom of 5 its vertices are fifths of a pixel from there. On eight tiles the outlines follow the
edges of the nuclei best with 0.5 (0.2 to 0.9, mean 0.5), not with 0 or 1."""
_OPEN = 0.2
"""Share of its drawn length by which an outline may fail to close: hands leave gaps of a few
pixels, which a straight line closes."""
_LONGEST = 2.0
"""Largest length of the closing edge, in lengths of the longest drawn edge: a polygon may be listed
without its first vertex again at the end, and then has one edge more. No triangle's third side is
longer than twice the longer of the others. A curve of many short steps that ends far from where it
began is neither: a part of it is missing."""
_OUTSIDE = 16.0
"""Pixels by which a vertex may lie outside of the image: outlines of cut nuclei overshoot it."""
_SLIP_AREA = 0.2
_SLIP_LENGTH = 6.0
"""Square pixels and pixels below which a region is a slip of the mouse: a click that moved, which
holds no nucleus. The smallest nuclei of the published files have tens of square pixels."""


def list_monuseg(source: Path, options: SourceOptions) -> Listing:
    """List MoNuSeg's tiles with the official 30 / 14 split, wherever below `source` they lie.

    Labels are the official polygons (``.xml``) where every tile has them, else mask images (PNG)
    of the same name, in which nuclei may be white or numbered. Tiles that the official lists do
    not name, such as the seven more of the training archive, are passed over with a remark.
    """
    card = load_card("monuseg")
    chosen_split(options, "official")
    splits = load_split("monuseg")
    files = files_below(source, card.title)
    images = _by_name(files, _TILES, splits)
    if not images:
        raise HarmosegError(f"{source}: no tiles of {card.title}; expected {card.layout}")
    check_published(images, splits, "MoNuSeg (30 / 14)", options)
    kind, labels = _labels(files, images, source)
    masks = partial(read_black_and_white, numbered=True)
    read = _read_outlines if kind == "polygons" else masks
    cases = [
        picture_case(
            Pair(name, image, labels[name]),
            splits[name],
            source,
            read=read,
            group=name[:_PATIENT],
        )
        for name, image in images.items()
    ]
    others = {path.stem for path in files if path.suffix.lower() in _TILES} - splits.keys()
    remark = (
        f"{len(others)} tile(s) passed over, which the official lists do not name: "
        f"{name_some(sorted(others), 7)}"
    )
    return make_listing(
        card,
        cases,
        roots=[source],
        determined_by={"labels": kind},
        remarks=[remark] if others else [],
    )


def _by_name(
    files: Iterable[Path], endings: Collection[str], names: Collection[str]
) -> dict[str, Path]:
    """Find the files of these names; raise HarmosegError where there are two of one name."""
    return by_id(
        (path.stem, path) for path in files if path.suffix.lower() in endings and path.stem in names
    )


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
        f"{source}: {len(lonely)} tile(s) have no label ({name_some(sorted(lonely), 7)}); every "
        "tile needs an annotation (.xml), or every tile a mask (.png), of its own name"
    )


def _read_outlines(pair: Pair) -> Sample:
    image = read_image(pair.image, 3).pixels
    label, remark = rasterise(pair.mask, height=image.shape[0], width=image.shape[1])
    return checked_sample(pair, image, label, remark)


def rasterise(path: Path, *, height: int, width: int) -> tuple[NDArray[np.uint8], str]:
    """Fill the polygons of an annotation file: (H, W), 1 for pixels with their centre in any.

    Also return a remark that counts and names the regions passed over as slips of the mouse, empty
    where there are none. Raises HarmosegError naming the region where the XML is damaged or carries
    entities (an attack known as billion laughs), where an outline of a real size is open or has
    fewer than three vertices, or where it lies outside of the image.
    """
    inside = np.zeros((height, width), np.bool_)
    slips = []
    for number, (vertices, area, length) in enumerate(_regions(path), 1):
        if _is_slip(vertices, area, length):
            slips.append(number)
            continue
        _check(vertices, f"{path}: region {number}", height=height, width=width)
        _fill(inside, vertices)
    remark = (
        f"{path.name}: {len(slips)} region(s) without an area passed over as slips of the mouse "
        f"(region {', '.join(map(str, slips))})"
    )
    return inside.astype(np.uint8), remark if slips else ""


def _fill(inside: NDArray[np.bool_], vertices: _Vertices) -> None:
    """Set the pixels whose centre a closed polygon winds around.

    By winding, not by parity: where a hand draws past its beginning, the overlap stays inside.
    """
    height, width = inside.shape
    start = np.asarray(vertices) - _CENTRE
    end = np.roll(start, -1, axis=0)
    # An edge crosses the rows from `first` to before `last`, or upwards the other way round.
    first, last = (np.ceil(ends[:, 1]).astype(np.int64) for ends in (start, end))
    crossed = abs(last - first)
    edge = np.repeat(np.arange(len(start)), crossed)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(crossed) - crossed, crossed)
    rows = np.minimum(first, last)[edge] + within
    run, rise = (end - start)[edge].T
    columns = np.ceil(start[edge, 0] + (rows - start[edge, 1]) * run / rise).astype(np.int64)
    seen = (rows >= 0) & (rows < height)
    if not seen.any():
        return
    rows, columns = rows[seen], np.clip(columns[seen], 0, width)
    top, left = rows.min(), columns.min()
    winding = np.zeros((rows.max() + 1 - top, columns.max() + 1 - left), np.int64)
    np.add.at(winding, (rows - top, columns - left), np.sign(last - first)[edge][seen])
    filled = winding.cumsum(axis=1)[:, :-1] != 0
    inside[top : rows.max() + 1, left : columns.max()] |= filled


def _regions(path: Path) -> list[tuple[_Vertices, float, float]]:
    """Read the outlines, with the area and the length that the viewer wrote beside each, or 0."""
    try:
        root = SafeTree.fromstring(path.read_bytes())
        return [
            (
                [
                    (float(vertex.attrib["X"]), float(vertex.attrib["Y"]))
                    for vertex in region.iter("Vertex")
                ],
                _number(region.get("Area")),
                _number(region.get("Length")),
            )
            for region in root.iter("Region")
        ]
    except DefusedXmlException as error:
        raise HarmosegError(
            f"{path}: refused, it declares entities or refers to other files, which an annotation "
            "never needs; replace the file"
        ) from error
    # LookupError: a vertex without coordinates, or an encoding that nobody knows.
    except (OSError, ParseError, LookupError, ValueError) as error:
        raise HarmosegError(
            f"{path}: cannot be read as an annotation of polygons ({error}); replace the file"
        ) from error


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:  # in another language's way of writing numbers; the vertices say it too
        return 0.0


def _is_slip(vertices: _Vertices, area: float, length: float) -> bool:
    """Return whether a region has next to no size, by its vertices and by what the viewer says."""
    if not vertices:  # nothing shows that this was a slip
        return False
    closed = [*vertices, vertices[0]]
    drawn = sum(math.dist(a, b) for a, b in pairwise(vertices))
    inside = abs(sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairwise(closed))) / 2
    return max(inside, area) < _SLIP_AREA and max(drawn, length) < _SLIP_LENGTH


def _check(vertices: _Vertices, where: str, *, height: int, width: int) -> None:
    repair = "repair the outline in the slide viewer, or remove the region"
    if len(vertices) < 3:
        raise HarmosegError(f"{where}: {len(vertices)} vertices, expected 3 or more; {repair}")
    if not all(math.isfinite(x) and math.isfinite(y) for x, y in vertices):
        raise HarmosegError(f"{where}: a vertex is no number; {repair}")
    edges = [math.dist(a, b) for a, b in pairwise(vertices)]
    length = sum(edges)
    gap = math.dist(vertices[0], vertices[-1])
    if gap > max(_OPEN * length, _LONGEST * max(edges)):
        raise HarmosegError(
            f"{where}: an open outline, its ends lie {gap:.0f} px apart after {length:.0f} px; "
            f"{repair}"
        )
    columns, rows = zip(*vertices, strict=True)
    if max(columns) < 0 or max(rows) < 0 or min(columns) > width - 1 or min(rows) > height - 1:
        raise HarmosegError(
            f"{where}: lies beside the image of {width} x {height}, from ({min(columns):.0f}, "
            f"{min(rows):.0f}) to ({max(columns):.0f}, {max(rows):.0f}); remove the region, or "
            "check that the file belongs to this image"
        )
    for x, y in vertices:
        if not (-_OUTSIDE <= x <= width + _OUTSIDE and -_OUTSIDE <= y <= height + _OUTSIDE):
            raise HarmosegError(
                f"{where}: vertex ({x:.0f}, {y:.0f}) lies outside of the image of {width} x "
                f"{height}; check that the file belongs to this image"
            )
