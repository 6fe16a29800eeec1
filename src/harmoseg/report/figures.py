"""The figures of a study: training curves and paired differences."""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmoseg.study.compare import Study
from harmoseg.study.statistics import Estimate
from harmoseg.study.tables import HEADLINE, Difference
from harmoseg.training.run import LOG_FILE

# Okabe and Ito's palette: told apart with any colour vision.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


def training_curves(study: Study) -> Figure:
    """Plot loss and validation DSC against epochs: a thin line per seed, a thick mean."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    columns = (("train_total", left, 1.0), ("val_dsc", right, 100.0))
    for colour, method in zip(_cycle(len(study.methods)), study.methods, strict=True):
        for column, axes, scale in columns:
            curves = _curves(study, method, column, scale)
            if curves is None:
                continue
            epochs = np.arange(1, curves.shape[1] + 1)
            for curve in curves:
                axes.plot(epochs, curve, color=colour, linewidth=0.7, alpha=0.6)
            axes.plot(epochs, curves.mean(0), color=colour, linewidth=2, label=method)
    _label(left, "Training loss", "epoch", "loss (each method its own)")
    _label(right, "Validation DSC", "epoch", "points, at training resolution")
    left.legend(frameon=False)
    if not right.lines:
        right.set_axis_off()
        right.text(
            0.5, 0.5, "no part of the data validated", transform=right.transAxes, ha="center"
        )
    return figure


def difference_plot(study: Study, differences: Sequence[Difference]) -> Figure:
    """Plot the paired difference of every case, one row per comparison, with mean and interval."""
    chosen = [item for item in differences if item.metric == HEADLINE]
    figure = Figure(figsize=(9, 1.2 + 1.1 * len(chosen)), layout="constrained")
    axes = figure.subplots()
    random = np.random.default_rng(0)
    for row, item in enumerate(chosen):
        scores = study.scores(item.method, item.store, HEADLINE)
        gaps = (scores - study.scores(item.reference, item.store, HEADLINE)).mean(0)
        gaps = gaps[np.isfinite(gaps)]
        spread = row + random.uniform(-0.28, 0.28, len(gaps))
        axes.scatter(gaps, spread, s=9, alpha=0.45, color=PALETTE[0], linewidths=0)
        _mark_estimate(axes, item.estimate, row)
    axes.axvline(0, color="0.3", linewidth=0.8)
    labels = [f"{item.method} minus {item.reference}\non {item.store}" for item in chosen]
    axes.set_yticks(range(len(chosen)), labels, parse_math=False)
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    # A few cases that one method misses outright would squeeze all others into a line.
    axes.set_xscale("symlog", linthresh=5, linscale=1.5)
    ticks = (-100, -50, -20, -10, -5, -2, 0, 2, 5, 10, 20, 50, 100)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    title = (
        f"Difference in {HEADLINE} of each case, mean over seeds; orange: mean and 95 % interval"
    )
    _label(axes, title, f"points of {HEADLINE} (scale is compressed beyond 5)", "")
    return figure


def _mark_estimate(axes: Axes, estimate: Estimate, row: int) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [row, row], color=PALETTE[5], linewidth=3)
    axes.plot([estimate.mean], [row], marker="D", markersize=7, color=PALETTE[5])


def _curves(
    study: Study, method: str, column: str, scale: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """Read one column of the logs of a method: (seeds, epochs), or None where it is not there."""
    curves = []
    for run in study.runs:
        if run.experiment.method == method:
            with (run.folder / LOG_FILE).open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            if not rows or column not in rows[0]:
                return None
            curves.append([scale * float(row[column]) for row in rows])
    return np.asarray(curves)


def _cycle(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
