"""What a study has found: the finished runs, and every measure of every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.reading import CLEAN, Evaluation
from harmoseg.evaluation.tables import CALIBRATION
from harmoseg.files import write_csv
from harmoseg.metrics import METRICS, Metric, mean_of_defined
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store, open_store
from harmoseg.study.carrying_out import (
    Work,
    all_work,
    exhibits_file,
    finished_evaluation,
    is_trained,
)
from harmoseg.study.exhibits import Exhibits, read_exhibits
from harmoseg.study.failures import read_failures
from harmoseg.study.layout import read_plan
from harmoseg.training.experiment import Experiment
from harmoseg.training.run import read_experiment

RESULTS_FILE = "results.csv"
_FEW = 3
_DISTANCES = ("HD", "ASSD")
_POINTS = (*METRICS, "precision", *CALIBRATION[:3])
"""Measures that are shares, and told in points; so are those whose names begin with NSD."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class StudyRun:
    """One finished run, where it lies, and by store its evaluation and the file of its exhibits."""

    experiment: Experiment
    folder: Path
    evaluations: dict[str, Evaluation]
    exhibit_files: Mapping[str, Path] = field(default_factory=dict)

    def exhibits(self, store: str) -> Exhibits | None:
        """Read what the report shows of cases of a store, None where there is nothing."""
        file = self.exhibit_files.get(store)
        return None if file is None else read_exhibits(file)


