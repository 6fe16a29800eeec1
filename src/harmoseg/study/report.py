"""The report of a study: its comparison, with its cases, its logs, and how it was made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harmoseg.datasets.similarity import Fingerprints, find_copies, fingerprint
from harmoseg.diagnostics.training_guard import describe_disguises
from harmoseg.errors import HarmosegError
from harmoseg.files import read_json
from harmoseg.models.weights import file_card
from harmoseg.report.html import REPORT_FILE, write_report
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.printing import Table
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store
from harmoseg.study.case_figures import exhibited_figures, make_gallery
from harmoseg.study.ensembles import read_ensembles
from harmoseg.study.results import Study, StudyRun, StudyTask, describe_failures
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import DONE_FILE, ENVIRONMENT_FILE

_FEW = 8
"""Runs that are named one by one; of further ones the number is."""
_COPIES: dict[tuple[str, Split, str], int] = {}
"""By the stores' fingerprints: a process asks of one store for every report of it."""
_SAID = frozenset(
    (
        *("encoder", "weights", "epochs", "optimizer", "batch_size", "learning_rate", "momentum"),
        *("weight_decay", "decay_power", "precision", "select"),
    )
)
"""Options that a fact names whatever they are; of the others those that are not the default."""


def write_study_report(
    study: Study,
    comparison: Comparison | None = None,
    *,
    tables: Sequence[Table] = (),
    explain: bool = False,
) -> list[Table]:
    """Write tables, figures and ``report.html`` of a study; return the tables, main one first.

    The report is made of what has finished, and names what has not. `tables` are further ones,
    which come first. With `explain` it has spectral maps and Grad-CAMs too.
    """
    gallery = make_gallery(study, explain=explain)
    explained = study.tasks if explain else ()
    return write_report(
        comparison or study.compare(),
        study.folder / REPORT_FILE,
        gallery,
        logs=study.training_logs(),
        ensembles=read_ensembles(study),
        warnings=study_warnings(study),
        remarks=study_remarks(study),
        facts=facts(study),
        made=made_line(study),
        tables=tables,
        figures=[figure for task in explained for figure in exhibited_figures(task)],
        files=study.folder,
        replace_files=True,
    )


def study_warnings(study: Study) -> list[str]:
    """Return what a reader should be wary of before anything that the scores show."""
    found = [*_of_progress(study), *_of_runs(study)]
    for task in study.tasks:
        found += _of_data(task)
    return found


def study_remarks(study: Study) -> list[str]:
    """Return what else to know of data, losses and weights."""
    found = []
    for task in study.tasks:
        for name, other in task.stores.items():
            found += [f"{name}: {text}." for text in other.info.provenance.get("remarks", ())]
        found += describe_disguises(task.methods, task.runs[0].experiment.mode)
    found += [text for task in study.tasks for text in _of_weights(task)]
    return list(dict.fromkeys(found))


def made_line(study: Study) -> str:
    """Return one line on how a study was made."""
    first = study.tasks[0]
    options = first.runs[0].experiment.options
    names = ", ".join(task.name for task in study.tasks)
    more = " (options of the first)" if len(study.tasks) > 1 else ""
    weights = options.weights
    start = "random" if weights is None else Path(weights).stem
    return (
        f"Trained on {names}: {options.encoder}, {start} weights, "
        f"{options.epochs} epochs, batch {options.batch_size}, "
        f"{first.stores[first.name].info.width} px{more}; harmoseg {version('harmoseg')}"
    )


def facts(study: Study) -> list[tuple[str, str]]:
    """Return how a study was made: data, options, seeds, versions, hardware."""
    found: list[tuple[str, str]] = []
    for task in study.tasks:
        prefix = f"{task.name}: " if len(study.tasks) > 1 else ""
        found += [(f"{prefix}{name}", text) for name, text in _facts_of(task)]
    losses = {run.experiment.method: run.experiment.loss_sha256 for run in study.runs}
    found += [("Loss", f"{name}: source sha256 {h[:12]}") for name, h in losses.items() if h]
    made = [_environment(run) for run in study.runs]
    seeds = sorted({run.experiment.seed for run in study.runs})
    return [
        *found,
        ("Seeds", ", ".join(map(str, seeds))),
        ("Trained on hardware", "; also ".join(dict.fromkeys(map(_hardware, made)))),
        ("Trained with", "; also ".join(dict.fromkeys(map(_packages, made)))),
        (
            "Report made with",
            f"harmoseg {version('harmoseg')}, PyTorch {torch.__version__}, Python "
            f"{platform.python_version()}",
        ),
    ]


def count_copies(store: Store, split: Split, trained: Store) -> int:
    """Count the cases of a split of which some slice is a copy of one that was trained on.

    Compared at training resolution, by `find_copies`; ``harmoseg verify`` lists the pairs.
    """
    key = (store.info.fingerprint, split, trained.info.fingerprint)
    if key not in _COPIES:
        scored, known = _fingerprints(store, split), _fingerprints(trained, "train")
        _COPIES[key] = len({scored.owners[pair.left][0] for pair in find_copies(scored, known)})
    return _COPIES[key]


def _fingerprints(store: Store, split: Split) -> Fingerprints:
    found = Fingerprints()
    for number in store.cases_of(split):
        for row in store.rows_of(number):
            mark = fingerprint(np.asarray(store.images[row]))
            if mark is not None:
                found.add((number, row), mark)
    return found


