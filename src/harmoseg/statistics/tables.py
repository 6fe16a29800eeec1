"""Tables of a comparison: every number once, with its caption."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harmoseg.metrics.measures import Measure
from harmoseg.metrics.overlap import AGGREGATES, METRICS, aggregate
from harmoseg.statistics.blocks import WHOLE, Block, Where
from harmoseg.statistics.heterogeneity import make_pooled_tables
from harmoseg.statistics.intervals import Estimate
from harmoseg.statistics.printing import (
    NONE,
    Table,
    format_estimate,
    format_number,
    format_p,
    format_range,
    format_seed_range,
)

if TYPE_CHECKING:
    from harmoseg.statistics.comparison import Comparison, Difference, MethodMean

HEADLINES = ("DSC", "NSD", "HD95", "ECE")
"""Families of measures that the main table of differences has; the full table has all."""
_PARTS = {
    "class": ("label", "Paired differences by class"),
    "centre": ("subset", "Paired differences by centre"),
    "condition": ("condition", "Paired differences on corrupted images"),
}
_CONTROLLED = (
    "The reference is a control: the same without the term, or with an overlap term of the same "
    "weight instead; otherwise more than a term may differ."
)
_UNCONTROLLED = "Method and reference may differ in more than one thing."


def make_tables(comparison: Comparison) -> list[Table]:
    """Return every table that follows from the scores alone."""
    tables = [mean_table(comparison), difference_table(comparison)]
    tables += [*make_pooled_tables(comparison), full_table(comparison)]
    tables += _part_tables(comparison)
    if any(block.has_counts for block in comparison.blocks):
        tables.append(aggregate_table(comparison))
    return tables


def mean_table(comparison: Comparison) -> Table:
    """Return the means of the main measures on clean images, all classes."""
    shown = headline_measures(comparison)
    items = [item for item in comparison.means if item.where.is_whole]
    cells = {
        (item.block.place, item.method, item.measure.name): format_estimate(
            item.estimate, item.measure.decimals
        )
        for item in items
    }
    headings = {measure.name: measure.heading for measure in shown}
    header, rows = _pivot(cells, ("tested on", "method"), headings)
    records = tuple(
        {
            **item.block.sets,
            **item.where.fields,
            "method": item.method,
            "measure": item.measure.name,
            "unit": item.measure.unit,
            **item.estimate.fields(),
            "seeds": item.estimate.seeds,
            "cases": item.estimate.cases,
            "left_out": item.estimate.dropped,
        }
        for item in comparison.means
    )
    seeds = format_seed_range(comparison.blocks)
    caption = (
        f"Mean per case{_over_classes(comparison)}, over {seeds} seed(s); "
        f"brackets: {_brackets(item.estimate for item in items)}. {_units(shown)} "
        f"{'; '.join(_cases(comparison, block) for block in comparison.blocks)}."
    )
    return Table("means", "Test results", caption, header, rows, records=records)


def centre_table(comparison: Comparison) -> Table | None:
    """Return the mean of every method in every centre, the worst bold; None without centres."""
    shown = headline_measures(comparison)
    items = [item for item in comparison.means if item.where.subset is not None]
    rows: dict[tuple[Block, str, str | None], dict[str, str]] = {}
    for item in items:
        if item.measure in shown:
            stub = {
                "tested on": item.block.place,
                "method": item.method,
                "centre": str(item.where.subset),
                "cases": str(item.estimate.cases),
                **dict.fromkeys((measure.heading for measure in shown), ""),
            }
            row = rows.setdefault((item.block, item.method, item.where.subset), stub)
            row[item.measure.heading] = format_estimate(item.estimate, item.measure.decimals)
    if not rows:
        return None
    worst = {
        (block, method, found.where.subset)
        for block in comparison.blocks
        for method in block.methods
        if (found := worst_centre(comparison, block, method)) is not None
    }
    caption = (
        "Mean per case in every centre; brackets: 95 % interval. Bold: the centre where the method "
        f"scores worst in {comparison.primary.title}; its interval is not widened for having been "
        "chosen. A centre with one patient has no interval. The CSV file has every measure."
    )
    records = [
        {
            **item.block.sets,
            "method": item.method,
            "subset": item.where.subset,
            "measure": item.measure.name,
            **item.estimate.fields(),
            "cases": item.estimate.cases,
        }
        for item in items
    ]
    bold = {(r, 4) for r, key in enumerate(rows) if key in worst}
    title = "Results by centre"
    return Table.of("means-by-centre", title, caption, list(rows.values()), records, bold)


def worst_centre(comparison: Comparison, block: Block, method: str) -> MethodMean | None:
    """Return the mean of the centre where a method scores worst in the primary measure.

    None where the test set has fewer than two centres.
    """
    primary = comparison.primary
    found = [
        item
        for item in comparison.means
        if item.where.subset is not None
        and (item.block, item.method, item.measure) == (block, method, primary)
        and np.isfinite(item.estimate.mean)
    ]
    return min(found, key=lambda item: primary.sign * item.estimate.mean, default=None)


def difference_table(comparison: Comparison) -> Table:
    """Return the paired differences of the main measures on clean images, all classes."""
    shown = headline_measures(comparison)
    return _differences(comparison, "differences", "Paired differences", WHOLE, shown)


def full_table(comparison: Comparison) -> Table:
    """Return the paired differences of every measure on clean images, all classes."""
    title = "Paired differences in every measure"
    return _differences(comparison, "differences-all-measures", title, WHOLE, comparison.measures)


def aggregate_table(comparison: Comparison) -> Table:
    """Return the overlap under three definitions of a mean, which need counts."""
    cells: dict[tuple[str, ...], str] = {}
    records = []
    for block in comparison.blocks:
        runs = itertools.product(block.methods, AGGREGATES, METRICS) if block.has_counts else ()
        for method, how, metric in runs:
            mean = _aggregate(block, method, how, metric)
            place = (block.place, method, how.replace("_", " "), metric)
            cells[place] = "not available" if mean is None else f"{mean:.1f}"
            fields = {"method": method, "aggregate": how, "measure": metric, "mean": mean}
            records.append({**block.sets, **fields})
    headings = {metric: metric for metric in METRICS}
    header, rows = _pivot(cells, ("tested on", "method", "aggregate"), headings)
    caption = (
        "The same predictions under three definitions, mean over seeds: per image (of every class "
        "the mean over the cases where it is defined, then over foreground classes; with several "
        "of them another number than a mean of images' means), pooled (counts summed over all "
        "cases first), macro (per image, the background averaged in). Published numbers may follow "
        "any of them."
    )
    title = "Three aggregates"
    return Table("aggregates", title, caption, header, rows, records=tuple(records))


def headline_measures(comparison: Comparison) -> tuple[Measure, ...]:
    """Return the primary measure, and the first of each family that the main tables have."""
    found = [comparison.primary]
    for family in HEADLINES:
        of_family = [measure for measure in comparison.measures if measure.family == family]
        found += [measure for measure in of_family[:1] if measure not in found]
    return tuple(found) if len(found) > 1 else comparison.measures[: len(HEADLINES)]


def _part_tables(comparison: Comparison) -> Iterable[Table]:
    """Return the differences by class, centre and condition, where there are several."""
    shown = headline_measures(comparison)
    wheres = list(dict.fromkeys(item.where for item in comparison.differences))
    for name, (part, title) in _PARTS.items():
        whole = {part: getattr(WHOLE, part)}
        # Places that differ from the whole in this one respect.
        chosen = [w for w in wheres if not w.is_whole and w._replace(**whole).is_whole]
        # A measure of a whole case has no value of a class.
        known = [m for m in shown if any(comparison.find(measure=m, where=w) for w in chosen)]
        tables = [_differences(comparison, "", title, where, known) for where in chosen]
        if tables:
            rows = tuple(
                (row[0], str(getattr(where, part)), *row[1:])
                for where, table in zip(chosen, tables, strict=True)
                for row in table.rows
            )
            header = (tables[0].header[0], name, *tables[0].header[1:])
            records = tuple(record for table in tables for record in table.records)
            caption = (
                "Method minus reference, paired by case and seed; brackets: "
                f"{_brackets(item.estimate for item in comparison.differences)}, not corrected "
                f"for their number. {_units(known)}"
            )
            yield Table(f"differences-by-{name}", title, caption, header, rows, records=records)


def _differences(
    comparison: Comparison, name: str, title: str, where: Where, shown: Sequence[Measure]
) -> Table:
    items = [item for item in comparison.find(where=where) if item.measure in shown]
    # Methods of other people have no control: a column that says so in every row says nothing.
    controlled = any(item.kind != "no control" for item in comparison.differences)
    stub = ("tested on", "method", "minus", *(["which is"] if controlled else []))
    cells: dict[tuple[str, ...], str] = {}
    for item in items:
        key = (item.block.place, item.method, item.reference, item.kind)[: len(stub)]
        cells[*key, item.measure.name] = item.shown
        if item.primary and where.is_whole:
            cells[*key, "word"] = item.verdict
            cells[*key, "p (Holm)"] = format_p(item.p_holm)
            cells[*key, "detectable"] = _format_detectable(item)
            cells[*key, "left out"] = _format_left_out(item)
    headings = {measure.name: measure.heading for measure in shown}
    if where.is_whole:
        further = ("word", "p (Holm)", "detectable", "left out")
        headings |= {name: f"{comparison.primary.title} {name}" for name in further}
    header, rows = _pivot(cells, stub, headings)
    tested = [item for item in items if item.primary]
    caption = (
        f"Method minus reference, paired by case and seed; brackets: "
        f"{_brackets(item.estimate for item in items)}. {_units(shown)} "
        f"{comparison.primary.title} is the primary measure, the others are secondary. "
        f"{_explain_words(comparison)} {_CONTROLLED if controlled else _UNCONTROLLED} "
        f"{_explain_p(tested)} Detectable: the true difference in "
        f"{comparison.primary.title} that an interval of this design would tell from 0 in four of "
        f"five repetitions (80 % power, two-sided 5 %).{_explain_left_out(tested)}"
    )
    records = tuple(item.to_record() for item in items)
    return Table(name, title, caption, header, rows, records=records)


def _pivot(
    cells: Mapping[Any, str], stub: Sequence[str], headings: Mapping[Any, str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Turn cells by (*stub, column) into a header and rows, in the order in which they came."""
    keys = list(dict.fromkeys(key[:-1] for key in cells))
    rows = tuple((*key, *(cells.get((*key, name), "") for name in headings)) for key in keys)
    return (*stub, *headings.values()), rows


