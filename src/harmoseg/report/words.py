"""What a report says in words: what was found, what to be wary of, how it was made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

import harmoseg
from harmoseg.errors import HarmosegError
from harmoseg.files import read_json
from harmoseg.losses.method import parse_method
from harmoseg.metrics import METRICS
from harmoseg.models.cards import file_card
from harmoseg.study.copies import count_copies
from harmoseg.study.results import Study, TaskResults
from harmoseg.study.tables import HEADLINE, Difference, format_estimate, places
from harmoseg.training.experiment import TrainingOptions
from harmoseg.training.run import DONE_FILE, ENVIRONMENT_FILE

_FEW = 8
"""So many comparisons are each told in a sentence; of more only those that show something."""
_SAID = frozenset(
    (
        *("encoder", "weights", "epochs", "batch_size", "learning_rate", "momentum"),
        *("weight_decay", "decay_power", "precision", "select"),
    )
)
"""Options that a fact names whatever they are; of the others those that are not the default."""


def sentences(differences: Sequence[Difference]) -> list[str]:
    """Say what a study found: every comparison, or of many their number and those that differ."""
    if len(differences) <= _FEW:
        return [item.sentence() for item in differences]
    with_interval = [item for item in differences if item.estimate.low is not None]
    known = [item for item in with_interval if item.kind != "no control"]
    others = [item for item in with_interval if item.kind == "no control"]
    differing = [item.sentence() for item in others if item.estimate.excludes_zero]
    rest = []
    if others:
        rest.append(
            f"Of {len(others)} comparisons with no control, where more than a term may differ, "
            f"{len(differing)} show a difference."
        )
    if len(with_interval) < len(differences):
        rest.append(
            f"Of {len(differences) - len(with_interval)} comparisons nothing can be said: an "
            "interval needs two seeds and two patients or more."
        )
    if not known:
        return [*rest, *differing]
    gains = [item for item in known if item.estimate.excludes_zero and item.estimate.mean > 0]
    losses = [item for item in known if item.estimate.excludes_zero and item.estimate.mean < 0]
    first = (
        f"Of {len(known)} comparisons of a method with a control in {HEADLINE}: gains "
        f"{len(gains)}, losses {len(losses)}, no difference that can be seen "
        f"{len(known) - len(gains) - len(losses)}. Where there is none at all, one in twenty "
        "intervals shows one by chance."
    )
    told = [item.sentence() + _beside(item, known) for item in (*gains, *losses)]
    return [first, *told, *rest, *differing]


def _beside(item: Difference, known: Sequence[Difference]) -> str:
    """Say beside what a term does what it does over its overlap control, if that was run."""
    for other in known:
        if (
            item.kind == "without the term"
            and other.kind == "overlap term instead"
            and (other.task, other.store, other.method) == (item.task, item.store, item.method)
        ):
            told = format_estimate(other.estimate, signed=True)
            what = "a difference shows" if other.estimate.excludes_zero else "no difference shows"
            return f" Over an overlap term of the same weight, {other.reference}, {what}: {told}."
    return ""


def warnings(study: Study) -> list[str]:
    """Say what a reader should be wary of."""
    found = [*_of_progress(study), *_of_seeds(study), *_of_controls(study)]
    found += _of_runs(study)
    for task in study.tasks:
        found += _of_data(task)
    found += _of_patients(study)
    found += _of_weights(study)
    if _has_undefined(study):
        found.append(
            "Some cases have no defined value: DSC and IoU where neither truth nor prediction "
            "marks anything, SE where the truth marks nothing, SP where it marks everything. A "
            "mean leaves out what is undefined under some run of its method, a paired difference "
            "what is undefined under some run of either method: also a case where one rightly "
            "marks nothing and the other marks something. The tables count the cases left out for "
            f"{HEADLINE}; results.csv has every case."
        )
    return found


def facts(study: Study) -> list[tuple[str, str]]:
    """Say how a study was made: data, options, seeds, versions, hardware."""
    found: list[tuple[str, str]] = []
    for task in study.tasks:
        prefix = f"{task.name}: " if len(study.tasks) > 1 else ""
        found += [(f"{prefix}{name}", text) for name, text in _facts_of(task)]
    found += [
        ("Loss", f"{method}: source sha256 {digest[:12]}") for method, digest in _losses(study)
    ]
    made = _environments(study)
    return [
        *found,
        ("Seeds", ", ".join(str(seed) for seed in range(study.seeds))),
        ("Trained on hardware", "; also ".join(dict.fromkeys(map(_hardware, made)))),
        ("Trained with", "; also ".join(dict.fromkeys(map(_packages, made)))),
        (
            "Report made with",
            f"harmoseg {harmoseg.__version__}, PyTorch {torch.__version__}, Python "
            f"{platform.python_version()}",
        ),
    ]


def _of_progress(study: Study) -> list[str]:
    found = []
    if study.unfinished:
        found.append(
            f"{study.unfinished} run(s) have not finished: this is a report on the way. "
            + _missing(study)
        )
    if study.failures:
        listed = "; ".join(
            f"{work.method}, seed {work.seed}, on {work.stores[0].name}: "
            f"{study.failures[work.name]}"
            for work in study.failed[:_FEW]
        )
        more = len(study.failed) - _FEW
        found.append(
            f"{len(study.failures)} run(s) failed and are in no table: {listed}"
            + (f"; and {more} more" if more > 0 else "")
            + "."
        )
    return found


def _missing(study: Study) -> str:
    parts = [
        f"{method} on {task.name} ({count} of {task.seeds} seeds)"
        for task in study.tasks
        for method, count in task.missing.items()
    ]
    return f"Incomplete: {', '.join(parts)}." if parts else ""


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
        f"{remark[0].upper()}{remark[1:].rstrip('.')}: {'; '.join(runs[:_FEW])}"
        + (f"; and {len(runs) - _FEW} more runs." if len(runs) > _FEW else ".")
        for remark, runs in by_remark.items()
    ]


def _of_seeds(study: Study) -> list[str]:
    counts = [len(task.seeds_of(method)) for task in study.tasks for method in task.methods]
    if min(counts) < 2 <= max(counts):
        return [
            f"Seeds: {min(counts)} to {max(counts)}, where some runs are missing. Of a method with "
            "one seed no interval is known."
        ]
    if max(counts) < 2:
        return [
            "One seed: how much training varies is not known, so no interval is available and no "
            "conclusion about a method can be drawn."
        ]
    if min(counts) < 5:
        told = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        return [
            f"{told} seeds: how much training varies is known only roughly. The intervals "
            "allow for that and are wide for it; more seeds make them narrower."
        ]
    return []


def _of_controls(study: Study) -> list[str]:
    """Name the methods whose gain could be that of any overlap term, for want of the control."""
    terms = [
        (task, method)
        for task in study.tasks
        for method in task.methods
        if parse_method(method).term is not None
    ]
    bare = [
        (method, task.name)
        for task, method in terms
        if str(parse_method(method).plain) not in task.methods
    ]
    lacking = [
        (method, task.name)
        for task, method in terms
        if (control := parse_method(method).overlap_control) is not None
        and str(control) not in task.methods
    ]
    found = []
    if bare:
        found.append(
            f"The same network and reduction without the term was not run for {_by_method(bare)}: "
            "what the term does there is not known."
        )
    if not lacking:
        return found
    return [
        *found,
        "No control with an overlap term of the same weight was run for "
        f"{_by_method(lacking)}: a gain of theirs over the plain network could be that of any "
        "overlap term.",
    ]


def _by_method(found: Sequence[tuple[str, str]]) -> str:
    """List pairs of method and dataset, each method once."""
    datasets: dict[str, list[str]] = {}
    for method, dataset in found:
        datasets.setdefault(method, []).append(dataset)
    return "; ".join(f"{method} on {', '.join(names)}" for method, names in datasets.items())


def _of_data(task: TaskResults) -> list[str]:
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
    for name, other in task.stores.items():
        found += [f"{name}: {remark}." for remark in other.info.provenance.get("remarks", ())]
    return found


def _of_patients(study: Study) -> list[str]:
    """Name the test sets whose cases may be several of one patient, and nobody can tell."""
    unnamed = [
        store
        for task, store, _ in places(study)
        if [task.stores[store].cases[number].case for number in task.cases(store)]
        == list(task.groups(store))
    ]
    if not unnamed:
        return []
    return [
        f"No patients are named on {', '.join(dict.fromkeys(unnamed))}: every case counts as one. "
        "Where several are of one patient, the intervals are too narrow."
    ]


def _of_weights(study: Study) -> list[str]:
    found: dict[str, None] = {}
    for task in study.tasks:
        experiment = task.runs[0].experiment
        if experiment.weights_sha256 is None:
            continue
        try:
            card = file_card(Path(experiment.options.weights or ""), experiment.weights_sha256)
        except HarmosegError:
            continue  # a card that cannot be read is told where the weights are loaded
        if card is not None and card.notes:
            found.setdefault(f"Encoder weights: {card.title}; {card.notes}.")
    return list(found)


def _has_undefined(study: Study) -> bool:
    return any(
        np.isnan(task.scores(method, store, metric)).any()
        for task, store, _ in places(study)
        for method in task.methods
        for metric in METRICS
    )


def _facts_of(task: TaskResults) -> list[tuple[str, str]]:
    store = task.stores[task.name]
    experiment = task.runs[0].experiment
    options = experiment.options
    counts = ", ".join(f"{count} {split}" for split, count in store.info.counts.items())
    found = [
        ("Trained on", f"{store.info.card.title}: {counts}; {store.info.card.split_rule}"),
        ("Store", f"{store.info.width} x {store.info.height} px, {store.info.fingerprint[:12]}"),
    ]
    for name, other in task.stores.items():
        if name != task.name:
            cases = len(task.cases(name))
            found.append(
                (
                    "Also tested on",
                    f"{other.info.card.title}: {cases} cases, {other.info.fingerprint[:12]}",
                )
            )
    return [
        *found,
        ("Encoder", f"{options.encoder}, starting from {_start(task)}"),
        ("Training", _told_options(options)),
        ("Weights kept", f"{options.select}; the scored split played no part in any choice"),
    ]


def _start(task: TaskResults) -> str:
    experiment = task.runs[0].experiment
    weights = experiment.options.weights
    if weights is None:
        return "random weights"
    start = "ImageNet weights" if weights == "imagenet" else Path(weights).name
    if experiment.weights_sha256:
        start += f" (sha256 {experiment.weights_sha256[:12]})"
    return start


def _told_options(options: TrainingOptions) -> str:
    told = (
        f"{options.epochs} epochs, batch {options.batch_size}, SGD {options.learning_rate:g}, "
        f"momentum {options.momentum:g}, weight decay {options.weight_decay:g}, polynomial "
        f"decay {options.decay_power:g}, {options.precision}"
    )
    others = [
        f"{field.name} {value!r}"
        for field in fields(TrainingOptions)
        if field.name not in _SAID and (value := getattr(options, field.name)) != field.default
    ]
    return ", ".join([told, *others])


def _environments(study: Study) -> list[dict[str, Any]]:
    """Read what the runs were made with, empty where that is not there."""
    found = []
    for task in study.tasks:
        for run in task.runs:
            try:
                found.append(read_json(run.folder / ENVIRONMENT_FILE, what="an environment"))
            except HarmosegError:
                found.append({})
    return found


def _packages(made: dict[str, Any]) -> str:
    packages = made.get("packages", {})
    return ", ".join(f"{name} {version}" for name, version in packages.items()) or "not recorded"


def _losses(study: Study) -> list[tuple[str, str]]:
    """Name the methods with a loss of somebody's own, and the hash of its source."""
    found = {
        run.experiment.method: run.experiment.loss_sha256
        for task in study.tasks
        for run in task.runs
    }
    return [(method, digest) for method, digest in found.items() if digest]


def _hardware(made: dict[str, Any]) -> str:
    names = ("accelerator", "processor", "cpu_capability", "cores")
    parts = [f"{name.replace('_', ' ')} {made[name]}" for name in names if made.get(name)]
    return ", ".join(parts) or "not recorded"
