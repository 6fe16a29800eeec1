"""Folders of masks measured: every pair of masks, and the table of all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from harmoseg.colours import colour_codes
from harmoseg.errors import HarmosegError
from harmoseg.evaluation.case_scores import (
    BOTH_EMPTY,
    DISTANCES,
    OVERLAP,
    Measuring,
    bin_table,
    calibration_measures,
)
from harmoseg.evaluation.mask_files import (
    AS_STORED,
    FileValues,
    MaskFile,
    Reading,
    as_places,
    calibrate_map,
    read_mask,
    values_of,
)
from harmoseg.evaluation.mask_runs import Run, Unmatched
from harmoseg.evaluation.mask_values import check_labels, settle_reading
from harmoseg.metrics import (
    CalibrationBins,
    class_surface_distances,
    confusion_counts,
    overlap_metric,
)
from harmoseg.scores.files import Lookup, find_suspicions, look_up
from harmoseg.scores.table import BACKGROUND, COUNTS, Scores

_CLOSE_MM = 1e-3
_CONTRADICTED = 0.01
"""Share of pixels: postprocessing changes less, another orientation or another model more."""


@dataclass(frozen=True)
class ScoringOptions:
    """Options of reading and measuring masks.

    Args:
        classes: Names of the foreground classes: of the labels 1, 2, ...; or a mapping from a name
            to its label, or to its colour as ``#rrggbb``. None takes the labels of the truth.
        per_class: Every file holds one class, which its folder or the end of its name says.
        spacing: Pitch along the axes of a mask in mm, or ``pixel``; None takes that of NIfTI
            files, and pixels for pictures.
        unmatched: Whether a case without truth or without prediction is an error, or left out.
        measuring: Options of distances and calibration.
    """

    classes: Sequence[str] | Mapping[str, int | str] | None = None
    per_class: bool = False
    spacing: Sequence[float] | Literal["pixel"] | None = None
    unmatched: Unmatched = "error"
    measuring: Measuring = field(default_factory=Measuring)

    def __post_init__(self) -> None:
        """Raise HarmosegError for a word that is none of `unmatched`."""
        if self.unmatched not in get_args(Unmatched):
            raise HarmosegError(
                f"unmatched is {self.unmatched!r}, expected one of {', '.join(get_args(Unmatched))}"
            )


@dataclass(frozen=True)
class Classes:
    """Names of the foreground classes with their labels, and with their colours in pictures."""

    names: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    colours: tuple[tuple[int, int, int], ...] = ()


def score_case(
    case: str,
    runs: Sequence[Run],
    truths: Mapping[str, Any],
    classes: Classes,
    how: ScoringOptions,
    reading: Reading = AS_STORED,
) -> dict[str, Any]:
    """Measure every run on a case; the truth is read once. Everything returned is JSON."""
    truth = read_labels(truths[case], classes, how, reading)
    spacing = spacing_of(truth, how)
    found: dict[str, Any] = {
        "unit": "px" if spacing == "pixel" else "mm",
        "pixels": int(truth.labels.size),
        "runs": {},
    }
    for place, run in enumerate(runs):
        if case not in run.files:
            continue
        pred = read_labels(run.files[case], classes, how, reading)
        check_pair(pred, truth)
        result = _measure(pred, truth, how)
        if case in run.maps:
            bins, apart = calibrate_map(
                run.maps[case],
                truth,
                pred.labels,
                classes.values,
                how.measuring.calibration_band,
                spacing,
            )
            result |= {"bins": bins.to_lists(), "apart": apart}
        found["runs"][str(place)] = result
    return found


def read_labels(
    files: Any, classes: Classes, how: ScoringOptions, reading: Reading = AS_STORED
) -> MaskFile:
    """Read the mask of a case, put together from the files of its classes if there are several."""
    if not how.per_class:
        return read_mask(files, classes.colours, reading)
    parts = {name: read_mask(file, (), reading) for name, file in files.items()}
    first = next(iter(parts.values()))
    labels = np.zeros(first.labels.shape, dtype=np.uint8)
    for label, name in enumerate(classes.names, start=1):
        if (part := parts.get(name)) is None:
            continue
        check_pair(part, first)
        marked = part.labels > 0
        if (labels[marked] > 0).any():
            raise HarmosegError(
                f"{part.path}: overlaps another class of the same case; score such classes in "
                "calls of their own"
            )
        labels[marked] = label
    return replace(first, labels=labels, values=values_of(labels))


def _measure(pred: MaskFile, truth: MaskFile, how: ScoringOptions) -> dict[str, Any]:
    values = sorted({0, *pred.values, *truth.values})
    ours, theirs = (as_places(mask.labels, values[1:]) for mask in (pred, truth))
    counts = confusion_counts(ours, theirs, len(values))
    result = {"0": [counts[0].tolist(), [float("nan")] * len(DISTANCES)]}
    surfaces = class_surface_distances(ours, theirs, len(values), spacing=spacing_of(truth, how))
    for place, surface in surfaces.items():
        distances = how.measuring.distances_of(surface)
        result[str(values[place])] = [counts[place].tolist(), distances]
    return {"of": result}


def check_pair(pred: MaskFile, truth: MaskFile) -> None:
    """Raise HarmosegError where two masks do not cover the same voxels."""
    if pred.labels.shape != truth.labels.shape:
        shapes = [" x ".join(map(str, mask.labels.shape)) for mask in (pred, truth)]
        raise HarmosegError(
            f"sizes differ: {pred.path} is {shapes[0]}, {truth.path} is {shapes[1]}; both must "
            "cover the same pixels"
        )
    if pred.affine is not None and truth.affine is not None:
        gap = np.abs(pred.affine - truth.affine)
        # Where a voxel at the far end would lie, in mm.
        far = gap[:3, :3] @ np.array(truth.labels.shape[::-1]) + gap[:3, 3]
        if far.max() > _CLOSE_MM * max(truth.spacing or (1.0,)) * 10:
            raise HarmosegError(
                f"affines differ: {pred.path} and {truth.path} place a voxel up to {far.max():.3g} "
                "mm apart; resample the prediction to the grid of the truth"
            )


def spacing_of(mask: MaskFile, how: ScoringOptions) -> Any:
    """Return the pitch along the axes of a mask in mm, or ``pixel``."""
    if how.spacing is None:
        return mask.spacing or "pixel"
    if how.spacing != "pixel" and len(how.spacing) != mask.labels.ndim:
        raise HarmosegError(
            f"{mask.path}: spacing {tuple(how.spacing)} has {len(how.spacing)} numbers, the mask "
            f"has {mask.labels.ndim} axes"
        )
    return how.spacing


def parse_classes(given: Sequence[str] | Mapping[str, int | str] | None) -> Classes:
    """Return the classes that a user names, with their labels or colours."""
    if given is None:
        return Classes()
    if not isinstance(given, Mapping):
        given = {name: label for label, name in enumerate(given, start=1)}
    names = tuple(given)
    if BACKGROUND in names or len(set(names)) < len(names) or not names:
        raise HarmosegError(f"classes {', '.join(names)}; expected distinct foreground classes")
    if all(isinstance(value, int) and value > 0 for value in given.values()):
        return Classes(names, tuple(int(value) for value in given.values()))
    for name, value in given.items():
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(value)) or value == "#000000":
            raise HarmosegError(
                f"class {name!r} is {value!r}, expected a label above 0, or a colour as #rrggbb "
                "for all classes"
            )
    codes = colour_codes([str(value) for value in given.values()])
    colours = tuple((int(red), int(green), int(blue)) for red, green, blue in codes)
    return Classes(names, tuple(range(1, len(names) + 1)), colours)


def make_scores(
    measured: Mapping[str, Mapping[str, Any]],
    runs: Sequence[Run],
    names: Mapping[int, str],
    how: ScoringOptions,
    *,
    groups: Lookup | None = None,
    subsets: Lookup | None = None,
    tested_on: str = "",
) -> Scores:
    """Return the table of scores of every case; `names` are the classes by label.

    Raises HarmosegError where masks have different units, and for cases without a group or subset.
    """
    units = {found["unit"] for found in measured.values()}
    if len(units) > 1:
        raise HarmosegError("some masks have a spacing in mm and others none; give spacing")
    keys: list[dict[str, str]] = []
    values: list[dict[str, float]] = []
    bins: list[pd.DataFrame] = []
    apart: dict[str, float] = {}
    distance_names = how.measuring.distance_names(units.pop())
    for case, found in measured.items():
        absent = [[0, 0, 0, found["pixels"]], how.measuring.distances_of(BOTH_EMPTY)]
        for place, run in enumerate(runs):
            if (result := found["runs"].get(str(place))) is None:
                continue
            named = {"method": run.method, "seed": run.seed, "case": case, "tested_on": tested_on}
            of_case: dict[str, float] = {}
            if "bins" in result:
                filled = CalibrationBins.from_lists(result["bins"])
                of_case = calibration_measures(filled)
                bins.append(bin_table(named, filled))
                told = f"{run.method}, training {run.seed}"
                apart[told] = max(apart.get(told, 0.0), result["apart"])
            for value, name in ((0, BACKGROUND), *names.items()):
                counts, distances = result["of"].get(str(value), absent)
                keys.append({**named, "class": name})
                values.append(
                    dict(zip((*COUNTS, *distance_names), (*counts, *distances), strict=True))
                    | of_case
                )
    named_rows, measured_rows = pd.DataFrame(keys), pd.DataFrame(values)
    foreground = (named_rows["class"] != BACKGROUND).to_numpy()
    of_counts = measured_rows[list(COUNTS)].to_numpy()
    overlap = {
        metric: np.where(foreground, overlap_metric(metric, of_counts), np.nan)
        for metric in OVERLAP
    }
    frame = pd.concat([named_rows, pd.DataFrame(overlap), measured_rows], axis=1)
    remarks = [
        f"{told}: the probability map of some case decides otherwise than its mask on "
        f"{100 * share:.1f} % of the pixels; calibration is that of the map"
        for told, share in apart.items()
        if share > _CONTRADICTED
    ]
    for name, given in (("group", groups), ("subset", subsets)):
        if given is not None:
            frame[name] = look_up(given, frame["case"], name)
        elif name == "group":
            remarks.append("no patients are named, so every case counts as a patient")
    of_bins = pd.concat(bins, ignore_index=True) if bins else None
    scores = Scores.of(frame, source="the scored masks", bins=of_bins, remarks=remarks)
    return replace(scores, remarks=(*remarks, *find_suspicions(scores)))


def settle(
    found: Mapping[Path, FileValues],
    cases: Sequence[str],
    runs: Sequence[Run],
    truths: Mapping[str, Any],
    source: str | Path,
    classes: Classes,
    how: ScoringOptions,
) -> tuple[Reading, dict[int, str]]:
    """Decide how all files are read, before any is measured; return the name of every label.

    `found` are the values of every file, `source` is the folder of the truth. Raises HarmosegError
    naming the file for labels that no truth has, or that the user did not name.
    """
    true = [found[file] for case in cases for file in files_of(truths[case])]
    of_runs = {
        f"{run.method} {run.seed}": [
            found[file] for case in cases for file in files_of(run.files.get(case))
        ]
        for run in runs
    }
    values = () if how.per_class or classes.colours else classes.values
    reading = AS_STORED
    if not classes.colours:
        reading = settle_reading(true, of_runs, str(source), values)
    if how.per_class:
        # Each file is of one class, and all that is not black belongs to it.
        reading = Reading(None, reading.shades)
    else:
        every = [file for files in of_runs.values() for file in files]
        known = check_labels(true, every, reading, classes.values)
        if not classes.values:
            names = {value: str(value) for value in sorted(known)}
            return reading, {1: "foreground"} if known <= {1} else names
    return reading, dict(zip(classes.values, classes.names, strict=True))


def files_of(found: Any) -> list[Path]:
    """Return the files of a case: none, one, or one of every class."""
    if found is None:
        return []
    return list(found.values()) if isinstance(found, Mapping) else [found]
