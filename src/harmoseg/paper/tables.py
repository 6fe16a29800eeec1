"""The tables of the paper, made from scores: ours, what was published, and the difference.

Layout and columns are those of the published tables. A column is there where the study has its
datasets; the caption names those that it has not. Beyond the paper there are rows for methods and,
out of distribution, columns for datasets that it does not have; these have nothing published
beside them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.catalogue import load_card
from harmoseg.losses.method import parse_method
from harmoseg.metrics.measures import Measure
from harmoseg.paper.published import (
    PublishedCell,
    PublishedColumn,
    find_published,
    published_columns,
    read_published,
)
from harmoseg.scores.table import CLEAN
from harmoseg.statistics.blocks import Block
from harmoseg.statistics.comparison import Comparison, within
from harmoseg.statistics.intervals import Estimate, estimate_mean, supported_best
from harmoseg.statistics.printing import Table, format_number, format_seed_range
from harmoseg.store.card import Card
from harmoseg.study.report import write_study_report
from harmoseg.study.results import Study

Cards = Mapping[str, Card]
"""The card of every training set and test set, by the name that the scores have for it."""

_TITLES = {
    1: "Kvasir-SEG, ISIC-2018, MoNuSeg and BTSeg",
    2: "Synapse and ACDC by class",
    3: "Out of distribution",
    4: "Calibration",
    5: "Under noise",
    6: "Sensitivity to the weight of the spectral term",
}
_BY_CLASS = 2
"""The table that has its classes side by side and its metrics below one another."""
_SENSITIVITY = 6
_DECIMALS = 2
"""Decimals of the published numbers."""
_LINES = ("ours", "published", "difference")
_ESTIMATED = ("mean", "low", "high", "seeds", "cases")
_ARROW = " \N{RIGHTWARDS ARROW} "


@dataclass(frozen=True, eq=False)
class _Column:
    """A column that was measured: where, and whether the paper has it too.

    `dataset` names what was trained and tested on as the cards do.
    """

    block: Block
    measure: Measure
    place: PublishedColumn
    dataset: str
    in_paper: bool


@dataclass(frozen=True)
class _Cell:
    """Numbers of a method in a column; `best` where it is so beyond chance."""

    estimate: Estimate | None
    published: PublishedCell | None
    best: bool

    @property
    def difference(self) -> float | None:
        if self.estimate is None or self.published is None or math.isnan(self.estimate.mean):
            return None
        return round(self.estimate.mean - self.published.value, 9) + 0.0

    @property
    def lines(self) -> tuple[str, str, str]:
        """Write ours, what is published and the difference; empty is what is not known."""
        difference = ""
        if self.difference is not None:
            difference = format_number(self.difference, _DECIMALS)
        return _format_ours(self.estimate), getattr(self.published, "text", ""), difference


_Cells = dict[tuple[str, _Column], _Cell]


def make_paper_tables(
    comparison: Comparison, cards: Cards, numbers: Sequence[int] = tuple(_TITLES)
) -> list[Table]:
    """Make those of the paper's tables of which something was measured.

    A method is bold in a column only where it is best beyond chance: the interval of its paired
    difference to every other method of ours in the table excludes 0. The sensitivity table has the
    methods that differ in nothing but the weight of the spectral term, and is made where there are
    some.
    """
    tables = []
    for number in numbers:
        columns = _find_columns(number, comparison.blocks, cards)
        methods = _choose_methods(number, columns)
        if columns and methods:
            tables.append(_make_table(number, methods, columns))
    return tables


def write_paper_report(study: Study, *, explain: bool = False) -> tuple[list[Table], Comparison]:
    """Write the report of a study, the paper's table first where its recipe names one.

    `explain` is that of `harmoseg.study.report.write_study_report`.
    """
    comparison = study.compare()
    tables: list[Table] = []
    if study.table is not None:
        cards = {
            name: store.info.card for task in study.tasks for name, store in task.stores.items()
        }
        tables = make_paper_tables(comparison, cards, [int(study.table.removeprefix("table"))])
    return write_study_report(study, comparison, tables=tables, explain=explain), comparison


def _find_columns(number: int, blocks: Sequence[Block], cards: Cards) -> list[_Column]:
    """List the columns that the scores can fill: the paper's in its order, then further ones."""
    paper = published_columns(number)
    found = [
        column
        for place in paper
        for block in blocks
        if _is_about(place, block, cards) and place.condition in block.conditions
        for column in _column(block, place, cards, in_paper=True)
    ]
    shifted = [place for place in paper if place.trained_on != place.tested_on]
    for block in blocks:
        trained, tested = cards[block.trained_on], cards[block.tested_on]
        wanted = [place for place in shifted if place.trained_on == trained.name]
        if block.trained_on == block.tested_on or tested.name in {x.tested_on for x in wanted}:
            continue
        for metric in dict.fromkeys(place.metric for place in wanted):
            place = PublishedColumn(trained.name, tested.name, CLEAN, "", metric)
            found += _column(block, place, cards, in_paper=False)
    return found