def _of_progress(study: Study) -> list[str]:
    found = []
    if study.unfinished:
        missing = [
            f"{method} on {task.name} ({count} of {task.seeds} seeds)"
            for task in study.tasks
            for method, count in task.missing.items()
        ]
        found.append(
            f"{study.unfinished} run(s) have not finished: this is a report on the way. "
            + (f"Incomplete: {', '.join(missing)}." if missing else "")
        )
    if study.failures:
        told = _first_few(describe_failures(study))
        found.append(f"{len(study.failures)} run(s) failed and are in no table: {told}")
    return found


def _first_few(runs: Sequence[str]) -> str:
    more = len(runs) - _FEW
    return "; ".join(runs[:_FEW]) + (f"; and {more} more runs." if more > 0 else ".")


def _of_runs(study: Study) -> list[str]:
    """Name the runs whose epoch was not chosen by validation DSC alone, or whose loss is unfit."""
    by_remark: dict[str, list[str]] = {}
    for task in study.tasks:
        for run in task.runs:
            try:
                done = read_json(run.folder / DONE_FILE, what="the end mark of a run")
            except HarmosegError:
                continue  # whoever opens the run is told
            for remark in filter(None, (done.get("selection_remark"), *done.get("contract", ()))):
                told = f"{run.experiment.method}, seed {run.experiment.seed}, on {task.name}"
                by_remark.setdefault(remark, []).append(told)
    return [
        f"{remark[0].upper()}{remark[1:].rstrip('.')}: {_first_few(runs)}"
        for remark, runs in by_remark.items()
    ]


def _of_data(task: StudyTask) -> list[str]:
    found = []
    trained = task.stores[task.name]
    for name, store in task.stores.items():
        copies = count_copies(store, task.split_of(name), trained)
        if not copies:
            continue
        cases = len(task.cases(name))
        found.append(
            f"{copies} of the {cases} cases of {name} that are scored show what a training "
            "case shows (near-duplicates): scores there flatter every method. `harmoseg verify` "
            "lists them."
        )
    if task.split != "test":
        found.append(
            f"{task.name} is scored on its {task.split} split, which selected nothing here."
        )
    return found


def _of_weights(task: StudyTask) -> list[str]:
    experiment = task.runs[0].experiment
    if experiment.weights_sha256 is None:
        return []
    try:
        card = file_card(Path(experiment.options.weights or ""), experiment.weights_sha256)
    except HarmosegError:
        return []  # a card that cannot be read is told where the weights are loaded
    return [f"Encoder weights: {card.title}; {card.notes}."] if card and card.notes else []


def _facts_of(task: StudyTask) -> list[tuple[str, str]]:
    store = task.stores[task.name]
    experiment = task.runs[0].experiment
    options = experiment.options
    counts = ", ".join(f"{count} {split}" for split, count in store.info.counts.items())
    others = [
        (
            "Also tested on",
            f"{other.info.card.title}: {len(task.cases(name))} cases, "
            f"{other.info.fingerprint[:12]}",
        )
        for name, other in task.stores.items()
        if name != task.name
    ]
    return [
        ("Trained on", f"{store.info.card.title}: {counts}; {store.info.card.split_rule}"),
        ("Store", f"{store.info.width} x {store.info.height} px, {store.info.fingerprint[:12]}"),
        *others,
        ("Encoder", f"{options.encoder}, starting from {_start(task)}"),
        ("Training", _told_options(options)),
        ("Weights kept", f"{options.select}; the scored split played no part in any choice"),
    ]


def _start(task: StudyTask) -> str:
    experiment = task.runs[0].experiment
    weights = experiment.options.weights
    if weights is None:
        return "random weights"
    start = "ImageNet weights" if weights == "imagenet" else Path(weights).name
    if experiment.weights_sha256:
        start += f" (sha256 {experiment.weights_sha256[:12]})"
    return start


def _told_options(options: TrainingOptions) -> str:
    optimizer = f"AdamW {options.learning_rate:g}"
    if options.optimizer == "sgd":
        optimizer = f"SGD {options.learning_rate:g}, momentum {options.momentum:g}"
    told = (
        f"{options.epochs} epochs, batch {options.batch_size}, {optimizer}, weight decay "
        f"{options.weight_decay:g}, polynomial decay {options.decay_power:g}, {options.precision}"
    )
    others = [
        f"{field.name} {value!r}"
        for field in fields(TrainingOptions)
        if field.name not in _SAID and (value := getattr(options, field.name)) != field.default
    ]
    return ", ".join([told, *others])


def _environment(run: StudyRun) -> dict[str, Any]:
    """Read what a run was made with, empty where that is not there."""
    try:
        return read_json(run.folder / ENVIRONMENT_FILE, what="an environment")
    except HarmosegError:
        return {}


def _packages(made: dict[str, Any]) -> str:
    packages = made.get("packages", {})
    return ", ".join(f"{name} {version}" for name, version in packages.items()) or "not recorded"


def _hardware(made: dict[str, Any]) -> str:
    names = ("accelerator", "processor", "cpu_capability", "cores")
    parts = [f"{name.replace('_', ' ')} {made[name]}" for name in names if made.get(name)]
    return ", ".join(parts) or "not recorded"
