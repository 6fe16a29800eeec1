"""Single cases: how each fares under a method and its control, and pictures of some."""

from __future__ import annotations

import math
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

from harmoseg.colours import distinct_colours, paint_labels
from harmoseg.metrics.measures import Measure
from harmoseg.report.figures.style import (
    GAIN,
    LOSS,
    UNDECIDED,
    WIDTH,
    Dots,
    in_style,
    interval_of,
    panels,
    shortened,
    show_image,
    signed,
    text_width,
    wrapped,
)
from harmoseg.report.gallery import GalleryCase, GalleryPart, Label
from harmoseg.statistics.blocks import Block
from harmoseg.statistics.comparison import Difference

_LINEAR = 25.0
"""Differences up to this many points are drawn to scale."""
_HIGH = 70.0
"""Where the median is above, a linear scale would heap most cases up in a corner."""
_BEYOND = 105.0
"""The scale of scores is that of the logarithm of what is missing to this many points."""

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
"""Smallest part of either side of a plane that is shown, however small the structure."""


def case_differences(item: Difference) -> NDArray[np.float64]:
    """Return the difference of every case, mean over the paired seeds, NaN where undefined."""
    return np.asarray(item.gaps.values.mean(axis=0))


@in_style()
def difference_plot(differences: Sequence[Difference]) -> tuple[Figure, list[Dots]]:
    """Plot the paired difference of every case, a row per comparison, with its mean."""
    dots = []
    height = 0.62
    figure = Figure(figsize=(WIDTH, 0.95 + height * len(differences)), layout="constrained")
    axes = figure.subplots()
    random = np.random.default_rng(0)
    reach = 6.0 if differences[0].measure.is_share else 0.0
    for row, item in enumerate(differences):
        all_gaps = case_differences(item)
        known = np.isfinite(all_gaps)
        gaps = all_gaps[known]
        spread = row + random.uniform(-0.3, 0.3, len(gaps))
        better = item.measure.sign * gaps
        colours = np.select([better > 0, better < 0], [GAIN, LOSS], UNDECIDED)
        axes.scatter(gaps, spread, s=9, alpha=0.4, c=colours.tolist(), linewidths=0)
        dots.append(_dots(axes, gaps, spread, item, known))
        low, high = interval_of(item.estimate)
        axes.plot([low, high], [row, row], color="black", linewidth=2.2)
        face, edge = ("black", "white") if np.isfinite(low) else ("white", "black")
        place = ([item.estimate.mean], [row])
        axes.plot(*place, "D", color="black", markerfacecolor=face, markeredgecolor=edge)
        reach = max(reach, float(np.nanmax(np.abs([*gaps, low, high]), initial=0.0)) * 1.1)
    axes.axvline(0, color="0.3", linewidth=0.8)
    labels = [f"{wrapped(x.method, 30)}\nminus {shortened(x.reference, 24)}" for x in differences]
    axes.set_yticks(range(len(differences)), labels)
    axes.set_ylim(len(differences) - 0.5, -0.5)
    measure = differences[0].measure
    words = f"difference of a case in {measure.unit} of {measure.title}"
    if measure.is_share and reach > _LINEAR:
        # A few cases that one method misses outright would squeeze all others into a line.
        axes.set_xscale("symlog", linthresh=5, linscale=1.5)
        axes.set_xticks([-100, -30, -10, -5, -2, 0, 2, 5, 10, 30, 100])
        axes.minorticks_off()
        words += " (scale compressed beyond 5)"
    axes.xaxis.set_major_formatter(lambda value, _: signed(value))
    axes.set_xlim(-(reach or 1.0), reach or 1.0)
    axes.grid(axis="x")
    axes.set_xlabel(words)
    return figure, dots


@in_style()
def paired_plot(differences: Sequence[Difference]) -> tuple[Figure, list[Dots]]:
    """Plot every case's score under a method against that under another, a panel each."""
    figure, grid = panels(len(differences), 2.6)
    floor, top, stretched = _span(differences)
    dots = []
    for axes, item in zip(grid, differences, strict=True):
        dots.append(_draw_pairs(axes, item))
        _scale_scores(axes, floor, top, stretched)
    return figure, dots


def _dots(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    item: Difference,
    known: NDArray[np.bool_],
) -> Dots:
    names = [item.block.cases[i] for i in np.flatnonzero(known)]
    return Dots(axes, np.stack([x, y], axis=1), names, item.method)


def _scale_scores(axes: Axes, floor: float, top: float, stretched: bool) -> None:
    ticks = np.linspace(floor, top, 6 if top == 100 else 5).tolist()
    if stretched:
        ticks = [60, 70, 80, 90, 95, 100] if floor else [0, 40, 60, 80, 90, 95, 100]
        for scale in (axes.set_xscale, axes.set_yscale):
            scale("function", functions=(_stretch, _unstretch))
    margin = 0.02 * (top - floor)
    for axis, limits in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        limits(floor - margin, top + (min(0.6, margin) if stretched else margin))
        axis.set_ticks(ticks, [f"{tick:.4g}" for tick in ticks])
        axis.minorticks_off()
    axes.set_aspect("equal")


