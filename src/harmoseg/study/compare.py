"""Compare methods: train all over several seeds, evaluate all, pair them per case.

A study is a folder::

    study.json       methods, seeds, stores, in the order asked for
    runs/            one run per method and seed, named after what determines it
    evaluations/     one evaluation per run and store
    results.csv      one row per method, seed, store and case
    tables/          means, differences and aggregates, as CSV and Markdown
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.evaluate import (
    SUMMARY_FILE,
    Evaluation,
    check_fit,
    evaluate,
    open_evaluation,
)
from harmoseg.metrics import METRICS, Metric, mean_of_defined, overlap_metric
from harmoseg.store.files import check_schema, make_folder, read_json, write_csv, write_json
from harmoseg.store.reading import Store, open_store
from harmoseg.training.experiment import Experiment, TrainingOptions, resolve_experiment
from harmoseg.training.method import parse_method
from harmoseg.training.run import DONE_FILE, check_trainable, train

SCHEMA = 1
STUDY_FILE = "study.json"
RESULTS_FILE = "results.csv"


@dataclass(frozen=True)
class StudyPlan:
    """What is compared, on what.

    `stores` are the store trained on, whose test split comes first, and further stores whose test
    splits only test. `options` holds for every run.
    """

    methods: tuple[str, ...]
    seeds: int
    stores: tuple[Path, ...]
    options: TrainingOptions


@dataclass(frozen=True)
class StudyRun:
    """One run of a study, where it lies, and its evaluation on every store by the store's name."""

    experiment: Experiment
    folder: Path
    evaluations: dict[str, Evaluation]


@dataclass(frozen=True)
class Study:
    """A finished study: `methods` in their canonical spelling, `stores` in order by name."""

    folder: Path
    methods: tuple[str, ...]
    seeds: int
    stores: dict[str, Store]
    runs: tuple[StudyRun, ...]

    def scores(self, method: str, store: str, metric: Metric) -> NDArray[np.float64]:
        """Give a metric per case in points (0 to 100): (seeds, cases), NaN where undefined.

        With several foreground classes a case has the mean over those that are defined.
        """
        values = [
            _score_cases(run.evaluations[store], metric)
            for run in self.runs
            if run.experiment.method == method
        ]
        return 100 * np.stack(values)

    def groups(self, store: str) -> tuple[str, ...]:
        """Name the group (patient) of every test case of a store, in the order of `scores`."""
        data = self.stores[store]
        return tuple(data.cases[number].group for number in data.cases_of("test"))


def run_study(plan: StudyPlan, out: Path) -> Study:
    """Run what is not there yet, and read what is; called again, it continues.

    Everything that can be checked is checked before the first training begins.
    """
    methods = tuple(dict.fromkeys(str(parse_method(method)) for method in plan.methods))
    if not methods:
        raise HarmosegError("methods: none given; name one or more, for example unet unet+scc")
    if plan.seeds < 1:
        raise HarmosegError(f"seeds must be 1 or more, got {plan.seeds}")
    stores = _open_stores(plan.stores)
    info = next(iter(stores.values())).info
    experiments = [
        resolve_experiment(method, seed, plan.options, info)
        for seed in range(plan.seeds)
        for method in methods
    ]
    for experiment in experiments[: len(methods)]:  # one seed of each
        for store in stores.values():
            check_fit(experiment, store)
        check_trainable(plan.stores[0], experiment)
    _claim_folder(out, methods, plan, stores)
    runs = []
    started = time.monotonic()
    for number, experiment in enumerate(experiments, 1):
        folder = out / "runs" / _run_name(experiment)
        state = "finished earlier" if (folder / DONE_FILE).exists() else "training"
        print(
            f"[{number}/{len(experiments)}] {experiment.method}, seed {experiment.seed}: {state}"
            f" ({time.monotonic() - started:.0f} s so far)",
            file=sys.stderr,
        )
        train(
            plan.stores[0],
            folder,
            method=experiment.method,
            seed=experiment.seed,
            options=plan.options,
        )
        evaluations = {
            name: _evaluated(experiment, folder, store, out / "evaluations" / folder.name / name)
            for name, store in stores.items()
        }
        runs.append(StudyRun(experiment, folder, evaluations))
    study = Study(out, methods, plan.seeds, stores, tuple(runs))
    write_results(study)
    return study


