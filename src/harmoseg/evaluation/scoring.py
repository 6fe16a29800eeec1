"""`score`: folders of predicted masks against a folder of truth, as a table of scores."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from harmoseg.datasets.sources import in_parallel
from harmoseg.errors import HarmosegError
from harmoseg.evaluation.mask_gallery import make_gallery
from harmoseg.evaluation.mask_pairs import (
    ScoringOptions,
    parse_classes,
    read_labels,
    score_case,
)
from harmoseg.evaluation.mask_runs import (
    Folders,
    Run,
    find_images,
    find_runs,
    match_cases,
    of_cases,
)
from harmoseg.evaluation.mask_tables import Lookup, label_names, make_scores
from harmoseg.files import make_folder
from harmoseg.scores.files import SCORES_FILE, write_scores
from harmoseg.scores.nnunet import find_validations
from harmoseg.scores.table import Scores

_LOG = logging.getLogger(__name__)
_JOURNAL = ".scored.jsonl"


def score(
    predictions: Folders | str | Path,
    truth: str | Path,
    *,
    probabilities: Folders | str | Path | None = None,
    options: ScoringOptions | None = None,
    groups: Lookup = None,
    subsets: Lookup = None,
    tested_on: str = "",
    images: str | Path | None = None,
    gallery: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Scores:
    """Score folders of predicted masks against a folder of truth.

    Args:
        predictions: Folder of every method, or several folders, one per training; a folder whose
            folders are called ``seed0``, ``seed1`` holds one training in each. A path alone is one
            method, or a results folder of nnU-Net with its trainers and folds. In place of a folder
            a pattern with one ``*`` names files: ``data/*_2nd.png``.
        truth: Folder, or pattern, of the true masks. PNG, TIFF, NIfTI; label maps, black and white,
            or one file per class. Files are matched by their path in the folder without ending.
        probabilities: Folders of probability maps, likewise: ``.npy``, ``.npz`` (as nnU-Net
            writes it), NIfTI. They add calibration (ECE, MCE, ACE, Brier, NLL) of their methods.
        options: How masks are read and measured.
        groups: Patient of every case: a mapping; a CSV file with the columns ``case`` and
            ``group``; or a regular expression whose group finds it in the name of the case.
        subsets: Centre of every case, likewise (column ``subset``).
        tested_on: Name of the test set; that of the dataset for results of nnU-Net.
        images: Folder, or pattern, of the images, for pictures of cases in the report.
        gallery: Keep pictures of cases in `out`, without `images` those of the masks alone.
        out: Folder to write ``scores.csv`` to; interrupted and called again, scoring continues.
        overwrite: Replace the scores in `out`.
        settings: Fields of `options`, by keyword.

    Returns overlap (DSC, IoU, SE, SP, ACC, precision) and surface distances (HD95, HD, ASSD, NSD)
    per case and class, with counts. Raises HarmosegError naming the file for masks that do not
    match by name, size, affine or label, and where truth and prediction are one folder.
    """
    how = replace(options or ScoringOptions(), **settings)
    classes = parse_classes(how.classes)
    truths = of_cases(truth, "truth", classes.names, how.per_class)
    runs = find_runs(predictions, truth, probabilities, classes.names, how.per_class)
    if isinstance(predictions, str | Path) and find_validations(Path(predictions)):
        tested_on = tested_on or Path(predictions).resolve().name
    cases = match_cases(runs, truths, truth, how.unmatched)
    with_gallery = gallery or images is not None
    shown = {} if images is None else find_images(images, cases)
    folder = _free_folder(out, overwrite, with_gallery)
    work = partial(score_case, runs=runs, truths=truths, classes=classes, how=how)
    keys = {case: _key(case, runs, truths, how) for case in cases}
    journal = None if folder is None else folder / _JOURNAL
    kept = {} if journal is None else _read_journal(journal)
    todo = [case for case in cases if keys[case] not in kept]
    with nullcontext() if journal is None else journal.open("a", encoding="utf-8") as stream:
        for case, found in zip(todo, in_parallel(work, todo, "scoring"), strict=True):
            kept[keys[case]] = found
            if stream is not None:
                stream.write(json.dumps({"key": keys[case], "found": found}) + "\n")
                stream.flush()
    measured = {case: kept[keys[case]] for case in cases}
    names = label_names(measured, classes)
    scores = make_scores(
        measured, runs, names, how, groups=groups, subsets=subsets, tested_on=tested_on
    )
    if folder is not None and journal is not None:
        if with_gallery:
            reader = partial(read_labels, classes=classes, how=how)
            pictures = make_gallery(cases, runs, truths, shown, names, reader, tested_on)
            pictures.write(folder)
        write_scores(scores, folder)
        journal.unlink(missing_ok=True)
    for line in (scores.summary(), *scores.remarks):
        _LOG.info(line)
    return scores


def _free_folder(out: str | Path | None, overwrite: bool, with_gallery: bool) -> Path | None:
    """Make the folder to write; raise HarmosegError where it holds scores already."""
    if out is None:
        if with_gallery:
            raise HarmosegError("pictures are kept in a folder: name one with out")
        return None
    folder = Path(out)
    if (folder / SCORES_FILE).exists() and not overwrite:
        raise HarmosegError(
            f"{folder}: {SCORES_FILE} exists already; choose another folder, or pass overwrite"
        )
    make_folder(folder)
    return folder


def _key(case: str, runs: Sequence[Run], truths: Mapping[str, Any], how: ScoringOptions) -> str:
    """Return what determines the scores of a case: the files, as they are, and the options."""
    files = [truths[case], *(f for run in runs for f in (run.files.get(case), run.maps.get(case)))]
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
