"""The seeds of a study combined: an evaluation of every ensemble, without any training.

They lie in the study's folder as ``ensembles/NAME/STORE``, where NAME holds a hash of the members:
a study with more seeds has other ensembles.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.evaluate import SUMMARY_FILE, EvaluationOptions, evaluate, open_evaluation
from harmoseg.messages import LOGGER
from harmoseg.scores.table import Scores
from harmoseg.study.plan import readable_name
from harmoseg.study.results import Study, StudyRun, StudyTask, renamed
from harmoseg.study.study_files import scored_name

ENSEMBLES = "ensembles"
_FEWEST = 2


def make_ensembles(study: Study) -> Scores:
    """Evaluate the ensemble of all seeds of every method on every test set; return the scores.

    What is there already is not made again. Raises HarmosegError where no method has two finished
    seeds.
    """
    found = False
    for task in study.tasks:
        for method, runs in _members(task).items():
            for store, data in task.stores.items():
                found = True
                out = _folder(study, task, method, runs, store)
                if (out / SUMMARY_FILE).exists():
                    continue
                LOGGER.info("ensemble of %d: %s on %s", len(runs), method, store)
                evaluate(
                    [run.folder for run in runs],
                    data.path,
                    out,
                    conditions=task.conditions,
                    options=EvaluationOptions(split=task.split_of(store)),
                )
    if not found:
        raise HarmosegError(
            f"{study.folder}: no method has two finished seeds or more, which an ensemble needs; "
            "run the study with more seeds"
        )
    scores = read_ensembles(study)
    if scores is None:
        raise RuntimeError("ensembles that were made cannot be read")
    return scores


def read_ensembles(study: Study) -> Scores | None:
    """Return the scores of the ensembles that were made of the finished runs; None without one."""
    parts = [
        renamed(open_evaluation(out).scores, task, store)
        for task in study.tasks
        for method, runs in _members(task).items()
        for store in task.stores
        if ((out := _folder(study, task, method, runs, store)) / SUMMARY_FILE).exists()
    ]
    return Scores.concat(parts) if parts else None


def _members(task: StudyTask) -> dict[str, list[StudyRun]]:
    runs = {
        method: [run for run in task.runs if run.experiment.method == method]
        for method in task.methods
    }
    return {method: found for method, found in runs.items() if len(found) >= _FEWEST}


def _folder(study: Study, task: StudyTask, method: str, runs: list[StudyRun], store: str) -> Path:
    keys = " ".join(run.experiment.key for run in runs)
    data = task.stores[store].info.fingerprint
    determined = "\n".join([keys, data, *task.conditions])
    digest = hashlib.sha256(determined.encode()).hexdigest()[:12]
    name = f"{readable_name(f'{task.name}-{method}')}-{digest}"
    return study.folder / ENSEMBLES / name / scored_name(store, task.split_of(store))
