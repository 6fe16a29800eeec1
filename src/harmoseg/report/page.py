"""The page of a report: its content as plain data, and how that becomes one HTML file.

The page is made of the readable pieces in ``template/``. It loads nothing: style, script and
pictures stand in it, and its own policy forbids a browser to fetch anything.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from harmoseg.templates import open_template

Cell = str | tuple[str, bool]
"""The text of a cell, or (text, whether it is bold)."""

_SCRIPTS = ("page.js", "sorting.js", "spectrum.js", "browser.js")
_TABLE_WIDTH = 116
"""Characters that fit beside one another in the page's widest column."""
_GAP = 2


@dataclass(frozen=True)
class Link:
    """A file beside the page: its label, and its path relative to the page's folder."""

    label: str
    path: str

    @property
    def address(self) -> str:
        """Return the path as a relative address: a name from outside never becomes a scheme."""
        return "./" + quote(self.path, safe="/")


@dataclass(frozen=True)
class PageTable:
    """A table: its first column names the rows; numbers are sorted by their leading number.

    `first` are the columns that are shown before all others where not all fit.
    """

    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    links: Sequence[Link] = ()
    first: Sequence[int] = (0,)

    @property
    def cells(self) -> list[list[tuple[str, bool]]]:
        """Return every cell as (text, bold)."""
        return [
            [(cell, False) if isinstance(cell, str) else cell for cell in row] for row in self.rows
        ]

    @cached_property
    def fits(self) -> list[bool]:
        """Return for every column whether it is shown at first: as many as the page is wide."""
        columns = range(len(self.header))
        texts = [[row[i][0] for row in self.cells] for i in columns]
        widths = [max(len(text) for text in (self.header[i], *texts[i])) + _GAP for i in columns]
        if sum(widths) <= _TABLE_WIDTH:
            return [True] * len(widths)
        # A column with one value says little; it waits behind the others.
        same = [len(texts[i]) > 1 and len(set(texts[i])) == 1 for i in columns]
        order = sorted(columns, key=lambda i: (i not in self.first, same[i], i))
        shown: set[int] = set()
        used = 0
        for i in order:
            used += widths[i]
            if used <= _TABLE_WIDTH or not shown:
                shown.add(i)
        return [i in shown for i in columns]


@dataclass(frozen=True)
class PagePicture:
    """A figure, as PNG bytes; `alt` describes it, else title and caption do.

    `dots` are the cases in it, for a click: see `harmoseg.report.figures.style.Dots`. `is_photo`
    says that it shows images, whose colours a dark page must leave alone.
    """

    title: str
    caption: str
    png: bytes
    alt: str = ""
    links: Sequence[Link] = ()
    dots: Mapping[str, Any] | None = None
    is_photo: bool = False

    @property
    def address(self) -> str:
        """Return the picture itself as an address."""
        return _address("png", self.png)

    @property
    def size(self) -> tuple[int, int]:
        """Return (width, height) in pixels, so that the page keeps its place from the start."""
        with Image.open(io.BytesIO(self.png)) as picture:
            return picture.size


@dataclass(frozen=True)
class Section:
    """A folded part of the page: paragraphs, tables and figures, in this order."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[PageTable] = ()
    pictures: Sequence[PagePicture] = ()


@dataclass(frozen=True)
class Gain:
    """A difference in the first picture: its word, its numbers, and where it is drawn.

    `low`, `mean` and `high` are percentages of the drawing's width; None is not known. `cut` says
    which ends lie beyond the drawing.
    """

    word: str
    text: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    cut: tuple[bool, bool] = (False, False)


@dataclass(frozen=True)
class Question:
    """A line of the first picture: a method and its reference, and the gain on every test set."""

    method: str
    reference: str
    kind: str
    gains: Sequence[Gain | None]


@dataclass(frozen=True)
class ShownCase:
    """A case of the first screen; `pictures` are (title, detail, address of the picture)."""

    why: str
    name: str
    detail: str
    pictures: Sequence[tuple[str, str, str]] = ()
    link: str = ""


@dataclass(frozen=True)
class Opening:
    """The first screen: question, answer, all gains, three cases, what to be wary of.

    `places` are the test sets; `ends` say what the left and the right half of a drawing mean, and
    `scale` how far it reaches. `band` is the margin, in percent of half the width. `more` says
    which questions are left out.
    """

    question: str
    answer: str
    places: Sequence[str] = ()
    ends: tuple[str, str] = ("", "")
    scale: str = ""
    band: float = 0.0
    questions: Sequence[Question] = ()
    more: str = ""
    cases: Sequence[ShownCase] = ()
    about_cases: str = ""
    wary: Sequence[str] = ()
    made: str = ""


@dataclass(frozen=True)
class Page:
    """All that a report says. Every string is text, never markup.

    `browser` is what `harmoseg.report.browser.make_payload` returns, or None; `warnings` are all
    that a reader should be wary of; `facts` are names and values that say how it was made.
    """

    title: str
    opening: Opening | None = None
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    browser: Mapping[str, Any] | None = None
    facts: Sequence[tuple[str, str]] = ()


def picture_address(pixels: NDArray[np.uint8], kind: str, **how: Any) -> str:
    """Return pixels (H, W) or (H, W, C) as the address of a picture of this kind; one C is grey."""
    shown = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(buffer, kind, optimize=True, **how)
    return _address(kind, buffer.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def render(page: Page) -> str:
    """Write a page as HTML."""
    script = "\n".join(_piece(name) for name in _SCRIPTS)
    return open_template("harmoseg.report", "template/report.html.j2").render(
        page=page,
        style=_trusted(_piece("style.css")),
        script=_trusted(script),
        # Only this script runs: one that a name from outside might bring in has another hash.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        payload=None if page.browser is None else _embedded(page.browser),
        compact=lambda value: json.dumps(value, separators=(",", ":")),
    )


def _embedded(payload: Mapping[str, Any]) -> Markup:
    """Write data for a ``<script type="application/json">``, which ends at the first ``</script``.

    Of JSON, `<`, `>` and `&` stand in strings alone, where they can be written as escapes.
    """
    text = json.dumps(payload, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return _trusted(text)


def _trusted(text: str) -> Markup:
    """Mark a text as safe markup: a piece of this package, or data made harmless."""
    return Markup(text)  # noqa: S704


def _piece(name: str) -> str:
    folder = resources.files("harmoseg.report") / "template"
    return (folder / name).read_text(encoding="utf-8")
