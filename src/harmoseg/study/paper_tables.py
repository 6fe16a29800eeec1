"""The tables of the paper, made from a study: ours, what was published, and the difference.

Layout and columns are those of the published tables. A column is there where the study has its
datasets; the caption names those that it has not. Beyond the paper there are rows for methods and,
out of distribution, columns for datasets that it does not have; these have nothing published
beside them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.catalogue import load_card
from harmoseg.evaluation.measuring import distance_unit
from harmoseg.evaluation.reading import CLEAN
from harmoseg.losses.method import Method, parse_method
from harmoseg.statistics.intervals import Estimate, estimate_mean
from harmoseg.statistics.significance import supported_best
from harmoseg.store.card import Card
from harmoseg.study.published import (
    PublishedCell,
    PublishedColumn,
    find_published,
    published_columns,
    read_published,
)
from harmoseg.study.results import TaskResults
from harmoseg.study.tables import told_seeds, within_range
from harmoseg.study.writing import Table

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
"""Those of the published numbers."""


@dataclass(frozen=True, eq=False)
class _Column:
    """A column that was measured: where, and whether the paper has it too."""

    task: TaskResults
    store: str
    place: PublishedColumn
    in_paper: bool

    @property
    def trained_store(self) -> str:
        return next(iter(self.task.stores))

    @property
    def measure(self) -> str:
        metric = self.place.metric
        return f"HD95_pooled_{self.unit}" if metric == "HD95" else metric

    @property
    def unit(self) -> str:
        distance = self.place.metric == "HD95"
        return distance_unit(self.task.stores[self.store]) if distance else "points"

    @property
    def dataset(self) -> str:
        """Name what was trained and tested on as the cards do."""
        stores = self.task.stores
        trained, tested = stores[self.trained_store].info.card, stores[self.store].info.card
        return _pair(trained, None if self.store == self.trained_store else tested)


@dataclass(frozen=True)
class _Cell:
    """What is known of a method in a column; `best` where it is so beyond chance."""

    estimate: Estimate | None
    published: PublishedCell | None
    best: bool

    @property
    def difference(self) -> float | None:
        if self.estimate is None or self.published is None or math.isnan(self.estimate.mean):
            return None
        return round(self.estimate.mean - self.published.value, 9) + 0.0


_Cells = dict[tuple[str, _Column], _Cell]


def make_paper_tables(tasks: Sequence[TaskResults]) -> list[Table]:
    """Make those of the paper's tables of which something was measured.

    A method is bold in a column only where it is best beyond chance: the interval of its paired
    difference to every other method of ours in the table excludes 0. The sensitivity table has the
    methods that differ in nothing but the weight of the spectral term, and is made where there are
    some.
    """
    tables = []
    for number in _TITLES:
        columns = _find_columns(number, tasks)
        methods = _choose_methods(number, columns)
        if columns and methods:
            tables.append(_make_table(number, methods, columns))
    return tables


def _find_columns(number: int, tasks: Sequence[TaskResults]) -> list[_Column]:
    """List the columns that the tasks can fill: the paper's in its order, then further ones."""
    paper = published_columns(number)
    found = [
        _Column(task, store, place, in_paper=True)
        for place in paper
        for task in tasks
        for store in _stores_of(place, task)
        if place.condition in (CLEAN, *task.conditions)
    ]
    shifted = [place for place in paper if place.trained_on != place.tested_on]
    for task in tasks:
        trained, *others = (store.info.card.name for store in task.stores.values())
        wanted = [place for place in shifted if place.trained_on == trained]
        known = {place.tested_on for place in wanted}
        metrics = dict.fromkeys(place.metric for place in wanted)
        for store, card in zip(list(task.stores)[1:], others, strict=True):
            if card not in known:
                found += [
                    _Column(task, store, PublishedColumn(trained, card, CLEAN, "", metric), False)
                    for metric in metrics
                ]
    return found


def _stores_of(place: PublishedColumn, task: TaskResults) -> Iterator[str]:
    """Name the stores of a task that a published column is about."""
    (first, trained), *others = task.stores.items()
    if trained.info.card.name != place.trained_on:
        return
    if place.tested_on == place.trained_on:
        if place.label in ("", *trained.info.card.classes):
            yield first
        return
    yield from (name for name, store in others if store.info.card.name == place.tested_on)


def _choose_methods(number: int, columns: Iterable[_Column]) -> tuple[str, ...]:
    """List the methods of a table: the paper's, then the study's further ones."""
    ours = dict.fromkeys(method for column in columns for method in column.task.methods)
    if number == _SENSITIVITY:
        weights = Counter(
            _weightless(method) for method in ours if parse_method(method).term is not None
        )
        families = {family for family, count in weights.items() if count > 1}
        plain = {family.plain for family in families}
        ours = {
            method: None
            for method in ours
            if _weightless(method) in families or parse_method(method) in plain
        }
        if not ours:
            return ()
    published = dict.fromkeys(cell.method for cell in read_published(number))
    return tuple(published | ours)


