"""Evaluate a run or a model on a store: scores of every case, class and condition, and a summary.

An evaluation is a folder::

    scores.csv        one row per condition, case and class: counts and every measure, at native
                      resolution; see `harmoseg.scores.table`
    rings.csv         the ring sums of every condition, case and class
    bins.csv          the calibration bins of every condition and case
    probabilities/    if asked for: CONDITION/NUMBER.npy, (D, C, H, W) in float16 at native
                      resolution, by the number of the case's row in the store's cases.csv
    summary.json      the aggregates of every metric, with what was scored; written last

The condition ``clean``, the images as they are, is always there and comes first; the others are
corruptions in their canonical spelling. While it is being made, what is measured is kept in a
journal beside the folder, so that an interrupted evaluation continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.journal import Journal
from harmoseg.evaluation.measuring import CaseScores, Measuring, distance_unit, measure_cases
from harmoseg.evaluation.reading import SCHEMA, SUMMARY_FILE, Evaluation, open_evaluation
from harmoseg.evaluation.scores import ConditionScores
from harmoseg.evaluation.summary import summarise, summarise_subsets
from harmoseg.evaluation.tables import make_scores
from harmoseg.files import (
    check_replaceable,
    folder_in_progress,
    sha256_of,
    write_json,
)
from harmoseg.inference.predictor import Predictor, choose_device
from harmoseg.inference.saved_model import WEIGHTS_FILE, ModelInfo
from harmoseg.models.precision import resolve_precision
from harmoseg.progress import Progress
from harmoseg.scores.files import write_scores
from harmoseg.scores.table import CLEAN
from harmoseg.store.corruptions import Corruption, parse_corruption
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store, open_store
from harmoseg.training.experiment import Experiment
from harmoseg.training.run import open_run


@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated, and how.

    Args:
        split: Which split is scored.
        corruption_seed: What, with the case, draws the corruptions.
        flips: Average over the image and its mirror images (test-time augmentation).
        measuring: How distances are measured.
    """

    split: Split = "test"
    corruption_seed: int = 0
    flips: bool = False
    measuring: Measuring = field(default_factory=Measuring)


def evaluate(
    run: Path | Sequence[Path],
    store: Path,
    out: Path,
    *,
    conditions: Sequence[str] = (),
    options: EvaluationOptions | None = None,
    keep_probabilities: bool = False,
    overwrite: bool = False,
) -> Evaluation:
    """Predict and score a split of a store with a finished run or a model, into the folder `out`.

    Several runs are one ensemble: their probabilities are averaged. Scores the images as they are,
    and under every corruption that `conditions` names. Interrupted
    and called again, it continues with the first case that was not measured.

    Raises HarmosegError for an unknown condition, where the run is unfinished, where store and run,
    or two members of an ensemble, do not fit, where the split is empty, or where `out` exists
    (unless `overwrite`).
    """
    options = options or EvaluationOptions()
    corruptions = _parse_conditions(conditions)
    check_replaceable(out, mark=SUMMARY_FILE, overwrite=overwrite)
    runs = [run] if isinstance(run, Path) else list(run)
    models = [open_run(path) for path in runs]
    data = open_store(store)
    for model in models:
        check_fit(model.info, data)
    info = _together([model.info for model in models])
    numbers = data.cases_of(options.split)
    if not numbers:
        raise HarmosegError(
            f"{store}: no case has the split {options.split!r}; found {data.info.told_counts()}; "
            "choose one of these with --split"
        )
    determined_by = {
        "schema": SCHEMA,
        "run_key": info.trained.get("run"),
        "weights": [sha256_of(path / WEIGHTS_FILE) for path in runs],
        "store_fingerprint": data.info.fingerprint,
        "options": asdict(options),
    }
    scores: dict[str, list[CaseScores]] = {}
    device = choose_device()
    predictor = Predictor(
        [model.network for model in models],
        info.mode,
        device,
        bf16=resolve_precision(info.trained.get("precision", "auto"), device) == "bf16",
        flips=options.flips,
    )
    with Journal.beside(out, determined_by) as journal:
        for name, corruption in corruptions.items():
            scores[name] = _measure(
                predictor,
                data,
                numbers,
                options,
                journal,
                name,
                corruption,
                info.trained.get("temperature"),
                keep_probabilities,
            )
        parts = {
            name: ConditionScores.of(found, data, options.measuring)
            for name, found in scores.items()
        }
        summary = _summarise(info, data, numbers, parts, options)
        with folder_in_progress(out, mark=SUMMARY_FILE, overwrite=overwrite) as folder:
            run_keys = {
                "trained_on": _trained_on(info),
                "method": info.method,
                "seed": str(info.seed),
                "tested_on": data.info.card.name,
            }
            cases = [data.cases[number] for number in numbers]
            write_scores(make_scores(run_keys, parts, cases, data.info.card.classes), folder)
            if keep_probabilities:
                journal.move_probabilities(corruptions, folder / "probabilities")
            write_json(folder / SUMMARY_FILE, summary)
        journal.remove()
    return open_evaluation(out)


