"""`score`: folders of predicted masks against a folder of truth, as scores and pictures."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.pictures import is_grey, read_image
from harmoseg.datasets.sources import in_parallel
from harmoseg.datasets.volumes import read_nifti
from harmoseg.errors import HarmosegError, unknown_option
from harmoseg.evaluation.case_scores import Measuring
from harmoseg.evaluation.journal import Journal
from harmoseg.evaluation.mask_files import (
    NIFTI,
    FileValues,
    MaskFile,
    Reading,
    as_places,
    decode_mask,
    suffix_of,
)
from harmoseg.evaluation.mask_runs import (
    Folders,
    Run,
    find_images,
    find_runs,
    match_cases,
    of_cases,
)
from harmoseg.evaluation.mask_scores import (
    Classes,
    ScoringOptions,
    files_of,
    make_scores,
    parse_classes,
    read_labels,
    score_case,
    settle,
)
from harmoseg.files import make_folder
from harmoseg.report.gallery import Gallery, GalleryCase, GalleryPart, spread_evenly
from harmoseg.scores.files import SCORES_FILE, Lookup, write_scores
from harmoseg.scores.nnunet import find_validations
from harmoseg.scores.table import Scores
from harmoseg.store.tiling import resize_image, resize_label

_LOG = logging.getLogger(__name__)
_JOURNAL = ".scored.jsonl"
_MOST_HELD = 2**30
"""Bytes of masks that are held in memory; others are decoded twice."""
_SIDE = 320
"""The longer side of a picture at most."""
Volume = NDArray[np.integer]


def score(
    predictions: Folders | str | Path,
    truth: str | Path,
    *,
    probabilities: Folders | str | Path | None = None,
    options: ScoringOptions | None = None,
    groups: Lookup | None = None,
    subsets: Lookup | None = None,
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
        settings: Fields of `options` and of `Measuring`, by keyword, such as ``tolerance=1.0``.

    Returns overlap (DSC, IoU, SE, SP, ACC, precision) and surface distances (HD95, HD, ASSD, NSD)
    per case and class, with counts. Raises HarmosegError naming the file for masks that do not
    match by name, size, affine or label, and where truth and prediction are one folder.
    """
    how = _with_settings(options or ScoringOptions(), settings)
    classes = parse_classes(how.classes)
    truths = of_cases(truth, "truth", classes.names, how.per_class)
    runs = find_runs(predictions, truth, probabilities, classes.names, how.per_class)
    sources = [Path(truth), *(run.source for run in runs)]
    if isinstance(predictions, str | Path) and find_validations(Path(predictions)):
        # Of a results folder of nnU-Net the masks lie in folders of their own.
        of_runs = (file for run in runs for files in run.files.values() for file in files_of(files))
        sources = [Path(truth), *{file.parent for file in of_runs}]
        tested_on = tested_on or Path(predictions).resolve().name
    cases = match_cases(runs, truths, truth, how.unmatched)
    with_gallery = gallery or images is not None
    shown = {} if images is None else find_images(images, cases)
    if out is not None:
        _check_not_among(Path(out), sources)
    folder = _free_folder(out, overwrite, with_gallery)
    files = _files(cases, runs, truths)
    seen, held = _decode_all(files, classes)
    reading, names = settle(seen, cases, runs, truths, truth, classes, how)
    reading = replace(reading, held=held)
    work = partial(score_case, runs=runs, truths=truths, classes=classes, how=how, reading=reading)
    keys = {case: _key(case, runs, truths, how, reading) for case in cases}
    with nullcontext() if folder is None else Journal(folder / _JOURNAL) as journal:
        kept: dict[str, Any] = {} if journal is None else journal.found
        todo = [case for case in cases if keys[case] not in kept]
        for case, found in zip(todo, in_parallel(work, todo, "scoring"), strict=True):
            kept[keys[case]] = found
            if journal is not None:
                journal.add(keys[case], found)
    measured = {case: kept[keys[case]] for case in cases}
    scores = make_scores(
        measured, runs, names, how, groups=groups, subsets=subsets, tested_on=tested_on
    )
    if folder is not None:
        if with_gallery:
            reader = partial(read_labels, classes=classes, how=how, reading=reading)
            pictures = make_gallery(cases, runs, truths, shown, names, reader, tested_on)
            pictures.write(folder)
        write_scores(scores, folder)
        (folder / _JOURNAL).unlink(missing_ok=True)
    for line in (scores.summary(), *scores.remarks):
        _LOG.info(line)
    return scores


def _decode_all(
    files: Sequence[Path], classes: Classes
) -> tuple[dict[Path, FileValues], dict[Path, MaskFile]]:
    """Return the values of all masks, and the masks themselves as far as memory is for them."""
    seen: dict[Path, FileValues] = {}
    held: dict[Path, MaskFile] = {}
    size = 0
    for mask in in_parallel(partial(decode_mask, colours=classes.colours), files, "reading"):
        seen[mask.path] = mask.stored
        size += mask.labels.nbytes
        if size <= _MOST_HELD:
            held[mask.path] = mask
    return seen, held


