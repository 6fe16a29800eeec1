"""Scores against the weight of a term, and against how badly images are damaged."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmoseg.evaluation.reading import CLEAN
from harmoseg.losses.method import parse_method
from harmoseg.report.figures.comparisons import Styles
from harmoseg.report.figures.style import (
    WIDTH,
    draw_interval,
    in_style,
    interval_of,
    label_axes,
    legend_below,
    method_handle,
    shortened,
)
from harmoseg.statistics.intervals import Estimate
from harmoseg.store.corruptions import KINDS, LADDERS, parse_corruption
from harmoseg.study.estimates import POINTS, estimate_score
from harmoseg.study.results import TaskResults
from harmoseg.study.tables import HEADLINE

_COLUMNS = 3
_FEWEST = 3
"""Fewer weights are no curve."""
_DODGE = 0.45


@dataclass(frozen=True)
class Family:
    """Methods that differ in their term's weight alone: `members` by weight, and the plain one."""

    title: str
    members: dict[float, str]
    plain: str | None


def find_families(methods: Sequence[str]) -> list[Family]:
    """Find the families with three weights or more, weights in ascending order."""
    found: dict[str, dict[float, str]] = {}
    plain: dict[str, str] = {}
    for name in methods:
        method = parse_method(name)
        if len(method.terms) != 1:
            continue
        reduction = "" if method.reduction == "batch" else f"@{method.reduction}"
        title = f"{method.stem}+{method.term}:λ{reduction}"
        found.setdefault(title, {})[method.weight] = name
        plain[title] = str(method.plain)
    return [
        Family(
            title, dict(sorted(members.items())), plain[title] if plain[title] in methods else None
        )
        for title, members in found.items()
        if len(members) >= _FEWEST
    ]


@dataclass(frozen=True)
class Ladder:
    """The conditions of one corruption, from the mildest level to the worst."""

    name: str
    levels: tuple[float, ...]
    conditions: tuple[str, ...]


def find_ladders(conditions: Sequence[str]) -> tuple[list[Ladder], list[str]]:
    """Split conditions into corruptions with several levels, and conditions that stand alone."""
    found: dict[str, dict[float, str]] = {}
    for text in conditions:
        corruption = parse_corruption(text)
        found.setdefault(corruption.name, {})[corruption.level] = text
    ladders, single = [], []
    for name, levels in found.items():
        if len(levels) == 1:
            single += list(levels.values())
            continue
        known = LADDERS[name]
        order = sorted(levels, reverse=known[-1] < known[0])
        ladders.append(Ladder(name, tuple(order), tuple(levels[level] for level in order)))
    return ladders, single


