"""The tables of a study: means, paired differences, and the three aggregates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harmoseg.metrics import AGGREGATES, METRICS, Metric
from harmoseg.store.files import make_folder, write_csv, write_text
from harmoseg.study.compare import Study, reference_of
from harmoseg.study.statistics import Estimate, describe_difference, estimate_mean

HEADLINE: Metric = "DSC"
NOT_AVAILABLE = "interval not available"


@dataclass(frozen=True)
class Table:
    """A table ready to be printed: a title, what its numbers are, a header and rows of text."""

    name: str
    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Difference:
    """A method minus its reference on one store, in points."""

    method: str
    reference: str
    store: str
    metric: Metric
    estimate: Estimate

    def sentence(self) -> str:
        """Say it in plain words."""
        words = describe_difference(
            self.estimate, self.method, self.reference, f"points of {self.metric}"
        )
        return f"On {self.store}: {words[0].lower() + words[1:] if words[0] == 'N' else words}"


def paired_differences(study: Study) -> list[Difference]:
    """Pair every method with its reference, case by case and seed by seed."""
    found = []
    for store in study.stores:
        for method in study.methods:
            reference = reference_of(method, study.methods)
            if reference is None:
                continue
            for metric in METRICS:
                gap = study.scores(method, store, metric) - study.scores(reference, store, metric)
                estimate = estimate_mean(gap, study.groups(store))
                found.append(Difference(method, reference, store, metric, estimate))
    return found


def make_tables(study: Study, differences: Sequence[Difference]) -> list[Table]:
    """Make the tables of a study, in points (0 to 100)."""
    return [_means(study), _differences(differences), _aggregates(study)]


def write_tables(study: Study, tables: Sequence[Table]) -> None:
    """Write every table as Markdown and as CSV under ``tables/``."""
    folder = study.folder / "tables"
    make_folder(folder)
    for table in tables:
        write_text(folder / f"{table.name}.md", to_markdown(table))
        rows = (dict(zip(table.header, row, strict=True)) for row in table.rows)
        write_csv(folder / f"{table.name}.csv", table.header, rows)


def to_markdown(table: Table) -> str:
    """Write a table in Markdown, its columns aligned so that it reads as plain text too."""
    lines = [table.header, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]
    body = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    body.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join([f"**{table.title}**", "", *body, "", table.caption, ""])


def format_estimate(estimate: Estimate, *, signed: bool = False) -> str:
    """Write ``78.4 [76.0, 80.1]``, or the mean alone where there is no interval."""
    number = "+.1f" if signed else ".1f"
    if np.isnan(estimate.mean):
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:{number}} ({NOT_AVAILABLE})"
    return f"{estimate.mean:{number}} [{estimate.low:{number}}, {estimate.high:{number}}]"


def _means(study: Study) -> Table:
    rows = []
    counts: list[str] = []
    for store in study.stores:
        dropped = cases = 0
        for method in study.methods:
            estimates = {
                metric: estimate_mean(study.scores(method, store, metric), study.groups(store))
                for metric in METRICS
            }
            headline = estimates[HEADLINE]
            dropped = max(dropped, headline.dropped)
            cases = headline.cases + headline.dropped
            rows.append(
                (store, method, *(format_estimate(estimates[metric]) for metric in METRICS))
            )
        undefined = f", {HEADLINE} undefined for up to {dropped}" if dropped else ""
        counts.append(f"{store}: {cases} cases{undefined}")
    caption = (
        f"Mean per image in points, over {study.seeds} seed(s); brackets: 95 % bootstrap interval "
        f"over seeds and patients. Scored at native resolution ({'; '.join(counts)})."
    )
    return Table("means", "Test results", caption, ("tested on", "method", *METRICS), tuple(rows))


def _differences(differences: Sequence[Difference]) -> Table:
    rows: dict[tuple[str, str, str], list[str]] = {}
    for item in differences:
        key = (item.store, item.method, item.reference)
        rows.setdefault(key, []).append(format_estimate(item.estimate, signed=True))
    caption = (
        "Method minus reference in points, paired by case and seed; brackets: 95 % bootstrap "
        "interval over seeds and patients. An interval that holds 0 shows no difference."
    )
    return Table(
        "differences",
        "Paired differences",
        caption,
        ("tested on", "method", "minus", *METRICS),
        tuple((*key, *cells) for key, cells in rows.items()),
    )


def _aggregates(study: Study) -> Table:
    rows = []
    for store in study.stores:
        for method in study.methods:
            for how in AGGREGATES:
                cells = []
                for metric in METRICS:
                    values = [
                        run.evaluations[store].summary["aggregates"][metric][how]["value"]
                        for run in study.runs
                        if run.experiment.method == method
                    ]
                    known = [100 * value for value in values if value is not None]
                    cells.append(f"{np.mean(known):.1f}" if known else "undefined")
                rows.append((store, method, how.replace("_", " "), *cells))
    caption = (
        "The same predictions under three definitions, mean over seeds: per image (mean over "
        "cases, then foreground classes), pooled (counts summed over all cases first), macro (per "
        "image, the background averaged in). Published numbers may follow any of them."
    )
    return Table(
        "aggregates",
        "Three aggregates",
        caption,
        ("tested on", "method", "aggregate", *METRICS),
        tuple(rows),
    )
