"""What other people call the columns of a table of scores."""

from __future__ import annotations

import re
from typing import Any

from harmoseg.metrics.measures import Measure, known_measure

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
    """Find a measure among the words of a name; return it and what else the name says."""
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