def _with_settings(how: ScoringOptions, settings: Mapping[str, Any]) -> ScoringOptions:
    """Replace fields of options and of how they measure; refuse what is a field of neither."""
    own, inner = ([field.name for field in fields(kind)] for kind in (ScoringOptions, Measuring))
    for name in settings:
        if name not in (known := [*own, *inner]):
            raise unknown_option(name, known)
    how = replace(how, **{name: value for name, value in settings.items() if name in own})
    measuring = {name: value for name, value in settings.items() if name in inner}
    return replace(how, measuring=replace(how.measuring, **measuring))


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


def _check_not_among(out: Path, sources: Sequence[Path]) -> None:
    """Raise HarmosegError where what is written would lie among masks."""
    for source in sources:
        folder = source.parent if "*" in source.name else source
        if out.resolve().is_relative_to(folder.resolve()) and (
            folder is source or out.resolve() == folder.resolve()
        ):
            raise HarmosegError(
                f"{out}: the folder to write is that of masks, or inside it: {source}; name "
                "another with out"
            )


def _files(cases: Sequence[str], runs: Sequence[Run], truths: Mapping[str, Any]) -> list[Path]:
    """Return every mask file of some cases once."""
    found = [masks.get(case) for masks in (truths, *(run.files for run in runs)) for case in cases]
    return list(dict.fromkeys(file for files in found for file in files_of(files)))


def _key(
    case: str,
    runs: Sequence[Run],
    truths: Mapping[str, Any],
    how: ScoringOptions,
    reading: Reading,
) -> str:
    """Return what determines the scores of a case: the files, as they are, and the options."""
    files = [truths[case], *(f for run in runs for f in (run.files.get(case), run.maps.get(case)))]
    flat: list[Path | None] = []
    for found in files:
        flat += files_of(found) or [None]
    stats = [
        None if file is None else (str(file), (s := file.stat()).st_size, s.st_mtime_ns)
        for file in flat
    ]
    read = [reading.white, [file in reading.shades for file in flat]]
    said = json.dumps([case, stats, asdict(how), read], default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def make_gallery(
    cases: Sequence[str],
    runs: Sequence[Run],
    truths: Mapping[str, Any],
    images: Mapping[str, Path],
    names: Mapping[int, str],
    read: Callable[[Any], MaskFile],
    tested_on: str,
) -> Gallery:
    """Return pictures of cases that are spread evenly over their names: no score chooses them.

    `names` are the classes by label, and `read` reads a mask. A case without an image is drawn on
    black. Raises HarmosegError for an image of another size than its mask.
    """
    chosen = [cases[place] for place in spread_evenly(len(cases))]
    work = partial(_picture, runs=runs, truths=truths, images=images, labels=list(names), read=read)
    found = tuple(in_parallel(work, chosen, "pictures"))
    return Gallery((GalleryPart("", tested_on, tuple(names.values()), found),))


def _picture(
    case: str,
    *,
    runs: Sequence[Run],
    truths: Mapping[str, Any],
    images: Mapping[str, Path],
    labels: Sequence[int],
    read: Callable[[Any], MaskFile],
) -> GalleryCase:
    mask = read(truths[case])
    found = {
        (run.method, run.seed): read(run.files[case]).labels for run in runs if case in run.files
    }
    plane = None if mask.labels.ndim == 2 else _fullest_plane(mask.labels, list(found.values()))
    height, width = mask.labels.shape[-2:]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))

    def shown(part: NDArray[np.integer]) -> NDArray[np.uint8]:
        flat = part if plane is None else part[plane]
        return resize_label(as_places(flat, labels).astype(np.uint8), *size)

    image = np.zeros((height, width, 1), np.uint8)
    if case in images:
        image = _read_plane(images[case], plane)
        if image.shape[:2] != (height, width):
            raise HarmosegError(
                f"{images[case]}: {image.shape[0]} x {image.shape[1]}, its mask {mask.path} is "
                f"{height} x {width}; expected the image that was segmented"
            )
    pitch = mask.spacing[-2:] if mask.spacing else (1.0, 1.0)
    return GalleryCase(
        case,
        resize_image(image, *size),
        shown(mask.labels),
        "" if plane is None else f"plane {plane + 1}",
        height * pitch[0] / (width * pitch[1]),
        {run: shown(part) for run, part in found.items()},
    )


def _fullest_plane(truth: Volume, predictions: Sequence[Volume]) -> int:
    """Return the plane with the most foreground of the truth, or else of the predictions."""
    for volumes in ([truth], predictions):
        counts = np.sum([np.count_nonzero(volume, axis=(1, 2)) for volume in volumes], axis=0)
        if np.any(counts):
            return int(np.argmax(counts))
    return len(truth) // 2


def _read_plane(path: Path, plane: int | None) -> NDArray[np.uint8]:
    """Read an image as (H, W, C) in bytes."""
    if suffix_of(path) not in NIFTI:
        return read_image(path, 1 if is_grey(path) else 3).pixels
    slices = read_nifti(path, window=None, assume_spacing=(1, 1, 1)).slices
    if plane is None or plane >= len(slices):
        raise HarmosegError(f"{path}: a volume of {len(slices)} planes, its mask has others")
    found: NDArray[np.uint8] = slices[plane][..., None]
    return found
