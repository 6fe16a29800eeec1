"""How training went, and how every single case fares under a method and under its control."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from harmoseg.files import read_csv
from harmoseg.report.figures.style import (
    GAIN,
    LOSS,
    UNDECIDED,
    WIDTH,
    MethodStyle,
    in_style,
    interval_of,
    label_axes,
    legend_below,
    method_handle,
    shortened,
    signed,
    text_width,
    wrapped,
)
from harmoseg.study.results import StudyRun, TaskResults
from harmoseg.study.tables import HEADLINE, Difference
from harmoseg.training.run import LOG_FILE

Styles = Mapping[str, MethodStyle]
_COLUMNS = 3
_LINEAR = 25.0
"""Differences up to this many points are drawn to scale."""
_HIGH = 70.0
"""Where the median is above, a linear scale would heap most cases up in a corner."""
_BEYOND = 105.0
"""The scale of scores is that of the logarithm of what is missing to this many points."""


@in_style()
def training_curves(task: TaskResults, styles: Styles) -> Figure:
    """Plot loss and validation DSC against epochs: a thin line per seed, a thick mean.

    Seeds may have stopped at different epochs: a mean ends where the first of its seeds ends.
    """
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    panels = [
        ("Training loss", "loss (each method its own)", _curves(task, "train_total", 1.0)),
        ("Validation DSC", "points, at training resolution", _curves(task, "val_dsc", 100.0)),
    ]
    if not any(panels[1][2].values()):
        title, label, curves = panels[0]
        panels = [(f"{title} (no part of the data validated)", label, curves)]
    (row,) = figure.subplots(1, len(panels), squeeze=False, sharex=True)
    for axes, (title, label, curves) in zip(row, panels, strict=True):
        for method, found in curves.items():
            _draw_curves(axes, found, styles[method])
        label_axes(axes, title, "epoch", label)
        axes.xaxis.get_major_locator().set_params(integer=True)
    # Of the loss, which every epoch has: one epoch alone would be given a scale of hundredths.
    first, last = row[0].dataLim.intervalx
    row[0].set_xlim(first - 0.5, last + 0.5)
    legend_below(figure, [_curve_handle(method, styles[method]) for method in task.methods])
    return figure


def _curves(task: TaskResults, column: str, scale: float) -> dict[str, list[NDArray[np.float64]]]:
    """Read a column of the logs of every method's runs, where it is there."""
    found: dict[str, list[NDArray[np.float64]]] = {method: [] for method in task.methods}
    for run in task.runs:
        curve = _curve(run, column, scale)
        if curve is not None:
            found[run.experiment.method].append(curve)
    return found


def _curve_handle(method: str, style: MethodStyle) -> Line2D:
    handle = method_handle(method, style)
    handle.set_marker("")
    handle.set_linewidth(2)
    return handle


def _curve(run: StudyRun, column: str, scale: float) -> NDArray[np.float64] | None:
    """Read a column of a log: (epochs, 2), epoch and value where there is one; None without it."""
    rows = read_csv(run.folder / LOG_FILE, columns=("epoch",), what="the log of a run")
    found = [(float(row["epoch"]), scale * float(row[column])) for row in rows if row.get(column)]
    curve = np.asarray(found, dtype=np.float64).reshape(-1, 2)
    curve = curve[np.isfinite(curve[:, 1])]
    return curve if len(curve) else None


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


def case_differences(task: TaskResults, item: Difference) -> NDArray[np.float64]:
    """Give the difference of every case, mean over the seeds both have, NaN where undefined."""
    ours, theirs = task.paired(item.method, item.reference, item.store, item.metric)
    if not len(ours):
        return np.full(ours.shape[1], np.nan)
    gaps: NDArray[np.float64] = (ours - theirs).mean(axis=0)
    return gaps