@in_style()
def weight_figure(task: TaskResults, families: Sequence[Family], styles: Styles) -> Figure:
    """Plot the score against the weight of the term: a row per family, a column per store."""
    stores = list(task.stores)
    columns = min(_COLUMNS, len(stores))
    panels = [(family, store) for family in families for store in stores]
    rows = len(families) * math.ceil(len(stores) / columns)
    figure = Figure(
        figsize=(max(3.6, 0.3 + (WIDTH - 0.3) / _COLUMNS * columns), 2.4 * rows + 0.1),
        layout="constrained",
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    across = math.ceil(len(stores) / columns) * columns  # places of a family, the last ones empty
    for i, (family, store) in enumerate(panels):
        place = i // len(stores) * across + i % len(stores)
        axes = grid.flat[place]
        axes.set_axis_on()
        _draw_family(axes, task, family, store, styles)
    return figure


def _draw_family(axes: Axes, task: TaskResults, family: Family, store: str, styles: Styles) -> None:
    names = list(family.members.values())
    found = [estimate_score(task, name, store, HEADLINE, CLEAN) for name in names]
    axes.plot(range(1, len(names) + 1), [x.mean for x in found], color="0.4", linewidth=1.0)
    for place, (name, estimate) in enumerate(zip(names, found, strict=True), 1):
        draw_interval(axes, place, estimate, styles[name], bounds=POINTS)
    if family.plain is not None:
        plain = estimate_score(task, family.plain, store, HEADLINE, CLEAN)
        low, high = interval_of(plain, POINTS)
        if math.isfinite(low):
            axes.axhspan(low, high, color="0.92", linewidth=0)
        axes.axhline(plain.mean, color="0.5", linewidth=0.9, linestyle="dashed")
        draw_interval(axes, 0, plain, styles[family.plain], bounds=POINTS)
    ticks = [f"{weight:g}" for weight in family.members]
    axes.set_xticks(range(len(ticks) + 1), ["0", *ticks])
    axes.set_xlim(-0.5, len(ticks) + 0.5)
    title = f"{shortened(family.title, 34)}\non {shortened(store, 30)}"
    label_axes(axes, title, "weight λ of the term", f"{HEADLINE}, points")


@in_style()
def ladder_figure(
    task: TaskResults, store: str, ladders: Sequence[Ladder], styles: Styles
) -> Figure:
    """Plot the score against the level of every corruption that has several, clean first."""
    columns = min(_COLUMNS, len(ladders))
    rows = math.ceil(len(ladders) / columns)
    width = max(4.2, 0.3 + (WIDTH - 0.3) / _COLUMNS * columns)
    figure = Figure(figsize=(width, 2.3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(ladders) :]:
        axes.set_axis_off()
    clean = {m: estimate_score(task, m, store, HEADLINE, CLEAN) for m in task.methods}
    for place, ladder in enumerate(ladders):
        axes = grid.flat[place]
        for i, method in enumerate(task.methods):
            conditions = ladder.conditions
            found = [estimate_score(task, method, store, HEADLINE, name) for name in conditions]
            shift = _DODGE * ((i + 0.5) / len(task.methods) - 0.5)
            _draw_ladder(axes, shift, [clean[method], *found], styles, method)
        axes.set_xticks(range(len(ladder.levels) + 1), ["clean", *map(_level, ladder.levels)])
        axes.set_xlim(-0.5, len(ladder.levels) + 0.5)
        axes.grid(axis="y")
        label_axes(axes, ladder.name, _unit(ladder.name), "")
        axes.tick_params(labelleft=True)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"{HEADLINE}, points")
    legend_below(figure, [method_handle(method, styles[method]) for method in task.methods])
    return figure


def _draw_ladder(
    axes: Axes, shift: float, estimates: Sequence[Estimate], styles: Styles, method: str
) -> None:
    style = styles[method]
    places = np.arange(len(estimates)) + shift
    means = [estimate.mean for estimate in estimates]
    axes.plot(places, means, color=style.colour, linestyle=style.line, linewidth=0.9)
    for place, estimate in zip(places.tolist(), estimates, strict=True):
        draw_interval(axes, place, estimate, style, bounds=POINTS)


@in_style()
def condition_figure(
    task: TaskResults, store: str, conditions: Sequence[str], styles: Styles
) -> Figure:
    """Plot the score on clean images and under every condition, a dot per method."""
    shown = [CLEAN, *conditions]
    height = max(0.36, 0.13 * len(task.methods) + 0.1)
    figure = Figure(figsize=(WIDTH, 0.95 + height * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, condition in enumerate(shown):
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color="0.955", linewidth=0)
        for i, method in enumerate(task.methods):
            place = row + 0.8 * ((i + 0.5) / len(task.methods) - 0.5)
            estimate = estimate_score(task, method, store, HEADLINE, condition)
            draw_interval(axes, place, estimate, styles[method], upright=False, bounds=POINTS)
    axes.set_yticks(range(len(shown)), shown)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.set_xlabel(f"{HEADLINE}, points")
    handles = [method_handle(method, styles[method], lines=False) for method in task.methods]
    legend_below(figure, handles)
    return figure


def _level(level: float) -> str:
    return np.format_float_positional(level, trim="-")


def _unit(name: str) -> str:
    """Name the unit of a corruption's level, in lines that are no wider than a panel."""
    unit = KINDS[name].unit.split(":")[0].replace(" at training resolution", "")
    return textwrap.fill(unit.replace(" on images in [0, 1]", ""), 30)
