"""Carry out one run of a study: train it, evaluate it on every store that tests, exhibit cases.

The same for a study's own process, a process beside it and a cluster's node. A run folder keeps its
evaluations, so that studies that share a folder of runs share them too::

    runs/NAME/                    a run; see `harmoseg.training.run`
    runs/NAME/evaluations/STORE/  its evaluations; see `harmoseg.evaluation.evaluate`
    runs/NAME/exhibits/STORE-HASH.npz  what a report shows of cases; see
                                  `harmoseg.study.sample_predictions`
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import BaseFileLock

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.evaluate import (
    SUMMARY_FILE,
    Evaluation,
    EvaluationOptions,
    evaluate,
    open_evaluation,
)
from harmoseg.files import make_folder
from harmoseg.locks import LockedError, take_lock
from harmoseg.messages import LOGGER
from harmoseg.scores.table import CLEAN
from harmoseg.store.layout import Split
from harmoseg.store.reading import open_store
from harmoseg.study.plan import run_name
from harmoseg.study.sample_predictions import make_exhibits
from harmoseg.study.study_files import EVALUATIONS, EXHIBITS, lock_of, read_plan, scored_name
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import DONE_FILE, read_experiment, train

_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Work:
    """What there is to do for one run, in values that can go to another process."""

    name: str
    folder: Path
    stores: tuple[Path, ...]
    method: str
    seed: int
    options: TrainingOptions
    split: Split
    conditions: tuple[str, ...]

    @property
    def evaluations(self) -> dict[str, tuple[Path, Split]]:
        """Name every store that tests, with its path and the split that is scored."""
        return {
            path.name: (path, self.split if path == self.stores[0] else "test")
            for path in self.stores
        }


def all_work(study: Path) -> list[Work]:
    """List what a study's plan asks for: dataset by dataset, and there seed by seed."""
    plan = read_plan(study)
    runs = Path(plan["runs_folder"])
    try:
        return [
            _work(dataset, run, runs) for dataset in plan["datasets"] for run in dataset["runs"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise HarmosegError(
            f"{study}: its plan is damaged ({error} is missing or wrong); run the study again to "
            "write it anew"
        ) from error


def work_named(study: Path, name: str) -> Work:
    """Find one run of a study. Raises HarmosegError where the plan has none of that name."""
    for work in all_work(study):
        if work.name == name:
            return work
    raise HarmosegError(f"{study}: the plan has no run named {name!r}")


def carry_out(work: Work) -> None:
    """Train and evaluate, as far as that is not done yet.

    Where another process is at the run, as when the study that started it was killed, waits until
    that is done. Raises what `train` and `evaluate` raise.
    """
    lock = _lock(work.folder)
    try:
        if not (work.folder / DONE_FILE).exists():
            train(
                work.stores[0],
                work.folder,
                method=work.method,
                seed=work.seed,
                options=work.options,
            )
        if not _is_as_planned(work):
            raise HarmosegError(
                f"{work.folder}: what determines the run (its store, weights or loss) has changed "
                "since the study was planned; remove the folder, and run the study again"
            )
        for name, (store, split) in work.evaluations.items():
            _evaluate(work, name, store, split)
            if not exhibits_file(work, name).is_file():
                make_exhibits(work.folder, open_store(store), split, exhibits_file(work, name))
    finally:
        lock.release(force=True)


def is_done(work: Work) -> bool:
    """Return whether nothing is left to do."""
    return is_trained(work) and all(
        finished_evaluation(work, name) is not None and exhibits_file(work, name).is_file()
        for name in work.evaluations
    )


def is_trained(work: Work) -> bool:
    """Return whether the run is finished, and is what its name says; a damaged one is not."""
    try:
        return (work.folder / DONE_FILE).exists() and _is_as_planned(work)
    except HarmosegError:
        return False  # whoever carries it out will be told what is wrong


def _is_as_planned(work: Work) -> bool:
    return run_name(read_experiment(work.folder)) == work.name


def exhibits_file(work: Work, name: str) -> Path:
    """Return the file of a run's exhibits of a store; a store that changed has another."""
    store, split = work.evaluations[name]
    fingerprint = open_store(store).info.fingerprint[:12]
    return work.folder / EXHIBITS / f"{scored_name(name, split)}-{fingerprint}.npz"


def finished_evaluation(work: Work, name: str) -> Evaluation | None:
    """Open the evaluation of a run on a store; None where it is missing or lacks a condition."""
    store, split = work.evaluations[name]
    folder = work.folder / EVALUATIONS / scored_name(name, split)
    if not (folder / SUMMARY_FILE).exists():
        return None
    data = open_store(store)
    try:
        found = open_evaluation(folder, groups={case.case: case.group for case in data.cases})
    except HarmosegError:
        return None  # damaged: made anew
    # It may have been made by hand, with flips or another definition of distances.
    asked = json.loads(json.dumps(asdict(EvaluationOptions(split=split))))
    # An option that came later had its default before.
    measuring = {**asked["measuring"], **found.summary.get("measuring", {})}
    told = {**found.summary, "measuring": measuring}
    fits = (
        found.summary["store_fingerprint"] == data.info.fingerprint
        and all(told.get(name) == value for name, value in asked.items())
        and set(work.conditions) <= set(found.conditions)
    )
    return found if fits else None


def _evaluate(work: Work, name: str, store: Path, split: Split) -> None:
    if finished_evaluation(work, name) is not None:
        return
    out = work.folder / EVALUATIONS / scored_name(name, split)
    evaluate(
        work.folder,
        store,
        out,
        conditions=_conditions(work, out, split),
        options=EvaluationOptions(split=split),
        overwrite=True,
    )


def _conditions(work: Work, out: Path, split: Split) -> Sequence[str]:
    """Name what to score: what this study asks for, and what another one has asked for before."""
    before: Sequence[str] = ()
    with suppress(HarmosegError):  # there is none, or one that cannot be read
        found = open_evaluation(out)
        if found.summary["split"] == split:
            before = [name for name in found.conditions if name != CLEAN]
    return tuple(dict.fromkeys((*work.conditions, *before)))


def _lock(folder: Path) -> BaseFileLock:
    """Lock a run against other studies' processes; the system lets go however this one ends."""
    beside = lock_of(folder)
    make_folder(beside)
    told = False
    while True:
        try:
            return take_lock(beside / "lock", busy=str(folder))
        except LockedError:
            if not told:
                LOGGER.info("waiting for another process at %s", folder)
            told = True
            time.sleep(_POLL_SECONDS)


def _work(dataset: dict[str, Any], run: dict[str, Any], runs: Path) -> Work:
    return Work(
        name=run["name"],
        folder=runs / run["name"],
        stores=tuple(Path(path) for path in dataset["stores"]),
        method=run["method"],
        seed=int(run["seed"]),
        options=TrainingOptions(**dataset["options"]),
        split=dataset["split"],
        conditions=tuple(dataset["conditions"]),
    )
