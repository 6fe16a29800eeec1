"""The files of a study, and its plan as a list of runs: light, for the status command.

A study is a folder::

    study.json       what it is to do; see `harmoseg.study.plan`
    left-out/        stores that leave one centre out, if the recipe says so
    runs/            one folder per run, unless studies share a folder of runs
    failures/        a message for every run that failed
    logs/            what runs printed that had a process of their own
    scores.csv       every measure of every case, class and condition of every run, with
                     rings.csv and bins.csv; see `harmoseg.scores.table`
    tables/          as Markdown, LaTeX and CSV
    figures/         as PNG and SVG
    report.html      all of it, for people

A run folder keeps its evaluations, so that studies that share a folder of runs share them too::

    runs/NAME/                    a run; see `harmoseg.training.run`
    runs/NAME/evaluations/STORE/  its evaluations; see `harmoseg.evaluation.evaluate`
    runs/NAME/exhibits/STORE-HASH.npz  what a report shows of cases; see
                                  `harmoseg.study.sample_predictions`
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.files import check_schema, make_folder, read_json, write_json, write_text
from harmoseg.store.layout import Split
from harmoseg.training.options import TrainingOptions

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


@dataclass(frozen=True)
class Work:
    """One run of a study, in values that can go to another process.

    `stores` are those that test, the one trained on first.
    """

    name: str
    folder: Path
    stores: tuple[Path, ...]
    method: str
    seed: int
    options: TrainingOptions
    split: Split
    conditions: tuple[str, ...]

    @property
    def dataset(self) -> str:
        """Return the name of the store trained on."""
        return self.stores[0].name

    @property
    def evaluations(self) -> dict[str, tuple[Path, Split]]:
        """Name every store that tests, with its path and the split that is scored."""
        return {
            path.name: (path, self.split if path == self.stores[0] else "test")
            for path in self.stores
        }

    def scored_name(self, store: str) -> str:
        """Name what is kept of a store under the run, by the store and the split."""
        return scored_name(store, self.evaluations[store][1])

    @property
    def lock(self) -> Path:
        """Return the folder that locks the run while a process works on it."""
        return self.folder.parent / f".{self.name}.lock"


@dataclass(frozen=True)
class PlannedStudy:
    """The plan of a study: its runs, dataset by dataset and there seed by seed.

    `fingerprints` are those of the stores trained on, by name.
    """

    title: str
    table: str | None
    seeds: int
    margin: float | None
    works: tuple[Work, ...]
    fingerprints: dict[str, str]

    def by_dataset(self) -> dict[str, list[Work]]:
        """Group the runs by the name of the store trained on."""
        found: dict[str, list[Work]] = {}
        for work in self.works:
            found.setdefault(work.dataset, []).append(work)
        return found

    def named(self, name: str) -> Work:
        """Find a run. Raises HarmosegError where there is none of that name."""
        for work in self.works:
            if work.name == name:
                return work
        raise HarmosegError(f"the plan of the study has no run named {name!r}")


def scored_name(store: str, split: str) -> str:
    """Name what is kept of a store under a run: by the store, and by any other split than test."""
    return store if split == "test" else f"{store}-{split}"


def read_plan(out: Path) -> PlannedStudy:
    """Read ``study.json``, its places as seen from here.

    Raises HarmosegError where it is none, damaged, or of another schema.
    """
    file = out / STUDY_FILE
    if not file.is_file():
        raise HarmosegError(
            f"{out}: not a study ({STUDY_FILE} is missing); make one with: harmoseg study RECIPE"
        )
    cure = "run the study again to write it anew: what is finished is not repeated"
    try:
        found = read_json(file, what="the plan of a study")
    except HarmosegError as error:
        raise DamagedPlanError(f"{error}; {cure}") from error
    check_schema(found.get("schema"), SCHEMA, file, cure="use a new folder")
    missing = {"title", "table", "seeds", "runs_folder", "datasets"} - found.keys()
    if missing:
        raise DamagedPlanError(f"{file}: damaged, {', '.join(sorted(missing))} missing; {cure}")
    try:
        return PlannedStudy(
            found["title"],
            found["table"],
            found["seeds"],
            found.get("margin"),  # plans of harmoseg 0.1.0 have none
            tuple(
                _work(dataset, run, out, found["runs_folder"])
                for dataset in found["datasets"]
                for run in dataset["runs"]
            ),
            {dataset["name"]: dataset["fingerprint"] for dataset in found["datasets"]},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedPlanError(f"{file}: damaged ({error} is missing or wrong); {cure}") from error


def write_plan(out: Path, plan: PlannedStudy) -> None:
    """Write ``study.json``, its places as seen from there: folders may move together."""
    datasets = [
        {
            "name": name,
            "fingerprint": plan.fingerprints[name],
            "stores": [_seen_from(out, path) for path in works[0].stores],
            "split": works[0].split,
            "conditions": list(works[0].conditions),
            "methods": list(dict.fromkeys(work.method for work in works)),
            "options": asdict(works[0].options),
            "runs": [
                {"name": work.name, "method": work.method, "seed": work.seed} for work in works
            ],
        }
        for name, works in plan.by_dataset().items()
    ]
    values = {
        "schema": SCHEMA,
        "title": plan.title,
        "table": plan.table,
        "seeds": plan.seeds,
        "margin": plan.margin,
        "runs_folder": _seen_from(out, plan.works[0].folder.parent),
        "datasets": datasets,
    }
    write_json(out / STUDY_FILE, values)


def _work(dataset: dict[str, Any], run: dict[str, Any], out: Path, runs: str) -> Work:
    return Work(
        name=run["name"],
        folder=_place(out, runs) / run["name"],
        stores=tuple(_place(out, text) for text in dataset["stores"]),
        method=run["method"],
        seed=int(run["seed"]),
        options=TrainingOptions(**dataset["options"]),
        split=dataset["split"],
        conditions=tuple(dataset["conditions"]),
    )


def _seen_from(out: Path, path: Path) -> str:
    return os.path.relpath(path, out.resolve())


def _place(out: Path, text: str) -> Path:
    return Path(os.path.normpath(out.resolve() / text))


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
