"""Carry out one run of a study: train it, evaluate it on every store that tests, exhibit cases.

The same for a study's own process, a cluster's node, and a process beside it, which is started as
``python -m harmoseg.study.jobs STUDY NAME``.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from harmoseg.errors import HarmosegError, Terminated
from harmoseg.evaluation.evaluate import (
    SUMMARY_FILE,
    Evaluation,
    EvaluationOptions,
    evaluate,
    open_evaluation,
)
from harmoseg.files import make_folder
from harmoseg.locks import LockedError, take_lock
from harmoseg.messages import LOGGER, show_messages
from harmoseg.scores.table import CLEAN
from harmoseg.store.reading import open_store
from harmoseg.study.plan import run_name
from harmoseg.study.sample_predictions import make_exhibits
from harmoseg.study.study_files import (
    EVALUATIONS,
    EXHIBITS,
    Work,
    failure_file,
    keep_failure,
    read_plan,
)
from harmoseg.training.experiment import read_experiment
from harmoseg.training.run import DONE_FILE, train

_POLL_SECONDS = 2.0


def main(study: str, name: str) -> int:
    """Carry out a run, and return the process's status.

    0 where the run is done, 2 where it failed and the message is kept in the study, 143 where it
    was told to stop and has saved.
    """
    show_messages()
    folder = Path(study)
    try:
        failure = attempt(folder, read_plan(folder).named(name))
    except (KeyboardInterrupt, Terminated):
        return 143
    except HarmosegError as error:  # the plan was changed meanwhile
        failure = str(error)
    if failure is None:
        return 0
    print(f"failed: {failure}", file=sys.stderr)
    return 2


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


def carry_out(work: Work) -> None:
    """Train and evaluate, as far as that is not done yet.

    Where another process is at the run, as when the study that started it was killed, waits until
    that is done. Raises what `train` and `evaluate` raise.
    """
    with _alone(work):
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
            _evaluate(work, name)
            if not exhibits_file(work, name).is_file():
                make_exhibits(work.folder, open_store(store), split, exhibits_file(work, name))


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
    fingerprint = open_store(work.evaluations[name][0]).info.fingerprint[:12]
    return work.folder / EXHIBITS / f"{work.scored_name(name)}-{fingerprint}.npz"


def finished_evaluation(work: Work, name: str) -> Evaluation | None:
    """Open the evaluation of a run on a store; None where it is missing or lacks a condition."""
    store, split = work.evaluations[name]
    folder = work.folder / EVALUATIONS / work.scored_name(name)
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


def _evaluate(work: Work, name: str) -> None:
    if finished_evaluation(work, name) is not None:
        return
    store, split = work.evaluations[name]
    out = work.folder / EVALUATIONS / work.scored_name(name)
    # What another study has asked for before is scored too.
    before: Sequence[str] = ()
    with suppress(HarmosegError):  # there is none, or one that cannot be read
        found = open_evaluation(out)
        if found.summary["split"] == split:
            before = [condition for condition in found.conditions if condition != CLEAN]
    evaluate(
        work.folder,
        store,
        out,
        conditions=tuple(dict.fromkeys((*work.conditions, *before))),
        options=EvaluationOptions(split=split),
        overwrite=True,
    )


@contextmanager
def _alone(work: Work) -> Iterator[None]:
    """Lock a run against other studies' processes; the system lets go however this one ends."""
    make_folder(work.lock)
    told = False
    while True:
        try:
            lock = take_lock(work.lock / "lock", busy=str(work.folder))
            break
        except LockedError:
            if not told:
                LOGGER.info("waiting for another process at %s", work.folder)
            told = True
            time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release(force=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
