"""Up to which detail predictions follow the truth: correlation against spatial frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harmoseg.losses.method import Kind
from harmoseg.report.figures.style import (
    WIDTH,
    MethodStyle,
    Styles,
    draw_interval,
    focus,
    in_style,
    label_axes,
    legend_below,
    method_handle,
)
from harmoseg.statistics.differences import Difference
from harmoseg.statistics.intervals import Estimate
from harmoseg.statistics.rings import RingCurves

# Of an octave: how far apart the methods of one ring are drawn.
_DODGE = 0.55


_GAINS: dict[Kind, str] = {
    "without the term": "Gain over the same without the term",
    "BCE + Dice instead": "Gain over BCE + Dice",
    "overlap term instead": "Gain over an overlap term of that weight",
    "control": "Gain over its control",
    "no control": "Difference to the reference",
}


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
    rows = 2 if len(kinds) > 1 else 1
    figure = Figure(figsize=(WIDTH, 2.8 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, min(2, 1 + len(kinds)), squeeze=False).ravel()
    shown: list[Estimate] = []
    for i, method in enumerate(methods):
        shift = _DODGE * _part(i, len(methods))
        found = curves.estimates(method)
        shown += found
        _draw_curve(panels[0], curves.frequency, shift, found, styles[method], (-1.0, 1.0))
    focus(panels[0], shown, (-1.0, 1.0))
    _label_rings(panels[0], curves.frequency, "Ring correlation", "correlation (1: equal)")
    for axes, kind in zip(panels[1:], kinds, strict=False):
        axes.axhline(0, color="0.3", linewidth=0.8)
        gained: list[Estimate] = []
        of_kind = [item for item in differences if item.kind == kind]
        for i, item in enumerate(of_kind):
            shift = _DODGE * _part(i, len(of_kind))
            found = curves.gains(item.method, item.reference)
            gained += found
            _draw_curve(axes, curves.frequency, shift, found, styles[item.method], (-2.0, 2.0))
        focus(axes, gained, (-2.0, 2.0))
        _label_rings(axes, curves.frequency, _GAINS[kind], "difference in correlation")
    for axes in panels[1 + len(kinds) :]:
        axes.set_axis_off()
    legend_below(figure, [method_handle(method, styles[method]) for method in methods])
    return figure


def ring_places(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place rings on an axis of octaves: frequency 0, which has none, stands before them all."""
    places = np.full(frequency.shape, np.nan)
    places[frequency > 0] = np.log2(frequency[frequency > 0])
    places[frequency == 0] = places[frequency > 0].min(initial=0.0) - 2.0
    return places


def _part(i: int, count: int) -> float:
    """Spread `count` things evenly between -1/2 and 1/2."""
    return (i + 0.5) / count - 0.5


def _draw_curve(
    axes: Axes,
    frequency: NDArray[np.float64],
    shift: float,
    estimates: Sequence[Estimate],
    style: MethodStyle,
    bounds: tuple[float, float],
) -> None:
    places = ring_places(frequency) + shift
    for place, estimate in zip(places.tolist(), estimates, strict=True):
        draw_interval(axes, place, estimate, style, bounds=bounds)
    means = np.asarray([estimate.mean for estimate in estimates])
    octaves = frequency > 0
    axes.plot(
        places[octaves], means[octaves], color=style.colour, linestyle=style.line, linewidth=1
    )


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