def _column(
    block: Block, place: PublishedColumn, cards: Cards, *, in_paper: bool
) -> Iterator[_Column]:
    """Return the column with the measure of a metric; none where the scores lack it."""
    family = [measure for measure in block.measures.values() if measure.family == place.metric]
    # Of distances the pooled definition, which most published tables used.
    pooled = [measure for measure in family if measure.title == place.metric]
    for measure in pooled[:1]:
        tested_on = None if block.trained_on == block.tested_on else cards[block.tested_on]
        dataset = _pair(cards[block.trained_on], tested_on)
        yield _Column(block, measure, place, dataset, in_paper)


def _is_about(place: PublishedColumn, block: Block, cards: Cards) -> bool:
    """Return whether a published column is about the training set and test set of a block."""
    trained, tested = cards[block.trained_on], cards[block.tested_on]
    if trained.name != place.trained_on or tested.name != place.tested_on:
        return False
    if place.tested_on == place.trained_on:
        return block.trained_on == block.tested_on and place.label in ("", *trained.classes)
    return block.trained_on != block.tested_on


def _choose_methods(number: int, columns: Iterable[_Column]) -> tuple[str, ...]:
    """List the methods of a table: the paper's, then the study's further ones."""
    ours = dict.fromkeys(method for column in columns for method in column.block.methods)
    if number == _SENSITIVITY:
        parsed = {name: parse_method(name) for name in ours}
        weights = Counter(method.weightless for method in parsed.values() if method.term)
        families = {family for family, count in weights.items() if count > 1}
        kept = families | {family.plain for family in families}
        ours = {name: None for name in ours if {parsed[name], parsed[name].weightless} & kept}
        if not ours:
            return ()
    published = dict.fromkeys(cell.method for cell in read_published(number))
    return tuple(published | ours)


def _make_table(number: int, methods: Sequence[str], columns: Sequence[_Column]) -> Table:
    cells = _measure(number, methods, columns)
    # Metrics below one another, each with its own columns, or all of them side by side.
    metrics = dict.fromkeys(column.place.metric for column in columns)
    blocks = (
        [[column for column in columns if column.place.metric == metric] for metric in metrics]
        if number == _BY_CLASS
        else [list(columns)]
    )
    stub = ("metric", "method", "value") if len(blocks) > 1 else ("method", "value")
    rows: list[tuple[str, ...]] = []
    bold: set[tuple[int, int]] = set()
    for block in blocks:
        metric = [_metric_name(block)] if len(blocks) > 1 else []
        for method in methods:
            found = [cells[method, column] for column in block]
            bold |= {(len(rows), len(stub) + i) for i, cell in enumerate(found) if cell.best}
            lines = zip(_LINES, *(cell.lines for cell in found), strict=True)
            # Each line names its method, to be sorted.
            rows += [(*metric, method, *line) for line in lines if any(line[1:])]
    levels = _levels(blocks[0], stub, by_class=number == _BY_CLASS)
    return Table(
        f"paper-table{number}",
        f"Table {number} of the paper: {_TITLES[number]}",
        _caption(number, columns, cells),
        tuple(" ".join(filter(None, parts)) for parts in zip(*levels, strict=True)),
        tuple(rows),
        levels,
        frozenset(bold),
        tuple(_records(number, cells)),
    )


def _measure(number: int, methods: Sequence[str], columns: Sequence[_Column]) -> _Cells:
    cells: _Cells = {}
    for column in columns:
        place, block = column.place, column.block
        groups = block.group_codes
        values = {method: _values(column, method) for method in methods if method in block.methods}
        shared = [
            seed
            for seed in block.seeds[block.methods[0]]
            if all(seed in block.seeds[method] for method in values)
        ]
        paired = {method: _values(column, method, shared) for method in values} if shared else {}
        best = supported_best(paired, groups, lower_is_better=column.measure.sign < 0)
        for method in methods:
            cells[method, column] = _Cell(
                within(estimate_mean(values[method], groups), column.measure)
                if method in values
                else None,
                find_published(number, method, place) if column.in_paper else None,
                method == best,
            )
    return cells


def _values(
    column: _Column, method: str, seeds: Sequence[str] | None = None
) -> NDArray[np.float64]:
    return column.block.values(
        method,
        column.measure,
        condition=column.place.condition,
        label=column.place.label or None,
        seeds=seeds,
    )


def _format_ours(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if math.isnan(estimate.mean):
        return "undefined"
    decimals = max(_DECIMALS, estimate.decimals)
    text = f"{estimate.mean:.{decimals}f}"
    if estimate.dropped:
        # A mean of the few cases that every run found would pass for one of all.
        text += f" (n = {estimate.cases})"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text}\n[{estimate.low:.{decimals}f}, {estimate.high:.{decimals}f}]"