@dataclass(frozen=True)
class TaskResults:
    """The finished runs on one dataset of a study.

    `methods` are those with a finished run, in the order asked for; `stores` by name, the one
    trained on first; `seeds` is how many were asked for. `missing` names the methods of which some
    seed has not finished, with how many have. `asked` are all methods of the plan, if more.
    """

    name: str
    methods: tuple[str, ...]
    seeds: int
    stores: dict[str, Store]
    split: Split
    conditions: tuple[str, ...]
    runs: tuple[StudyRun, ...]
    missing: dict[str, int]
    asked: tuple[str, ...] = ()

    @property
    def planned(self) -> tuple[str, ...]:
        """Name the methods of the plan, finished or not."""
        return self.asked or self.methods

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """Name the seeds of a method that have finished."""
        return tuple(run.experiment.seed for run in self.runs if run.experiment.method == method)

    @property
    def shared_seeds(self) -> tuple[int, ...]:
        """Name the seeds that every method has."""
        of_methods = [set(self.seeds_of(method)) for method in self.methods]
        return tuple(sorted(set.intersection(*of_methods)))

    def scores(self, method: str, store: str, metric: Metric, *, condition: str = CLEAN) -> Values:
        """Give an overlap metric per case in points (0 to 100): (seeds, cases), NaN undefined.

        With several foreground classes a case has the mean over those that are defined.
        """
        return self.values(method, store, metric, condition=condition)

    def values(
        self,
        method: str,
        store: str,
        measure: str,
        *,
        condition: str = CLEAN,
        label: str | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Values:
        """Give any measure of an evaluation per case: (seeds, cases), NaN where undefined.

        `measure` is a column of an evaluation's ``cases.csv`` or ``calibration.csv``. Shares
        (overlap, NSD, calibration errors) are in points, distances in their own unit. `label`
        names a class; None means the mean over the foreground classes that are defined, of a
        distance NaN where a class that is there was missed. `seeds` are those that have finished,
        if not said.
        """
        chosen = self.seeds_of(method) if seeds is None else seeds
        scale = 100.0 if measure in _POINTS or measure.startswith("NSD") else 1.0
        rows = [
            _of_cases(run.evaluations[store], measure, condition, label)
            for run in self.runs
            if run.experiment.method == method and run.experiment.seed in chosen
        ]
        return scale * np.stack(rows)

    def paired(
        self,
        method: str,
        reference: str,
        store: str,
        measure: str,
        *,
        condition: str = CLEAN,
        label: str | None = None,
    ) -> tuple[Values, Values]:
        """Give the values of two methods under the seeds that both have, aligned."""
        both = [seed for seed in self.seeds_of(method) if seed in self.seeds_of(reference)]
        if not both:
            empty = np.empty((0, len(self.groups(store))))
            return empty, empty
        ours, theirs = (
            self.values(name, store, measure, condition=condition, label=label, seeds=both)
            for name in (method, reference)
        )
        return ours, theirs

    def measures(self, store: str) -> tuple[str, ...]:
        """Name every measure that every run has on a store."""
        tables = [run.evaluations[store].measures for run in self.runs]
        return tuple(name for name in tables[0] if all(name in table for table in tables))

    def groups(self, store: str) -> tuple[str, ...]:
        """Name the group (patient) of every case of a store, in the order of `values`."""
        data = self.stores[store]
        return tuple(data.cases[number].group for number in self.cases(store))

    def cases(self, store: str) -> list[int]:
        """Give the numbers of the cases that are scored on a store."""
        return self.stores[store].cases_of(self.split_of(store))

    def split_of(self, store: str) -> Split:
        """Say which split of a store is scored."""
        return self.split if store == self.name else "test"


@dataclass(frozen=True)
class Study:
    """A study as far as it has got: `tasks` with a finished run, `failures` by name of the run."""

    folder: Path
    title: str
    table: str | None
    seeds: int
    tasks: tuple[TaskResults, ...]
    failures: dict[str, str]
    failed: tuple[Work, ...]
    unfinished: int


def open_study(folder: Path) -> Study:
    """Read a study. Raises HarmosegError where it is none, or where no run has finished."""
    plan = read_plan(folder)
    works = all_work(folder)
    for place in dict.fromkeys(
        path for work in works for path in (work.folder.parent, *work.stores)
    ):
        if not place.is_dir():
            raise HarmosegError(
                f"{folder}: {place}, which the study uses, is not there; if the study was moved, "
                "move its folder of runs and its stores with it, or run it again and name where "
                "they are now; what is finished is not repeated"
            )
    failures = read_failures(folder, [work.name for work in works])
    tasks = [
        found
        for dataset in plan["datasets"]
        if (found := _open_task(dataset, [w for w in works if _is_of(w, dataset)], plan["seeds"]))
    ]
    finished = {run.folder.name for task in tasks for run in task.runs}
    failures = {name: told for name, told in failures.items() if name not in finished}
    if not tasks:
        failed = next(iter(failures.values()), None)
        why = f"; the first failure: {failed}" if failed else ""
        raise HarmosegError(
            f"{folder}: no run has finished ({len(failures)} of {len(works)} failed){why}; run the "
            "study again to continue it"
        )
    return Study(
        folder,
        plan["title"] or _title(tasks),
        plan["table"],
        plan["seeds"],
        tuple(tasks),
        failures,
        tuple(work for work in works if work.name in failures),
        len(works) - len(finished) - len(failures),
    )


def tell_failures(study: Study) -> int:
    """Print the runs that failed; return the status of the command, 1 where there are some."""
    for work in study.failed:
        told = study.failures[work.name]
        print(f"failed: {work.method}, seed {work.seed}, on {work.stores[0].name}: {told}")
    return 1 if study.failed else 0


def write_results(study: Study) -> None:
    """Write results.csv: every measure of every case, class and condition, shares in points."""
    columns: dict[str, None] = {}
    rows = []
    for task in study.tasks:
        for run in task.runs:
            for store, evaluation in run.evaluations.items():
                for measure in evaluation.measures:
                    columns.setdefault(measure)
                rows += list(_result_rows(task, run, store, evaluation))
    first = ("trained_on", "method", "seed", "tested_on", "condition", "case", "class")
    write_csv(study.folder / RESULTS_FILE, (*first, *columns), rows)


def _result_rows(
    task: TaskResults, run: StudyRun, store: str, evaluation: Evaluation
) -> list[dict[str, str]]:
    rows = []
    for condition in (CLEAN, *task.conditions):
        for position, case in enumerate(evaluation.cases):
            for number, label in enumerate(evaluation.classes[1:], 1):
                row = {
                    "trained_on": task.name,
                    "method": run.experiment.method,
                    "seed": str(run.experiment.seed),
                    "tested_on": store,
                    "condition": condition,
                    "case": case,
                    "class": label,
                }
                for measure, values in evaluation.measures.items():
                    found = values[condition][position]
                    value = float(found if found.ndim == 0 else found[number])
                    scale = 100 if measure in _POINTS or measure.startswith("NSD") else 1
                    row[measure] = "" if np.isnan(value) else f"{scale * value:.6g}"
                rows.append(row)
    return rows


def _of_cases(evaluation: Evaluation, measure: str, condition: str, label: str | None) -> Values:
    values = evaluation.measures[measure][condition]
    if values.ndim == 1:
        return values
    if label is not None:
        return values[:, evaluation.classes.index(label)]
    found = mean_of_defined(values[:, 1:], axis=1)
    if measure.startswith(_DISTANCES):
        # A class that a network misses has no distance: without it the mean would be the better.
        true_positive, _, false_negative, _ = np.moveaxis(evaluation.counts_of[condition], -1, 0)
        there = (true_positive + false_negative)[:, 1:] > 0
        found[(there & np.isnan(values[:, 1:])).any(axis=1)] = np.nan
    return found


def _open_task(dataset: dict[str, object], works: Sequence[Work], seeds: int) -> TaskResults | None:
    runs = [run for work in works if (run := _open_run(work)) is not None]
    if not runs:
        return None
    stores = {path.name: open_store(path) for path in works[0].stores}
    asked = list(dict.fromkeys(work.method for work in works))
    counts = {m: sum(run.experiment.method == m for run in runs) for m in asked}
    return TaskResults(
        name=str(dataset["name"]),
        methods=tuple(method for method in asked if counts[method]),
        seeds=seeds,
        stores=stores,
        split=works[0].split,
        conditions=works[0].conditions,
        runs=tuple(runs),
        missing={method: count for method, count in counts.items() if count < seeds},
        asked=tuple(asked),
    )


def _open_run(work: Work) -> StudyRun | None:
    if not is_trained(work):
        return None
    found = {name: finished_evaluation(work, name) for name in work.evaluations}
    evaluations = {name: part for name, part in found.items() if part is not None}
    if len(evaluations) < len(found):
        return None
    exhibits = {name: exhibits_file(work, name) for name in work.evaluations}
    return StudyRun(read_experiment(work.folder), work.folder, evaluations, exhibits)


def _is_of(work: Work, dataset: dict[str, object]) -> bool:
    return work.stores[0].name == dataset["name"]


def _title(tasks: Sequence[TaskResults]) -> str:
    methods = dict.fromkeys(method for task in tasks for method in task.methods)
    told = " against ".join(methods) if len(methods) <= _FEW else f"{len(methods)} methods"
    return f"{told} on {', '.join(task.name for task in tasks)}"