def _aggregate(block: Block, method: str, how: Any, metric: Any) -> float | None:
    if how == "macro" and not block.has_background:
        return None
    counts = block.counts(method)
    if np.isnan(counts[..., : len(block.classes), :]).all():
        return None
    # As `aggregate` has it: the background first.
    ordered = np.nan_to_num(np.roll(counts, 1, axis=2))
    values = [aggregate(how, metric, of_seed.astype(np.int64)).value for of_seed in ordered]
    known = [100 * value for value in values if not math.isnan(value)]
    return round(float(np.mean(known)), 9) if known else None


def _brackets(estimates: Iterable[Estimate]) -> str:
    """Return what the intervals of a table hold for."""
    if any(estimate.fixed_networks for estimate in estimates):
        return (
            "95 % interval over patients alone, as there is one training per method: it speaks for "
            "these networks"
        )
    return "95 % interval over seeds and patients"


def _units(shown: Sequence[Measure]) -> str:
    points = [measure.title for measure in shown if measure.is_share]
    return f"In points (0 to 100): {', '.join(points)}." if points else ""


def _over_classes(comparison: Comparison) -> str:
    several = any(len(block.classes) > 1 for block in comparison.blocks)
    return " (of a case: over the foreground classes that are defined there)" if several else ""


def _cases(comparison: Comparison, block: Block) -> str:
    dropped = max(
        (
            item.estimate.dropped
            for item in comparison.means
            if item.block is block and item.where.is_whole and item.measure == comparison.primary
        ),
        default=0,
    )
    left_out = (
        f", up to {dropped} left out of a method's {comparison.primary.title}, undefined under "
        "some of its runs"
        if dropped
        else ""
    )
    named = f"{block.place}: " if block.place else ""
    return f"{named}{len(block.cases)} cases{left_out}"


