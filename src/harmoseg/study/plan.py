"""The plan of a study, settled and checked before anything is trained.

The plan is kept as ``study.json`` in the study's folder, so that a worker process, a cluster's node
and the status command know it without asking again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.evaluate import check_fit
from harmoseg.files import make_folder
from harmoseg.losses.method import with_controls
from harmoseg.store.corruptions import parse_corruption
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store, open_store
from harmoseg.store.training_view import open_training_view
from harmoseg.store.writing import check_apart_from_sources, leave_each_centre_out
from harmoseg.study.options import DatasetPlan, StudyPlan
from harmoseg.study.study_files import (
    STUDY_FILE,
    DamagedPlanError,
    PlannedStudy,
    Work,
    read_plan,
    write_plan,
)
from harmoseg.training.experiment import Experiment, resolve_experiment
from harmoseg.training.run import check_trainable

LEFT_OUT_STORES = "left-out"
"""Folder of a study with the stores that leave one centre out each."""


def settle(plan: StudyPlan, runs: Path) -> PlannedStudy:
    """Open and check everything that can be known to fail before the first training begins.

    `runs` is the folder of the runs. Raises HarmosegError naming what is wrong and where.
    """
    if plan.seeds < 1:
        raise HarmosegError(f"seeds must be 1 or more, got {plan.seeds}")
    if not plan.datasets:
        raise HarmosegError("datasets: none given; name one store or more")
    works: list[Work] = []
    fingerprints: dict[str, str] = {}
    for dataset in plan.datasets:
        try:
            stores = _open_stores(dataset)
            found = _works_of(dataset, plan, stores, runs)
        except HarmosegError as error:
            if len(plan.datasets) == 1:
                raise
            raise HarmosegError(f"dataset {dataset.store.name!r}: {error}") from error
        name = found[0].dataset
        if name in fingerprints:
            raise HarmosegError(
                f"datasets: two of them train on a store named {name!r}, by which tables call "
                "it; rename one folder, or make two studies"
            )
        works += found
        fingerprints[name] = stores[0].info.fingerprint
    return PlannedStudy(plan.title, plan.table, plan.seeds, plan.margin, tuple(works), fingerprints)


def leave_centres_out(plan: StudyPlan, out: Path) -> StudyPlan:
    """Replace the datasets that leave centres out by one for every centre, its store in `out`.

    Raises HarmosegError as `harmoseg.store.writing.centres_of` does, and for further stores to
    test on, of which every case would be scored once for every centre.
    """
    datasets: list[DatasetPlan] = []
    for dataset in plan.datasets:
        if not dataset.leave_centre_out:
            datasets.append(dataset)
            continue
        if dataset.also or dataset.split != "test":
            raise HarmosegError(
                f"{dataset.store}: with leave_centre_out every case is tested once, by networks "
                "that have not seen its centre; leave out also and split"
            )
        for store in leave_each_centre_out(dataset.store, out / LEFT_OUT_STORES):
            datasets.append(replace(dataset, store=store, leave_centre_out=False))
    return replace(plan, datasets=tuple(datasets))


def tell_plan(plan: StudyPlan, planned: PlannedStudy) -> list[str]:
    """Return what a study will run: a line per dataset, with the controls that were added."""
    lines = []
    for dataset, works in zip(plan.datasets, planned.by_dataset().values(), strict=True):
        asked = with_controls(dataset.methods, "none")
        methods = dict.fromkeys(work.method for work in works)
        told = [name if name in asked else f"{name} (control)" for name in methods]
        name, *others = (path.name for path in works[0].stores)
        tested = f" (and tested on {', '.join(others)})" if others else ""
        lines.append(f"{name}{tested}: {', '.join(told)}; {plan.seeds} seed(s) each")
    return lines


def claim_folder(out: Path, planned: PlannedStudy) -> None:
    """Write the plan into the folder of a study.

    Raises HarmosegError where it holds something else.
    """
    for store in {store for work in planned.works for store in work.stores}:
        check_apart_from_sources(out, store)
    if (out / STUDY_FILE).exists():
        _check_same_stores(out, planned.fingerprints)
    elif out.exists() and (
        not out.is_dir() or any(item.name != LEFT_OUT_STORES for item in out.iterdir())
    ):
        raise HarmosegError(f"{out}: exists and is not a study; use another folder")
    make_folder(out)
    write_plan(out, planned)


def _check_same_stores(out: Path, fingerprints: dict[str, str]) -> None:
    """Raise HarmosegError where a study of other data lies in the folder."""
    try:
        before = read_plan(out).fingerprints
    except DamagedPlanError:
        return  # written anew
    both = before.keys() & fingerprints.keys()
    if not both or any(before[name] != fingerprints[name] for name in both):
        raise HarmosegError(
            f"{out}: holds a study of another store ({', '.join(before)}); use another folder"
        )


def _works_of(
    dataset: DatasetPlan, plan: StudyPlan, stores: Sequence[Store], runs: Path
) -> list[Work]:
    """List the runs on a dataset, seed by seed, each method checked.

    Methods and conditions get their canonical spelling, controls are added.
    """
    methods = with_controls(dataset.methods, dataset.controls)
    if not methods:
        raise HarmosegError("methods: none given; name one or more, for example unet unet+scc")
    conditions = tuple(dict.fromkeys(str(parse_corruption(text)) for text in dataset.conditions))
    options = dataset.options
    view = open_training_view(dataset.store, validation_fraction=options.validation_fraction)
    experiments = [
        resolve_experiment(method, seed, options, view)
        for seed in range(plan.first_seed, plan.first_seed + plan.seeds)
        for method in methods
    ]
    for experiment in experiments[: len(methods)]:  # one seed of each
        for store in stores:
            check_fit(experiment, store)
        check_trainable(view, experiment)
    # As resolved here: a run elsewhere must not resolve it otherwise.
    resolved = experiments[0].options
    if resolved.weights not in (None, "imagenet"):
        resolved = replace(resolved, weights=str(Path(resolved.weights).resolve()))
    return [
        Work(
            name=run_name(experiment),
            folder=runs.resolve() / run_name(experiment),
            stores=tuple(store.path.resolve() for store in stores),
            method=experiment.method,
            seed=experiment.seed,
            options=resolved,
            split=dataset.split,
            conditions=conditions,
        )
        for experiment in experiments
    ]


def _open_stores(dataset: DatasetPlan) -> list[Store]:
    _check_split(dataset)
    stores: dict[str, Store] = {}
    for path in (dataset.store, *dataset.also):
        store = open_store(path)
        name = path.resolve().name
        if name in stores:
            raise HarmosegError(
                f"{path}: two stores have the folder name {name!r}, by which tables and figures "
                "call them; rename one of the folders"
            )
        split: Split = "test" if stores else dataset.split
        if not store.cases_of(split):
            raise HarmosegError(
                f"{path}: no case has the split {split!r} (found {store.info.told_counts()}); a "
                "comparison needs cases to test on"
            )
        stores[name] = store
    return list(stores.values())


def _check_split(dataset: DatasetPlan) -> None:
    """Raise HarmosegError where what is scored had a part in training."""
    if dataset.split == "test":
        return
    if dataset.split == "train":
        raise HarmosegError(f"{dataset.store}: split is 'train', which the networks have learned")
    if dataset.options.select == "best" or dataset.options.patience:
        raise HarmosegError(
            f"{dataset.store}: split is 'val', which also selects the best epoch or the end of "
            "training; set select: last and patience: 0"
        )


def run_name(experiment: Experiment) -> str:
    """Name the folder of a run; equal names, equal runs."""
    # The key tells runs apart.
    readable = readable_name(f"{experiment.store_name}-{experiment.method}")
    return f"{readable}-seed{experiment.seed}-{experiment.key}"


def readable_name(text: str) -> str:
    """Return a text with letters and digits alone, which every file system takes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())
