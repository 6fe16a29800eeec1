"""One pair of masks: options, checks, and everything that is measured of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.mask_calibration import calibrate_map
from harmoseg.evaluation.mask_files import MaskFile, read_mask, values_of
from harmoseg.evaluation.mask_runs import Run, Unmatched
from harmoseg.evaluation.measuring import DISTANCES, Measuring
from harmoseg.metrics import class_surface_distances, confusion_counts
from harmoseg.scores.table import BACKGROUND

_CLOSE_MM = 1e-3


@dataclass(frozen=True)
class ScoringOptions:
    """How masks are read and measured.

    Args:
        classes: Names of the foreground classes: of the labels 1, 2, ...; or a mapping from a name
            to its label, or to its colour as ``#rrggbb``. None takes the labels of the truth.
        per_class: Every file holds one class, which its folder or the end of its name says.
        spacing: Pitch along the axes of a mask in mm, or ``pixel``; None takes that of NIfTI
            files, and pixels for pictures.
        unmatched: Whether a case without truth or without prediction is an error, or left out.
        measuring: How distances are measured.
    """

    classes: Sequence[str] | Mapping[str, int | str] | None = None
    per_class: bool = False
    spacing: Sequence[float] | Literal["pixel"] | None = None
    unmatched: Unmatched = "error"
    measuring: Measuring = field(default_factory=Measuring)


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
) -> dict[str, Any]:
    """Measure every run on a case; the truth is read once. Everything returned is JSON."""
    truth = read_labels(truths[case], classes, how)
    spacing = spacing_of(truth, how)
    found: dict[str, Any] = {
        "white": [truth.white],
        "values": list(truth.values),
        "unit": "px" if spacing == "pixel" else "mm",
        "pixels": int(truth.labels.size),
        "truth": str(truth.path),
        "runs": {},
    }
    for place, run in enumerate(runs):
        if case not in run.files:
            continue
        pred = read_labels(run.files[case], classes, how)
        check_pair(pred, truth)
        found["white"].append(pred.white)
        result = _measure(pred, truth, classes, how)
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


def read_labels(files: Any, classes: Classes, how: ScoringOptions) -> MaskFile:
    """Read the mask of a case, put together from the files of its classes if there are several."""
    if not how.per_class:
        return read_mask(files, classes.colours)
    parts = {name: read_mask(file) for name, file in files.items()}
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
    return replace(first, labels=labels, values=values_of(labels), white=None)


def _measure(
    pred: MaskFile, truth: MaskFile, classes: Classes, how: ScoringOptions
) -> dict[str, Any]:
    values = sorted({0, *pred.values, *truth.values})
    allowed = {0, *classes.values}
    for mask in (pred, truth):
        if classes.values and (strange := set(mask.values) - allowed):
            raise HarmosegError(
                f"{mask.path}: label {min(strange)}, expected "
                f"{', '.join(map(str, sorted(allowed)))}; declare the classes of all labels"
            )
    ours, theirs = pred.labels, truth.labels
    if values != list(range(len(values))):
        table = np.zeros(values[-1] + 1, dtype=np.uint8 if len(values) < 256 else np.int32)
        table[values] = np.arange(len(values))
        ours, theirs = table[ours], table[theirs]
    counts = confusion_counts(ours, theirs, len(values))
    spacing: Any = spacing_of(truth, how)
    measuring = how.measuring
    milder = "nan" if measuring.on_empty == "transunet" else measuring.on_empty
    result = {"0": [counts[0].tolist(), [float("nan")] * len(DISTANCES)]}
    surfaces = class_surface_distances(ours, theirs, len(values), spacing=spacing)
    for place, surface in surfaces.items():
        distances = [
            surface.hausdorff(95, definition=measuring.definition, on_empty=measuring.on_empty),
            surface.hausdorff(100, definition=measuring.definition, on_empty=measuring.on_empty),
            surface.assd(on_empty=milder),
            surface.surface_dice(measuring.tolerance, on_empty=milder),
        ]
        result[str(values[place])] = [counts[place].tolist(), distances]
    return {"file": str(pred.path), "values": list(pred.values), "of": result}


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


def distances_when_both_empty(how: ScoringOptions) -> list[float]:
    """Return the distances of a class that neither truth nor prediction has."""
    if how.measuring.on_empty == "diagonal":
        return [0.0, 0.0, 0.0, 1.0]
    hausdorff = 0.0 if how.measuring.on_empty == "transunet" else float("nan")
    return [hausdorff, hausdorff, float("nan"), float("nan")]


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
    colours = []
    for name, value in given.items():
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(value)) or value == "#000000":
            raise HarmosegError(
                f"class {name!r} is {value!r}, expected a label above 0, or a colour as #rrggbb "
                "for all classes"
            )
        code = int(str(value)[1:], 16)
        colours.append((code >> 16, code >> 8 & 255, code & 255))
    return Classes(names, tuple(range(1, len(names) + 1)), tuple(colours))
