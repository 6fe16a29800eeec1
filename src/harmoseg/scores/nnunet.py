"""Scores of nnU-Net: ``summary.json`` of version 1 and 2, one file or a folder of results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.scores.foreign import clean_cases
from harmoseg.scores.sheets import read_bytes, read_json
from harmoseg.scores.table import natural_order

SUMMARY_FILE = "summary.json"
_V1 = {
    "Dice": "DSC",
    "Jaccard": "IoU",
    "Recall": "SE",
    "True Negative Rate": "SP",
    "Precision": "precision",
    "Accuracy": "ACC",
    "Hausdorff Distance 95": "HD95_mm",
    "Hausdorff Distance": "HD_mm",
    "Avg. Symmetric Surface Distance": "ASSD_mm",
}
_V2 = {"Dice": "DSC", "IoU": "IoU", "TP": "TP", "FP": "FP", "FN": "FN", "TN": "TN"}
_TRAINER = re.compile(r"(?P<trainer>[^/]+?)__(?P<plans>[^/]+?)(?:__(?P<rest>[^/]+))?")
_DATASET = re.compile(r"(Dataset|Task)\d{3}_.+")
_FOLD = re.compile(r"fold_(\d+|all)")
_CROSS = re.compile(r"crossval_results.*|cv_niftis.*")
_MASKS = (".gz", ".png", ".tif")
CV = "cv"
"""Seed of a cross-validation: every case is scored by the network of one fold."""


@dataclass(frozen=True)
class _Part:
    """One summary.json: where it belongs, and its rows."""

    file: Path
    dataset: str
    model: tuple[str, str, str]
    fold: str
    post: bool
    frame: pd.DataFrame

    @property
    def cases(self) -> set[str]:
        return set(self.frame["case"])


def is_summary(content: Any) -> bool:
    """Return whether the content of a JSON file is an nnU-Net summary with cases."""
    if not isinstance(content, dict):
        return False
    results = content.get("results")
    return "metric_per_case" in content or (isinstance(results, dict) and "all" in results)


def is_summary_of_means(content: Any) -> bool:
    """Return whether it is an nnU-Net summary that lost its cases."""
    return isinstance(content, dict) and bool({"foreground_mean", "mean"} & content.keys())


def read_summaries(files: Sequence[Path], remarks: list[str]) -> pd.DataFrame:
    """Return the scores of all summaries as one table; say in `remarks` what was decided.

    Trainers (with plans and configuration, where those differ) are methods. The folds of a
    cross-validation become one run, ``cv``; folds that scored the same cases are repeated
    trainings with seeds of their own. Raises HarmosegError naming the file that is no summary.
    """
    parts = _without_repeats([_read(file) for file in sorted(files)], remarks)
    names = _names([part.model for part in parts])
    # The cases of a test set are not those of the cross-validation beside it.
    with_test = {part.dataset for part in parts if not part.fold}
    by_run: dict[tuple[str, str, bool], list[_Part]] = {}
    for part in parts:
        is_apart = part.fold and part.dataset in with_test
        tested_on = f"{part.dataset} (cross-validation)" if is_apart else part.dataset
        by_run.setdefault((tested_on, names[part.model], part.post), []).append(part)
    frames = []
    for (tested_on, name, post), found in by_run.items():
        method = f"{name} (postprocessed)" if post and len(by_run) > 1 else name
        for extra, seed, part in _seeds(found, method, remarks):
            label = f"{method} ({extra})" if extra else method
            frames.append(part.frame.assign(tested_on=tested_on, method=label, seed=seed))
    frame = pd.concat(frames, ignore_index=True)
    if (frame["class"] == "0").any():
        frame = frame[frame["class"] != "0"]
        remarks.append("label 0, the background, is left out")
    frame["case"] = clean_cases(frame["case"])
    return frame.reset_index(drop=True)


def find_validations(folder: Path) -> list[tuple[str, str, Path]]:
    """Return method, seed and folder of the masks that nnU-Net predicted for every fold.

    `folder` is a results folder of nnU-Net; in any other, nothing is found. Methods and seeds are
    those of `read_summaries`.
    """
    parts = [
        replace(
            _place(found / SUMMARY_FILE),
            file=found,
            frame=pd.DataFrame({"case": [f.name for f in found.iterdir() if f.suffix in _MASKS]}),
        )
        for found in sorted(folder.rglob("fold_*/validation"))
    ]
    names = _names([part.model for part in parts])
    by_method: dict[str, list[_Part]] = {}
    for part in parts:
        by_method.setdefault(names[part.model], []).append(part)
    return [
        (f"{method} ({extra})" if extra else method, seed, part.file)
        for method, found in by_method.items()
        for extra, seed, part in _seeds(found, method, [])
    ]


def _read(file: Path) -> _Part:
    content = read_json(file, read_bytes(file))
    if not is_summary(content):
        keys = ", ".join(map(repr, list(content)[:6])) if isinstance(content, dict) else "a list"
        if is_summary_of_means(content):
            raise HarmosegError(
                f"{file}: a table of means: found {keys} and no metric_per_case; statistics need "
                "the scores of every case"
            )
        raise HarmosegError(
            f"{file}: no summary of an nnU-Net segmentation: found {keys}, expected "
            "metric_per_case (version 2) or results.all (version 1); a summary of detection has no "
            "scores of masks"
        )
    try:
        rows = list(_rows(content))
    except (KeyError, TypeError, AttributeError) as error:
        raise HarmosegError(f"{file}: a case has no {error}; expected nnU-Net's form") from error
    if not rows:
        raise HarmosegError(f"{file}: no case in it; nothing was scored")
    return replace(_place(file), frame=_with_names(pd.DataFrame(rows), file))


def _rows(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    is_v2 = "metric_per_case" in content
    names = _V2 if is_v2 else _V1
    for case in content["metric_per_case"] if is_v2 else content["results"]["all"]:
        path = case["prediction_file" if is_v2 else "test"]
        for label, values in (case["metrics"] if is_v2 else case).items():
            if isinstance(values, dict):
                known = {names[name]: value for name, value in values.items() if name in names}
                file = path.replace("\\", "/").rsplit("/", 1)[-1]
                yield {"case": file, "class": str(label), **known}


def _place(file: Path) -> _Part:
    """Read from the folders of a summary what was trained and tested."""
    parts = file.resolve().parent.parts
    found = next(filter(None, map(_TRAINER.fullmatch, reversed(parts))), None)
    dataset = next((p for p in reversed(parts) if _DATASET.fullmatch(p)), "")
    fold = next((p for p in reversed(parts) if p.startswith("fold_") or _CROSS.fullmatch(p)), "")
    post = "postprocess" in parts[-1]
    if found is None:
        model = (parts[-1], "", "")
    else:
        above = parts[parts.index(found[0]) - 1]
        rest = found["rest"] or (above if re.match(r"[23]d", above) else "")
        model = (found["trainer"], found["plans"], rest)
    return _Part(file, dataset, model, fold, post, pd.DataFrame())


def _with_names(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Name classes as the dataset.json beside the model does, where there is one."""
    for folder in list(file.resolve().parents)[:4]:
        if (card := folder / "dataset.json").is_file():
            labels = read_json(card, read_bytes(card)).get("labels", {})
            if all(isinstance(value, int) for value in labels.values()):
                names = {str(value): name for name, value in labels.items() if value != 0}
            else:  # version 1, or regions
                names = {k: v for k, v in labels.items() if isinstance(v, str) and k != "0"}
            return frame.replace({"class": names})
    return frame


