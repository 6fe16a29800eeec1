"""Scores against the weight of a term, and against how badly images are damaged."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmoseg.conditions import KINDS, parse_corruption
from harmoseg.errors import HarmosegError
from harmoseg.losses.method import parse_method
from harmoseg.report.figures.style import (
    COLUMNS,
    WIDTH,
    Styles,
    dodge,
    draw_curve,
    draw_interval,
    in_style,
    interval_of,
    label_axes,
    legend_below,
    method_handle,
    panels,
    shortened,
)
from harmoseg.scores.table import CLEAN
from harmoseg.statistics.blocks import Block
from harmoseg.statistics.comparison import Comparison

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
        try:
            method = parse_method(name)
        except HarmosegError:  # a name of somebody else has no weight
            continue
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
    ladders: list[Ladder] = []
    single: list[str] = []
    for text in conditions:
        try:
            corruption = parse_corruption(text)
        except HarmosegError:  # a condition of somebody else stands alone
            single.append(text)
            continue
        found.setdefault(corruption.name, {})[corruption.level] = text
    for name, levels in found.items():
        if len(levels) == 1:
            single += list(levels.values())
            continue
        known = KINDS[name].ladder
        order = sorted(levels, reverse=known[-1] < known[0])
        ladders.append(Ladder(name, tuple(order), tuple(levels[level] for level in order)))
    return ladders, single


@in_style()
def weight_figure(
    comparison: Comparison, blocks: Sequence[Block], families: Sequence[Family], styles: Styles
) -> Figure:
    """Plot the primary measure against the weight of the term.

    A row per family, a column per test set.
    """
    columns = min(COLUMNS, len(blocks))
    cells = columns * math.ceil(len(blocks) / columns)
    figure, grid = panels(cells * len(families), 2.4, columns=columns, narrowest=3.6, extra=0.1)
    for i, family in enumerate(families):
        of_family = grid[i * cells : (i + 1) * cells]
        for axes, block in zip(of_family, blocks, strict=False):
            _draw_family(axes, comparison, block, family, styles)
        for axes in of_family[len(blocks) :]:
            axes.set_axis_off()
    return figure


def _draw_family(
    axes: Axes, comparison: Comparison, block: Block, family: Family, styles: Styles
) -> None:
    bounds = comparison.primary.bounds
    names = list(family.members.values())
    found = [comparison.mean_of(block, name) for name in names]
    axes.plot(range(1, len(names) + 1), [x.mean for x in found], color="0.4", linewidth=1.0)
    for place, (name, estimate) in enumerate(zip(names, found, strict=True), 1):
        draw_interval(axes, place, estimate, styles[name], bounds=bounds)
    if family.plain is not None:
        plain = comparison.mean_of(block, family.plain)
        low, high = interval_of(plain, bounds)
        if math.isfinite(low):
            axes.axhspan(low, high, color="0.92", linewidth=0)
        axes.axhline(plain.mean, color="0.5", linewidth=0.9, linestyle="dashed")
        draw_interval(axes, 0, plain, styles[family.plain], bounds=bounds)
    ticks = [f"{weight:g}" for weight in family.members]
    axes.set_xticks(range(len(ticks) + 1), ["0", *ticks])
    axes.set_xlim(-0.5, len(ticks) + 0.5)
    title = f"{shortened(family.title, 34)}\non {shortened(block.tested_on, 30)}"
    label_axes(axes, title, "weight λ of the term", axis_label(comparison))


def axis_label(comparison: Comparison) -> str:
    """Return the primary measure with its unit."""
    return ", ".join(filter(None, (comparison.primary.title, comparison.primary.unit)))


@in_style()
def ladder_figure(
    comparison: Comparison, block: Block, ladders: Sequence[Ladder], styles: Styles
) -> Figure:
    """Plot the score against the level of every corruption that has several, clean first."""
    figure, grid = panels(len(ladders), 2.3, narrowest=4.2, extra=0.5, sharey=True)
    for place, (axes, ladder) in enumerate(zip(grid, ladders, strict=True)):
        for i, method in enumerate(block.methods):
            found = [
                comparison.mean_of(block, method, condition=name)
                for name in (CLEAN, *ladder.conditions)
            ]
            places = np.arange(len(found), dtype=np.float64) + _DODGE * dodge(i, len(block.methods))
            draw_curve(axes, places, found, styles[method], comparison.primary.bounds)
        levels = [np.format_float_positional(level, trim="-") for level in ladder.levels]
        axes.set_xticks(range(len(levels) + 1), ["clean", *levels])
        axes.set_xlim(-0.5, len(ladder.levels) + 0.5)
        axes.grid(axis="y")
        label = axis_label(comparison) if place % COLUMNS == 0 else ""
        label_axes(axes, ladder.name, _unit(ladder.name), label)
        axes.tick_params(labelleft=True)
    legend_below(figure, [method_handle(method, styles[method]) for method in block.methods])
    return figure


@in_style()
def condition_figure(
    comparison: Comparison, block: Block, conditions: Sequence[str], styles: Styles
) -> Figure:
    """Plot the score on clean images and under every condition, a dot per method."""
    shown = [CLEAN, *conditions]
    height = max(0.36, 0.13 * len(block.methods) + 0.1)
    figure = Figure(figsize=(WIDTH, 0.95 + height * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, condition in enumerate(shown):
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color="0.955", linewidth=0)
        for i, method in enumerate(block.methods):
            place = row + 0.8 * dodge(i, len(block.methods))
            estimate = comparison.mean_of(block, method, condition=condition)
            bounds = comparison.primary.bounds
            draw_interval(axes, place, estimate, styles[method], upright=False, bounds=bounds)
    axes.set_yticks(range(len(shown)), shown)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.set_xlabel(axis_label(comparison))
    handles = [method_handle(method, styles[method], lines=False) for method in block.methods]
    legend_below(figure, handles)
    return figure


def _unit(name: str) -> str:
    """Name the unit of a corruption's level, in lines that are no wider than a panel."""
    unit = KINDS[name].unit.split(":")[0].replace(" at training resolution", "")
    return textwrap.fill(unit.replace(" on images in [0, 1]", ""), 30)
