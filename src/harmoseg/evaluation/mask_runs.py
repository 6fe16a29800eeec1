"""Which files belong to which training of which method, and which cases have a truth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harmoseg.errors import HarmosegError, listed
from harmoseg.evaluation.mask_files import ARRAYS, MASKS, NIFTI, find_masks, split_by_class
from harmoseg.scores.nnunet import find_validations
from harmoseg.scores.table import natural_order

Folders = Mapping[str, str | Path | Sequence[str | Path]]
Unmatched = Literal["error", "skip"]
_SEED_FOLDER = re.compile(r"(?:seed|run|rep|fold)[_-]?(\w+)", re.IGNORECASE)
_CHANNEL = "_0000"
"""nnU-Net's mark of the first channel of an image."""


@dataclass(frozen=True)
class Run:
    """One training of a method: its predicted masks and its probability maps, by case."""

    method: str
    seed: str
    source: Path
    files: Mapping[str, Any]
    maps: Mapping[str, Path] = field(default_factory=dict)


def find_runs(
    predictions: Folders | str | Path,
    truth: str | Path,
    probabilities: Folders | str | Path | None,
    classes: Sequence[str],
    per_class: bool,
) -> list[Run]:
    """Return every training with its files.

    A path alone is one method, or a results folder of nnU-Net. Raises HarmosegError for a method
    without a folder, for predictions that are the truth, and for probability maps of other methods
    or trainings than the masks.
    """
    if isinstance(predictions, str | Path):
        folder = Path(predictions)
        if found := find_validations(folder):
            return [
                Run(method, seed, folder, masks, maps)
                for (method, seed), (masks, maps) in _of_validations(found).items()
            ]
        predictions = {folder.resolve().name: folder}
        if isinstance(probabilities, str | Path):
            probabilities = {folder.resolve().name: probabilities}
    if not predictions:
        raise HarmosegError(
            "predictions: none given; expected a mapping from the name of every method to its "
            "folder, as {'unet': 'predictions/unet'}"
        )
    maps = {} if probabilities is None else _maps(probabilities, predictions, truth)
    runs = []
    for method, given in predictions.items():
        for seed, folder in _trainings(method, given, truth).items():
            files = of_cases(folder, f"predictions of {method}", classes, per_class)
            runs.append(Run(method, seed, folder, files, maps.pop((method, seed), {})))
    if maps:
        method, seed = next(iter(maps))
        seeds = [run.seed for run in runs if run.method == method]
        raise HarmosegError(
            f"probabilities of {method!r}, training {seed}, belong to no masks; expected "
            + (f"trainings {', '.join(seeds)}" if seeds else f"one of {', '.join(predictions)}")
        )
    for run in runs:
        if run.maps and (missing := natural_order(run.files.keys() - run.maps.keys())):
            raise HarmosegError(
                f"probabilities of {run.method}, training {run.seed}: none for {len(missing)} "
                f"cases: {listed(missing)}; a map has the name of its mask"
            )
    return runs


def of_cases(
    source: str | Path, what: str, classes: Sequence[str], per_class: bool
) -> dict[str, Any]:
    """Return the mask file of every case; the files by class where each holds one class."""
    files = find_masks(source, what)
    if not per_class:
        return dict(files)
    if not classes:
        raise HarmosegError("files of single classes need the names of the classes: classes=[...]")
    return dict(split_by_class(files, classes, source))


def find_images(source: str | Path, cases: Sequence[str]) -> dict[str, Path]:
    """Return the image of every case that has one; raise HarmosegError where none has."""
    files = find_masks(source, "images")
    found = {case: files.get(case) or files.get(case + _CHANNEL) for case in cases}
    images = {case: file for case, file in found.items() if file is not None}
    if not images:
        raise HarmosegError(
            f"images {source}: none is of a case: the cases are {listed(cases)}, the images "
            f"{listed(files)}; an image has the name of its mask"
        )
    return images


