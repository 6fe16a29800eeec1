"""Names that other people use for columns, files and folders of scores."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.metrics.measures import Measure, known_measure
from harmoseg.scores.table import IDENTITY, KEYS, Scores

ROLES: dict[str, tuple[str, ...]] = {
    "trained_on": ("trained_on", "training_set"),
    "method": (
        *("method", "methods", "algorithm", "algorithms", "alg_name", "alg", "algo", "model"),
        *("network", "trainer", "team", "approach", "architecture"),
    ),
    "seed": ("seed", "run", "rep", "repeat", "repetition", "trial"),
    "fold": ("fold", "split_fold", "cv_fold"),
    "tested_on": ("tested_on", "task", "dataset", "test_set", "testset", "cohort"),
    "condition": ("condition", "corruption"),
    "case": (
        *("case", "case_id", "caseid", "case_name", "filename", "file_name", "file", "image"),
        *("image_id", "img", "scan", "scan_id", "volume", "study_id", "sample", "name", "id"),
        *("prediction_file", "pt_id", "patient", "patient_id", "subject", "subject_id"),
    ),
    "group": ("group", "patient", "patient_id", "pt_id", "subject", "subject_id"),
    "subset": ("subset", "center", "centre", "site", "hospital", "scanner", "institution"),
    "class": (
        *("class", "classes", "label", "structure", "anatomy", "organ", "roi", "region"),
        *("class_name", "tissue"),
    ),
    "measure": ("measure", "metric", "metric_name", "score_name"),
    "value": ("value", "values", "score", "result", "metric", "metric_value"),
}
"""Role of a column and its names, the likeliest first. A fold is no seed: see `read_scores`."""
FROM_FILE = "(file)"
"""Method of a table that names none, until its folder or file does."""
_SEED = re.compile(r"(?:seed|rep|run|repeat|trial)[_-]?(\d+)(?!\d)", re.IGNORECASE)
_DATASET = re.compile(r"(?:Task|Dataset)\d{3}_.+")
COUNT_NAMES = {"tp": "TP", "fp": "FP", "fn": "FN", "tn": "TN"}
CLASS_COLUMN = re.compile(r"(class|label)[ _-]?\d+|\d+", re.IGNORECASE)
"""Columns that MONAI and Auto3DSeg write, one per class."""

_SHARES = {
    "DSC": ("dice", "dsc", "dicescore", "dicecoefficient", "meandice", "dicesimilarity"
            "coefficient", "f1", "f1score", "dicemetric", "valdice"),
    "IoU": ("iou", "jaccard", "jaccardindex", "meaniou", "jac"),
    "SE": ("se", "sensitivity", "recall", "tpr", "truepositiverate"),
    "SP": ("sp", "specificity", "tnr", "truenegativerate"),
    "precision": ("precision", "ppv", "positivepredictivevalue"),
    "ACC": ("acc", "accuracy", "pixelaccuracy"),
}  # fmt: skip
_DISTANCES = {
    "HD95": ("hd95", "95hd", "hausdorff95", "hausdorffdistance95", "hd95percentile"),
    "HD": ("hd", "hd100", "hausdorff", "hauss", "hausdorffdistance"),
    "ASSD": ("assd", "asd", "averagesymmetricsurfacedistance", "avgsymmetricsurfacedistance"),
}
_SURFACE_DICE = ("nsd", "surfacedice", "normalizedsurfacedice", "normalisedsurfacedice")
_CALIBRATION = re.compile(r"(?:macro|micro)?(ece|ace|mce)")
_SAME = {alias: name for name, aliases in _SHARES.items() for alias in aliases}
_SAME_DISTANCE = {alias: name for name, aliases in _DISTANCES.items() for alias in aliases}
_NO_MEASURE = frozenset((
    *("loss", "error", "err", "inverse", "inverted", "inv", "minus", "complement", "negative"),
    *("neg", "rank", "delta", "diff", "difference", "change", "gain", "pvalue"),
))  # fmt: skip
"""Words that turn a measure into another number: a Dice loss falls where Dice rises."""
_MINUS = re.compile(r"(?:^|[\s(])(?:1|100|one)(?:\.0)?\s*[-\u2212\u2013]\s*", re.IGNORECASE)
_UNIT = re.compile(r"[ _\-(\[]*(mm|px|pixels?|voxels?)[)\]]?$", re.IGNORECASE)


def plain(name: Any) -> str:
    """Return a name in lower case with single underscores between its words."""
    return re.sub(r"[^0-9a-z]+", "_", str(name).lower()).strip("_")


def role_of(name: str) -> str | None:
    """Return the role that a column's name has first of all; None for no role."""
    word = plain(name)
    return next((role for role, names in ROLES.items() if word in names), None)


def foreign_measure(name: str) -> Measure | None:
    """Return the measure that a name of somebody else means; None where it is not known.

    A share becomes harmoseg's measure; a distance whose unit the name does not state, and a surface
    Dice without its tolerance, become measures without it.
    """
    if known := known_measure(name):
        return known
    found = _UNIT.search(name)
    unit = "" if found is None else "mm" if found[1].lower() == "mm" else "px"
    word = plain(name[: found.start()] if found else name).replace("_", "")
    if word in _SAME:
        return known_measure(_SAME[word])
    if word in _SAME_DISTANCE:
        column = _SAME_DISTANCE[word]
        if unit:
            return known_measure(f"{column}_{unit}")
        return Measure(
            column, column, column, "", direction="lower", low=0.0, needs_both=True,
            definition="its unit is not stated",
        )  # fmt: skip
    if word in _SURFACE_DICE:
        return Measure(
            "NSD", "NSD", "NSD", "points", 100.0, low=0.0, high=1.0, needs_both=True,
            definition="its tolerance is not stated",
        )  # fmt: skip
    if calibration := _CALIBRATION.fullmatch(word):
        title = plain(name)
        return Measure(
            title, title, calibration[1].upper(), "points", 100.0, "lower", 0.0, 1.0,
            definition="calibration error of a class, as the file has it",
        )  # fmt: skip
    return None