def _format_detectable(item: Difference) -> str:
    if item.estimate.detectable is None:
        return NONE
    decimals = max(item.estimate.decimals, item.measure.decimals)
    return format_number(item.estimate.detectable, decimals, signed=False)


def _format_left_out(item: Difference) -> str:
    """Write ``20``, or ``20 (17 / 3)`` where one of the two methods has more false alarms."""
    dropped = str(item.estimate.dropped)
    if not any(item.false_marks):
        return dropped
    return f"{dropped} ({item.false_marks[0]} / {item.false_marks[1]})"


def _explain_words(comparison: Comparison) -> str:
    margin = comparison.margins.get(comparison.primary.name)
    if margin is None:
        return (
            "Better or worse: the interval lies on one side of 0; open: it holds 0. Without a "
            "margin nothing is called equivalent."
        )
    return (
        f"Equivalent: the interval lies within {margin:g} {comparison.primary.unit}; otherwise "
        "better or worse: it lies on one side of 0; open: it holds 0."
    )


def _explain_left_out(tested: Sequence[Difference]) -> str:
    """Explain what the column counts; empty where nothing was left out."""
    if not tested:
        return ""
    words = f" Left out: cases with {tested[0].measure.title} undefined under some run of either."
    if any(any(item.false_marks) for item in tested):
        words += (
            " In parentheses, in how many of them the method / the reference marks something where "
            "there is nothing in more runs than the other: the difference does not count this "
            "against it."
        )
    return words


def _explain_p(tested: Sequence[Difference]) -> str:
    """Explain what the p-values test, or why there are none."""
    counts = {item.estimate.seeds for item in tested} or {0}
    if max(counts) == 1:
        return (
            "No p-value from one seed: it would speak for one trained network of each method, not "
            "for the methods."
        )
    count = sum(item.p is not None for item in tested)
    if not count:
        return "No p-value: it needs two seeds and two patients or more."
    return (
        f"p: Wilcoxon signed-rank test of the differences in {tested[0].measure.title} per "
        f"patient, mean over {format_range(counts)} seeds, Holm-corrected over the {count} "
        "comparison(s) of this table. It speaks for other patients under these trained networks, "
        "not for training again."
    )
