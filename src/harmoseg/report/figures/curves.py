"""Curves: training, correlation by frequency, reliability, and what a larger study would show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harmoseg.losses.method import Kind
from harmoseg.report.figures.style import (
    COLUMNS,
    PALETTE,
    WIDTH,
    MethodStyle,
    Styles,
    dodge,
    draw_curve,
    focus,
    in_style,
    label_axes,
    legend_below,
    method_handle,
    panels,
    shortened,
)
from harmoseg.scores.table import RESCALED, Scores
from harmoseg.statistics.blocks import Block
from harmoseg.statistics.comparison import Difference
from harmoseg.statistics.curves import Bins, RingCurves, pooled_bins
from harmoseg.statistics.intervals import Estimate
from harmoseg.statistics.planning import Plan

LOG_COLUMNS = ("trained_on", "method", "seed", "epoch", "train_total", "val_dsc")
"""Columns of training logs: one row per run and epoch; ``val_dsc`` is a fraction or undefined."""

# Of an octave: how far apart the methods of one ring are drawn.
_DODGE = 0.55
_GAINS: dict[Kind, str] = {
    "without the term": "Gain over the same without the term",
    "BCE + Dice instead": "Gain over BCE + Dice",
    "overlap term instead": "Gain over an overlap term of that weight",
    "control": "Gain over its control",
    "no control": "Difference to the reference",
}
_HEIGHTS = (2.0, 0.75)
"""Heights of the diagram and of the histogram below it, in inches."""
_AXES = {
    "foreground": ("probability of foreground", "share of foreground"),
    "top-label": ("probability of the chosen class", "share of right choices"),
}
_POINTS = 24
"""Numbers of cases on the curve of a plan."""


@in_style()
def training_curves(logs: pd.DataFrame, methods: Sequence[str], styles: Styles) -> Figure:
    """Plot loss and validation DSC against epochs: a thin line per seed, a thick mean.

    Seeds may have stopped at different epochs: a mean ends where the first of its seeds ends.
    """
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    shown = [
        ("Training loss", "loss (each method its own)", _curves(logs, methods, "train_total", 1)),
        (
            "Validation DSC",
            "points, at training resolution",
            _curves(logs, methods, "val_dsc", 100),
        ),
    ]
    if not any(shown[1][2].values()):
        title, label, curves = shown[0]
        shown = [(f"{title} (no part of the data validated)", label, curves)]
    (row,) = figure.subplots(1, len(shown), squeeze=False, sharex=True)
    for axes, (title, label, curves) in zip(row, shown, strict=True):
        for method, found in curves.items():
            _draw_curves(axes, found, styles[method])
        label_axes(axes, title, "epoch", label)
        axes.xaxis.get_major_locator().set_params(integer=True)
    # Of the loss, which every epoch has: one epoch alone would be given a scale of hundredths.
    first, last = row[0].dataLim.intervalx
    row[0].set_xlim(first - 0.5, last + 0.5)
    handles = [method_handle(method, styles[method]) for method in methods]
    for handle in handles:
        handle.set(marker="", linewidth=2)
    legend_below(figure, handles)
    return figure


def _curves(
    logs: pd.DataFrame, methods: Sequence[str], column: str, scale: float
) -> dict[str, list[NDArray[np.float64]]]:
    """Return (epochs, 2), epoch and value, of every run of every method, where there is one."""
    found: dict[str, list[NDArray[np.float64]]] = {method: [] for method in methods}
    known = logs[np.isfinite(logs[column].astype(np.float64)) & logs["method"].isin(methods)]
    for (method, _), run in known.groupby(["method", "seed"], observed=True):
        curve = run[["epoch", column]].to_numpy(dtype=np.float64)
        found[str(method)].append(curve * (1, scale))
    return found


def _draw_curves(axes: Axes, curves: Sequence[NDArray[np.float64]], style: MethodStyle) -> None:
    if not curves:
        return
    for curve in curves:
        # A single epoch is a dot: a line of one point would not be seen.
        marker = "o" if len(curve) == 1 else ""
        axes.plot(*curve.T, marker=marker, color=style.colour, linewidth=0.6, alpha=0.45)
    common = set.intersection(*({*curve[:, 0].tolist()} for curve in curves))
    epochs = np.asarray(sorted(common))
    mean = np.mean([curve[np.isin(curve[:, 0], epochs), 1] for curve in curves], axis=0)
    axes.plot(epochs, mean, color=style.colour, linewidth=2, linestyle=style.line)


@in_style()
def ring_figure(curves: RingCurves, differences: Sequence[Difference], styles: Styles) -> Figure:
    """Plot every method's correlation per ring, and what it gains there over its controls.

    A kind of control has a panel of its own. What is compared with no control is drawn where
    nothing has one.
    """
    methods = curves.block.methods
    kinds = [kind for kind in _GAINS if any(item.kind == kind for item in differences)]
    if len(kinds) > 1 and "no control" in kinds:
        kinds.remove("no control")
    figure, grid = panels(1 + len(kinds), 2.8, columns=2, narrowest=WIDTH, extra=0.6)
    shown: list[Estimate] = []
    places, octaves = ring_places(curves.frequency), curves.frequency > 0
    for i, method in enumerate(methods):
        at = places + _DODGE * dodge(i, len(methods))
        found = curves.estimates(method)
        shown += found
        draw_curve(grid[0], at, found, styles[method], (-1.0, 1.0), octaves)
    focus(grid[0], shown, (-1.0, 1.0))
    _label_rings(grid[0], curves.frequency, "Ring correlation", "correlation (1: equal)")
    for axes, kind in zip(grid[1:], kinds, strict=False):
        axes.axhline(0, color="0.3", linewidth=0.8)
        gained: list[Estimate] = []
        of_kind = [item for item in differences if item.kind == kind]
        for i, item in enumerate(of_kind):
            at = places + _DODGE * dodge(i, len(of_kind))
            found = curves.gains(item.method, item.reference)
            gained += found
            draw_curve(axes, at, found, styles[item.method], (-2.0, 2.0), octaves)
        focus(axes, gained, (-2.0, 2.0))
        _label_rings(axes, curves.frequency, _GAINS[kind], "difference in correlation")
    legend_below(figure, [method_handle(method, styles[method]) for method in methods])
    return figure


def ring_places(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place rings on an axis of octaves: frequency 0, which has none, stands before them all."""
    places = np.full(frequency.shape, np.nan)
    places[frequency > 0] = np.log2(frequency[frequency > 0])
    places[frequency == 0] = places[frequency > 0].min(initial=0.0) - 2.0
    return places


