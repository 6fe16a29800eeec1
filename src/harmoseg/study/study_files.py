"""The names of a study's files, and its plan as it lies on disk: light, for the status command."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.files import check_schema, make_folder, read_json, write_text

SCHEMA = 2
STUDY_FILE = "study.json"
RUNS = "runs"
EVALUATIONS = "evaluations"
EXHIBITS = "exhibits"
FAILURES = "failures"
"""A file ``NAME.txt`` for every run that failed; its first line is the message."""
# Of a run and of an evaluation, whose own modules load the libraries that train; a test compares.
DONE_FILE = "done.json"
LOG_FILE = "log.csv"
SUMMARY_FILE = "summary.json"


class DamagedPlanError(HarmosegError):
    """Report a plan that is of this schema and lacks something: the study can write it anew."""


def scored_name(store: str, split: str) -> str:
    """Name what is kept of a store under a run: by the store, and by any other split than test."""
    return store if split == "test" else f"{store}-{split}"


def read_plan(out: Path) -> dict[str, Any]:
    """Read ``study.json``, its places as seen from here.

    Raises HarmosegError where it is none, damaged, or of another schema.
    """
    file = out / STUDY_FILE
    if not file.is_file():
        raise HarmosegError(
            f"{out}: not a study ({STUDY_FILE} is missing); make one with: harmoseg study RECIPE"
        )
    try:
        found = read_json(file, what="the plan of a study")
    except HarmosegError as error:
        raise DamagedPlanError(
            f"{error}; run the study again to write it anew: what is finished is not repeated"
        ) from error
    check_schema(found.get("schema"), SCHEMA, file, cure="use a new folder")
    missing = {"title", "table", "seeds", "runs_folder", "datasets"} - found.keys()
    if missing:
        raise DamagedPlanError(
            f"{file}: damaged, {', '.join(sorted(missing))} missing; run the study again to write "
            "it anew"
        )
    try:
        found["runs_folder"] = _place(out, found["runs_folder"])
        for dataset in found["datasets"]:
            dataset["stores"] = [_place(out, text) for text in dataset["stores"]]
    except (KeyError, TypeError) as error:
        raise DamagedPlanError(
            f"{file}: damaged ({error} is missing or wrong); run the study again to write it anew"
        ) from error
    return found


def place_in_plan(out: Path, path: Path) -> str:
    """Write a place for the plan: from the study, so that folders moved together stay together."""
    return os.path.relpath(path.resolve(), out.resolve())


def _place(out: Path, text: str) -> str:
    return os.path.normpath(out.resolve() / text)


def lock_of(run: Path) -> Path:
    """Return the folder that locks a run while a process works on it."""
    return run.parent / f".{run.name}.lock"


def failure_file(study: Path, name: str) -> Path:
    """Return the file that keeps the message of a failed run until the run succeeds."""
    return study / FAILURES / f"{name}.txt"


def keep_failure(study: Path, name: str, message: str, *, detail: str = "") -> str:
    """Keep a message, with a traceback below it if there is one; return it in one line."""
    line = " ".join(message.split())
    file = failure_file(study, name)
    make_folder(file.parent)
    write_text(file, f"{line}\n{detail}")
    return line


def read_failures(study: Path, names: Iterable[str]) -> dict[str, str]:
    """Read the messages of the runs that failed and were not mended, by the run's name."""
    files = {name: failure_file(study, name) for name in names}
    return {
        name: file.read_text(encoding="utf-8").partition("\n")[0]
        for name, file in files.items()
        if file.is_file()
    }
