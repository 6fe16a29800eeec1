"""Whether confidence can be believed: reliability diagrams, pooled over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmoseg.evaluation.reading import CLEAN, Bins
from harmoseg.report.figures.comparisons import Styles
from harmoseg.report.figures.style import (
    WIDTH,
    in_style,
    label_axes,
    legend_below,
    method_handle,
    shortened,
)
from harmoseg.study.results import TaskResults

_COLUMNS = 3
_HEIGHTS = (2.0, 0.75)
"""Of the diagram and of the histogram below it."""
_AXES = {
    "foreground": ("probability of foreground", "share of foreground"),
    "top-label": ("probability of the chosen class", "share of right choices"),
}


def pool_bins(parts: Sequence[Bins]) -> Bins:
    """Add up the bins of several runs."""
    count = np.sum([part.count for part in parts], axis=0)
    # An empty bin has no mean; with no pixel in it, it adds nothing.
    sums = [
        np.sum([np.nan_to_num(values) * n for values, n in pairs], axis=0)
        for pairs in (
            [(part.confidence, part.count) for part in parts],
            [(part.frequency, part.count) for part in parts],
        )
    ]
    empty = np.full(count.shape, np.nan)
    confidence, frequency = (
        np.divide(total, count, out=empty.copy(), where=count > 0) for total in sums
    )
    return Bins(parts[0].convention, count, confidence, frequency)


def calibration_error(bins: Bins) -> float:
    """Give the expected calibration error of bins, in points; NaN without a pixel."""
    if not bins.count.sum():
        return float("nan")
    gaps = np.abs(np.nan_to_num(bins.frequency - bins.confidence))
    return float(100 * (gaps * bins.count).sum() / bins.count.sum())


@in_style()
def reliability_figure(task: TaskResults, styles: Styles) -> Figure:
    """Plot what share of pixels is right against how sure a method is, a column per store.

    Below is how often each confidence comes, on a logarithmic scale.
    """
    stores = list(task.stores)
    columns = min(_COLUMNS, len(stores))
    blocks = math.ceil(len(stores) / columns)
    # Diagram, histogram and errors, for every row of stores.
    heights = [*_HEIGHTS, 0.17 * math.ceil(len(task.methods) / 2) + 0.1]
    figure = Figure(
        figsize=(max(3.4, WIDTH / _COLUMNS * columns), blocks * (sum(heights) + 0.75) + 0.8),
        layout="constrained",
    )
    grid = figure.subplots(3 * blocks, columns, squeeze=False, height_ratios=heights * blocks)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, store in enumerate(stores):
        row, column = 3 * (place // columns), place % columns
        diagram, histogram, legend = grid[row : row + 3, column]
        _draw_store(task, store, styles, diagram, histogram, legend)
    legend_below(figure, [method_handle(method, styles[method]) for method in task.methods])
    return figure


def _draw_store(
    task: TaskResults, store: str, styles: Styles, diagram: Axes, histogram: Axes, legend: Axes
) -> None:
    diagram.set_axis_on()
    histogram.set_axis_on()
    diagram.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    handles = []
    x, y = _AXES["foreground"]
    for method in task.methods:
        style = styles[method]
        runs = [run for run in task.runs if run.experiment.method == method]
        bins = pool_bins([run.evaluations[store].bins()[CLEAN] for run in runs])
        x, y = _AXES.get(bins.convention, (x, y))
        known = bins.count > 0
        diagram.plot(
            bins.confidence[known],
            bins.frequency[known],
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            linewidth=1.0,
            markersize=3.5,
        )
        _draw_histogram(histogram, bins, style.colour)
        handle = method_handle(method, style, lines=False)
        handle.set_label(f"ECE {calibration_error(bins):.2f}")
        handles.append(handle)
    label_axes(diagram, shortened(store, 30), "", y)
    diagram.set_box_aspect(1)
    histogram.set_box_aspect(_HEIGHTS[1] / _HEIGHTS[0])  # as wide as the diagram
    diagram.set_xlim(0, 1)
    diagram.set_ylim(0, 1)
    diagram.tick_params(labelbottom=False)
    diagram.grid()
    label_axes(histogram, "", x, "% of pixels")
    histogram.set_yscale("log")
    histogram.set_xlim(0, 1)
    histogram.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    histogram.minorticks_off()
    legend.legend(handles=handles, loc="upper center", ncols=2, borderaxespad=0, handletextpad=0.2)


def _draw_histogram(axes: Axes, bins: Bins, colour: str) -> None:
    share = 100 * bins.count / max(1, bins.count.sum())
    edges = np.linspace(0, 1, len(share) + 1)
    # An empty bin is a gap: a logarithm has no zero.
    shown = np.where(share > 0, share, np.nan)
    axes.stairs(shown, edges, color=colour, linewidth=0.9, baseline=None)
