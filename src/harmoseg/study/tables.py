"""The tables of a study: means, paired differences, and the three aggregates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harmoseg.losses.controls import Kind, Reference, references_of
from harmoseg.metrics import AGGREGATES, METRICS, Metric
from harmoseg.statistics.intervals import Estimate, estimate_mean
from harmoseg.statistics.sentences import describe_difference
from harmoseg.statistics.significance import adjust_holm, signed_rank_p
from harmoseg.study.results import Study, TaskResults
from harmoseg.study.writing import Table, to_latex, to_markdown, write_table_files

__all__ = [
    "HEADLINE",
    "NONE",
    "NOT_AVAILABLE",
    "Difference",
    "Table",
    "count_false_marks",
    "format_estimate",
    "format_p",
    "make_tables",
    "paired_differences",
    "places",
    "to_latex",
    "to_markdown",
    "told_seeds",
    "within_range",
    "write_tables",
]

HEADLINE: Metric = "DSC"
NOT_AVAILABLE = "interval not available"
NONE = "none"
_KINDS: dict[Kind, str] = {
    "without the term": "Its control: the same without the term.",
    "BCE + Dice instead": "Its control: BCE + Dice in the place of its base.",
    "overlap term instead": "Its control: an overlap term of the same weight instead.",
    "no control": "Not a control: more than a term may differ.",
}


@dataclass(frozen=True)
class Difference:
    """A method minus one of its references, trained on `task` and tested on `store`, in points.

    `place` is how tables and sentences call task and store. `p` is that of `signed_rank_p`, not yet
    corrected for the number of comparisons. `false_marks` is that of `count_false_marks`.
    """

    task: str
    store: str
    place: str
    method: str
    reference: str
    kind: Kind
    metric: Metric
    estimate: Estimate
    p: float | None = None
    false_marks: tuple[int, int] = (0, 0)

    def sentence(self) -> str:
        """Say it in plain words."""
        words = describe_difference(
            self.estimate,
            self.method,
            self.reference,
            f"points of {self.metric}",
            self.false_marks,
        )
        words = words[0].lower() + words[1:] if words[0] == "N" else words
        return f"On {self.place}: {words} {_KINDS[self.kind]}"


def paired_differences(study: Study) -> list[Difference]:
    """Pair every method with its references, case by case and seed by seed."""
    return [
        _difference(task, place, store, method, reference, metric)
        for task, store, place in places(study)
        for method in task.methods
        for reference in references_of(method, task.planned)
        if reference.method in task.methods
        for metric in METRICS
    ]


def places(study: Study) -> Iterator[tuple[TaskResults, str, str]]:
    """Give every task with each of its stores, and how tables call the two."""
    for task in study.tasks:
        for store in task.stores:
            alone = store == task.name or len(study.tasks) == 1
            yield task, store, store if alone else f"{task.name} \N{RIGHTWARDS ARROW} {store}"


def _difference(
    task: TaskResults, place: str, store: str, method: str, reference: Reference, metric: Metric
) -> Difference:
    ours, theirs = task.paired(method, reference.method, store, metric)
    gap, groups = ours - theirs, task.groups(store)
    return Difference(
        task.name,
        store,
        place,
        method,
        reference.method,
        reference.kind,
        metric,
        estimate_mean(gap, groups),
        signed_rank_p(gap, groups),
        count_false_marks(ours, theirs),
    )


def count_false_marks(
    scores: NDArray[np.float64], reference: NDArray[np.float64]
) -> tuple[int, int]:
    """Count the cases that pairing leaves out at the cost of one method and those of the other.

    `scores` of a method and of its reference are (seeds, cases). DSC and IoU are undefined only
    where truth and prediction are both empty, so that a pair drops a right "nothing there"
    together with the 0 of a false alarm. Returns in how many of the cases left out the method has
    more runs with a false alarm than the reference, and in how many fewer. Other metrics are
    undefined by the truth alone, under all runs alike, and give 0 and 0.
    """
    ours, theirs = np.isfinite(scores), np.isfinite(reference)
    left_out = ~(ours & theirs).all(axis=0)
    more = (ours.sum(0) - theirs.sum(0))[left_out]
    return int((more > 0).sum()), int((more < 0).sum())


def make_tables(study: Study, differences: Sequence[Difference]) -> list[Table]:
    """Make the tables of a study, in points (0 to 100)."""
    return [_means(study), _differences(differences), _aggregates(study)]


def write_tables(study: Study, tables: Sequence[Table]) -> None:
    """Write every table as Markdown, LaTeX and CSV under ``tables/``."""
    write_table_files(tables, study.folder / "tables")


def format_estimate(estimate: Estimate, *, signed: bool = False) -> str:
    """Write ``78.4 [76.0, 80.1]``, or the mean alone where there is no interval."""
    number = f"{'+' if signed else ''}.{estimate.decimals}f"
    if np.isnan(estimate.mean):
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:{number}} ({NOT_AVAILABLE})"
    return f"{estimate.mean:{number}} [{estimate.low:{number}}, {estimate.high:{number}}]"


def format_p(p: float | None) -> str:
    """Write ``0.032``, ``<0.001``, or that there is none."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _means(study: Study) -> Table:
    rows = []
    records: list[dict[str, object]] = []
    counts: list[str] = []
    for task, store, place in places(study):
        dropped = cases = 0
        for method in task.methods:
            estimates = {
                metric: within_range(
                    estimate_mean(task.scores(method, store, metric), task.groups(store))
                )
                for metric in METRICS
            }
            headline = estimates[HEADLINE]
            dropped = max(dropped, headline.dropped)
            cases = headline.cases + headline.dropped
            rows.append(
                (place, method, *(format_estimate(estimates[metric]) for metric in METRICS))
            )
            records += [
                {
                    "trained_on": task.name,
                    "tested_on": store,
                    "method": method,
                    "metric": metric,
                    **_numbers(estimate),
                }
                for metric, estimate in estimates.items()
            ]
        undefined = (
            f", up to {dropped} left out of a method's {HEADLINE}, undefined under some of its runs"
            if dropped
            else ""
        )
        counts.append(f"{place}: {cases} cases{undefined}")
    caption = (
        f"Mean per image in points (of an image: over the foreground classes that are defined "
        f"there), over {told_seeds(study.tasks)} seed(s); brackets: 95 % interval over seeds and "
        f"patients. Scored at native resolution "
        f"({'; '.join(counts)})."
    )
    return Table(
        "means",
        "Test results",
        caption,
        ("tested on", "method", *METRICS),
        tuple(rows),
        records=tuple(records),
    )


