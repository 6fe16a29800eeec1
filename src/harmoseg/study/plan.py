"""What a study is to do, settled and checked before anything is trained.

The plan is kept as ``study.json`` in the study's folder, so that a worker process, a cluster's node
and the status command know it without asking again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.evaluate import check_fit
from harmoseg.files import make_folder, write_json
from harmoseg.losses.method import DEFAULT_CONTROLS, Controls, with_controls
from harmoseg.store.corruptions import parse_corruption
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store, open_store
from harmoseg.store.training_view import open_training_view
from harmoseg.store.writing import check_apart_from_sources, leave_each_centre_out
from harmoseg.study.study_files import (
    SCHEMA,
    STUDY_FILE,
    DamagedPlanError,
    place_in_plan,
    read_plan,
)
from harmoseg.training.experiment import Experiment, resolve_experiment
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import check_trainable

LEFT_OUT_STORES = "left-out"
"""Folder of a study with the stores that leave one centre out each."""


@dataclass(frozen=True)
class DatasetPlan:
    """A store to train on, and what is trained and tested there.

    `also` are stores that only test, on their test splits: other centres, other scanners. `split`
    is what is scored of the store trained on. `conditions` are corruptions scored beside the clean
    images. `controls` says which methods are added where they are missing: ``reduction``, for every
    method with a term the same without it; ``all``, that and the same with an overlap term of equal
    weight in the term's place. With `leave_centre_out` every centre (`subset`) of the store is left
    out in turn: the networks train on all others and are tested on it.
    """

    store: Path
    methods: tuple[str, ...]
    options: TrainingOptions
    also: tuple[Path, ...] = ()
    split: Split = "test"
    conditions: tuple[str, ...] = ()
    controls: Controls = DEFAULT_CONTROLS
    leave_centre_out: bool = False


@dataclass(frozen=True)
class StudyPlan:
    """Methods on datasets over seeds; `table` names the table of the paper that the study makes.

    `margin` is the largest difference in DSC, in points, that counts as none; without one nothing
    is called equivalent. Seeds are counted from `first_seed`: a part of a study can be trained on
    another machine.
    """

    datasets: tuple[DatasetPlan, ...]
    seeds: int
    title: str = ""
    table: str | None = None
    margin: float | None = None
    first_seed: int = 0

    def __post_init__(self) -> None:
        """Raise HarmosegError for a margin or a first seed that cannot be."""
        if self.first_seed < 0:
            raise HarmosegError(f"first_seed must be 0 or more, got {self.first_seed}")
        if self.margin is not None and not 0 < self.margin < 100:
            raise HarmosegError(f"margin must be above 0 and below 100 points, got {self.margin}")


@dataclass(frozen=True)
class PlannedRun:
    """One run: its name in the folder of runs, and what determines it."""

    name: str
    experiment: Experiment


@dataclass(frozen=True)
class Task:
    """A dataset of a study with nothing left open.

    `methods` are in their canonical spelling, controls among them; `stores` by folder name, the one
    trained on first; `conditions` canonical, without ``clean``.
    """

    name: str
    stores: dict[str, Store]
    methods: tuple[str, ...]
    split: Split
    conditions: tuple[str, ...]
    runs: tuple[PlannedRun, ...]


def settle(plan: StudyPlan) -> tuple[Task, ...]:
    """Open and check everything that can be known to fail before the first training begins.

    Raises HarmosegError naming what is wrong and where.
    """
    if plan.seeds < 1:
        raise HarmosegError(f"seeds must be 1 or more, got {plan.seeds}")
    if not plan.datasets:
        raise HarmosegError("datasets: none given; name one store or more")
    tasks: dict[str, Task] = {}
    for dataset in plan.datasets:
        try:
            task = _settle_dataset(dataset, plan)
        except HarmosegError as error:
            if len(plan.datasets) == 1:
                raise
            raise HarmosegError(f"dataset {dataset.store.name!r}: {error}") from error
        if task.name in tasks:
            raise HarmosegError(
                f"datasets: two of them train on a store named {task.name!r}, by which tables call "
                "it; rename one folder, or make two studies"
            )
        tasks[task.name] = task
    return tuple(tasks.values())


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


def tell_plan(plan: StudyPlan, tasks: Sequence[Task]) -> list[str]:
    """Return what a study will run: a line per dataset, with the controls that were added."""
    lines = []
    for dataset, task in zip(plan.datasets, tasks, strict=True):
        asked = with_controls(dataset.methods, "none")
        told = [name if name in asked else f"{name} (control)" for name in task.methods]
        others = list(task.stores)[1:]
        tested = f" (and tested on {', '.join(others)})" if others else ""
        lines.append(f"{task.name}{tested}: {', '.join(told)}; {plan.seeds} seed(s) each")
    return lines


def write_plan(out: Path, runs: Path, plan: StudyPlan, tasks: Sequence[Task]) -> None:
    """Claim the folder of a study. Raises HarmosegError where it holds something else."""
    file = out / STUDY_FILE
    for store in (store for task in tasks for store in task.stores.values()):
        check_apart_from_sources(out, store.path)
    if file.exists():
        _check_same_stores(file, tasks)
    elif out.exists() and (
        not out.is_dir() or any(item.name != LEFT_OUT_STORES for item in out.iterdir())
    ):
        raise HarmosegError(f"{out}: exists and is not a study; use another folder")
    make_folder(out)
    write_json(
        file,
        {
            "schema": SCHEMA,
            "title": plan.title,
            "table": plan.table,
            "seeds": plan.seeds,
            "margin": plan.margin,
            "runs_folder": place_in_plan(out, runs),
            "datasets": [_dataset_to_json(task, out) for task in tasks],
        },
    )


def _settle_dataset(dataset: DatasetPlan, plan: StudyPlan) -> Task:
    methods = with_controls(dataset.methods, dataset.controls)
    if not methods:
        raise HarmosegError("methods: none given; name one or more, for example unet unet+scc")
    conditions = tuple(dict.fromkeys(str(parse_corruption(text)) for text in dataset.conditions))
    stores = _open_stores(dataset)
    name = next(iter(stores))
    options = dataset.options
    view = open_training_view(dataset.store, validation_fraction=options.validation_fraction)
    runs = [
        PlannedRun(run_name(experiment), experiment)
        for seed in range(plan.first_seed, plan.first_seed + plan.seeds)
        for experiment in (resolve_experiment(method, seed, options, view) for method in methods)
    ]
    for run in runs[: len(methods)]:  # one seed of each
        for store in stores.values():
            check_fit(run.experiment, store)
        check_trainable(dataset.store, run.experiment)
    return Task(name, stores, methods, dataset.split, conditions, tuple(runs))


def _open_stores(dataset: DatasetPlan) -> dict[str, Store]:
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
    return stores


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


def _check_same_stores(file: Path, tasks: Sequence[Task]) -> None:
    """Raise HarmosegError where a study of other data lies in the folder."""
    try:
        found = read_plan(file.parent)
        before = {item["name"]: item["fingerprint"] for item in found["datasets"]}
    except DamagedPlanError:
        return  # written anew
    except (KeyError, TypeError):
        return
    for task in tasks:
        fingerprint = task.stores[task.name].info.fingerprint
        if before.get(task.name, fingerprint) != fingerprint or not before.keys() & {
            item.name for item in tasks
        }:
            raise HarmosegError(
                f"{file.parent}: holds a study of another store ({', '.join(before)}); use another "
                "folder"
            )


def _dataset_to_json(task: Task, out: Path) -> dict[str, Any]:
    stores = [place_in_plan(out, store.path) for store in task.stores.values()]
    # As resolved here: a run elsewhere must not resolve it otherwise.
    options = asdict(task.runs[0].experiment.options)
    if options["weights"] not in (None, "imagenet"):
        options["weights"] = str(Path(options["weights"]).resolve())
    return {
        "name": task.name,
        "fingerprint": task.stores[task.name].info.fingerprint,
        "stores": stores,
        "split": task.split,
        "conditions": list(task.conditions),
        "methods": list(task.methods),
        "options": options,
        "runs": [
            {"name": run.name, "method": run.experiment.method, "seed": run.experiment.seed}
            for run in task.runs
        ],
    }
