"""Outlines drawn by hand, as the slide viewer Aperio ImageScope saves them: polygons in XML."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree as SafeTree
import numpy as np
from defusedxml import DefusedXmlException
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from harmoseg.errors import HarmosegError

_OPEN = 0.2
"""Share of its drawn length by which an outline may fail to close: hands leave gaps of a few
pixels, which a straight line closes."""
_LONGEST = 2.0
"""How often the longest of the drawn edges the closing one may be, whatever its share: a polygon
may be listed without its first vertex again at the end, and then has one edge more. No triangle's
third side is longer than twice the longer of the others. A curve of many short steps that ends far
from where it began is neither: a part of it is missing."""
_OUTSIDE = 16.0
"""Pixels by which a vertex may lie outside of the image: outlines of cut nuclei overshoot it."""


def rasterise(path: Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """Fill the polygons of an annotation file: (H, W), 1 inside of any of them.

    Raises HarmosegError naming the region where the XML is damaged or carries entities (an attack
    known as billion laughs), where an outline is open, has fewer than three vertices, or lies
    outside of the image.
    """
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for number, vertices in enumerate(_regions(path), 1):
        where = f"{path}: region {number}"
        _check(vertices, where, height=height, width=width)
        draw.polygon(vertices, fill=1, outline=1)
    return np.asarray(canvas)


def _regions(path: Path) -> list[list[tuple[float, float]]]:
    try:
        root = SafeTree.fromstring(path.read_bytes())
        return [
            [
                (float(vertex.attrib["X"]), float(vertex.attrib["Y"]))
                for vertex in region.iter("Vertex")
            ]
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


def _check(vertices: list[tuple[float, float]], where: str, *, height: int, width: int) -> None:
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