def told_seeds(tasks: Sequence[TaskResults]) -> str:
    """Say how many seeds the methods have: ``3``, or ``2 to 3`` where some are missing."""
    counts = sorted({len(task.seeds_of(method)) for task in tasks for method in task.methods})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def within_range(estimate: Estimate, largest: float = 100.0) -> Estimate:
    """Cut an interval to what a mean can be, 0 to `largest`; nothing true is cut off."""
    if estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, low=max(0.0, estimate.low), high=min(largest, estimate.high))


def _numbers(estimate: Estimate) -> dict[str, object]:
    """Give an estimate as fields of a CSV file."""
    return {
        "mean": None if math.isnan(estimate.mean) else estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "seeds": estimate.seeds,
        "cases": estimate.cases,
        "left_out": estimate.dropped,
    }


def _differences(differences: Sequence[Difference]) -> Table:
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for item in differences:
        key = (item.place, item.method, item.reference, item.kind)
        rows.setdefault(key, []).append(format_estimate(item.estimate, signed=True))
    tested = [item for item in differences if item.metric == HEADLINE]
    p_values = adjust_holm([item.p for item in tested])
    for item, p in zip(tested, p_values, strict=True):
        detectable = item.estimate.detectable
        rows[item.place, item.method, item.reference, item.kind] += (
            format_p(p),
            NONE if detectable is None else f"{detectable:.{item.estimate.decimals}f}",
            _format_left_out(item),
        )
    caption = (
        "Method minus reference in points, paired by case and seed; brackets: 95 % interval over "
        "seeds and patients. An interval that holds 0 shows no difference. The reference is a "
        "control: the same without the term, or with an overlap term of the same weight instead; "
        "otherwise the first method, and more than a term may differ. "
        + _explain_p(tested, count=sum(p is not None for p in p_values))
        + f" Detectable: the true difference in {HEADLINE} that an interval of this design would "
        "tell from 0 in four of five repetitions (80 % power, two-sided 5 %)."
        + _explain_left_out(tested)
    )
    return Table(
        "differences",
        "Paired differences",
        caption,
        (
            "tested on",
            "method",
            "minus",
            "which is",
            *METRICS,
            f"{HEADLINE} p (Holm)",
            f"{HEADLINE} detectable",
            f"{HEADLINE} left out",
        ),
        tuple((*key, *cells) for key, cells in rows.items()),
        records=tuple(_difference_records(differences, p_values)),
    )


