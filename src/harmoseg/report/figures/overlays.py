"""Pictures of single cases: images with the outlines or the colours of truth and predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from scipy import ndimage

from harmoseg.evaluation.predicting import Prediction, predict_planes
from harmoseg.prediction.overlays import class_colours, colour_codes
from harmoseg.report.figures.style import WIDTH, in_style, shortened, wrapped
from harmoseg.store.reading import Store
from harmoseg.study.results import TaskResults
from harmoseg.study.tables import HEADLINE
from harmoseg.training.run import open_run

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

Label = NDArray[np.uint8]
Predictions = Callable[[str, int], Label]
"""Gives for a method and the number of a case the label map of its fullest plane.

Of the method's first finished seed, and of any resolution: it is drawn over the plane's extent.
"""


@dataclass(frozen=True)
class ChosenCase:
    """A case to be shown: why, its number in the store, its mean score in points."""

    why: str
    number: int
    score: float


def choose_cases(task: TaskResults, store: str, *, per_group: int = _PER_GROUP) -> list[ChosenCase]:
    """Choose the best, median and worst cases by their score over all methods and seeds.

    Every method counts alike, however many of its seeds have finished. A case that is undefined
    under any run is not chosen.
    """
    numbers = task.cases(store)
    scores = [task.values(method, store, HEADLINE).mean(axis=0) for method in task.methods]
    means = np.mean(scores, axis=0)
    order = [int(i) for i in np.argsort(-means, kind="stable") if np.isfinite(means[i])]
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
            chosen.setdefault(i, ChosenCase(why, numbers[i], float(means[i])))
    return list(chosen.values())


def predict_again(task: TaskResults, store_name: str, numbers: Sequence[int]) -> Predictions:
    """Make predictions by asking the first finished run of a method, all cases at its first use."""
    store = task.stores[store_name]
    known: dict[str, dict[int, Label]] = {}

    def predict(method: str, number: int) -> Label:
        if method not in known:
            known[method] = _predict(task, method, store, numbers)
        return known[method][number]

    return predict


def _predict(
    task: TaskResults, method: str, store: Store, numbers: Sequence[int]
) -> dict[int, Label]:
    planes = {number: fullest_plane(store.native_label(number)) for number in numbers}
    run = next(item for item in task.runs if item.experiment.method == method)
    experiment, network = open_run(run.folder)
    asked = Prediction(experiment.mode, bf16=experiment.options.precision == "bf16")
    return {
        found.case: found.label
        for found in predict_planes(network, store, numbers, asked)
        if found.plane == planes[found.case]
    }


@in_style()
def overlay_figure(
    task: TaskResults,
    store_name: str,
    chosen: Sequence[ChosenCase],
    predictions: Predictions | None = None,
) -> Figure:
    """Draw each chosen case in a row: the image, then every method's outlines on it.

    Without `predictions` the networks are asked again.
    """
    predictions = predictions or predict_again(task, store_name, _numbers(chosen))
    store = task.stores[store_name]
    figure, grid = _make_grid(task, store_name, chosen, ["image", *task.methods])
    for axes_row, item in zip(grid, chosen, strict=True):
        truth = store.native_label(item.number)
        plane = fullest_plane(truth)
        extent = truth.shape[1:]
        for axes in axes_row:
            show_plane(axes, store, item.number, plane)
        for axes, method in zip(axes_row[1:], task.methods, strict=True):
            _outline(axes, truth[plane], extent, TRUTH_COLOUR, "solid")
            predicted = predictions(method, item.number)
            _outline(axes, predicted, extent, PREDICTION_COLOUR, "dashed")
    handles = [
        Line2D([], [], color=TRUTH_COLOUR, label="truth"),
        Line2D([], [], color=PREDICTION_COLOUR, linestyle="dashed", label="prediction"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@in_style()
def class_figure(
    task: TaskResults,
    store_name: str,
    chosen: Sequence[ChosenCase],
    predictions: Predictions | None = None,
) -> Figure:
    """Draw each chosen case in a row: image, truth and every method in the colours of classes.

    White boxes surround regions of error (`error_boxes`). What has no structure near is cut off.
    """
    predictions = predictions or predict_again(task, store_name, _numbers(chosen))
    store = task.stores[store_name]
    colours = class_colours(store.info.card)
    figure, grid = _make_grid(task, store_name, chosen, ["image", "truth", *task.methods])
    for axes_row, item in zip(grid, chosen, strict=True):
        label = store.native_label(item.number)
        plane = fullest_plane(label)
        truth = label[plane]
        found = [resized(predictions(method, item.number), truth.shape) for method in task.methods]
        for axes in axes_row:
            show_plane(axes, store, item.number, plane)
        for axes, shown in zip(axes_row[1:], [truth, *found], strict=True):
            axes.imshow(
                _painted(shown, colours),
                extent=(0, truth.shape[1], truth.shape[0], 0),
                interpolation="nearest",
            )
        for axes, predicted in zip(axes_row[2:], found, strict=True):
            _draw_boxes(axes, error_boxes(truth, predicted))
        marked = np.any([truth > 0, *(each > 0 for each in found)], axis=0)
        (top, bottom), (left, right) = _window(marked)
        for axes in axes_row:
            axes.set_xlim(left, right)
            axes.set_ylim(bottom, top)
    names = store.info.card.classes[1:]
    handles = [
        Patch(color=colour, label=name, alpha=_OPAQUE + 0.2)
        for name, colour in zip(names, colours, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
    return figure


def _draw_boxes(axes: Axes, boxes: Sequence[tuple[int, int, int, int]]) -> None:
    for top, left, height, width in boxes:
        axes.add_patch(
            Rectangle((left, top), width, height, edgecolor="white", fill=False, linewidth=1.2)
        )


def error_boxes(truth: Label, predicted: Label) -> list[tuple[int, int, int, int]]:
    """Find the (top, left, height, width) of the largest regions of error, with a margin.

    Both are (H, W). Outlines that are off by a pixel or so are not told: what an opening takes
    away counts as no error, nor do regions smaller than a two-thousandth of the plane.
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