def _weightless(method: str) -> Method:
    return parse_method(method).weightless


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
        for method in methods:
            best = [i for i, column in enumerate(block) if cells[method, column].best]
            bold |= {(len(rows), len(stub) + i) for i in best}
            lines = _method_lines(method, [cells[method, column] for column in block])
            rows += [(_metric_name(block), *line) for line in lines] if len(blocks) > 1 else lines
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
        place, groups = column.place, column.task.groups(column.store)
        values = {
            method: _values(column, method) for method in methods if method in column.task.methods
        }
        shared = column.task.shared_seeds
        paired = {method: _values(column, method, shared) for method in values} if shared else {}
        best = supported_best(paired, groups, lower_is_better=place.lower_is_better)
        largest = 100.0 if column.unit == "points" else math.inf
        for method in methods:
            cells[method, column] = _Cell(
                within_range(estimate_mean(values[method], groups), largest)
                if method in values
                else None,
                find_published(number, method, place) if column.in_paper else None,
                method == best,
            )
    return cells


def _values(
    column: _Column, method: str, seeds: Sequence[int] | None = None
) -> NDArray[np.float64]:
    return column.task.values(
        method,
        column.store,
        column.measure,
        condition=column.place.condition,
        label=column.place.label or None,
        seeds=seeds,
    )


def _method_lines(method: str, cells: Sequence[_Cell]) -> list[tuple[str, ...]]:
    """Write what is known of a method in up to three lines; each names it, to be sorted."""
    parts = (
        ("ours", [_format_ours(cell.estimate) for cell in cells]),
        ("published", [cell.published.text if cell.published else "" for cell in cells]),
        ("difference", [_format_difference(cell.difference) for cell in cells]),
    )
    lines = [(name, *texts) for name, texts in parts if any(texts)]
    return [(method, *line) for line in lines]


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


def _format_difference(difference: float | None) -> str:
    if difference is None:
        return ""
    return f"{round(difference, _DECIMALS) + 0.0:+.{_DECIMALS}f}"  # never -0.00


def _levels(
    columns: Sequence[_Column], stub: tuple[str, ...], *, by_class: bool
) -> tuple[tuple[str, ...], ...]:
    """Give the header in lines: condition where there is one, datasets, class or metric."""
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
    stores = {(column.trained_store, column.store, column.dataset) for column in columns}
    shared = Counter(dataset for _, _, dataset in stores)
    names = {}
    for column in columns:
        names[column] = column.dataset
        if shared[column.dataset] > 1:
            pair = dict.fromkeys((column.trained_store, column.store))
            names[column] = _ARROW.join(pair)
    return names


_ARROW = " \N{RIGHTWARDS ARROW} "


def _pair(trained: Card, tested: Card | None) -> str:
    titles = [card.title.split(" (")[0] for card in (trained, tested) if card is not None]
    return _ARROW.join(titles)


def _metric_name(columns: Sequence[_Column]) -> str:
    """Name the metric of some columns, with its unit where it has one for all of them."""
    metric, units = columns[0].place.metric, {column.unit for column in columns}
    return f"{metric} [{units.pop()}]" if metric == "HD95" and len(units) == 1 else metric


def _caption(number: int, columns: Sequence[_Column], cells: _Cells) -> str:
    told = told_seeds([column.task for column in columns])
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
        f"{column.unit} ({names[column]})" for column in columns if column.place.metric == "HD95"
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
        sentences.append(f"In the paper and not in this study: {'; '.join(absent)}.")
    added = dict.fromkeys(names[column] for column in columns if not column.in_paper)
    if added:
        sentences.append(f"In this study and not in the paper: {'; '.join(added)}.")
    return " ".join(sentences)


def _absent(number: int, columns: Iterable[_Column]) -> list[str]:
    """Name what the paper's table has and the study has not."""
    measured = {column.place for column in columns if column.in_paper}
    absent: dict[str, None] = {}
    for place in published_columns(number):
        if place not in measured:
            trained, tested = load_card(place.trained_on), load_card(place.tested_on)
            name = _pair(trained, None if trained == tested else tested)
            absent[name if place.condition == CLEAN else f"{name} under {place.condition}"] = None
    return list(absent)


def _records(number: int, cells: _Cells) -> Iterator[dict[str, object]]:
    """Give the rows of the CSV file: one per method and column of which something is known."""
    for (method, column), cell in cells.items():
        place, estimate, published = column.place, cell.estimate, cell.published
        if estimate is None and published is None:
            continue
        yield {
            "table": number,
            "method": method,
            "trained_on": place.trained_on,
            "tested_on": place.tested_on,
            "trained_store": column.trained_store,
            "tested_store": column.store,
            "condition": place.condition,
            "class": place.label,
            "metric": place.metric,
            "measure": column.measure,
            "unit": column.unit,
            "mean": estimate.mean if estimate else None,
            "low": estimate.low if estimate else None,
            "high": estimate.high if estimate else None,
            "seeds": estimate.seeds if estimate else None,
            "cases": estimate.cases if estimate else None,
            "left_out": estimate.dropped if estimate else None,
            "published": published.text if published else None,
            "published_bold": published.bold if published else None,
            "difference": cell.difference,
            "bold": cell.best,
        }