def _without_repeats(parts: list[_Part], remarks: list[str]) -> list[_Part]:
    """Leave out the joined results of a cross-validation whose folds are there."""
    kept = []
    for part in parts:
        folds = [p for p in parts if p.model == part.model and _FOLD.fullmatch(p.fold)]
        joined = set().union(*(p.cases for p in folds if p.dataset == part.dataset))
        if _CROSS.fullmatch(part.fold) and joined >= part.cases:
            remarks.append(f"{part.fold} of {part.model[0]} repeats its folds and is left out")
        else:
            kept.append(part)
    return kept


def _names(models: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    """Name every model by its trainer, and by plans and configuration where those differ."""
    several = [len({model[i] for model in models}) > 1 for i in range(3)]
    return {
        model: "__".join(part for i, part in enumerate(model) if part and (i == 0 or several[i]))
        for model in models
    }


def _seeds(
    parts: Sequence[_Part], method: str, remarks: list[str]
) -> Iterator[tuple[str, str, _Part]]:
    """Return every part of a model with its seed, and a name where it is a further training."""
    folds = [part for part in parts if _FOLD.fullmatch(part.fold)]
    others = [part for part in parts if part not in folds]
    cases = [case for part in folds for case in part.cases]
    if len(cases) > len(set(cases)):
        remarks.append(
            f"{method}: {len(folds)} folds scored the same cases: they are repeated trainings"
        )
        for part in folds:
            yield "", part.fold.removeprefix("fold_"), part
    else:
        if folds:
            listed = ", ".join(natural_order(part.fold.removeprefix("fold_") for part in folds))
            which = f"fold {listed} is" if len(folds) == 1 else f"folds {listed} are"
            remarks.append(f"{method}: {which} one run, cv: each case was scored by one network")
        for part in folds:
            yield "", CV, part
    for part in others:
        seed = CV if part.fold else "0"
        yield (part.fold if folds or len(others) > 1 else ""), seed, part
