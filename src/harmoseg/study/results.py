"""Results of a study: the finished runs, and their scores in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.evaluate import Evaluation
from harmoseg.files import read_csv
from harmoseg.report.figures.curves import LOG_COLUMNS
from harmoseg.report.html import REPORT_FILE
from harmoseg.scores.files import write_scores
from harmoseg.scores.table import CLEAN, Scores
from harmoseg.statistics.comparison import Comparison, compare
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store, open_store
from harmoseg.store.writing import LEFT_OUT
from harmoseg.study.jobs import exhibits_file, finished_evaluation, is_trained
from harmoseg.study.sample_predictions import Exhibits, make_cams, read_cams, read_exhibits
from harmoseg.study.status import hours_per_run
from harmoseg.study.study_files import Work, read_failures, read_plan
from harmoseg.training.experiment import Experiment, read_experiment
from harmoseg.training.run import LOG_FILE

_FEW = 3


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

    def cams(self, task: StudyTask, store: str) -> dict[str, NDArray[np.uint8]]:
        """Return the Grad-CAM of every exhibited case, made now where it is missing."""
        file = self.exhibit_files[store]
        kept = file.with_name(f"{file.stem}-cams.npz")
        if not kept.is_file():
            make_cams(self.folder, task.stores[store], task.split_of(store), kept)
        return read_cams(kept)


@dataclass(frozen=True)
class StudyTask:
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

    def place(self, store: str) -> str:
        """Return what tables call a store: of one that leaves a centre out, what it was made of."""
        left_out = self.stores[store].info.provenance.get(LEFT_OUT)
        return str(left_out["store"]) if left_out else store

    def cases(self, store: str) -> list[int]:
        """Return the numbers of the cases that are scored on a store."""
        return self.stores[store].cases_of(self.split_of(store))

    def split_of(self, store: str) -> Split:
        """Return the split of a store that is scored."""
        return self.split if store == self.name else "test"


@dataclass(frozen=True)
class Study:
    """A study as far as it has got: `tasks` with a finished run, `failures` by name of the run."""

    folder: Path
    title: str
    table: str | None
    seeds: int
    margin: float | None
    tasks: tuple[StudyTask, ...]
    failures: dict[str, str]
    failed: tuple[Work, ...]
    unfinished: int

    @property
    def runs(self) -> list[StudyRun]:
        """Return the finished runs of all tasks."""
        return [run for task in self.tasks for run in task.runs]

    @cached_property
    def scores(self) -> Scores:
        """Return the scores of all finished runs, under the names of the study's stores."""
        return Scores.concat(
            [
                renamed(run.evaluations[store].scores, task, store)
                for task in self.tasks
                for run in task.runs
                for store in task.stores
            ]
        )

    def compare(self, **options: Any) -> Comparison:
        """Compare the methods with their controls; `options` are those of `harmoseg.compare`."""
        own = {
            "reference": self.tasks[0].methods[0],
            "title": self.title,
            "margin": self.margin,
            "primary": "DSC",
        }
        options = {**own, **options}
        return compare(self.scores, **options)

    def write_report(self, *, explain: bool = False) -> Path:
        """Write tables, figures and ``report.html`` into the study's folder; return the page.

        With `explain` also spectral maps and Grad-CAMs, which are no evidence and take time.
        """
        from harmoseg.study.report import write_study_report  # which reads studies

        write_study_report(self, explain=explain)
        return self.folder / REPORT_FILE

    @property
    def hours_per_run(self) -> float | None:
        """Return the mean hours of a training, for `harmoseg.plan`; None before any has ended."""
        return hours_per_run(self.folder)

    def training_logs(self) -> pd.DataFrame:
        """Return the logs of all finished runs: a row per run and epoch."""
        rows = [
            {
                "trained_on": task.place(task.name),
                "method": run.experiment.method,
                # Every centre that is left out is a training of its own.
                "seed": str(run.experiment.seed)
                if task.place(task.name) == task.name
                else f"{run.experiment.seed} {task.name}",
                **{name: float(row.get(name) or "nan") for name in LOG_COLUMNS[3:]},
            }
            for task in self.tasks
            for run in task.runs
            for row in read_csv(run.folder / LOG_FILE, columns=("epoch",), what="the log of a run")
        ]
        return pd.DataFrame(rows, columns=list(LOG_COLUMNS))


def open_study(folder: Path) -> Study:
    """Read a study. Raises HarmosegError where it is none, or where no run has finished."""
    plan = read_plan(folder)
    works = plan.works
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
        task for group in plan.by_dataset().values() if (task := _open_task(group, plan.seeds))
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
        plan.title or _title(tasks),
        plan.table,
        plan.seeds,
        plan.margin,
        tuple(tasks),
        failures,
        tuple(work for work in works if work.name in failures),
        len(works) - len(finished) - len(failures),
    )


def describe_failures(study: Study) -> list[str]:
    """Return a line for every run that failed, with what went wrong."""
    return [
        f"{work.method}, seed {work.seed}, on {work.dataset}: {study.failures[work.name]}"
        for work in study.failed
    ]


def write_study_scores(study: Study) -> None:
    """Write scores.csv, rings.csv and bins.csv of all finished runs into the study's folder."""
    write_scores(study.scores, study.folder)


def renamed(scores: Scores, task: StudyTask, store: str) -> Scores:
    """Return scores with the study's names of training set and test set, and its conditions alone.

    Another study may have asked for more of the same run.
    """
    chosen = scores.select(condition=[CLEAN, *task.conditions])
    names = {"trained_on": task.place(task.name), "tested_on": task.place(store)}

    def rename(table: pd.DataFrame | None) -> pd.DataFrame | None:
        return None if table is None else table.assign(**names)

    return Scores(
        chosen.frame.assign(**names),
        chosen.measures,
        rename(chosen.rings),
        rename(chosen.bins),
        chosen.remarks,
    )


def _open_task(works: Sequence[Work], seeds: int) -> StudyTask | None:
    runs = [run for work in works if (run := _open_run(work)) is not None]
    if not runs:
        return None
    stores = {path.name: open_store(path) for path in works[0].stores}
    asked = list(dict.fromkeys(work.method for work in works))
    counts = {m: sum(run.experiment.method == m for run in runs) for m in asked}
    return StudyTask(
        name=works[0].dataset,
        methods=tuple(method for method in asked if counts[method]),
        seeds=seeds,
        stores=stores,
        split=works[0].split,
        conditions=works[0].conditions,
        runs=tuple(runs),
        missing={method: count for method, count in counts.items() if count < seeds},
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


def _title(tasks: Sequence[StudyTask]) -> str:
    methods = dict.fromkeys(method for task in tasks for method in task.methods)
    told = " against ".join(methods) if len(methods) <= _FEW else f"{len(methods)} methods"
    return f"{told} on {', '.join(dict.fromkeys(task.place(task.name) for task in tasks))}"
