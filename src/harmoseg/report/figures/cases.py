"""How every single case fares under a method and under its control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harmoseg.report.figures.style import (
    GAIN,
    LOSS,
    UNDECIDED,
    WIDTH,
    Dots,
    in_style,
    interval_of,
    shortened,
    signed,
    text_width,
    wrapped,
)
from harmoseg.statistics.comparison import Difference

_COLUMNS = 3
_LINEAR = 25.0
"""Differences up to this many points are drawn to scale."""
_HIGH = 70.0
"""Where the median is above, a linear scale would heap most cases up in a corner."""
_BEYOND = 105.0
"""The scale of scores is that of the logarithm of what is missing to this many points."""


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
    columns = min(_COLUMNS, len(differences))
    rows = math.ceil(len(differences) / columns)
    size = (0.3 + (WIDTH - 0.3) / _COLUMNS * columns, 2.6 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    floor, top, stretched = _span(differences)
    dots = []
    for axes, item in zip(grid, differences, strict=False):
        dots.append(_draw_pairs(axes, item))
        _scale_scores(axes, floor, top, stretched)
    for axes in grid[len(differences) :]:
        axes.set_axis_off()
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
    stretched: NDArray[np.float64] = -np.log(_BEYOND - np.minimum(score, _BEYOND - 0.1))
    return stretched


def _unstretch(place: NDArray[np.float64]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = _BEYOND - np.exp(-np.asarray(place))
    return scores
