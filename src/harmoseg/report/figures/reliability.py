"""Whether confidence can be believed: reliability diagrams, pooled over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmoseg.report.figures.style import (
    WIDTH,
    Styles,
    in_style,
    label_axes,
    legend_below,
    method_handle,
    shortened,
)
from harmoseg.scores.table import RESCALED, Scores
from harmoseg.statistics.blocks import Block
from harmoseg.statistics.curves import Bins, pooled_bins

_COLUMNS = 3
_HEIGHTS = (2.0, 0.75)
"""Of the diagram and of the histogram below it."""
_AXES = {
    "foreground": ("probability of foreground", "share of foreground"),
    "top-label": ("probability of the chosen class", "share of right choices"),
}


@in_style()
def reliability_figure(scores: Scores, blocks: Sequence[Block], styles: Styles) -> Figure:
    """Plot what share of pixels is right against how sure a method is, a column per test set.

    Below is how often each confidence comes, on a logarithmic scale. Dotted: under the temperature
    of each network, fitted on validation cases, with its error behind "then".
    """
    methods = list(dict.fromkeys(method for block in blocks for method in block.methods))
    columns = min(_COLUMNS, len(blocks))
    lines = math.ceil(len(blocks) / columns)
    # Two errors of a method need the whole width.
    entries = 1 if _is_rescaled(scores) else 2
    # Diagram, histogram and errors, for every row of test sets.
    heights = [*_HEIGHTS, 0.17 * math.ceil(len(methods) / entries) + 0.1]
    figure = Figure(
        figsize=(max(3.4, WIDTH / _COLUMNS * columns), lines * (sum(heights) + 0.75) + 0.8),
        layout="constrained",
    )
    grid = figure.subplots(3 * lines, columns, squeeze=False, height_ratios=heights * lines)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, block in enumerate(blocks):
        row, column = 3 * (place // columns), place % columns
        diagram, histogram, legend = grid[row : row + 3, column]
        _draw_block(scores, block, styles, diagram, histogram, legend)
    legend_below(figure, [method_handle(method, styles[method]) for method in methods])
    return figure


def _draw_block(
    scores: Scores, block: Block, styles: Styles, diagram: Axes, histogram: Axes, legend: Axes
) -> None:
    diagram.set_axis_on()
    histogram.set_axis_on()
    diagram.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    handles = []
    x, y = _AXES["foreground"]
    for method in block.methods:
        style = styles[method]
        bins = pooled_bins(scores, block, method)
        if bins is None:
            continue
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
        after = pooled_bins(scores, block, method, rescaled=True)
        handle.set_label(f"ECE {bins.error:.2f}" + (f", then {after.error:.2f}" if after else ""))
        if after is not None:
            known = after.count > 0
            diagram.plot(
                after.confidence[known],
                after.frequency[known],
                color=style.colour,
                linestyle=":",
                linewidth=1.0,
            )
        handles.append(handle)
    label_axes(diagram, shortened(block.tested_on, 30), "", y)
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
    legend.legend(
        handles=handles,
        loc="upper center",
        ncols=1 if _is_rescaled(scores) else 2,
        borderaxespad=0,
        handletextpad=0.2,
    )


def _is_rescaled(scores: Scores) -> bool:
    return scores.bins is not None and bool(scores.bins["convention"].str.endswith(RESCALED).any())


def _draw_histogram(axes: Axes, bins: Bins, colour: str) -> None:
    share = 100 * bins.count / max(1, bins.count.sum())
    edges = np.linspace(0, 1, len(share) + 1)
    # An empty bin is a gap: a logarithm has no zero.
    shown = np.where(share > 0, share, np.nan)
    axes.stairs(shown, edges, color=colour, linewidth=0.9, baseline=None)
