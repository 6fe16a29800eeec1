"""ACDC: cine-MRI of the heart."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.readers.common import check_published, chosen_split
from harmoseg.datasets.sources import (
    Listing,
    SourceCase,
    SourceOptions,
    make_listing,
    relative_name,
)
from harmoseg.datasets.volumes import open_nifti, read_hdf5, read_nifti_pair, sample_of_arrays
from harmoseg.errors import HarmosegError
from harmoseg.store.cutting import Sample

_CLASSES = {0: 0, 1: 1, 2: 2, 3: 3}
"""Background, right ventricle, myocardium, left ventricle: the same in both forms."""
_PATIENTS = 100  # the further 50 of the later release are no part of the usual lists
_FRAME = re.compile(r"(patient\d{3})_frame(\d{2})(\.nii(?:\.gz)?)$")
_SLICE = re.compile(r"(patient\d{3})_frame(\d{2})_slice_(\d+)\.h5$")
_VOLUME = re.compile(r"(patient\d{3})_frame(\d{2})\.h5$")


def list_acdc(source: Path, options: SourceOptions) -> Listing:
    """List ACDC's two labelled frames per patient with the usual 70 / 10 / 20 patients.

    From the official NIfTI files (``training/patient001/patient001_frame01.nii.gz``, ``..._gt``,
    ``Info.cfg``), or from the common HDF5 form (``patient001_frame01.h5``, or slices
    ``patient001_frame01_slice_1.h5``), which carries no spacing.
    """
    card = load_card("acdc")
    chosen_split(options, "usual")
    if not source.is_dir():
        raise HarmosegError(f"{source}: no such folder; expected the folder of {card.title}")
    files = sorted(path for path in source.rglob("patient*_frame*") if path.is_file())
    frames = _nifti_frames(files) or _hdf5_frames(files)
    splits = load_split("acdc")
    frames = {case: found for case, found in frames.items() if _number(case) <= _PATIENTS}
    if not frames:
        raise HarmosegError(f"{source}: no frames of ACDC; expected {card.layout}")
    check_published(
        sorted({case[:10] for case in frames}), splits, "ACDC (70 / 10 / 20 patients)", options
    )
    cases = []
    for case, (image, mask, names) in frames.items():
        nifti = image.suffix != ".h5"
        cases.append(
            SourceCase(
                case=case,
                group=case[:10],
                split=splits[case[:10]],
                subset=_phase(image.parent / "Info.cfg", case) if nifti else "",
                image=relative_name(image, source),
                mask=relative_name(mask, source),
                files=names,
                read=partial(_read_nifti, image, mask) if nifti else partial(_read_hdf5, names),
            )
        )
    return make_listing(card, cases, roots=[source])


_Found = dict[str, tuple[Path, Path, tuple[Path, ...]]]


def _nifti_frames(files: list[Path]) -> _Found:
    frames: _Found = {}
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for image in files:
        match = _FRAME.fullmatch(image.name)
        if match is None:
            continue
        patient, number, ending = match.groups()
        case = f"{patient}_frame{number}"
        mask = image.with_name(f"{case}_gt{ending}")
        if not mask.is_file():
            raise HarmosegError(
                f"{image}: patient without mask, {mask.name} is missing; complete the download, "
                f"or remove the folder {image.parent.name}"
            )
        if case in frames:
            raise HarmosegError(f"two files of one frame: {frames[case][0]} and {image}; keep one")
        shape = open_nifti(image).shape
        first = shapes.setdefault(patient, (case, shape))
        if first[1] != shape:
            raise HarmosegError(
                f"{image}: shape {shape}, but {first[0]} of the same patient has {first[1]}; the "
                "frames of one examination have one shape: replace the wrong one"
            )
        frames[case] = (image, mask, (image, mask))
    return frames


def _hdf5_frames(files: list[Path]) -> _Found:
    frames: _Found = {}
    slices: dict[str, dict[int, Path]] = defaultdict(dict)
    for file in files:
        volume, part = _VOLUME.fullmatch(file.name), _SLICE.fullmatch(file.name)
        if volume:
            frames[f"{volume[1]}_frame{volume[2]}"] = (file, file, (file,))
        elif part:
            slices[f"{part[1]}_frame{part[2]}"][int(part[3])] = file
    for case, parts in slices.items():
        if case in frames:  # the same frame as a whole volume
            continue
        numbers = sorted(parts)
        absent = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
        if absent:
            raise HarmosegError(
                f"{parts[numbers[0]].parent}: slice(s) {absent} of {case} are missing; complete "
                "the download"
            )
        ordered = tuple(parts[number] for number in numbers)
        frames[case] = (ordered[0], ordered[0], ordered)
    return frames


def _number(case: str) -> int:
    return int(case[7:10])


def _phase(info: Path, case: str) -> str:
    """Say whether a frame is end-diastole or end-systole, as the patient's Info.cfg says."""
    try:
        lines = info.read_text(encoding="utf-8").splitlines()
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        phases = {int(values[name]): name for name in ("ED", "ES")}
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise HarmosegError(
            f"{info}: cannot be read; expected the patient's file with lines such as 'ED: 1' and "
            f"'ES: 12' ({type(error).__name__}: {error})"
        ) from error
    frame = int(case[-2:])
    if frame not in phases:
        raise HarmosegError(
            f"{info}: names the frames {sorted(phases)}, but {case} has labels; replace the "
            "patient's folder"
        )
    return phases[frame]


def _read_nifti(image: Path, mask: Path) -> Sample:
    # Slices as acquired: the short axis of the heart lies oblique to the body's axes.
    return read_nifti_pair(image, mask, classes=_CLASSES, window=None)


def _read_hdf5(files: tuple[Path, ...]) -> Sample:
    parts = [read_hdf5(file, "image", "label") for file in files]
    if len(files) > 1:
        shapes = {array.shape for pair in parts for array in pair}
        if len(shapes) > 1:
            raise HarmosegError(f"{files[0]}: slices of different shapes: {sorted(shapes)}")
        image, label = (np.stack([pair[i] for pair in parts]) for i in (0, 1))
    else:
        image, label = parts[0]
    return sample_of_arrays(image, label, files[0], classes=_CLASSES, window=None)