def _difference_records(
    differences: Sequence[Difference], p_values: Sequence[float | None]
) -> Iterator[dict[str, object]]:
    """Give the rows of differences.csv; `p_values` are those of the headline metric, in order."""
    corrected = iter(p_values)
    for item in differences:
        yield {
            "trained_on": item.task,
            "tested_on": item.store,
            "method": item.method,
            "minus": item.reference,
            "kind": item.kind,
            "metric": item.metric,
            **_numbers(item.estimate),
            "detectable": item.estimate.detectable,
            "p_holm": next(corrected) if item.metric == HEADLINE else None,
            "more_false_alarms": item.false_marks[0],
            "fewer_false_alarms": item.false_marks[1],
        }


def _format_left_out(item: Difference) -> str:
    """Write ``20``, or ``20 (17 / 3)`` where one of the two methods has more false alarms."""
    dropped = str(item.estimate.dropped)
    if not any(item.false_marks):
        return dropped
    return f"{dropped} ({item.false_marks[0]} / {item.false_marks[1]})"


def _explain_left_out(tested: Sequence[Difference]) -> str:
    """Say what the column counts, and in whose favour, as far as there is something to count."""
    words = f" Left out: cases whose {HEADLINE} is undefined under some run of either."
    if any(any(item.false_marks) for item in tested):
        words += (
            " In parentheses, in how many of them the method / the reference marks something where "
            "there is nothing in more runs than the other: the difference does not count this "
            "against it."
        )
    return words


def _explain_p(tested: Sequence[Difference], *, count: int) -> str:
    """Say what the p-values test and what they do not, or why there are none."""
    counts = sorted({item.estimate.seeds for item in tested}) or [0]
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[-1] == 1:
        return (
            "No p-value from one seed: it would speak for one trained network of each method, not "
            "for the methods."
        )
    if not count:
        return "No p-value: it needs two seeds and two patients or more."
    return (
        f"p: Wilcoxon signed-rank test of the differences in {HEADLINE} per patient, mean over "
        f"{seeds} seeds, Holm-corrected over the {count} comparison(s) of this table. It speaks "
        "for other patients under these trained networks, not for training again."
    )


def _aggregates(study: Study) -> Table:
    rows = []
    records: list[dict[str, object]] = []
    for task, store, place in places(study):
        for method in task.methods:
            for how in AGGREGATES:
                cells = []
                for metric in METRICS:
                    values = [
                        run.evaluations[store].summary["aggregates"][metric][how]["value"]
                        for run in task.runs
                        if run.experiment.method == method
                    ]
                    known = [100 * value for value in values if value is not None]
                    cells.append(f"{np.mean(known):.1f}" if known else "undefined")
                    records.append(
                        {
                            "trained_on": task.name,
                            "tested_on": store,
                            "method": method,
                            "aggregate": how,
                            "metric": metric,
                            "mean": round(float(np.mean(known)), 9) if known else None,
                        }
                    )
                rows.append((place, method, how.replace("_", " "), *cells))
    caption = (
        "The same predictions under three definitions, mean over seeds: per image (of every class "
        "the mean over the cases where it is defined, then over foreground classes; with several "
        "of them another number than a mean of images' means), pooled (counts summed over all "
        "cases first), macro (per image, the background averaged in). Published numbers may follow "
        "any of them."
    )
    return Table(
        "aggregates",
        "Three aggregates",
        caption,
        ("tested on", "method", "aggregate", *METRICS),
        tuple(rows),
        records=tuple(records),
    )
