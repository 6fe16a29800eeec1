"""Conduct a study: settle its plan, carry out what is not done yet, read what there is.

Runs are carried out in turn, beside one another, or on a cluster (see `harmoseg.study.cluster`).
A run that fails does not stop the others; its message is kept in ``failures/NAME.txt`` until the
run succeeds. What is finished is never repeated.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harmoseg.environment import bound_spinning
from harmoseg.errors import HarmosegError, Terminated
from harmoseg.files import make_folder, unwritable
from harmoseg.messages import LOGGER
from harmoseg.progress import format_time
from harmoseg.study.jobs import attempt, is_done
from harmoseg.study.options import StudyPlan
from harmoseg.study.plan import claim_folder, leave_centres_out, settle, tell_plan
from harmoseg.study.results import Study, open_study, write_study_scores
from harmoseg.study.status import Durations
from harmoseg.study.study_files import (
    RUNS,
    Work,
    failure_file,
    keep_failure,
    read_failures,
)

LOGS = "logs"
_POLL_SECONDS = 0.5


Outcome = tuple[Work, str | None]
"""A run that has ended, with what went wrong, in one line; None where nothing did."""
Executor = Callable[[Path, Sequence[Work]], Iterator[Outcome]]
"""Carries out works of a study folder, yielding each as it ends."""


def run_study(
    plan: StudyPlan, out: Path, *, runs: Path | None = None, executor: Executor | None = None
) -> Study:
    """Run what is not there yet, and read what is; called again, it continues.

    Everything that can be checked is checked before the first training begins. `runs` is a folder
    of runs that several studies may share; what one of them has run, no other repeats.

    Raises HarmosegError for a plan that cannot be, and where no run has finished.
    """
    plan = leave_centres_out(plan, out)
    planned = settle(plan, runs or out / RUNS)
    claim_folder(out, planned)
    for line in tell_plan(plan, planned):
        LOGGER.info("%s", line)
    works = planned.works
    done = [work for work in works if is_done(work)]
    for work in done:  # perhaps by another study, after it had failed in this one
        failure_file(out, work.name).unlink(missing_ok=True)
    progress = _StudyProgress(works, done)
    for work, failure in (executor or in_turn)(out, progress.left):
        progress.ended(work, failure)
    study = open_study(out)
    write_study_scores(study)
    return study


def executor_for(jobs: int) -> Executor:
    """Choose by the number of runs at a time."""
    return in_turn if jobs == 1 else side_by_side(jobs)


def in_turn(study: Path, works: Sequence[Work]) -> Iterator[Outcome]:
    """Carry out works in this process, one after the other."""
    for work in works:
        yield work, attempt(study, work)


def side_by_side(jobs: int, threads: int | None = None) -> Executor:
    """Carry out `jobs` works at a time, each in a process of its own with its share of threads."""
    if jobs < 1:
        raise HarmosegError(f"jobs must be 1 or more, got {jobs}")
    share = threads or max(1, _cores() // jobs)

    def execute(study: Path, works: Sequence[Work]) -> Iterator[Outcome]:
        waiting, running = list(works), dict[str, tuple[Work, subprocess.Popen[bytes]]]()
        with ending_by_sigterm():
            try:
                while waiting or running:
                    while waiting and len(running) < jobs:
                        work = waiting.pop(0)
                        running[work.name] = (work, _start(study, work, share))
                    time.sleep(_POLL_SECONDS)
                    for name, (work, process) in list(running.items()):
                        status = process.poll()
                        if status is not None:
                            del running[name]
                            yield work, _failure(study, work, status)
            finally:
                # However this ends: nothing goes on unwatched, and everything saves first.
                _stop([process for _, process in running.values()])

    return execute


def _start(study: Path, work: Work, threads: int) -> subprocess.Popen[bytes]:
    log = study / LOGS / f"{work.name}.txt"
    make_folder(log.parent)
    failure_file(study, work.name).unlink(missing_ok=True)  # what is told must be of this time
    command = [sys.executable, "-P", "-m", "harmoseg.study.jobs", str(study), work.name]
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    bound_spinning(environment)
    try:
        with log.open("ab") as stream:
            return subprocess.Popen(  # noqa: S603  # this interpreter, this package
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                # A group of its own: Ctrl-C reaches this process, which then asks each to stop.
                start_new_session=True,
            )
    except OSError as error:
        raise unwritable(log, error) from error


def _failure(study: Path, work: Work, status: int) -> str | None:
    """Describe how a process ended, by its `status`."""
    if status == 0 or is_done(work):
        failure_file(study, work.name).unlink(missing_ok=True)
        return None
    kept = read_failures(study, [work.name]).get(work.name)
    if kept is not None and status > 0:
        return kept
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    hint = "; out of memory? try fewer --jobs" if status == -signal.SIGKILL else ""
    return keep_failure(
        study, work.name, f"its process ended {how}{hint}; see {LOGS}/{work.name}.txt of the study"
    )


def _cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def ending_by_sigterm() -> Iterator[None]:
    """Raise Terminated at SIGTERM, so that processes that were started can be stopped first."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    raise Terminated


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait()


class _StudyProgress:
    """Log the works of a study as they end, with about how long the rest takes."""

    def __init__(self, works: Sequence[Work], done: Sequence[Work]) -> None:
        self.left = [work for work in works if work not in done]
        self._total = len(works)
        self._fresh: list[Work] = []
        self._started = time.monotonic()
        self._durations = Durations(done)
        LOGGER.info("%d runs, %d finished earlier%s", len(works), len(done), self._estimate())

    def ended(self, work: Work, failure: str | None) -> None:
        """Log a run that has ended, well or not."""
        self._fresh.append(work)
        state = "done" if failure is None else f"FAILED: {failure}"
        if failure is None:
            self._durations.add(work)
        number = self._total - len(self.left) + len(self._fresh)
        LOGGER.info(
            "[%d/%d] %s: %s, seed %d: %s%s",
            *(number, self._total, work.dataset, work.method, work.seed, state, self._estimate()),
        )

    def _estimate(self) -> str:
        waiting = [work for work in self.left if work not in self._fresh]
        guess = self._durations.of(waiting)
        if not guess:
            return ""
        # What was measured of whole runs includes their evaluation and the other jobs beside them.
        share = self._durations.of(self._fresh)
        if share:
            guess *= (time.monotonic() - self._started) / share
        return f"; about {format_time(guess)} left"
