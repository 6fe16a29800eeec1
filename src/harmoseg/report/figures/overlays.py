"""Pictures of single cases: images with the outlines or the colours of truth and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from scipy import ndimage

from harmoseg.colours import colour_codes, distinct_colours
from harmoseg.metrics.measures import Measure
from harmoseg.report.figures.style import WIDTH, in_style, shortened, wrapped
from harmoseg.report.gallery import GalleryCase, GalleryPart, Label
from harmoseg.statistics.blocks import Block

TRUTH_COLOUR = "#FF2A2A"
PREDICTION_COLOUR = "#2BE82B"
_PER_GROUP = 2
_SMALLEST_CELL = 1.2
"""The side of a picture in inches, however many methods there are."""
_OPAQUE = 0.6
_MOST_BOXES = 8
_SMALLEST_ERROR = 0.0005
"""A smaller part of the plane gets no box."""
_LEAST_SHOWN = 0.3
"""Of either side of a plane at least this part is shown, however small the structure."""


@dataclass(frozen=True, eq=False)
class ChosenCase:
    """A case to show: why, its picture, and the score of every method's first seed."""

    why: str
    case: GalleryCase
    scores: dict[str, float]


def choose_cases(
    block: Block, part: GalleryPart, measure: Measure, *, per_group: int = _PER_GROUP
) -> list[ChosenCase]:
    """Choose the best, median and worst cases by their score over all methods and seeds.

    Every method counts alike, however many of its seeds have finished. A case that is undefined
    under any run, or has no picture under some method's first seed, is not chosen.
    """
    first = {method: block.seeds[method][0] for method in block.methods}
    shown = {
        case.name: case
        for case in part.cases
        if all((method, seed) in case.labels for method, seed in first.items())
    }
    values = {method: block.values(method, measure) for method in block.methods}
    means = measure.sign * np.mean([found.mean(axis=0) for found in values.values()], axis=0)
    known = [i for i, name in enumerate(block.cases) if name in shown and np.isfinite(means[i])]
    order = sorted(known, key=lambda i: -means[i])
    middle = max(0, (len(order) - per_group) // 2)
    groups = {
        "best": order[:per_group],
        "median": order[middle : middle + per_group],
        "worst": order[-per_group:],
    }
    chosen: dict[int, ChosenCase] = {}
    for why, positions in groups.items():
        for i in positions:
            # With fewer cases than places a case is shown once, under its first heading.
            scores = {method: float(found[0, i]) for method, found in values.items()}
            chosen.setdefault(i, ChosenCase(why, shown[block.cases[i]], scores))
    return list(chosen.values())


@in_style()
def overlay_figure(block: Block, chosen: Sequence[ChosenCase], measure: Measure) -> Figure:
    """Draw each chosen case in a row: the image, then every method's outlines on it."""
    figure, grid = _make_grid(block, chosen, measure, ["image", *block.methods])
    for axes_row, item in zip(grid, chosen, strict=True):
        for axes in axes_row:
            _show(axes, item.case)
        for axes, method in zip(axes_row[1:], block.methods, strict=True):
            _outline(axes, item.case.truth, TRUTH_COLOUR, "solid")
            _outline(axes, _first_label(block, method, item.case), PREDICTION_COLOUR, "dashed")
    handles = [
        Line2D([], [], color=TRUTH_COLOUR, label="truth"),
        Line2D([], [], color=PREDICTION_COLOUR, linestyle="dashed", label="prediction"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@in_style()
def class_figure(
    block: Block, chosen: Sequence[ChosenCase], measure: Measure, part: GalleryPart
) -> Figure:
    """Draw each chosen case in a row: image, truth and every method in the colours of classes.

    White boxes surround regions of error (`error_boxes`). What has no structure near is cut off.
    """
    colours = part.colours or distinct_colours(len(part.classes))
    figure, grid = _make_grid(block, chosen, measure, ["image", "truth", *block.methods])
    for axes_row, item in zip(grid, chosen, strict=True):
        truth = item.case.truth
        found = [_first_label(block, method, item.case) for method in block.methods]
        for axes in axes_row:
            _show(axes, item.case)
        for axes, shown in zip(axes_row[1:], [truth, *found], strict=True):
            axes.imshow(_painted(shown, colours), aspect="auto", interpolation="nearest")
        for axes, predicted in zip(axes_row[2:], found, strict=True):
            _draw_boxes(axes, error_boxes(truth, predicted))
        marked = np.any([truth > 0, *(each > 0 for each in found)], axis=0)
        (top, bottom), (left, right) = window(marked)
        for axes in axes_row:
            axes.set_xlim(left - 0.5, right - 0.5)
            axes.set_ylim(bottom - 0.5, top - 0.5)
    handles = [
        Patch(color=colour, label=name, alpha=_OPAQUE + 0.2)
        for name, colour in zip(part.classes, colours, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
    return figure


def error_boxes(truth: Label, predicted: Label) -> list[tuple[int, int, int, int]]:
    """Return (top, left, height, width) of the largest regions of error, with a margin.

    Both are (H, W). Outlines that are off by a pixel or so are not counted: an opening takes them
    away, and regions smaller than a two-thousandth of the plane are left out.
    """
    shape = np.asarray(truth.shape)
    # Of the plane's size: at 512 x 512, five pixels, twice what outlines are off by.
    reach = max(1, round(float(shape.max()) / 256))
    square = np.ones((2 * reach + 1, 2 * reach + 1), bool)
    wrong = ndimage.binary_opening(truth != predicted, square)
    regions, _ = ndimage.label(wrong, np.ones((3, 3)))
    places = ndimage.find_objects(regions)
    sizes = np.bincount(regions.ravel())[1:]
    margin = max(1, round(float(shape.max()) / 100))
    boxes = []
    for i in np.argsort(-sizes, kind="stable")[:_MOST_BOXES].tolist():
        if sizes[i] < _SMALLEST_ERROR * truth.size:
            break
        y, x = places[i]
        top, left = max(0, y.start - margin), max(0, x.start - margin)
        bottom, right = min(shape[0], y.stop + margin), min(shape[1], x.stop + margin)
        boxes.append((top, left, int(bottom) - top, int(right) - left))
    return boxes


def _draw_boxes(axes: Axes, boxes: Sequence[tuple[int, int, int, int]]) -> None:
    for top, left, height, width in boxes:
        corner = (left - 0.5, top - 0.5)
        axes.add_patch(
            Rectangle(corner, width, height, edgecolor="white", fill=False, linewidth=1.2)
        )


def _first_label(block: Block, method: str, case: GalleryCase) -> Label:
    return case.labels[method, block.seeds[method][0]]


def _make_grid(
    block: Block, chosen: Sequence[ChosenCase], measure: Measure, heads: Sequence[str]
) -> tuple[Figure, NDArray[Any]]:
    """Make the axes, with a head over every column, a name beside every row, and the scores."""
    side = max(_SMALLEST_CELL, (WIDTH - 0.4) / len(heads))
    tallest = [min(1.3, max(0.6, item.case.aspect)) for item in chosen]
    height = sum(side * share + 0.2 for share in tallest) + 0.6
    figure = Figure(figsize=(side * len(heads) + 0.4, height), layout="compressed")
    grid = figure.subplots(len(chosen), len(heads), squeeze=False, height_ratios=tallest)
    letters = int(side / 0.075)
    for row, item in enumerate(chosen):
        # Written upwards: as many letters as the row is high, and a little more.
        name = shortened(item.case.name, int((side * tallest[row] + 0.1) / 0.06))
        _beside(grid[row, 0], f"{item.why}\n{name}")
        first = len(heads) - len(block.methods)
        for axes, method in zip(grid[row, first:], block.methods, strict=True):
            _under(axes, f"{measure.title} {item.scores[method]:.{measure.decimals}f}")
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(wrapped(head, letters), fontsize=8, loc="center")
    return figure, grid


def _beside(axes: Axes, text: str) -> None:
    axes.text(
        -0.05, 0.5, text, transform=axes.transAxes, va="center", ha="right", rotation=90, fontsize=7
    )


def _under(axes: Axes, text: str) -> None:
    axes.text(0.5, -0.02, text, transform=axes.transAxes, va="top", ha="center", fontsize=7)


def _painted(label: Label, colours: Sequence[str]) -> NDArray[np.float64]:
    """Colour a label map (H, W): (H, W, 4), the background transparent."""
    codes = colour_codes(colours) / 255
    painted = np.zeros((*label.shape, 4))
    painted[..., :3] = codes[(label.astype(np.intp) - 1) % len(codes)]
    painted[..., 3] = _OPAQUE * (label > 0)
    return painted


def window(shown: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Choose the part of a plane with all that is marked, as (from, to) of rows and of columns."""
    marked = [np.flatnonzero(shown.any(axis=1 - axis)) for axis in (0, 1)]
    if not len(marked[0]):
        return [(0.0, float(size)) for size in shown.shape]
    extents = [float(places[-1] - places[0] + 1) for places in marked]
    # A square, so that all cases of a figure are seen alike, and a margin around.
    side = max(1.3 * max(extents), _LEAST_SHOWN * max(shown.shape))
    window = []
    for places, size in zip(marked, shown.shape, strict=True):
        length = min(side, float(size))
        middle = (places[0] + places[-1] + 1) / 2
        start = min(max(0.0, middle - length / 2), size - length)
        window.append((start, start + length))
    return window


def _show(axes: Axes, case: GalleryCase) -> None:
    """Draw the image of a case in the proportions of its source."""
    image = case.image
    axes.imshow(
        image[..., 0] if image.shape[-1] == 1 else image,
        cmap="gray",
        vmin=0,
        vmax=255,
        aspect="auto",
        interpolation="bicubic",
    )
    height, width = image.shape[:2]
    axes.set_box_aspect(case.aspect)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_axis_off()


def _outline(axes: Axes, label: Label, colour: str, style: str) -> None:
    """Draw the outlines of a label map (H, W) over the image of the same size."""
    for value in np.unique(label[label > 0]):
        # A frame of background closes outlines at the image's border.
        mask = np.pad((label == value).astype(np.float64), 1)
        y, x = (np.arange(length) - 1.0 for length in mask.shape)
        axes.contour(x, y, mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.1)
