"""Carry out all runs of a study: in turn, several beside one another, or on a cluster.

A run that fails does not stop the others; its message is kept in ``failures/NAME.txt`` until the
run succeeds. What is finished is never repeated.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harmoseg.errors import HarmosegError, Terminated
from harmoseg.files import make_folder, unwritable
from harmoseg.openmp import bound_spinning
from harmoseg.study.jobs import Work, carry_out, is_done
from harmoseg.study.progress import Progress
from harmoseg.study.study_files import failure_file, keep_failure, read_failures

LOGS = "logs"
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `failure` is what went wrong, in one line, None where nothing did."""

    work: Work
    failure: str | None


Executor = Callable[[Path, Sequence[Work]], Iterator[Outcome]]
"""Carries out works of a study folder, yielding each as it ends."""


def run_all(study: Path, works: Sequence[Work], executor: Executor) -> dict[str, str]:
    """Carry out what is not done yet; return the failures, a line for each, by name of the run."""
    done = [work for work in works if is_done(work)]
    for work in done:  # perhaps by another study, after it had failed in this one
        failure_file(study, work.name).unlink(missing_ok=True)
    progress = Progress(works, done)
    failures: dict[str, str] = {}
    progress.begin()
    for outcome in executor(study, progress.left):
        progress.ended(outcome.work, outcome.failure)
        if outcome.failure is not None:
            failures[outcome.work.name] = outcome.failure
    return failures


def executor_for(jobs: int) -> Executor:
    """Choose by the number of runs at a time."""
    return in_turn if jobs == 1 else side_by_side(jobs)


def in_turn(study: Path, works: Sequence[Work]) -> Iterator[Outcome]:
    """Carry out works in this process, one after the other."""
    for work in works:
        yield Outcome(work, attempt(study, work))


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
                            yield Outcome(work, _failure(study, work, status))
            finally:
                # However this ends: nothing goes on unwatched, and everything saves first.
                _stop([process for _, process in running.values()])

    return execute


def attempt(study: Path, work: Work) -> str | None:
    """Carry out a work; keep and return the message where it fails.

    Being stopped by a signal is no failure and is raised.
    """
    try:
        carry_out(work)
    except (KeyboardInterrupt, Terminated):
        raise
    except HarmosegError as error:
        return keep_failure(study, work.name, str(error))
    except Exception as error:
        # A defect in a loss, a network or this package: the other runs may well be sound.
        message = f"{type(error).__name__}: {error}"
        return keep_failure(study, work.name, message, detail=traceback.format_exc())
    failure_file(study, work.name).unlink(missing_ok=True)
    return None


def _start(study: Path, work: Work, threads: int) -> subprocess.Popen[bytes]:
    log = study / LOGS / f"{work.name}.txt"
    make_folder(log.parent)
    failure_file(study, work.name).unlink(missing_ok=True)  # what is told must be of this time
    command = [sys.executable, "-P", "-m", "harmoseg.study.worker", str(study), work.name]
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
    """Have SIGTERM raise Terminated, so that whoever started others can stop them first."""
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
