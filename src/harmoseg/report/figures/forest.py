"""Forest plots: what each method gains over its control, and one gain on every dataset."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harmoseg.metrics.measures import Measure
from harmoseg.report.figures.style import (
    GAIN,
    LOSS,
    MINUS,
    UNDECIDED,
    WIDTH,
    in_style,
    interval_of,
    shortened,
    signed,
    text_width,
)
from harmoseg.statistics.comparison import Difference
from harmoseg.statistics.heterogeneity import PooledMean
from harmoseg.statistics.printing import (
    FOR_THESE_NETWORKS,
    format_estimate,
    format_interval,
    format_number,
)

_ROW = 0.19  # inches, of one line of text
_ABOVE, _BELOW = 0.42, 0.82
_HEADS = ("method", "minus", "mean [95 % interval]", "seeds, cases")
_COLOURS = {"better": GAIN, "worse": LOSS}
_PAD, _GAP = 0.1, 0.16
_AXIS = 2.5
_DATASET_ROW = 0.24
_METHOD_LENGTH, _REFERENCE_LENGTH = 32, 22


@dataclass(frozen=True)
class _Columns:
    """Where the columns of text and the axis begin, in inches from the left, and the widths."""

    texts: tuple[float, ...]
    axis: float
    axis_width: float
    width: float


@in_style()
def forest_plot(differences: Sequence[Difference]) -> Figure:
    """Plot every difference with its interval, grouped by training set, test set and centre.

    A row has the method, what it is compared with, the interval, and the same in numbers. Intervals
    that reach far beyond the others are cut off at an arrow; the numbers tell them whole.
    """
    groups = [
        (items[0], items)
        for _, found in itertools.groupby(differences, lambda x: (id(x.block), x.where))
        for items in [list(found)]
    ]
    rows = sum(len(items) for _, items in groups) + 1.4 * len(groups)
    decimals = _decimals(differences)
    columns = _columns([_texts(item, decimals) for item in differences])
    height = _ABOVE + _BELOW + _ROW * rows
    figure = Figure(figsize=(columns.width, height))
    axes = figure.add_axes(
        (
            columns.axis / columns.width,
            _BELOW / height,
            columns.axis_width / columns.width,
            1 - (_ABOVE + _BELOW) / height,
        )
    )
    limit = reach(differences)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(rows, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.axvline(0, color="0.25", linewidth=0.9)
    y = 0.0
    for first, items in groups:
        y += 1.1
        _write(axes, columns, _PAD, y - 0.4, _heading(first), fontweight="bold")
        for number, item in enumerate(items):
            if number % 2 == 0:
                _shade(axes, columns, y)
            _draw_row(axes, columns, y + 0.5, item, decimals)
            y += 1
        y += 0.3
    _head(axes, columns, differences[0])
    _label(figure, axes, differences)
    return figure


def reach(differences: Sequence[Difference]) -> float:
    """Choose how far the axis reaches to either side, so that most intervals are readable.

    All means are within, and all intervals unless a few are far wider than most.
    """
    means = [abs(x.estimate.mean) for x in differences if math.isfinite(x.estimate.mean)]
    ends = [max(map(abs, interval_of(x.estimate))) for x in differences if x.estimate.cases]
    ends = [end for end in ends if math.isfinite(end)]
    widest = max(ends, default=0.0)
    farthest = max(means, default=0.0)
    usual = 0.0
    if ends:
        # Where all intervals are wide, as from two seeds, half of them may go beyond.
        middle, upper = np.quantile(ends, (0.5, 0.75)).tolist()
        usual = min(1.6 * upper, max(1.2 * middle, 5 * farthest))
    found = 1.08 * max(1.2 * farthest, min(widest, usual))
    return found or 1.0


def colour_of(item: Difference) -> str:
    """Return the colour of a difference by its word: better, worse, or neither."""
    return _COLOURS.get(item.word, UNDECIDED)


def _columns(rows: Sequence[tuple[str, ...]]) -> _Columns:
    """Choose the columns' places from the texts of all rows."""
    widths = [max(map(text_width, texts)) for texts in zip(_HEADS, *rows, strict=True)]
    reference = _PAD + widths[0] + _GAP
    axis = reference + widths[1] + _GAP
    after = widths[2] + widths[3] + 2 * _GAP + _PAD
    width = max(WIDTH, axis + _AXIS + after)
    end = width - after
    places = (_PAD, reference, end + _GAP, end + 2 * _GAP + widths[2])
    return _Columns(places, axis, end - axis, width)


