"""Evaluate a run on a store: a folder with a row per case and class, and a summary.

An evaluation is a folder::

    cases.csv      one row per case and class: counts and every metric, at native resolution
    summary.json   the three aggregates of every metric, with what was scored; written last
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.predicting import predict_cases
from harmoseg.metrics import AGGREGATES, METRICS, aggregate, confusion_counts, overlap_metric
from harmoseg.metrics.overlap import COUNTS
from harmoseg.store.files import (
    check_schema,
    folder_in_progress,
    read_csv,
    read_json,
    write_csv,
    write_json,
)
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store, open_store
from harmoseg.training.experiment import Experiment
from harmoseg.training.run import open_run

SCHEMA = 1
CASES_FILE = "cases.csv"
SUMMARY_FILE = "summary.json"
COLUMNS = ("case", "class", "condition", *METRICS, *COUNTS)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation folder holds.

    `counts` is (cases, classes, 4) with the background as class 0; `cases` and `classes` name its
    first two axes.
    """

    cases: tuple[str, ...]
    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    summary: dict[str, Any]


def evaluate(
    run: Path, store: Path, out: Path, *, split: Split = "test", overwrite: bool = False
) -> Evaluation:
    """Predict and score a split of a store with a finished run, into the folder `out`.

    Raises HarmosegError where the run is unfinished, where store and run do not fit, or where the
    split is empty.
    """
    experiment, network = open_run(run)
    data = open_store(store)
    check_fit(experiment, data)
    rows = data.rows(split)
    if not rows:
        raise HarmosegError(
            f"{store}: no case has the split {split!r}; found {dict(data.info.counts)}"
        )
    classes = data.info.card.classes
    counts = np.zeros((len(rows), len(classes), len(COUNTS)), dtype=np.int64)
    predictions = predict_cases(
        network, data, rows, mode=experiment.mode, bf16=experiment.options.precision == "bf16"
    )
    with folder_in_progress(out, mark=SUMMARY_FILE, overwrite=overwrite) as folder:
        progress = tqdm(predictions, total=len(rows), desc="evaluate", unit="case", disable=None)
        for position, (row, predicted) in enumerate(progress):
            counts[position] = confusion_counts(predicted, data.native_label(row), len(classes))
        cases = tuple(data.cases[row].case for row in rows)
        _write_cases(folder / CASES_FILE, cases, classes, counts)
        summary = {
            "schema": SCHEMA,
            "method": experiment.method,
            "seed": experiment.seed,
            "run_key": experiment.key,
            "store": data.info.card.name,
            "store_fingerprint": data.info.fingerprint,
            "split": split,
            "cases": len(cases),
            "classes": list(classes),
            "aggregates": summarise(counts),
        }
        write_json(folder / SUMMARY_FILE, summary)
    return Evaluation(cases, classes, counts, summary)


def open_evaluation(path: Path) -> Evaluation:
    """Read an evaluation folder; raise HarmosegError where it is missing or damaged."""
    summary = read_json(path / SUMMARY_FILE, what="the summary of an evaluation")
    check_schema(summary.get("schema"), SCHEMA, path / SUMMARY_FILE, cure="evaluate again")
    file = path / CASES_FILE
    rows = read_csv(file, columns=COLUMNS, what="the table of an evaluation")
    classes = tuple(summary["classes"])
    cases = tuple(row["case"] for row in rows[:: len(classes)])
    if len(rows) != len(cases) * len(classes) or len(cases) != summary["cases"]:
        raise HarmosegError(f"{file}: {len(rows)} rows do not fit {SUMMARY_FILE}; evaluate again")
    try:
        values = [[int(row[name]) for name in COUNTS] for row in rows]
    except ValueError as error:
        raise HarmosegError(f"{file}: a count is no number ({error}); evaluate again") from error
    counts = np.asarray(values, dtype=np.int64).reshape(len(cases), len(classes), len(COUNTS))
    return Evaluation(cases, classes, counts, summary)


def summarise(counts: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    """Give every metric under every aggregate, in [0, 1], with the number of values behind it."""
    summary: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        entry: dict[str, Any] = {}
        for how in AGGREGATES:
            result = aggregate(how, metric, counts)
            entry[how] = {
                # JSON has no NaN; null says that nothing could be scored.
                "value": None if math.isnan(result.value) else result.value,
                "scored": result.scored,
                "undefined": result.undefined,
            }
        summary[metric] = entry
    return summary


def _write_cases(
    path: Path, cases: tuple[str, ...], classes: tuple[str, ...], counts: NDArray[np.int64]
) -> None:
    metrics = {metric: overlap_metric(metric, counts) for metric in METRICS}
    rows = []
    for i, case in enumerate(cases):
        for j, name in enumerate(classes):
            row: dict[str, Any] = {"case": case, "class": name, "condition": "clean"}
            for metric, values in metrics.items():
                # An undefined value is an empty field, never a 0 that could be averaged.
                row[metric] = None if np.isnan(values[i, j]) else f"{values[i, j]:.6f}"
            rows.append(row | dict(zip(COUNTS, counts[i, j].tolist(), strict=True)))
    write_csv(path, COLUMNS, rows)


def check_fit(experiment: Experiment, store: Store) -> None:
    """Raise HarmosegError naming what differs where a run cannot be evaluated on a store."""
    info = store.info
    wanted = {
        "mode": (info.card.mode, experiment.mode),
        "number of channels": (info.channels, experiment.channels),
        "height": (info.height, experiment.height),
        "width": (info.width, experiment.width),
    }
    for name, (found, trained) in wanted.items():
        if found != trained:
            raise HarmosegError(
                f"{store.path}: {name} is {found}, the run was trained with {trained}; prepare the "
                "data again to match (--size, --channels, --label_values)"
            )
    if experiment.mode == "multiclass" and experiment.classes != info.card.classes:
        raise HarmosegError(
            f"{store.path}: classes are {', '.join(info.card.classes)}, the run was trained with "
            f"{', '.join(experiment.classes)}; prepare the store with the same classes"
        )


def format_summary(evaluation: Evaluation) -> str:
    """Write the aggregates of an evaluation as a small table, in points."""
    aggregates = evaluation.summary["aggregates"]
    lines = ["aggregate   " + "".join(f"{metric:>8}" for metric in METRICS)]
    for how in AGGREGATES:
        values = (aggregates[metric][how]["value"] for metric in METRICS)
        cells = ("undefined" if value is None else f"{100 * value:.2f}" for value in values)
        lines.append(f"{how:<12}" + "".join(f"{cell:>8}" for cell in cells))
    entry = aggregates["DSC"]["per_image"]
    lines.append(
        f"{len(evaluation.cases)} cases at native resolution, in points (0 to 100); DSC scored "
        f"for {entry['scored']} (case, class) pairs, undefined for {entry['undefined']}"
    )
    return "\n".join(lines)