def measure_in(text: str) -> tuple[Measure, str] | None:
    """Find a measure among the words of a name; return it and what else the name says.

    A name such as ``dice_loss`` or ``1-Dice`` holds no measure: see `is_derived`.
    """
    return None if is_derived(text) else _first_measure(text)


def is_derived(name: str) -> bool:
    """Return whether a name holds a measure and a word that makes another number of it."""
    found = _first_measure(name)
    if found is None or not found[1]:
        return False
    measure, rest = found
    words = set(plain(rest).split("_"))
    # "Hausdorff distance" is the measure; a Dice distance is 1 - Dice.
    is_distance = measure.is_share and "distance" in words
    return bool(words & _NO_MEASURE) or is_distance or bool(_MINUS.search(name))


def _first_measure(text: str) -> tuple[Measure, str] | None:
    if whole := foreign_measure(text):
        return whole, ""
    words = [word for word in re.split(r"[^0-9A-Za-z]+", text) if word]
    for length in (3, 2, 1):
        for start in range(len(words) - length + 1):
            if found := foreign_measure("_".join(words[start : start + length])):
                rest = re.sub(
                    r"^[\W_]+|[\W_]+$", "",
                    re.sub(r"[\W_]*".join(words[start : start + length]), "", text, count=1),
                )  # fmt: skip
                return found, rest
    return None


def join_files(folder: Path, tables: Mapping[Path, Scores], remarks: Sequence[str]) -> Scores:
    """Join the tables of a folder.

    Folders and files that differ name the method, ``seed_1`` or ``rep1`` in them the seed, and
    ``Task001_...`` the test set. Files of one method with different measures are laid side by side.
    Raises HarmosegError where two files hold the same scores.
    """
    labels = {file: _parts(folder, file) for file in tables}
    seeds = _seeds(labels)
    names = _methods(labels, folder)
    joined: dict[tuple[str, str, str], list[Scores]] = {}
    for file, scores in tables.items():
        frame = scores.frame.astype(dict.fromkeys(KEYS, object))
        if set(frame["method"]) == {FROM_FILE}:
            frame["method"] = names[file]
        if set(frame["seed"]) == {"0"}:
            frame["seed"] = seeds[file]
        dataset = next((part for part in labels[file] if _DATASET.fullmatch(part)), "")
        if dataset and set(frame["tested_on"]) == {""}:
            frame["tested_on"] = dataset
        key = ("|".join(sorted(set(frame["method"]))), seeds[file], dataset)
        joined.setdefault(key, []).append(replace(scores, frame=frame))
    parts = [reduce(_beside, found) for found in joined.values()]
    whole = Scores.concat(parts)
    return replace(whole, remarks=tuple(dict.fromkeys([*whole.remarks, *remarks])))


def _beside(left: Scores, right: Scores) -> Scores:
    """Lay two tables of one method side by side: a row has the measures of both."""
    if set(left.measures) & set(right.measures):
        return Scores.concat([left, right])
    keys = list(IDENTITY)
    if left.frame["class"].eq("").all() != right.frame["class"].eq("").all():
        raise HarmosegError("one table of the folder has classes and another has none; read one")
    values = [name for name in right.frame.columns if name not in KEYS]
    frame = pd.merge(
        left.frame.astype(dict.fromkeys(keys, object)),
        right.frame[[*keys, *values]].astype(dict.fromkeys(keys, object)),
        on=keys,
        how="outer",
    )
    for name in ("group", "subset"):
        frame[name] = frame[name].fillna("")
    remarks = (*left.remarks, *right.remarks)
    return Scores.of(frame, {**left.measures, **right.measures}, remarks=remarks)


def _parts(folder: Path, file: Path) -> tuple[str, ...]:
    """Return the folders of a file and its name without the measure."""
    *above, name = file.relative_to(folder).parts
    stem = name.removesuffix(".gz").rsplit(".", 1)[0]
    found = measure_in(re.sub(r"[_-]raw$", "", stem))
    return (*above, stem if found is None else found[1])


def _seeds(labels: Mapping[Path, Sequence[str]]) -> dict[Path, str]:
    """Return the seed that every file names; 0 where the files do not differ in it."""
    found = {file: _SEED.findall("/".join(parts)) for file, parts in labels.items()}
    length = min((len(seeds) for seeds in found.values()), default=0)
    varying = [i for i in range(length) if len({seeds[i] for seeds in found.values()}) > 1]
    return {file: "-".join(seeds[i] for i in varying) or "0" for file, seeds in found.items()}


def _methods(labels: Mapping[Path, tuple[str, ...]], folder: Path) -> dict[Path, str]:
    """Return the method of every file: what differs, without seed and test set."""
    bare = {
        file: [
            "" if _DATASET.fullmatch(part) else _SEED.sub("", part).strip("_- ") for part in parts
        ]
        for file, parts in labels.items()
    }
    depth = max(len(parts) for parts in bare.values())
    padded = {file: [*parts, *[""] * (depth - len(parts))] for file, parts in bare.items()}
    varying = [i for i in range(depth) if len({parts[i] for parts in padded.values()}) > 1]
    return {
        file: "/".join(parts[i] for i in varying if parts[i]) or folder.resolve().name
        for file, parts in padded.items()
    }