def _texts(item: Difference, decimals: int) -> tuple[str, ...]:
    """Write a row: the method, what it is compared with, the numbers, seeds and cases."""
    reference = shortened(item.reference, _REFERENCE_LENGTH)
    return (
        shortened(item.method, _METHOD_LENGTH),
        f"{reference}, no control" if item.lacks_control else reference,
        format_difference(item, decimals),
        f"{item.estimate.seeds}, {item.estimate.cases}",
    )


def _decimals(differences: Sequence[Difference]) -> int:
    """Choose the decimals of all numbers: up to three, as some need."""
    needed = max(max(x.estimate.decimals, x.measure.decimals) for x in differences)
    return min(3, needed)


def _draw_row(axes: Axes, columns: _Columns, y: float, item: Difference, decimals: int) -> None:
    estimate = item.estimate
    colour = colour_of(item)
    shades = ("black", "0.35", "black", "0.35")
    for place, text, shade in zip(columns.texts, _texts(item, decimals), shades, strict=True):
        _write(axes, columns, place, y, text, color=shade)
    if not math.isfinite(estimate.mean):
        return
    low, high = interval_of(estimate)
    known = math.isfinite(low)
    limit = axes.get_xlim()[1]
    if known:
        ends = [max(low, -limit), min(high, limit)]
        axes.plot(ends, [y, y], color=colour, linewidth=1.8, solid_capstyle="butt")
        for end, mark in ((low, "<"), (high, ">")):
            if abs(end) > limit:
                place = math.copysign(limit, end)
                axes.plot([place], [y], mark, color=colour, markersize=5, clip_on=False)
    face = colour if item.word != "open" else "white"
    axes.plot(
        [estimate.mean],
        [y],
        "o" if known else "D",
        color=colour,
        markerfacecolor=face,
        markersize=5.2 if known else 4.6,
    )


def format_difference(item: Difference, decimals: int = 1) -> str:
    """Write a difference with its interval, with a true minus sign."""
    estimate = item.estimate
    if not math.isfinite(estimate.mean):
        return "no case could be scored"
    if not estimate.cases:
        return "undefined"
    return format_estimate(estimate, decimals, signed=True).replace("-", MINUS)


def _heading(item: Difference) -> str:
    """Name a test set, and the centre where it is one."""
    block = item.block
    if not block.trained_on:
        named = block.tested_on or "all cases"
    elif block.trained_on == block.tested_on:
        named = f"{block.trained_on}: trained and tested"
    else:
        named = f"{block.trained_on}: tested on {block.tested_on}"
    return named if item.where.subset is None else f"{named}, {item.where.subset}"


def _write(axes: Axes, columns: _Columns, x: float, y: float, text: str, **how: Any) -> None:
    """Write at a distance in inches from the figure's left, at a row."""
    place = (x - columns.axis) / columns.axis_width
    axes.text(place, y, text, transform=axes.get_yaxis_transform(), va="center", ha="left", **how)


def _shade(axes: Axes, columns: _Columns, y: float) -> None:
    left = (_PAD - 0.04 - columns.axis) / columns.axis_width
    right = (columns.width - 0.04 - columns.axis) / columns.axis_width
    axes.fill_between(
        [left, right],
        y,
        y + 1,
        transform=axes.get_yaxis_transform(),
        color="0.955",
        linewidth=0,
        clip_on=False,
        zorder=0,
    )


