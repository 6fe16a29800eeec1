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
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.case_scores import CALIBRATION, CaseScores, Measuring
from harmoseg.evaluation.journal import Journal, unfinished
from harmoseg.evaluation.measuring import distance_unit, measure_cases
from harmoseg.evaluation.tables import ConditionScores, make_scores, summarise
from harmoseg.files import (
    check_replaceable,
    check_schema,
    folder_in_progress,
    make_folder,
    read_json,
    sha256_of,
    write_json,
)
from harmoseg.inference.options import WEIGHTS_FILE, resolve_precision
from harmoseg.inference.predictor import Predictor, choose_device
from harmoseg.inference.saved_model import ModelInfo
from harmoseg.progress import Progress
from harmoseg.scores.files import read_written_scores, write_scores
from harmoseg.scores.sheets import read_table
from harmoseg.scores.table import BACKGROUND, CLEAN, COUNTS, Scores
from harmoseg.store.corruptions import Corruption, parse_corruption
from harmoseg.store.layout import Case, Split
from harmoseg.store.reading import Store, open_store
from harmoseg.training.experiment import Experiment
from harmoseg.training.run import open_run

SCHEMA = 4
SUMMARY_FILE = "summary.json"
PROBABILITIES = "probabilities"
_BEFORE = 3
"""Schema of harmoseg 0.1.0: several tables without groups, which are read as they are."""
_AGAIN = "evaluate again"