def reference_of(method: str, methods: tuple[str, ...]) -> str | None:
    """Name the method that `method` is to be compared with, None for the first reference.

    A method with a spectral term is compared with the same network and reduction without it, its
    control; where that was not run, and for every other method, with the first of the study.
    """
    parsed = parse_method(method)
    for other in methods if parsed.spectral_weight > 0 else ():
        candidate = parse_method(other)
        if (
            candidate.spectral_weight == 0
            and candidate.model == parsed.model
            and candidate.reduction == parsed.reduction
        ):
            return other
    first = methods[0]
    # The control of the first method is its reference already: not the other way round too.
    return None if method == first or reference_of(first, methods) == method else first


def write_results(study: Study) -> None:
    """Write results.csv: every metric of every case, in points."""
    rows: list[dict[str, Any]] = []
    for run in study.runs:
        for store, evaluation in run.evaluations.items():
            scores = {metric: 100 * _score_cases(evaluation, metric) for metric in METRICS}
            for position, case in enumerate(evaluation.cases):
                row: dict[str, Any] = {
                    "method": run.experiment.method,
                    "seed": run.experiment.seed,
                    "store": store,
                    "case": case,
                }
                for metric, values in scores.items():
                    value = values[position]
                    row[metric] = None if np.isnan(value) else f"{value:.4f}"
                rows.append(row)
    write_csv(study.folder / RESULTS_FILE, ("method", "seed", "store", "case", *METRICS), rows)


def _score_cases(evaluation: Evaluation, metric: Metric) -> NDArray[np.float64]:
    return mean_of_defined(overlap_metric(metric, evaluation.counts[:, 1:]), axis=1)


def _evaluated(experiment: Experiment, run: Path, store: Store, out: Path) -> Evaluation:
    if (out / SUMMARY_FILE).exists():
        found = open_evaluation(out)
        expected = (experiment.key, store.info.fingerprint)
        if (found.summary["run_key"], found.summary["store_fingerprint"]) == expected:
            return found
    return evaluate(run, store.path, out, overwrite=True)


def _open_stores(paths: tuple[Path, ...]) -> dict[str, Store]:
    stores: dict[str, Store] = {}
    for path in paths:
        store = open_store(path)
        name = path.resolve().name
        if name in stores:
            raise HarmosegError(
                f"{path}: two stores have the folder name {name!r}, by which tables and figures "
                "call them; rename one of the folders"
            )
        if not store.cases_of("test"):
            raise HarmosegError(
                f"{path}: no case has the split 'test' (found {store.info.told_counts()}); a "
                "comparison needs cases to test on"
            )
        stores[name] = store
    return stores


def _run_name(experiment: Experiment) -> str:
    # Only letters and digits of the method reach the file system; the key tells runs apart.
    readable = re.sub(r"[^a-z0-9]+", "-", experiment.method)
    return f"{readable}-seed{experiment.seed}-{experiment.key}"


def _claim_folder(
    out: Path, methods: tuple[str, ...], plan: StudyPlan, stores: dict[str, Store]
) -> None:
    file = out / STUDY_FILE
    fingerprint = next(iter(stores.values())).info.fingerprint
    if file.exists():
        found = read_json(file, what="the plan of a study")
        check_schema(found.get("schema"), SCHEMA, file, cure="use a new folder")
        if found.get("store_fingerprint") != fingerprint:
            raise HarmosegError(
                f"{out}: holds a study of another store ({found.get('stores')}); use another folder"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HarmosegError(f"{out}: exists and is not a study; use another folder")
    make_folder(out)
    write_json(
        file,
        {
            "schema": SCHEMA,
            "methods": list(methods),
            "seeds": plan.seeds,
            "stores": list(stores),
            "store_fingerprint": fingerprint,
        },
    )
