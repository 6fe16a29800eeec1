"""How training went: loss and validation DSC against epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from harmoseg.report.figures.style import (
    WIDTH,
    MethodStyle,
    Styles,
    in_style,
    label_axes,
    legend_below,
    method_handle,
)

LOG_COLUMNS = ("trained_on", "method", "seed", "epoch", "train_total", "val_dsc")
"""Columns of training logs: one row per run and epoch; ``val_dsc`` is a fraction or undefined."""


@in_style()
def training_curves(logs: pd.DataFrame, methods: Sequence[str], styles: Styles) -> Figure:
    """Plot loss and validation DSC against epochs: a thin line per seed, a thick mean.

    Seeds may have stopped at different epochs: a mean ends where the first of its seeds ends.
    """
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    panels = [
        ("Training loss", "loss (each method its own)", _curves(logs, methods, "train_total", 1)),
        (
            "Validation DSC",
            "points, at training resolution",
            _curves(logs, methods, "val_dsc", 100),
        ),
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
    legend_below(figure, [_curve_handle(method, styles[method]) for method in methods])
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


def _curve_handle(method: str, style: MethodStyle) -> Line2D:
    handle = method_handle(method, style)
    handle.set_marker("")
    handle.set_linewidth(2)
    return handle


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