def match_cases(
    runs: Sequence[Run], truths: Mapping[str, Any], truth: str | Path, unmatched: Unmatched
) -> list[str]:
    """Return the cases that have a truth and a prediction; raise HarmosegError for others."""
    for run in runs:
        missing = natural_order(truths.keys() - run.files.keys())
        extra = natural_order(run.files.keys() - truths.keys())
        if len(missing) == len(truths):
            raise HarmosegError(
                f"no case in common: {truth} has {listed(truths)}, {run.source} has "
                f"{listed(run.files)}; a prediction has the name of its truth"
            )
        if unmatched == "error" and (missing or extra):
            parts = [
                f"{len(names)} {which}: {listed(names)}"
                for names, which in (
                    (missing, "cases of the truth have no prediction"),
                    (extra, "predictions have no truth"),
                )
                if names
            ]
            raise HarmosegError(
                f"{run.source}: {'; '.join(parts)}; complete them, or leave them out with "
                "unmatched='skip'"
            )
    return natural_order({case for run in runs for case in run.files if case in truths})


def _trainings(
    method: str, given: str | Path | Sequence[str | Path], truth: str | Path
) -> dict[str, Path]:
    """Return the folder of every training of a method, by seed."""
    folders = [given] if isinstance(given, str | Path) else list(given)
    if not folders:
        raise HarmosegError(f"method {method!r} has no folder; name one or more")
    named = {str(place): Path(folder) for place, folder in enumerate(folders)}
    if len(folders) == 1 and (seeds := _seed_folders(Path(folders[0]))):
        named = seeds
    for folder in named.values():
        _check_apart(folder, truth)
    return named


def _maps(
    probabilities: Folders | str | Path, methods: Iterable[str], truth: str | Path
) -> dict[tuple[str, str], dict[str, Path]]:
    """Return the probability maps of every training, by method and seed."""
    if isinstance(probabilities, str | Path):
        raise HarmosegError(
            f"probabilities {probabilities}: of which method? Name it: one of {', '.join(methods)}"
        )
    return {
        (method, seed): _find_maps(folder, f"probabilities of {method}")
        for method, given in probabilities.items()
        for seed, folder in _trainings(method, given, truth).items()
    }


def _find_maps(folder: Path, what: str) -> dict[str, Path]:
    """Return probability maps by case; arrays before NIfTI, which may be the masks beside them."""
    has_arrays = "*" in str(folder) or any(folder.rglob("*.np[yz]"))
    return find_masks(folder, what, ARRAYS if has_arrays else NIFTI)


def _of_validations(
    found: Sequence[tuple[str, str, Path]],
) -> dict[tuple[str, str], tuple[dict[str, Path], dict[str, Path]]]:
    """Join the folds of a cross-validation of nnU-Net: masks and maps by method and seed."""
    joined: dict[tuple[str, str], tuple[dict[str, Path], dict[str, Path]]] = {}
    for method, seed, folder in found:
        masks, maps = joined.setdefault((method, seed), ({}, {}))
        masks.update(find_masks(folder, f"predictions of {method}", MASKS))
        if any(folder.glob("*.npz")):
            maps.update(_find_maps(folder, f"probabilities of {method}"))
    # Of a method with maps for some folds alone, calibration would speak for some cases.
    return {
        key: (masks, maps if maps.keys() >= masks.keys() else {})
        for key, (masks, maps) in joined.items()
    }


def _seed_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of single trainings in a folder that holds nothing else."""
    if not folder.is_dir():
        return {}
    inner = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    found = {m[1]: path for path in inner if (m := _SEED_FOLDER.fullmatch(path.name))}
    return found if len(found) == len(inner) else {}


def _check_apart(folder: Path, truth: str | Path) -> None:
    ours, theirs = folder.resolve(), Path(truth).resolve()
    if ours == theirs:
        raise HarmosegError(
            f"{folder}: the predictions are the truth itself, which would score 100; name the "
            "folder of the predictions"
        )
    for inner, outer in ((ours, theirs), (theirs, ours)):
        if inner.is_relative_to(outer):
            raise HarmosegError(
                f"{inner} lies inside {outer}: truth and predictions would be mixed; move one of "
                "the two"
            )