@in_style()
def difference_plot(task: TaskResults, differences: Sequence[Difference]) -> Figure:
    """Plot the paired difference of every case on a store, a row per comparison, with its mean."""
    height = 0.62
    figure = Figure(figsize=(WIDTH, 0.95 + height * len(differences)), layout="constrained")
    axes = figure.subplots()
    random = np.random.default_rng(0)
    reach = 6.0
    for row, item in enumerate(differences):
        gaps = case_differences(task, item)
        gaps = gaps[np.isfinite(gaps)]
        spread = row + random.uniform(-0.3, 0.3, len(gaps))
        colours = np.select([gaps > 0, gaps < 0], [GAIN, LOSS], UNDECIDED)
        axes.scatter(gaps, spread, s=9, alpha=0.4, c=colours.tolist(), linewidths=0)
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
    words = f"difference of a case in points of {HEADLINE}"
    if reach > _LINEAR:
        # A few cases that one method misses outright would squeeze all others into a line.
        axes.set_xscale("symlog", linthresh=5, linscale=1.5)
        axes.set_xticks([-100, -30, -10, -5, -2, 0, 2, 5, 10, 30, 100])
        axes.minorticks_off()
        words += " (scale compressed beyond 5)"
    axes.xaxis.set_major_formatter(lambda value, _: signed(value))
    axes.set_xlim(-reach, reach)
    axes.grid(axis="x")
    axes.set_xlabel(words)
    return figure


@in_style()
def paired_plot(task: TaskResults, differences: Sequence[Difference]) -> Figure:
    """Plot every case's score under a method against that under another, a panel each."""
    columns = min(_COLUMNS, len(differences))
    rows = math.ceil(len(differences) / columns)
    size = (0.3 + (WIDTH - 0.3) / _COLUMNS * columns, 2.6 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    floor, top, stretched = _span(task, differences)
    for axes, item in zip(grid, differences, strict=False):
        _draw_pairs(axes, task, item)
        _scale_scores(axes, floor, top, stretched)
    for axes in grid[len(differences) :]:
        axes.set_axis_off()
    return figure


def _scale_scores(axes: Axes, floor: float, top: float, stretched: bool) -> None:
    ticks = np.linspace(floor, top, 5 if top < 100 else 6).tolist()
    if stretched:
        ticks = [60, 70, 80, 90, 95, 100] if floor else [0, 40, 60, 80, 90, 95, 100]
        for scale in (axes.set_xscale, axes.set_yscale):
            scale("function", functions=(_stretch, _unstretch))
    margin = 0.02 * (top - floor)
    for axis, limits in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        limits(floor - margin, top + (min(0.6, margin) if stretched else margin))
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
    axes.set_aspect("equal")


def _draw_pairs(axes: Axes, task: TaskResults, item: Difference) -> None:
    ours, theirs = task.paired(item.method, item.reference, item.store, item.metric)
    if len(ours):
        ours, theirs = ours.mean(axis=0), theirs.mean(axis=0)
        known = np.isfinite(ours) & np.isfinite(theirs)
        ours, theirs = ours[known], theirs[known]
    else:
        ours = theirs = np.empty(0)
    axes.plot([0, 100], [0, 100], color="0.5", linewidth=0.8)
    kinds = (
        ("▲", GAIN, ours > theirs),
        ("▼", LOSS, ours < theirs),
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
    axes.set_xlabel(f"{item.metric} under {wrapped(str(item.reference), 24)}")
    axes.set_ylabel(f"{item.metric} under the method")


def _span(task: TaskResults, differences: Sequence[Difference]) -> tuple[float, float, bool]:
    """Choose from where to where all axes reach, and whether they are stretched towards 100."""
    found = [
        values.mean(axis=0)
        for item in differences
        for values in task.paired(item.method, item.reference, item.store, item.metric)
        if len(values)
    ]
    scores = np.concatenate([*found, np.empty(0)])
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return 0.0, 100.0, False
    lowest, middle, highest = np.quantile(scores, (0, 0.5, 1)).tolist()
    if middle > _HIGH:
        return (60.0 if lowest >= 60 else 0.0), 100.0, True
    return 0.0, max(20.0, 20.0 * math.ceil(highest / 20)), False


def _stretch(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stretch the scale of scores towards 100, where most cases lie."""
    stretched: NDArray[np.float64] = -np.log(_BEYOND - np.minimum(score, _BEYOND - 0.1))
    return stretched


def _unstretch(place: NDArray[np.float64]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = _BEYOND - np.exp(-np.asarray(place))
    return scores
