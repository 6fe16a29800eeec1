"""What difference a study of so many seeds and cases would show."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from harmoseg.report.figures.style import PALETTE, WIDTH, in_style
from harmoseg.statistics.planning import Plan

_POINTS = 24


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
