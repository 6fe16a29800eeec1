"""One self-contained HTML page of what `harmoseg verify` found, for eyes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.colours import class_colours, draw_outlines
from harmoseg.datasets.checks import SEVERITIES
from harmoseg.datasets.scan import VerifiedCase, View
from harmoseg.datasets.verifying import Verification, class_shares, closing_line, describe
from harmoseg.errors import HarmosegError
from harmoseg.files import make_folder, write_text
from harmoseg.report.page import picture_address
from harmoseg.store.layout import SPLITS
from harmoseg.templates import open_template

_SIDE = 208
_MOST_ROWS = 300
_MOST_SHOWN = 40
_SAMPLES = 12


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of one image with its mask's outline, as a data address."""

    name: str
    detail: str
    address: str


def write_verification(verification: Verification, path: Path) -> None:
    """Write the page to `path`, an HTML file.

    Pictures are read again from the data, a few at a time: what was found (the first 40 findings
    that have pictures) and twelve random cases of every split.
    """
    check_page(path)
    cases, card = verification.cases, verification.card
    colours = class_colours(card) if card else []
    shown = [item for item in verification.findings if item.shown]
    page = open_template("harmoseg.explain", "verification.html.j2").render(
        title=f"{card.title if card else verification.name}, verified",
        closing=closing_line(verification),
        status=next((name for name in SEVERITIES if verification.of(name)), "fine"),
        facts=describe(verification),
        findings=verification.findings[:_MOST_ROWS],
        left_out=len(verification.findings[_MOST_ROWS:]),
        exhibits=[
            (item, [_picture(cases[case], number, colours) for case, number in item.shown])
            for item in shown[:_MOST_SHOWN]
        ],
        not_shown=len(shown[_MOST_SHOWN:]),
        shares=class_shares(verification),
        samples=_samples(cases, colours),
        legend=list(zip(card.classes[1:], colours, strict=True)) if card else [],
    )
    make_folder(path.resolve().parent)
    write_text(path, page)


def check_page(path: Path) -> None:
    """Raise HarmosegError unless `path` is named as a page is, before the work is begun."""
    if path.suffix.lower() not in {".html", ".htm"}:
        raise HarmosegError(f"{path}: the page is an HTML file; give a name that ends in .html")


def draw_thumbnail(view: View, number: int, colours: Sequence[str]) -> NDArray[np.uint8]:
    """Draw image number `number` of a view with the outlines of its classes, (h, w, 3).

    In the proportions of the source, its longer side 208 pixels.
    """
    window = view.windows[number]
    scale = _SIDE / max(window.height, window.width)
    size = (max(1, round(window.width * scale)), max(1, round(window.height * scale)))
    return draw_outlines(view.images[number], _label_of(view, number), colours, size)


def _samples(cases: Sequence[VerifiedCase], colours: Sequence[str]) -> dict[str, list[Thumbnail]]:
    random = np.random.default_rng(0)
    samples = {}
    for split in SPLITS:
        numbers = [i for i, item in enumerate(cases) if item.item.split == split]
        chosen = random.permutation(len(numbers))[:_SAMPLES]
        if numbers:
            samples[split] = [_picture(cases[numbers[i]], None, colours) for i in sorted(chosen)]
    return samples


def _picture(verified: VerifiedCase, place: int | None, colours: Sequence[str]) -> Thumbnail:
    """Draw one image of a case, the one with the most foreground when `place` is None."""
    item = verified.item
    try:
        view = verified.view()
        if place is None:
            labels = [_label_of(view, i) for i in range(len(view.windows))]
            place = int(np.argmax([np.count_nonzero(label) for label in labels]))
        pixels = draw_thumbnail(view, place, colours)
    except (HarmosegError, ValueError) as error:
        return Thumbnail(item.case, f"{item.split}; cannot be drawn: {error}", "")
    depth, height, width = view.label.shape
    size = f"{width} x {height}" + (f" x {depth}" if depth > 1 else "")
    which = f", image {place + 1} of {len(view.images)}" if len(view.images) > 1 else ""
    return Thumbnail(item.case, f"{item.split}, {size}{which}", picture_address(pixels, "png"))


def _label_of(view: View, number: int) -> NDArray[np.uint8]:
    """Return the labels of an image of a view."""
    window = view.windows[number]
    rows = slice(window.top, window.top + window.height)
    return view.label[window.plane, rows, window.left : window.left + window.width]
