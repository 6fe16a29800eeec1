"""How far a study is, from its files alone: nothing here waits for the libraries that train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from harmoseg.errors import HarmosegError
from harmoseg.files import read_json
from harmoseg.locks import is_locked
from harmoseg.progress import format_time
from harmoseg.study.study_files import (
    DONE_FILE,
    EVALUATIONS,
    EXHIBITS,
    LOG_FILE,
    STUDY_FILE,
    SUMMARY_FILE,
    lock_of,
    read_failures,
    read_plan,
    scored_name,
)

State = Literal["finished", "running", "failed", "begun", "waiting"]
_STATES: tuple[State, ...] = ("finished", "running", "begun", "failed", "waiting")


@dataclass(frozen=True)
class RunState:
    """Where one run is: `epochs` of all that are asked for, before it is finished."""

    name: str
    dataset: str
    method: str
    seed: int
    state: State
    epochs: int
    of_epochs: int


@dataclass(frozen=True)
class Status:
    """Where every run of a study is, what has failed, and about how many seconds are left."""

    title: str
    runs: tuple[RunState, ...]
    failures: dict[str, str]
    seconds_left: float | None

    def count(self, state: State) -> int:
        """Count the runs in a state."""
        return sum(run.state == state for run in self.runs)


def study_status(folder: Path) -> Status:
    """Look at a study; raise HarmosegError where the folder is none."""
    plan = read_plan(folder)
    where = Path(plan["runs_folder"])
    try:
        names = [run["name"] for dataset in plan["datasets"] for run in dataset["runs"]]
        failures = read_failures(folder, names)
        runs = tuple(
            _state(dataset, run, where / run["name"], failed=run["name"] in failures)
            for dataset in plan["datasets"]
            for run in dataset["runs"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HarmosegError(
            f"{folder}: its plan is damaged ({error} is missing or wrong); run the study again"
        ) from error
    open_failures = {run.name: failures[run.name] for run in runs if run.state == "failed"}
    return Status(plan["title"] or folder.name, runs, open_failures, _seconds_left(runs, where))


def tell_status(status: Status) -> str:
    """Write a status for people."""
    counts = [f"{status.count(state)} {state}" for state in _STATES if status.count(state)]
    first = f"{status.title}: {len(status.runs)} runs: {', '.join(counts)}"
    if status.seconds_left:
        first += f"; about {format_time(status.seconds_left)} left"
    lines = [first]
    for dataset in dict.fromkeys(run.dataset for run in status.runs):
        mine = [run for run in status.runs if run.dataset == dataset]
        lines += ["", f"{dataset}"]
        methods = list(dict.fromkeys(run.method for run in mine))
        width = max(map(len, methods))
        lines += [
            f"  {method:<{width}}  {_tell_runs([run for run in mine if run.method == method])}"
            for method in methods
        ]
    if status.failures:
        lines += ["", "failed:"]
        lines += [f"  {name}: {message}" for name, message in status.failures.items()]
    return "\n".join(lines)


def _tell_runs(runs: Sequence[RunState]) -> str:
    counts = Counter(run.state for run in runs)
    told = [f"{counts['finished']}/{len(runs)} finished"]
    for state in _STATES[1:]:
        if counts[state]:
            found = [run for run in runs if run.state == state]
            seeds = ", ".join(
                f"{run.seed} (epoch {run.epochs} of {run.of_epochs})"
                if run.epochs
                else f"{run.seed}"
                for run in found
            )
            told.append(f"{state}: seed {seeds}")
    return "; ".join(told)


def _state(dataset: dict[str, Any], run: dict[str, Any], folder: Path, *, failed: bool) -> RunState:
    trained = (folder / DONE_FILE).exists()
    stores = [Path(path).name for path in dataset["stores"]]
    splits = [dataset["split"], *("test" for _ in stores[1:])]
    state: State = "waiting"
    if trained and all(
        _is_scored(folder, scored_name(name, split), dataset["conditions"])
        for name, split in zip(stores, splits, strict=True)
    ):
        state = "finished"
    elif is_locked(lock_of(folder) / "lock"):
        state = "running"
    elif failed:
        state = "failed"
    elif folder.exists():
        state = "begun"
    epochs = 0 if state == "finished" else _epochs(folder / LOG_FILE)
    return RunState(
        run["name"],
        dataset["name"],
        run["method"],
        int(run["seed"]),
        state,
        epochs,
        int(dataset["options"]["epochs"]),
    )


def _is_scored(run: Path, name: str, conditions: Sequence[str]) -> bool:
    try:
        summary = read_json(run / EVALUATIONS / name / SUMMARY_FILE, what="a summary")
        exhibits = run / EXHIBITS / f"{name}-{summary['store_fingerprint'][:12]}.npz"
        return set(conditions) <= set(summary["conditions"]) and exhibits.is_file()
    except (HarmosegError, KeyError, TypeError):
        return False


def _epochs(log: Path) -> int:
    try:
        return max(0, len(log.read_text(encoding="utf-8").splitlines()) - 1)
    except OSError:
        return 0


def _seconds_left(runs: Sequence[RunState], where: Path) -> float | None:
    durations = Durations()
    for run in runs:
        if run.state == "finished":
            durations.add_file(run.dataset, where / run.name / DONE_FILE)
    left = [run for run in runs if run.state in ("running", "begun", "waiting")]
    parts = [durations.of([run.dataset]) for run in left]
    if None in parts:
        return None
    together = sum(
        (1 - run.epochs / run.of_epochs) * part
        for run, part in zip(left, parts, strict=True)
        if part is not None
    )
    return together / max(1, sum(run.state == "running" for run in runs))


class Durations:
    """The seconds that finished runs took, dataset by dataset."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    def add_file(self, dataset: str, done: Path) -> None:
        """Take the seconds from a run's end mark, if they can be read there."""
        try:
            seconds = float(read_json(done, what="the end mark of a run")["seconds"])
        except (HarmosegError, KeyError, TypeError, ValueError):
            return  # an estimate is no reason to fail
        self._seconds.setdefault(dataset, []).append(seconds)

    def of(self, datasets: Sequence[str]) -> float | None:
        """Guess the seconds of a run on each of `datasets`, in sum; None before any has ended.

        A dataset without a finished run is taken for the mean of the others.
        """
        known = [fmean(seconds) for seconds in self._seconds.values()]
        if not known:
            return None
        means = {name: fmean(seconds) for name, seconds in self._seconds.items()}
        return sum(means.get(name, fmean(known)) for name in datasets)


def hours_per_run(study: Path) -> float | None:
    """Return the mean hours of a study's trainings; None for another folder, or before any ended.

    Raises HarmosegError where the plan is damaged.
    """
    if not (study / STUDY_FILE).is_file():
        return None
    plan = read_plan(study)
    durations = Durations()
    for dataset in plan["datasets"]:
        for run in dataset["runs"]:
            done = Path(plan["runs_folder"]) / run["name"] / DONE_FILE
            durations.add_file(dataset["name"], done)
    names = [dataset["name"] for dataset in plan["datasets"]]
    seconds = durations.of(names)
    return None if seconds is None else seconds / len(names) / 3600
