"""The status of a study, from its files alone: nothing here waits for the libraries that train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

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
    Work,
    read_failures,
    read_plan,
)

State = Literal["finished", "running", "failed", "begun", "waiting"]
_STATES: tuple[State, ...] = ("finished", "running", "begun", "failed", "waiting")


@dataclass(frozen=True)
class RunState:
    """State of one run; `epochs` are done, before it is finished."""

    work: Work
    state: State
    epochs: int


@dataclass(frozen=True)
class Status:
    """State of every run of a study, the failures, and about how many seconds are left."""

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
    failures = read_failures(folder, [work.name for work in plan.works])
    runs = tuple(_state(work, failed=work.name in failures) for work in plan.works)
    open_failures = {
        run.work.name: failures[run.work.name] for run in runs if run.state == "failed"
    }
    return Status(plan.title or folder.name, runs, open_failures, _seconds_left(runs))


def tell_status(status: Status) -> str:
    """Write a status for people."""
    counts = [f"{status.count(state)} {state}" for state in _STATES if status.count(state)]
    first = f"{status.title}: {len(status.runs)} runs: {', '.join(counts)}"
    if status.seconds_left:
        first += f"; about {format_time(status.seconds_left)} left"
    lines = [first]
    for dataset in dict.fromkeys(run.work.dataset for run in status.runs):
        mine = [run for run in status.runs if run.work.dataset == dataset]
        lines += ["", f"{dataset}"]
        methods = list(dict.fromkeys(run.work.method for run in mine))
        width = max(map(len, methods))
        lines += [
            f"  {method:<{width}}  {_tell_runs([run for run in mine if run.work.method == method])}"
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
                f"{run.work.seed} (epoch {run.epochs} of {run.work.options.epochs})"
                if run.epochs
                else f"{run.work.seed}"
                for run in found
            )
            told.append(f"{state}: seed {seeds}")
    return "; ".join(told)


def _state(work: Work, *, failed: bool) -> RunState:
    state: State = "waiting"
    if (work.folder / DONE_FILE).exists() and all(_is_scored(work, n) for n in work.evaluations):
        state = "finished"
    elif is_locked(work.lock / "lock"):
        state = "running"
    elif failed:
        state = "failed"
    elif work.folder.exists():
        state = "begun"
    return RunState(work, state, 0 if state == "finished" else _epochs(work.folder / LOG_FILE))


def _is_scored(work: Work, store: str) -> bool:
    name = work.scored_name(store)
    try:
        summary = read_json(work.folder / EVALUATIONS / name / SUMMARY_FILE, what="a summary")
        exhibits = work.folder / EXHIBITS / f"{name}-{summary['store_fingerprint'][:12]}.npz"
        return set(work.conditions) <= set(summary["conditions"]) and exhibits.is_file()
    except (HarmosegError, KeyError, TypeError):
        return False


def _epochs(log: Path) -> int:
    try:
        return max(0, len(log.read_text(encoding="utf-8").splitlines()) - 1)
    except OSError:
        return 0


def _seconds_left(runs: Sequence[RunState]) -> float | None:
    durations = Durations([run.work for run in runs if run.state == "finished"])
    left = [run for run in runs if run.state in ("running", "begun", "waiting")]
    parts = [durations.of([run.work]) for run in left]
    if None in parts:
        return None
    together = sum(
        (1 - run.epochs / run.work.options.epochs) * part
        for run, part in zip(left, parts, strict=True)
        if part is not None
    )
    return together / max(1, sum(run.state == "running" for run in runs))


class Durations:
    """The seconds that finished runs took, dataset by dataset."""

    def __init__(self, works: Iterable[Work] = ()) -> None:
        self._seconds: dict[str, list[float]] = {}
        for work in works:
            self.add(work)

    def add(self, work: Work) -> None:
        """Add the seconds from a run's end mark, if they can be read there."""
        try:
            done = read_json(work.folder / DONE_FILE, what="the end mark of a run")
            self._seconds.setdefault(work.dataset, []).append(float(done["seconds"]))
        except (HarmosegError, KeyError, TypeError, ValueError):
            return  # an estimate is no reason to fail

    def of(self, works: Iterable[Work]) -> float | None:
        """Estimate the seconds of runs, in sum; None before any has ended.

        A dataset without a finished run is taken for the mean of the others.
        """
        means = {name: fmean(seconds) for name, seconds in self._seconds.items()}
        if not means:
            return None
        return sum(means.get(work.dataset, fmean(means.values())) for work in works)


def hours_per_run(study: Path) -> float | None:
    """Return the mean hours of a study's trainings; None for another folder, or before any ended.

    Raises HarmosegError where the plan is damaged.
    """
    if not (study / STUDY_FILE).is_file():
        return None
    works = read_plan(study).works
    one_each = {work.dataset: work for work in works}
    seconds = Durations(works).of(one_each.values())
    return None if seconds is None else seconds / len(one_each) / 3600