@dataclass(frozen=True)
class Evaluation:
    """Content of an evaluation folder: `scores` of one run on one test set, and `summary`."""

    folder: Path
    scores: Scores
    summary: dict[str, Any]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Return the conditions that were scored, ``clean`` first."""
        return (CLEAN, *self.summary["conditions"])


def open_evaluation(path: Path, *, groups: Mapping[str, str] | None = None) -> Evaluation:
    """Read an evaluation folder.

    `groups` names the patient of every case, which evaluations of harmoseg 0.1.0 do not hold;
    without it every case of theirs counts as a patient. Raises HarmosegError where the folder is
    missing or damaged.
    """
    file = path / SUMMARY_FILE
    summary = read_json(file, what="the summary of an evaluation")
    before = summary.get("schema") == _BEFORE
    if not before:
        check_schema(summary.get("schema"), SCHEMA, file, cure=_AGAIN)
    try:
        tables = (1 + len(summary["conditions"])) * int(summary["cases"])
        expected = tables * len(summary["classes"])
        scores = _read_before(path, summary, groups) if before else read_written_scores(path)
    except (KeyError, TypeError, ValueError) as error:
        raise HarmosegError(f"{file}: damaged, {error} is missing or wrong; {_AGAIN}") from error
    if len(scores) != expected:
        raise HarmosegError(
            f"{path}: {len(scores)} rows of scores do not fit {SUMMARY_FILE}, which expects "
            f"{expected}; {_AGAIN}"
        )
    if scores.rings is None or scores.bins is None:
        missing = "ring sums" if scores.rings is None else "calibration bins"
        raise HarmosegError(f"{path}: the table of {missing} is missing; {_AGAIN}")
    return Evaluation(path, scores, summary)


def _read_before(
    path: Path, summary: Mapping[str, Any], groups: Mapping[str, str] | None
) -> Scores:
    """Read the tables of harmoseg 0.1.0: cases, their calibration, ring sums and pooled bins."""
    keys = {
        "method": summary["method"],
        "seed": str(summary["seed"]),
        "tested_on": summary["store"],
    }
    cases = read_table(path / "cases.csv").rename(columns={name.lower(): name for name in COUNTS})
    calibration = read_table(path / "calibration.csv")[["condition", "case", *CALIBRATION]]
    frame = cases.merge(calibration, on=["condition", "case"], how="left")
    background = frame["class"] == summary["classes"][0]
    frame.loc[background, "class"] = BACKGROUND
    if groups is not None:
        frame["group"] = [groups.get(case, case) for case in frame["case"]]
    bins = read_table(path / "bins.csv")
    bins["confidence_sum"] = bins.pop("confidence").fillna(0) * bins["count"]
    bins["right_sum"] = bins.pop("frequency").fillna(0) * bins["count"]
    rings = read_table(path / "rings.csv").drop(columns="correlation")
    remarks = [] if groups is not None else [f"{path}: no patients, so every case counts as one"]
    return Scores.of(
        frame.assign(**keys),
        source=str(path),
        rings=rings.assign(**keys),
        bins=bins.assign(**keys),
        remarks=remarks,
    )


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation.

    Args:
        split: Which split is scored.
        corruption_seed: What, with the case, draws the corruptions.
        flips: Average over the image and its mirror images (test-time augmentation).
        measuring: Options of distances and calibration.
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
    and under every corruption that `conditions` names. Interrupted and called again, it continues
    with the first case that was not measured.

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
    device = choose_device()
    predictor = Predictor(
        [model.network for model in models],
        info.mode,
        device,
        bf16=resolve_precision(info.trained.get("precision", "auto"), device) == "bf16",
        flips=options.flips,
    )
    with unfinished(out, determined_by) as journal:
        # A colon in a file's name is not allowed everywhere.
        kept = {
            name: journal.path.parent / PROBABILITIES / name.replace(":", "-")
            for name in corruptions
        }
        scores = {
            name: _measure(
                predictor,
                data,
                numbers,
                options,
                journal,
                name,
                corruption,
                # A temperature is judged on images as they are, on each test set.
                info.trained.get("temperature") if corruption is None else None,
                kept[name] if keep_probabilities else None,
            )
            for name, corruption in corruptions.items()
        }
        parts = {
            name: ConditionScores.of(found, data, options.measuring)
            for name, found in scores.items()
        }
        cases = [data.cases[number] for number in numbers]
        run_keys = {
            "trained_on": _trained_on(info),
            "method": info.method,
            "seed": str(info.seed),
            "tested_on": data.info.card.name,
        }
        with folder_in_progress(out, mark=SUMMARY_FILE, overwrite=overwrite) as folder:
            write_scores(make_scores(run_keys, parts, cases, data.info.card.classes), folder)
            if keep_probabilities:
                make_folder(folder / PROBABILITIES)
                for probabilities in kept.values():
                    probabilities.rename(folder / PROBABILITIES / probabilities.name)
            write_json(folder / SUMMARY_FILE, _summarise(info, data, cases, parts, options))
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
    keep: Path | None,
) -> list[CaseScores]:
    """Score the cases under one condition, except those in the journal, and note each there.

    `keep` is the folder of their probabilities.
    """
    keys = {number: f"{condition} {number}" for number in numbers}
    files = {number: keep / f"{number:06d}.npy" for number in numbers} if keep else {}
    found: dict[int, CaseScores] = {}
    for number in numbers:
        if keys[number] in journal.found and (not keep or files[number].is_file()):
            # Damaged: measuring again costs minutes, a wrong score costs more.
            with suppress(ValueError, KeyError, TypeError, HarmosegError):
                found[number] = CaseScores.from_json(journal.found[keys[number]])
    todo = [number for number in numbers if number not in found]
    with Progress(len(numbers), condition, done=len(found)) as progress:
        for number, case in measure_cases(
            predictor,
            data,
            todo,
            options.measuring,
            corruption=corruption,
            seed=options.corruption_seed,
            temperature=temperature,
            keep=files.__getitem__ if keep else None,
        ):
            journal.add(keys[number], case.to_json())
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
    cases: Sequence[Case],
    parts: Mapping[str, ConditionScores],
    options: EvaluationOptions,
) -> dict[str, Any]:
    classes = data.info.card.classes
    summaries = {name: summarise(part, classes) for name, part in parts.items()}
    named = [case.subset for case in cases]
    # One subset would repeat the whole.
    subsets = sorted({name for name in named if name}) if len({*named} - {""}) > 1 else []
    clean = parts[CLEAN].cases
    return {
        "schema": SCHEMA,
        "trained_on": _trained_on(info),
        "method": info.method,
        "seed": info.seed,
        "run_key": info.trained.get("run"),
        "store": data.info.card.name,
        "store_fingerprint": data.info.fingerprint,
        "cases": len(cases),
        "classes": list(classes),
        **asdict(options),
        "trained_classes": list(info.classes),
        "unit": distance_unit(data),
        **summaries.pop(CLEAN),
        "conditions": summaries,
        "subsets": {
            name: summarise(
                ConditionScores.of(
                    [case for case, subset in zip(clean, named, strict=True) if subset == name],
                    data,
                    options.measuring,
                ),
                classes,
            )
            for name in subsets
        },
    }