def _label_rings(axes: Axes, frequency: NDArray[np.float64], title: str, y: str) -> None:
    label_axes(axes, title, "spatial frequency, cycles per pixel", y)
    places = ring_places(frequency)
    low = int(np.floor(places[frequency > 0].min(initial=0.0)))
    powers = list(range(low, 0))
    # Every second one where all would touch each other; the finest always.
    shown = [power for power in powers if len(powers) <= 5 or (power - powers[-1]) % 2 == 0]
    ticks = [float(power) for power in shown]
    words = [f"1/{2**-power}" for power in shown]
    if (frequency == 0).any():
        zero = float(places[frequency == 0][0])
        axes.axvspan(zero - 0.9, zero + 0.9, color="0.95", linewidth=0)
        ticks, words = [zero, *ticks], ["0 (area)", *words]
    axes.set_xticks(ticks, words)
    axes.grid(axis="y")


@in_style()
def reliability_figure(scores: Scores, blocks: Sequence[Block], styles: Styles) -> Figure:
    """Plot what share of pixels is right against how sure a method is, a column per test set.

    Below is how often each confidence comes, on a logarithmic scale. Dotted: under the temperature
    of each network, fitted on validation cases, with its error behind "then".
    """
    methods = list(dict.fromkeys(method for block in blocks for method in block.methods))
    columns = min(COLUMNS, len(blocks))
    lines = math.ceil(len(blocks) / columns)
    # Two errors of a method need the whole width.
    entries = 1 if _is_rescaled(scores) else 2
    # Diagram, histogram and errors, for every row of test sets.
    heights = [*_HEIGHTS, 0.17 * math.ceil(len(methods) / entries) + 0.1]
    figure = Figure(
        figsize=(max(3.4, WIDTH / COLUMNS * columns), lines * (sum(heights) + 0.75) + 0.8),
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
        marks = {"marker": style.marker, "linestyle": style.line, "markersize": 3.5}
        _draw_reliability(diagram, bins, style, **marks)
        # An empty bin is a gap: a logarithm has no zero.
        share = np.where(bins.count > 0, 100 * bins.count / max(1, bins.count.sum()), np.nan)
        edges = np.linspace(0, 1, len(share) + 1)
        histogram.stairs(share, edges, color=style.colour, linewidth=0.9, baseline=None)
        handle = method_handle(method, style, lines=False)
        after = pooled_bins(scores, block, method, rescaled=True)
        handle.set_label(f"ECE {bins.error:.2f}" + (f", then {after.error:.2f}" if after else ""))
        if after is not None:
            _draw_reliability(diagram, after, style, linestyle=":")
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


def _draw_reliability(axes: Axes, bins: Bins, style: MethodStyle, **how: Any) -> None:
    known = bins.count > 0
    x, y = bins.confidence[known], bins.frequency[known]
    axes.plot(x, y, color=style.colour, linewidth=1.0, **how)


def _is_rescaled(scores: Scores) -> bool:
    return scores.bins is not None and bool(scores.bins["convention"].str.endswith(RESCALED).any())


@in_style()
def plan_figure(plan: Plan) -> Figure:
    """Plot the difference seen with 80 % power against the cases, a line per number of seeds."""
    item, unit = plan.difference, plan.difference.measure.unit
    known = [cases for _, cases in plan.sizes if cases is not None]
    most = max(4 * item.estimate.cases, 2 * max(known, default=0), 50)
    cases = np.unique(np.geomspace(4, most, _POINTS).round().astype(int)).tolist()
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    shades = np.linspace(0.25, 1.0, len(plan.sizes))
    for (seeds, needed), shade in zip(plan.sizes, shades, strict=True):
        line = axes.plot(
            cases, plan.curve(seeds, cases), color=PALETTE[0], alpha=shade, label=f"{seeds} seeds"
        )
        if needed is not None:
            axes.plot([needed], [plan.detect], "o", color=line[0].get_color(), alpha=shade)
    axes.axhline(plan.detect, color=PALETTE[5], linewidth=1.0, label=f"asked: {plan.detect:g}")
    pilot = (item.estimate.seeds, item.estimate.cases)
    told = f"pilot: {pilot[0]} seeds,\n{pilot[1]} cases"
    axes.axvline(pilot[1], color="0.6", linestyle=":", label=told)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if str(value)[0] in "25" else "")
    axes.grid(which="both")
    axes.set_title(f"{item.method} minus {item.reference}")
    axes.set_xlabel("cases (patients)")
    axes.set_ylabel(f"difference seen, {unit} of {item.measure.title}".replace("  ", " "))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
