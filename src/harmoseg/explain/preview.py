"""Sheets of a store to look at: random cases with their masks, and a case under corruptions."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harmoseg.colours import class_colours, paint_labels
from harmoseg.errors import HarmosegError
from harmoseg.files import make_folder, write_bytes
from harmoseg.report.figures.style import show_image
from harmoseg.store.corruptions import LADDERS, Corruption, corrupt
from harmoseg.store.reading import Store

_COLUMNS = 5


def write_preview(store: Store, path: Path, *, count: int = 10, seed: int = 0) -> None:
    """Draw `count` random cases of a store, images above masks, into a PNG file.

    Of a volume the plane with the most foreground is shown.
    """
    if path.suffix.lower() != ".png":
        raise HarmosegError(f"{path}: a preview is a PNG file; give a name that ends in .png")
    chosen = np.random.default_rng(seed).permutation(len(store.cases))[:count]
    rows = -(-len(chosen) // _COLUMNS)
    figure = Figure(figsize=(2.2 * _COLUMNS, 4.7 * rows + 0.4), layout="constrained")
    grid = figure.subplots(2 * rows, _COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, number in enumerate(chosen.tolist()):
        case = store.cases[number]
        above = grid[2 * (place // _COLUMNS), place % _COLUMNS]
        below = grid[2 * (place // _COLUMNS) + 1, place % _COLUMNS]
        label = store.native_label(number)
        plane = fullest_plane(label)
        show_plane(above, store, number, plane)
        size = f"{case.width} x {case.height}"
        if case.depth > 1:
            size = f"{size} x {case.depth}, plane {plane + 1}"
        above.set_title(f"{case.case[:24]}\n{case.split}, {size}", fontsize=7)
        above.title.set_parse_math(False)  # a name is text, not a formula
        below.imshow(
            paint_labels(label[plane], class_colours(store.info.card)), interpolation="nearest"
        )
    classes = ", ".join(store.info.card.classes)
    figure.suptitle(f"{store.info.card.title}: {classes}", fontsize=9)
    save_png(figure, path)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, in one step."""
    make_folder(path.resolve().parent)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())


def fullest_plane(label: NDArray[np.uint8]) -> int:
    """Return the plane of (D, H, W) labels with the most foreground."""
    return int(np.count_nonzero(label, axis=(1, 2)).argmax())


def show_plane(axes: Axes, store: Store, number: int, plane: int) -> None:
    """Draw one plane of a case from its slices, over the extent of its source."""
    case = store.cases[number]
    for row in store.rows_of(number):
        place = store.slice(row)
        if place.plane != plane:
            continue
        # Over the source's extent, so that labels at native resolution lie where they belong.
        extent = (place.left, place.left + place.width, place.top + place.height, place.top)
        show_image(axes, store.images[row], extent=extent, interpolation="bicubic")
    axes.set_xlim(0, case.width)
    axes.set_ylim(case.height, 0)
    axes.set_axis_off()


def write_corruption_sheet(store: Store, path: Path, *, seed: int = 0) -> None:
    """Draw a random case of a store under every corruption into a PNG file.

    A row per corruption: the clean image, then severities 1 to 5. Of a volume the plane with the
    most foreground is shown, of a tile its fullest square; both are corrupted as a whole, as in
    an evaluation.
    """
    if path.suffix.lower() != ".png":
        raise HarmosegError(f"{path}: a sheet is a PNG file; give a name that ends in .png")
    number = int(np.random.default_rng(seed).integers(len(store.cases)))
    rows = store.rows_of(number)
    case = store.cases[number].case
    images = store.images[rows.start : rows.stop]
    shown = fullest_plane(store.labels[rows.start : rows.stop])
    severities = max(len(ladder) for ladder in LADDERS.values())
    side = 1.7
    figure = Figure(
        figsize=(side * (severities + 1), (side + 0.25) * len(LADDERS) + 0.4), layout="constrained"
    )
    grid = figure.subplots(len(LADDERS), severities + 1, squeeze=False)
    for axes, (name, ladder) in zip(grid, LADDERS.items(), strict=True):
        _show(axes[0], images[shown], "clean")
        for place, level in zip(axes[1:], ladder, strict=True):
            corruption = Corruption(name, level)
            _show(place, corrupt(images, corruption, case=case, seed=seed)[shown], str(corruption))
    title = f"{store.info.card.title}: {case[:40]}, severities 1 to {severities}"
    figure.suptitle(title, fontsize=9, parse_math=False)  # a name is text, not a formula
    save_png(figure, path)


def _show(axes: Axes, image: NDArray[np.uint8], title: str) -> None:
    show_image(axes, image)
    axes.set_title(title, fontsize=7)
    axes.set_axis_off()