def _levels(
    columns: Sequence[_Column], stub: tuple[str, ...], *, by_class: bool
) -> tuple[tuple[str, ...], ...]:
    """Return the header in lines: condition where there is one, datasets, class or metric."""
    names = _dataset_names(columns)
    leaves = [
        (column.place.label or "mean") if by_class else _metric_name([column]) for column in columns
    ]
    empty = ("",) * len(stub)
    levels = [(*empty, *(names[column] for column in columns)), (*stub, *leaves)]
    conditions = tuple(column.place.condition for column in columns)
    if set(conditions) != {CLEAN}:
        levels.insert(0, (*empty, *conditions))
    return tuple(levels)


def _dataset_names(columns: Sequence[_Column]) -> dict[_Column, str]:
    """Name the datasets of every column: as the cards do, by the stores where that is unclear."""
    stores = {
        (column.block.trained_on, column.block.tested_on, column.dataset) for column in columns
    }
    shared = Counter(dataset for _, _, dataset in stores)
    return {
        column: column.dataset
        if shared[column.dataset] == 1
        else _ARROW.join(dict.fromkeys((column.block.trained_on, column.block.tested_on)))
        for column in columns
    }


def _pair(trained: Card, tested: Card | None) -> str:
    titles = [card.title.split(" (")[0] for card in (trained, tested) if card is not None]
    return _ARROW.join(titles)


def _metric_name(columns: Sequence[_Column]) -> str:
    """Name the metric of some columns, with its unit where it has one for all of them."""
    metric, units = columns[0].place.metric, {column.measure.unit for column in columns}
    return f"{metric} [{units.pop()}]" if metric == "HD95" and len(units) == 1 else metric


def _caption(number: int, columns: Sequence[_Column], cells: _Cells) -> str:
    told = format_seed_range(column.block for column in columns)
    sentences = [
        f"Ours: mean over cases and {told} seed(s) in points, in brackets the 95 % interval over "
        "seeds and patients. Published: as the paper prints it, without an interval. Difference: "
        "ours minus published."
    ]
    if told == "1":
        sentences.append("From one seed there is no interval, and nothing is bold.")
    else:
        sentences.append(
            "Bold: the best of our methods in a column, only where the interval of its paired "
            "difference to every other one excludes 0."
        )
    names = _dataset_names(columns)
    units = dict.fromkeys(
        f"{column.measure.unit} ({names[column]})"
        for column in columns
        if column.place.metric == "HD95"
    )
    if units:
        sentences.append(
            f"Lower is better of HD95: both directions pooled, ours in {', '.join(units)}; the "
            "paper names no unit."
        )
    if any(column.place.metric == "ECE" for column in columns):
        sentences.append("Lower is better of ECE and MCE, ours per image, MCE being the maximum.")
    if any(cell.estimate is not None and cell.estimate.dropped for cell in cells.values()):
        sentences.append(
            "n: so many cases have a value under every run of the method; the others are left out, "
            "such as those where it missed a class, which has no distance then."
        )
    if number == _SENSITIVITY:
        sentences.append("The paper does not name the network of this table; its values say UNet.")
    absent = _absent(number, columns)
    if absent:
        sentences.append(f"In the paper and not in these scores: {'; '.join(absent)}.")
    added = dict.fromkeys(names[column] for column in columns if not column.in_paper)
    if added:
        sentences.append(f"In these scores and not in the paper: {'; '.join(added)}.")
    return " ".join(sentences)


def _absent(number: int, columns: Iterable[_Column]) -> list[str]:
    """Name what the paper's table has and the study has not."""
    measured = {column.place for column in columns if column.in_paper}
    absent: dict[str, None] = {}
    for place in published_columns(number):
        if place in measured:
            continue
        trained, tested = load_card(place.trained_on), load_card(place.tested_on)
        name = _pair(trained, None if trained == tested else tested)
        absent[name if place.condition == CLEAN else f"{name} under {place.condition}"] = None
    return list(absent)


def _records(number: int, cells: _Cells) -> Iterator[dict[str, object]]:
    """Return the rows of the CSV file: one per method and column of which something is known."""
    for (method, column), cell in cells.items():
        place, estimate, published = column.place, cell.estimate, cell.published
        if estimate is None and published is None:
            continue
        yield {
            "table": number,
            "method": method,
            "trained_on": place.trained_on,
            "tested_on": place.tested_on,
            "trained_store": column.block.trained_on,
            "tested_store": column.block.tested_on,
            "condition": place.condition,
            "class": place.label,
            "metric": place.metric,
            "measure": column.measure.name,
            "unit": column.measure.unit,
            **{name: getattr(estimate, name, None) for name in _ESTIMATED},
            "left_out": estimate.dropped if estimate else None,
            "published": published.text if published else None,
            "published_bold": published.bold if published else None,
            "difference": cell.difference,
            "bold": cell.best,
        }
