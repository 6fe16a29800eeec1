"""A difference on every dataset, with the mean over datasets and what to expect of another."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harmoseg.report.figures.style import (
    GAIN,
    LOSS,
    UNDECIDED,
    WIDTH,
    in_style,
    interval_of,
    shortened,
    signed,
)
from harmoseg.statistics.heterogeneity import PooledMean

_ROW = 0.24


@in_style()
def pooled_plot(item: PooledMean) -> Figure:
    """Plot a row per dataset, the random-effects mean below, and its prediction interval."""
    rows = len(item.datasets) + 2
    figure = Figure(figsize=(WIDTH, 1.1 + _ROW * rows), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.25", linewidth=0.9)
    for row, (_, estimate) in enumerate(item.datasets.items()):
        ends = interval_of(estimate)
        _draw(axes, row, estimate.mean, ends, "0.35", item.measure.decimals)
    colour = UNDECIDED
    if item.low > 0 or item.high < 0:
        colour = GAIN if item.measure.sign * item.mean > 0 else LOSS
    last = rows - 1
    axes.plot([item.predicted_low, item.predicted_high], [last, last], ":", color=colour)
    _draw(axes, last, item.mean, (item.low, item.high), colour, item.measure.decimals)
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
    axes.set_xlabel(f"difference in {item.measure.unit} of {item.measure.title}".replace("  ", " "))
    handles = [
        Line2D([], [], color=colour, marker="D", label="95 % interval of the mean"),
        Line2D([], [], color=colour, linestyle=":", label="expected of a further dataset (95 %)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw(
    axes: Axes, row: int, mean: float, ends: tuple[float, float], colour: str, decimals: int
) -> None:
    axes.plot(list(ends), [row, row], color=colour, linewidth=1.8)
    axes.plot([mean], [row], "D" if colour != "0.35" else "o", color=colour)
    text = f"{signed(round(mean, decimals))} [{signed(round(ends[0], decimals))}, "
    text += f"{signed(round(ends[1], decimals))}]"
    axes.text(
        1.02, row, text, transform=axes.get_yaxis_transform(), va="center", ha="left", color=colour
    )
