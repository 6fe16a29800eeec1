"""The page of a report: what it holds, and how that becomes one HTML file.

The page is put together from the readable pieces in ``template/``. It loads nothing: style and
script stand in it, pictures are data, and its own policy forbids a browser to fetch anything.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from PIL import Image

from harmoseg.report.pages import page_template

Cell = str | tuple[str, bool]
"""The text of a cell, or (text, whether it is bold)."""

_SCRIPTS = ("sorting.js", "spectrum.js", "browser.js")


@dataclass(frozen=True)
class Link:
    """A file beside the page: what it is called, and its path relative to the page's folder."""

    label: str
    path: str

    @property
    def address(self) -> str:
        """Give the path as a relative address: a name from outside never becomes a scheme."""
        return "./" + quote(self.path, safe="/")


@dataclass(frozen=True)
class PageTable:
    """A table: its first column names the rows; numbers are sorted by their leading number."""

    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    links: Sequence[Link] = ()

    @property
    def cells(self) -> list[list[tuple[str, bool]]]:
        """Give every cell as (text, bold)."""
        return [
            [(cell, False) if isinstance(cell, str) else cell for cell in row] for row in self.rows
        ]


@dataclass(frozen=True)
class PagePicture:
    """A figure, as PNG bytes; `alt` says in words what it shows, the caption where it is empty."""

    title: str
    caption: str
    png: bytes
    alt: str = ""
    links: Sequence[Link] = ()

    @property
    def address(self) -> str:
        """Give the picture itself as an address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    @property
    def size(self) -> tuple[int, int]:
        """Give (width, height) in pixels, so that the page keeps its place from the start."""
        with Image.open(io.BytesIO(self.png)) as picture:
            return picture.size


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, tables and figures under it, in this order."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[PageTable] = ()
    pictures: Sequence[PagePicture] = ()


@dataclass(frozen=True)
class Page:
    """All that a report says. Every string is text, never markup.

    `sentences` are the findings in plain words; `browser` is what
    `harmoseg.report.browser.make_payload` gives, or None; `facts` are names and values that say
    how it was made.
    """

    title: str
    sentences: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    browser: Mapping[str, Any] | None = None
    facts: Sequence[tuple[str, str]] = ()


def render(page: Page) -> str:
    """Write a page as HTML."""
    script = "\n".join(_piece(name) for name in _SCRIPTS)
    return page_template("template/report.html.j2").render(
        page=page,
        style=_trusted(_piece("style.css")),
        script=_trusted(script),
        # Only this script runs: one that a name from outside might bring in has another hash.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        payload=None if page.browser is None else _embedded(page.browser),
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
    """Let a text stand in the page as it is: a piece of this package, or data made harmless."""
    return Markup(text)  # noqa: S704


def _piece(name: str) -> str:
    folder = resources.files("harmoseg.report") / "template"
    return (folder / name).read_text(encoding="utf-8")