def resized(label: Label, shape: Sequence[int]) -> Label:
    """Bring a label map to (H, W), every pixel the class of the nearest."""
    rows, columns = (
        ((np.arange(to) + 0.5) * of / to).astype(np.intp)
        for to, of in zip(shape, label.shape, strict=True)
    )
    nearest: Label = label[rows[:, None], columns]
    return nearest


def _numbers(chosen: Sequence[ChosenCase]) -> list[int]:
    return [item.number for item in chosen]


def _make_grid(
    task: TaskResults, store_name: str, chosen: Sequence[ChosenCase], heads: Sequence[str]
) -> tuple[Figure, NDArray[Any]]:
    """Make the axes, with a head over every column, a name beside every row, and the scores."""
    store = task.stores[store_name]
    side = max(_SMALLEST_CELL, (WIDTH - 0.4) / len(heads))
    shapes = [(store.cases[item.number].height, store.cases[item.number].width) for item in chosen]
    tallest = [min(1.3, max(0.6, height / width)) for height, width in shapes]
    height = sum(side * share + 0.2 for share in tallest) + 0.6
    figure = Figure(figsize=(side * len(heads) + 0.4, height), layout="compressed")
    grid = figure.subplots(len(chosen), len(heads), squeeze=False, height_ratios=tallest)
    scores = _first_scores(task, store_name)
    letters = int(side / 0.075)
    for row, item in enumerate(chosen):
        # Written upwards: as many letters as the row is high, and a little more.
        name = shortened(store.cases[item.number].case, int((side * tallest[row] + 0.1) / 0.06))
        _beside(grid[row, 0], f"{item.why}\n{name}")
        first = len(heads) - len(task.methods)
        for axes, method in zip(grid[row, first:], task.methods, strict=True):
            text = f"{HEADLINE} {scores[method][item.number]:.1f}"
            _under(axes, text)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(wrapped(head, letters), fontsize=8, loc="center")
    return figure, grid


def _beside(axes: Axes, text: str) -> None:
    axes.text(
        -0.05, 0.5, text, transform=axes.transAxes, va="center", ha="right", rotation=90, fontsize=7
    )


def _under(axes: Axes, text: str) -> None:
    axes.text(0.5, -0.02, text, transform=axes.transAxes, va="top", ha="center", fontsize=7)


def _first_scores(task: TaskResults, store: str) -> dict[str, Mapping[int, float]]:
    """Give the scores of every method's first finished seed, by the number of the case."""
    numbers = task.cases(store)
    found: dict[str, Mapping[int, float]] = {}
    for method in task.methods:
        first = task.seeds_of(method)[:1]
        values = task.values(method, store, HEADLINE, seeds=first)[0]
        found[method] = dict(zip(numbers, values.tolist(), strict=True))
    return found


def _painted(label: Label, colours: Sequence[str]) -> NDArray[np.float64]:
    """Colour a label map (H, W): (H, W, 4), the background transparent."""
    codes = colour_codes(colours) / 255
    painted = np.zeros((*label.shape, 4))
    painted[..., :3] = codes[(label.astype(np.intp) - 1) % len(codes)]
    painted[..., 3] = _OPAQUE * (label > 0)
    return painted


def _window(shown: NDArray[np.bool_]) -> list[tuple[float, float]]:
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


def fullest_plane(label: NDArray[np.uint8]) -> int:
    """Choose the plane of (D, H, W) labels with the most foreground."""
    return int(np.count_nonzero(label, axis=(1, 2)).argmax())


def show_plane(axes: Axes, store: Store, number: int, plane: int) -> None:
    """Draw one plane of a case from its slices, over the extent of its source."""
    case = store.cases[number]
    for row in store.rows_of(number):
        place = store.slice(row)
        if place.plane != plane:
            continue
        image = store.images[row]
        # Over the source's extent, so that outlines at native resolution lie where they belong.
        axes.imshow(
            image[..., 0] if image.shape[-1] == 1 else image,
            cmap="gray",
            vmin=0,
            vmax=255,
            extent=(place.left, place.left + place.width, place.top + place.height, place.top),
            interpolation="bicubic",
        )
    axes.set_xlim(0, case.width)
    axes.set_ylim(case.height, 0)
    axes.set_axis_off()


def _outline(axes: Axes, label: Label, extent: Sequence[int], colour: str, style: str) -> None:
    """Draw the outlines of a label map (h, w) over an extent of (H, W) pixels."""
    scales = [size / length for size, length in zip(extent, label.shape, strict=True)]
    for value in np.unique(label[label > 0]):
        # A frame of background closes outlines at the image's border.
        mask = np.pad((label == value).astype(np.float64), 1)
        y, x = (
            (np.arange(length) - 0.5) * scale
            for length, scale in zip(mask.shape, scales, strict=True)
        )
        axes.contour(x, y, mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.1)
    axes.set_xlim(0, extent[1])
    axes.set_ylim(extent[0], 0)