def _measure(
    predictor: Predictor,
    data: Store,
    numbers: Sequence[int],
    options: EvaluationOptions,
    journal: Journal,
    condition: str,
    corruption: Corruption | None,
    temperature: float | None,
    keep_probabilities: bool,
) -> list[CaseScores]:
    """Score the cases under one condition, except those in the journal, and note each there."""
    keep = journal.probabilities(condition) if keep_probabilities else None
    found = journal.found(condition)
    todo = [n for n in numbers if n not in found or (keep and not keep(n).is_file())]
    with Progress(len(numbers), condition, done=len(numbers) - len(todo)) as progress:
        for number, case in measure_cases(
            predictor,
            data,
            todo,
            options.measuring,
            corruption=corruption,
            seed=options.corruption_seed,
            # A temperature is judged on images as they are, on each test set.
            temperature=temperature if corruption is None else None,
            keep=keep,
        ):
            journal.add(condition, number, case)
            found[number] = case
            progress.update()
    return [found[number] for number in numbers]


def _together(infos: Sequence[ModelInfo]) -> ModelInfo:
    """Describe an ensemble as one model; raise HarmosegError where its members differ."""
    first, *others = infos
    if not others:
        return first
    for name in ("mode", "classes", "channels", "height", "width", "method"):
        found = list(dict.fromkeys(getattr(info, name) for info in infos))
        if len(found) > 1:
            raise HarmosegError(
                f"members of an ensemble differ in {name}: {found[0]} and {found[1]}; combine "
                "trainings of one method on one dataset"
            )
    keys = [str(info.trained.get("run")) for info in infos]
    seeds = [info.seed for info in infos]
    if len(set(keys)) < len(keys):
        raise HarmosegError(f"an ensemble has one run twice (seeds {seeds}); name each run once")
    trained = {
        **{name: value for name, value in first.trained.items() if name != "temperature"},
        "method": f"{first.method} (ensemble of {len(infos)})",
        "seed": 0,
        "run": " ".join(keys),
        "members": seeds,
    }
    return replace(first, trained=trained)


def check_fit(trained: ModelInfo | Experiment, store: Store) -> None:
    """Raise HarmosegError naming what differs where a model cannot be evaluated on a store."""
    info = store.info
    wanted = {
        "mode": (info.card.mode, trained.mode),
        "number of channels": (info.channels, trained.channels),
        "height": (info.height, trained.height),
        "width": (info.width, trained.width),
    }
    for name, (found, expected) in wanted.items():
        if found != expected:
            raise HarmosegError(
                f"{store.path}: {name} is {found}, the run was trained with {expected}; prepare "
                "the data again to match (--size, --channels, --label-values)"
            )
    if trained.mode == "multiclass" and trained.classes != info.card.classes:
        raise HarmosegError(
            f"{store.path}: classes are {', '.join(info.card.classes)}, the run was trained with "
            f"{', '.join(trained.classes)}; prepare the store with the same classes"
        )


def _trained_on(info: ModelInfo) -> str:
    return str(info.trained.get("store", info.card.name))


def _parse_conditions(texts: Sequence[str]) -> dict[str, Corruption | None]:
    """Name every condition canonically, the clean one first and each of them once."""
    corruptions = [parse_corruption(text) for text in texts if text != CLEAN]
    return {CLEAN: None} | {str(corruption): corruption for corruption in corruptions}


def _summarise(
    info: ModelInfo,
    data: Store,
    numbers: Sequence[int],
    parts: Mapping[str, ConditionScores],
    options: EvaluationOptions,
) -> dict[str, Any]:
    classes = data.info.card.classes
    clean = parts[CLEAN]
    subsets = [data.cases[number].subset for number in numbers]
    return {
        "schema": SCHEMA,
        "trained_on": _trained_on(info),
        "method": info.method,
        "seed": info.seed,
        "run_key": info.trained.get("run"),
        "store": data.info.card.name,
        "store_fingerprint": data.info.fingerprint,
        "cases": len(numbers),
        "classes": list(classes),
        **asdict(options),
        "trained_classes": list(info.classes),
        "unit": distance_unit(data),
        **summarise(clean, classes),
        "conditions": {
            name: summarise(part, classes) for name, part in parts.items() if name != CLEAN
        },
        "subsets": summarise_subsets(subsets, clean, classes),
    }