def _draw_pairs(axes: Axes, item: Difference) -> Dots:
    pair = item.block.paired(item.method, item.reference, item.measure)
    ours, theirs = (sample.values.mean(axis=0) for sample in pair)
    known = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[known], theirs[known]
    axes.axline((0, 0), (1, 1), color="0.5", linewidth=0.8)
    above, below = (GAIN, LOSS)[:: item.measure.sign]
    kinds = (
        ("▲", above, ours > theirs),
        ("▼", below, ours < theirs),
        ("=", UNDECIDED, ours == theirs),
    )
    along = 0.0  # in inches
    for sign, colour, chosen in kinds:
        axes.plot(
            *(theirs[chosen], ours[chosen], "o"),
            color=colour,
            markersize=3.4,
            alpha=0.55,
            markeredgewidth=0,
        )
        if sign != "=" or chosen.any():
            words = f"{sign} {int(chosen.sum())}"
            where: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
            axes.annotate(words, (0, 1.02), xytext=(72 * along, 0), color=colour, **where)
            along += text_width(words) + 0.15
    axes.set_title(wrapped(item.method, 30), pad=15, fontsize=8)
    axes.set_xlabel(f"{item.measure.heading} under {wrapped(str(item.reference), 24)}")
    axes.set_ylabel(f"{item.measure.heading} under the method")
    return _dots(axes, theirs, ours, item, known)


def _span(differences: Sequence[Difference]) -> tuple[float, float, bool]:
    """Choose from where to where all axes reach, and whether they are stretched towards 100."""
    found = [
        sample.values.mean(axis=0)
        for item in differences
        for sample in item.block.paired(item.method, item.reference, item.measure)
    ]
    scores = np.concatenate([*found, np.empty(0)])
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return 0.0, 100.0, False
    if not differences[0].measure.is_share:
        low, high = float(scores.min()), float(scores.max())
        return low, high if high > low else low + 1.0, False
    lowest, middle, highest = np.quantile(scores, (0, 0.5, 1)).tolist()
    if middle > _HIGH:
        return (60.0 if lowest >= 60 else 0.0), 100.0, True
    return 0.0, max(20.0, 20.0 * math.ceil(highest / 20)), False


def _stretch(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stretch the scale of scores towards 100, where most cases lie."""
    return np.asarray(-np.log(_BEYOND - np.minimum(score, _BEYOND - 0.1)))


def _unstretch(place: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(_BEYOND - np.exp(-np.asarray(place)))


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
        for axes, shown in zip(axes_row[1:], [truth, *found], strict=True):
            painted = np.dstack([paint_labels(shown, colours) / 255, _OPAQUE * (shown > 0)])
            axes.imshow(painted, aspect="auto", interpolation="nearest")
        for axes, predicted in zip(axes_row[2:], found, strict=True):
            for top, left, height, width in error_boxes(truth, predicted):
                corner = (left - 0.5, top - 0.5)
                axes.add_patch(Rectangle(corner, width, height, ec="white", fill=False, lw=1.2))
        rows, columns = window(truth, *found)
        for axes in axes_row:
            axes.set_xlim(columns[0] - 0.5, columns[1] - 0.5)
            axes.set_ylim(rows[1] - 0.5, rows[0] - 0.5)
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


def _first_label(block: Block, method: str, case: GalleryCase) -> Label:
    return case.labels[method, block.seeds[method][0]]


def _make_grid(
    block: Block, chosen: Sequence[ChosenCase], measure: Measure, heads: Sequence[str]
) -> tuple[Figure, NDArray[Any]]:
    """Draw the images, with a head over every column, a name beside every row, and the scores."""
    side = max(_SMALLEST_CELL, (WIDTH - 0.4) / len(heads))
    tallest = [min(1.3, max(0.6, item.case.aspect)) for item in chosen]
    height = sum(side * share + 0.2 for share in tallest) + 0.6
    figure = Figure(figsize=(side * len(heads) + 0.4, height), layout="compressed")
    grid = figure.subplots(len(chosen), len(heads), squeeze=False, height_ratios=tallest)
    letters = int(side / 0.075)
    for row, item in enumerate(chosen):
        for axes in grid[row]:
            # In the proportions of its source.
            show_image(axes, item.case.image, aspect="auto", interpolation="bicubic")
            axes.set_box_aspect(item.case.aspect)
            rows, columns = item.case.image.shape[:2]
            axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
            axes.set_axis_off()
        # Written upwards: as many letters as the row is high, and a little more.
        name = shortened(item.case.name, int((side * tallest[row] + 0.1) / 0.06))
        _write(
            grid[row, 0], (-0.05, 0.5), f"{item.why}\n{name}", va="center", ha="right", rotation=90
        )
        first = len(heads) - len(block.methods)
        for axes, method in zip(grid[row, first:], block.methods, strict=True):
            score = f"{measure.title} {item.scores[method]:.{measure.decimals}f}"
            _write(axes, (0.5, -0.02), score, va="top", ha="center")
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(wrapped(head, letters), fontsize=8, loc="center")
    return figure, grid


def _write(axes: Axes, place: tuple[float, float], text: str, **how: Any) -> None:
    """Write beside a picture, at shares of its width and height."""
    axes.text(*place, text, transform=axes.transAxes, fontsize=7, **how)


def window(*labels: Label) -> list[tuple[float, float]]:
    """Choose the part of a plane with all structures, as (from, to) of rows and of columns."""
    shown = np.any([label > 0 for label in labels], axis=0)
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


def _outline(axes: Axes, label: Label, colour: str, style: str) -> None:
    """Draw the outlines of a label map (H, W) over the image of the same size."""
    for value in np.unique(label[label > 0]):
        # A frame of background closes outlines at the image's border.
        mask = np.pad((label == value).astype(np.float64), 1)
        y, x = (np.arange(length) - 1.0 for length in mask.shape)
        axes.contour(x, y, mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.1)
