"""`score`: folders of predicted masks against a folder of truth, as a table of scores."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.datasets.sources import in_parallel
from harmoseg.errors import HarmosegError
from harmoseg.evaluation.mask_files import find_masks, split_by_class
from harmoseg.evaluation.mask_pairs import (
    Classes,
    Run,
    ScoringOptions,
    distances_when_both_empty,
    parse_classes,
    score_case,
)
from harmoseg.evaluation.measuring import distance_names
from harmoseg.files import make_folder
from harmoseg.metrics import overlap_metric
from harmoseg.scores.files import SCORES_FILE, read_table, write_scores
from harmoseg.scores.suspicions import find_suspicions
from harmoseg.scores.table import BACKGROUND, Scores, natural_order

Folders = Mapping[str, str | Path | Sequence[str | Path]]
_LOG = logging.getLogger(__name__)
_METRICS = ("DSC", "IoU", "SE", "SP", "ACC", "precision")
_SEED_FOLDER = re.compile(r"(?:seed|run|rep|fold)[_-]?(\w+)", re.IGNORECASE)
_JOURNAL = ".scored.jsonl"
_FEW = 4


def score(
    predictions: Folders | str | Path,
    truth: str | Path,
    *,
    options: ScoringOptions | None = None,
    groups: Mapping[str, str] | str | Path | None = None,
    subsets: Mapping[str, str] | str | Path | None = None,
    tested_on: str = "",
    out: str | Path | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Scores:
    """Score folders of predicted masks against a folder of truth.

    Args:
        predictions: Folder of every method, or several folders, one per training; a folder whose
            folders are called ``seed0``, ``seed1`` holds one training in each. A path alone is one
            method. In place of a folder a pattern with one ``*`` names files: ``data/*_2nd.png``.
        truth: Folder, or pattern, of the true masks. PNG, TIFF, NIfTI; label maps, black and white,
            or one file per class. Files are matched by their path in the folder without ending.
        options: How masks are read and measured.
        groups: Patient of every case: a mapping; a CSV file with the columns ``case`` and
            ``group``; or a regular expression whose group finds it in the name of the case.
        subsets: Centre of every case, likewise (column ``subset``).
        tested_on: Name of the test set.
        out: Folder to write ``scores.csv`` to; interrupted and called again, scoring continues.
        overwrite: Replace the scores in `out`.
        settings: Fields of `options`, by keyword.

    Returns overlap (DSC, IoU, SE, SP, ACC, precision) and surface distances (HD95, HD, ASSD, NSD)
    per case and class, with counts. Raises HarmosegError naming the file for masks that do not
    match by name, size, affine or label, and where truth and prediction are one folder.
    """
    how = replace(options or ScoringOptions(), **settings)
    classes = parse_classes(how.classes)
    truths = _of_cases(truth, "truth", classes, how)
    runs = _find_runs(predictions, truth, classes, how)
    cases = _match(runs, truths, truth, how)
    folder = None if out is None else Path(out)
    if folder is not None:
        if (folder / SCORES_FILE).exists() and not overwrite:
            raise HarmosegError(
                f"{folder}: {SCORES_FILE} exists already; choose another folder, or pass overwrite"
            )
        make_folder(folder)
    kept = {} if folder is None else _read_journal(folder / _JOURNAL)
    work = partial(score_case, runs=runs, truths=truths, classes=classes, how=how)
    todo = {case: key for case in cases if (key := _key(case, runs, truths, how)) not in kept}
    names = list(todo)
    journal = None if folder is None else folder / _JOURNAL
    with nullcontext() if journal is None else journal.open("a", encoding="utf-8") as stream:
        for case, found in zip(names, in_parallel(work, names, "scoring"), strict=True):
            kept[todo[case]] = found
            if stream is not None:
                stream.write(json.dumps({"key": todo[case], "found": found}) + "\n")
                stream.flush()
    measured = {case: kept[_key(case, runs, truths, how)] for case in cases}
    scores = _to_scores(measured, runs, classes, how, groups, subsets, tested_on)
    if folder is not None:
        write_scores(scores, folder)
        (folder / _JOURNAL).unlink(missing_ok=True)
    for line in (scores.summary(), *scores.remarks):
        _LOG.info(line)
    return scores


def _find_runs(
    predictions: Folders | str | Path, truth: str | Path, classes: Classes, how: ScoringOptions
) -> list[Run]:
    if isinstance(predictions, str | Path):
        predictions = {Path(predictions).resolve().name: predictions}
    runs = []
    for method, given in predictions.items():
        folders = [given] if isinstance(given, str | Path) else list(given)
        if not folders:
            raise HarmosegError(f"method {method!r} has no folder; name one or more")
        named = {str(place): Path(folder) for place, folder in enumerate(folders)}
        if len(folders) == 1 and (seeds := _seed_folders(Path(folders[0]))):
            named = seeds
        for seed, folder in named.items():
            _check_apart(folder, truth)
            files = _of_cases(folder, f"predictions of {method}", classes, how)
            runs.append(Run(method, seed, folder, files))
    return runs


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


def _of_cases(
    source: str | Path, what: str, classes: Classes, how: ScoringOptions
) -> dict[str, Any]:
    files = find_masks(source, what)
    if not how.per_class:
        return dict(files)
    if not classes.names:
        raise HarmosegError("files of single classes need the names of the classes: classes=[...]")
    return dict(split_by_class(files, classes.names, source))


def _match(
    runs: Sequence[Run], truths: Mapping[str, Any], truth: str | Path, how: ScoringOptions
) -> list[str]:
    """Return the cases that have a truth and a prediction; raise HarmosegError for others."""
    for run in runs:
        missing = natural_order(truths.keys() - run.files.keys())
        extra = natural_order(run.files.keys() - truths.keys())
        if len(missing) == len(truths):
            raise HarmosegError(
                f"no case in common: {truth} has {_few(list(truths))}, {run.source} has "
                f"{_few(list(run.files))}; a prediction has the name of its truth"
            )
        if how.unmatched == "error" and (missing or extra):
            parts = [
                f"{len(names)} {which}: {_few(names)}"
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


def _to_scores(
    measured: Mapping[str, Mapping[str, Any]],
    runs: Sequence[Run],
    classes: Classes,
    how: ScoringOptions,
    groups: Mapping[str, str] | str | Path | None,
    subsets: Mapping[str, str] | str | Path | None,
    tested_on: str,
) -> Scores:
    units = {found["unit"] for found in measured.values()}
    if len(units) > 1:
        raise HarmosegError("some masks have a spacing in mm and others none; give spacing")
    names = _names(measured, classes)
    keys, counts, distances = [], [], []
    for case, found in measured.items():
        absent = [[0, 0, 0, found["pixels"]], distances_when_both_empty(how)]
        for place, run in enumerate(runs):
            if (result := found["runs"].get(str(place))) is None:
                continue
            for value, name in ((0, BACKGROUND), *names.items()):
                count, distance = result["of"].get(str(value), absent)
                keys.append((run.method, run.seed, case, name))
                counts.append(count)
                distances.append(distance)
    frame = pd.DataFrame(keys, columns=["method", "seed", "case", "class"])
    of_counts: NDArray[np.int64] = np.asarray(counts)
    foreground = (frame["class"] != BACKGROUND).to_numpy()
    for metric in _METRICS:
        values = overlap_metric(metric, of_counts)  # type: ignore[arg-type]
        frame[metric] = np.where(foreground, values, np.nan)
    for name, column in zip(
        distance_names(units.pop(), how.measuring), np.transpose(distances), strict=True
    ):
        frame[name] = column
    for name, column in zip(("TP", "FP", "FN", "TN"), of_counts.T, strict=True):
        frame[name] = column
    remarks = []
    for name, given in (("group", groups), ("subset", subsets)):
        if given is not None:
            frame[name] = _look_up(given, frame["case"], name)
        elif name == "group":
            remarks.append("no patients are named, so every case counts as a patient")
    if tested_on:
        frame["tested_on"] = tested_on
    scores = Scores.of(frame, source="the scored masks", remarks=remarks)
    return replace(scores, remarks=(*remarks, *find_suspicions(scores)))


def _names(measured: Mapping[str, Mapping[str, Any]], classes: Classes) -> dict[int, str]:
    """Return the name of every label; raise HarmosegError for labels that no truth has."""
    if classes.values:
        return dict(zip(classes.values, classes.names, strict=True))
    known = {value for found in measured.values() for value in found["values"]} - {0}
    for found in measured.values():
        white = max((value for value in found["white"] if value), default=1)
        if white > 1 and max(known, default=1) > 1:
            raise HarmosegError(
                f"{found['truth']}: 0 and {white} in this case, labels up to {max(known)} in "
                "others; write the same labels in all masks, or name them with classes"
            )
        for result in found["runs"].values():
            if strange := set(result["values"]) - known - {0}:
                raise HarmosegError(
                    f"{result['file']}: label {min(strange)}, which no truth has; expected "
                    f"{', '.join(map(str, [0, *sorted(known)]))}, or name the labels with classes"
                )
    return {1: "foreground"} if known <= {1} else {value: str(value) for value in sorted(known)}


def _look_up(given: Mapping[str, str] | str | Path, cases: pd.Series, name: str) -> list[str]:
    """Return the group or subset of every case, from a mapping, a table, or a pattern."""
    if isinstance(given, str | Path) and Path(given).is_file():
        table = read_table(Path(given))
        if missing := [column for column in ("case", name) if column not in table.columns]:
            raise HarmosegError(f"{given}: no column {missing[0]!r}; found {list(table.columns)}")
        given = dict(zip(table["case"], table[name], strict=True))
    if isinstance(given, Mapping):
        if missing := natural_order(set(cases) - given.keys()):
            raise HarmosegError(f"no {name} is given for {len(missing)} cases: {_few(missing)}")
        return [given[case] for case in cases]
    try:
        pattern = re.compile(str(given))
    except re.error as error:
        raise HarmosegError(f"{name} pattern {given!r}: {error}") from error
    found = {case: pattern.search(case) for case in cases.unique()}
    if missing := natural_order(case for case, match in found.items() if match is None):
        raise HarmosegError(f"{name} pattern {given!r} does not fit {_few(missing)}")
    return [m[1] if m.re.groups else m[0] for case in cases if (m := found[case]) is not None]


def _key(case: str, runs: Sequence[Run], truths: Mapping[str, Any], how: ScoringOptions) -> str:
    """Return what determines the scores of a case: the files, as they are, and the options."""
    files = [truths[case], *(run.files.get(case) for run in runs)]
    flat = [
        file
        for found in files
        for file in (found.values() if isinstance(found, Mapping) else [found])
    ]
    stats = [
        None if file is None else (str(file), (s := file.stat()).st_size, s.st_mtime_ns)
        for file in flat
    ]
    said = json.dumps([case, stats, asdict(how)], default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _read_journal(file: Path) -> dict[str, Any]:
    """Return the cases that were scored before an interruption; a line cut off is left out."""
    found = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                found[entry["key"]] = entry["found"]
            except (ValueError, KeyError):
                continue
    return found


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(list(names)[:_FEW])
    return shown if len(names) <= _FEW else f"{shown} and {len(names) - _FEW} more"