def _head(axes: Axes, columns: _Columns, first: Difference) -> None:
    for place, text in zip(columns.texts, _HEADS, strict=True):
        _write(axes, columns, place, -0.5, text, color="0.35")
    where: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "va": "center",
        "color": "0.35",
    }
    left, right = ("◂ reference better", "method better ▸")
    if first.measure.sign < 0:
        left, right = ("◂ method better", "reference better ▸")
    axes.text(0.48, -0.5, left, ha="right", **where)
    axes.text(0.52, -0.5, right, ha="left", **where)


def _label(figure: Figure, axes: Axes, differences: Sequence[Difference]) -> None:
    fixed = any(item.estimate.fixed_networks for item in differences)
    networks = f", {FOR_THESE_NETWORKS}" if fixed else ""
    axes.set_xlabel(_difference_label(differences[0].measure) + networks)
    axes.xaxis.set_major_formatter(lambda value, _: signed(value))
    figure.legend(
        handles=_legend(differences),
        loc="lower center",
        ncols=4,
        bbox_to_anchor=(0.5, 0.02 / figure.get_figheight()),
        columnspacing=1.6,
    )


def _difference_label(measure: Measure) -> str:
    return f"difference in {measure.unit} of {measure.title}".replace("in  of", "in")


def _legend(differences: Sequence[Difference]) -> list[Line2D]:
    """Explain the marks that there are."""
    found = {(x.word, x.estimate.low is not None) for x in differences}
    kinds = (
        ("better", True, "better: the interval lies on the side of gains"),
        ("worse", True, "worse: on the side of losses"),
        ("equivalent", True, "equivalent: within the margin"),
        ("open", True, "open: holds 0"),
        ("open", False, "no interval (too few seeds or patients)"),
    )
    return [
        Line2D(
            [],
            [],
            marker="o" if known else "D",
            color=(colour := _COLOURS.get(word, UNDECIDED)),
            markerfacecolor="white" if word == "open" else colour,
            linestyle="solid" if known else "none",
            label=text,
        )
        for word, known, text in kinds
        if (word, known) in found
    ]


@in_style()
def pooled_plot(item: PooledMean) -> Figure:
    """Plot a row per dataset, the random-effects mean below, and its prediction interval."""
    rows = len(item.datasets) + 2
    figure = Figure(figsize=(WIDTH, 1.1 + _DATASET_ROW * rows), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.25", linewidth=0.9)
    for row, (_, estimate) in enumerate(item.datasets.items()):
        ends = interval_of(estimate)
        _draw_dataset(axes, row, estimate.mean, ends, "0.35", item.measure.decimals)
    colour = UNDECIDED
    if item.low > 0 or item.high < 0:
        colour = GAIN if item.measure.sign * item.mean > 0 else LOSS
    last = rows - 1
    axes.plot([item.predicted_low, item.predicted_high], [last, last], ":", color=colour)
    _draw_dataset(axes, last, item.mean, (item.low, item.high), colour, item.measure.decimals)
    axes.axhline(last - 0.75, color="0.8", linewidth=0.7)
    labels = [shortened(name, 30) for name in item.datasets]
    axes.set_yticks([*range(len(labels)), last], [*labels, "mean over datasets"])
    axes.set_ylim(rows - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.xaxis.set_major_formatter(lambda value, _: signed(value))
    method, reference = shortened(item.method, 40), shortened(item.reference, 40)
    axes.set_title(f"{method} minus {reference}")
    axes.set_xlabel(_difference_label(item.measure))
    handles = [
        Line2D([], [], color=colour, marker="D", label="95 % interval of the mean"),
        Line2D([], [], color=colour, linestyle=":", label="expected of a further dataset (95 %)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw_dataset(
    axes: Axes, row: int, mean: float, ends: tuple[float, float], colour: str, decimals: int
) -> None:
    axes.plot(list(ends), [row, row], color=colour, linewidth=1.8)
    axes.plot([mean], [row], "D" if colour != "0.35" else "o", color=colour)
    text = f"{format_number(mean, decimals)} {format_interval(*ends, decimals)}".replace("-", MINUS)
    axes.text(
        1.02, row, text, transform=axes.get_yaxis_transform(), va="center", ha="left", color=colour
    )
