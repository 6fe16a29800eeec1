"""ACDC: cine-MRI of the heart."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.readers.common import check_published, chosen_split
from harmoseg.datasets.readers.finding import by_id, files_below, in_order
from harmoseg.datasets.sources import (
    Listing,
    SourceCase,
    SourceOptions,
    check_inside,
    make_listing,
    relative_name,
)
from harmoseg.datasets.volumes import (
    check_size,
    hdf5_shape,
    open_nifti,
    read_hdf5,
    read_nifti_pair,
    sample_of_arrays,
)
from harmoseg.errors import HarmosegError
from harmoseg.store.cutting import Sample

_CLASSES = {0: 0, 1: 1, 2: 2, 3: 3}
"""Background, right ventricle, myocardium, left ventricle: the same in both forms."""
_PATIENTS = 100  # the further 50 of the later release are no part of the usual lists
_FRAME = re.compile(r"(patient\d{3})_frame(\d{2})\.nii(?:\.gz)?", re.IGNORECASE)
_MASK = re.compile(r"(patient\d{3})_frame(\d{2})_gt\.nii(?:\.gz)?", re.IGNORECASE)
_SLICE = re.compile(r"(patient\d{3})_frame(\d{2})_slice_(\d+)\.h5")
_VOLUME = re.compile(r"(patient\d{3})_frame(\d{2})\.h5")


def list_acdc(source: Path, options: SourceOptions) -> Listing:
    """List ACDC's two labelled frames per patient with the usual 70 / 10 / 20 patients.

    From the official NIfTI files (``training/patient001/patient001_frame01.nii.gz``, ``..._gt``,
    ``Info.cfg``), or from the common HDF5 form (``patient001_frame01.h5``, or slices
    ``patient001_frame01_slice_1.h5``), which carries no spacing.
    """
    card = load_card("acdc")
    chosen_split(options, "usual")
    files = files_below(source, card.title)
    frames = _nifti_frames(files) or _hdf5_frames(files)
    splits = load_split("acdc")
    if not frames:
        raise HarmosegError(f"{source}: no frames of ACDC; expected {card.layout}")
    check_published(
        sorted({case[:10] for case in frames}), splits, "ACDC (70 / 10 / 20 patients)", options
    )
    phases = _phases(frames, files, source)
    if not options.allow_missing:
        _check_both(frames, phases)
    cases = []
    for case, (image, mask, names) in frames.items():
        nifti = image.suffix != ".h5"
        cases.append(
            SourceCase(
                case=case,
                group=case[:10],
                split=splits[case[:10]],
                subset=_phase(case, phases[case[:10]]) if nifti else "",
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
    masks = by_id(_named(_MASK, files))
    for case, image in by_id(_named(_FRAME, files)).items():
        if case not in masks:
            raise HarmosegError(
                f"{image}: patient without mask, {case}_gt.nii.gz is missing; complete the "
                f"download, or remove the folder {image.parent.name}"
            )
        shape = open_nifti(image).shape
        first = shapes.setdefault(case[:10], (case, shape))
        if first[1] != shape:
            raise HarmosegError(
                f"{image}: shape {shape}, but {first[0]} of the same patient has {first[1]}; the "
                "frames of one examination have one shape: replace the wrong one"
            )
        frames[case] = (image, masks[case], (image, masks[case]))
    return frames


def _hdf5_frames(files: list[Path]) -> _Found:
    volumes = by_id(_named(_VOLUME, files))
    frames: _Found = {case: (file, file, (file,)) for case, file in volumes.items()}
    for case, parts in _slices(files).items():
        ordered = in_order(parts, case, first=1)
        if case in frames:  # the same frame as a whole volume
            _check_depth(volumes[case], ordered)
        else:
            frames[case] = (ordered[0], ordered[0], ordered)
    return frames


def _slices(files: list[Path]) -> dict[str, dict[int, Path]]:
    found = by_id(
        ((case, int(file.stem.rpartition("_")[2])), file) for case, file in _named(_SLICE, files)
    )
    slices: dict[str, dict[int, Path]] = defaultdict(dict)
    for (case, number), file in found.items():
        slices[case][number] = file
    return slices


def _check_depth(volume: Path, slices: tuple[Path, ...]) -> None:
    shape = hdf5_shape(volume, "image")
    if shape[:1] != (len(slices),):
        raise HarmosegError(
            f"{volume}: shape {shape}, but {len(slices)} of its slices are files in "
            f"{slices[0].parent}; complete the download"
        )


def _named(pattern: re.Pattern[str], files: list[Path]) -> Iterator[tuple[str, Path]]:
    """Give the frames whose files have such a name, of the patients that the lists know."""
    for file in files:
        match = pattern.fullmatch(file.name)
        if match and int(match[1][-3:]) <= _PATIENTS:
            yield f"{match[1].lower()}_frame{match[2]}", file


_Phases = Mapping[int, str]


def _phases(frames: _Found, files: list[Path], source: Path) -> dict[str, _Phases]:
    """Read which frames are end-diastole and end-systole, of every patient that has NIfTI files."""
    infos = {file.parent: file for file in files if file.name.lower() == "info.cfg"}
    phases: dict[str, _Phases] = {}
    for case, (image, *_) in frames.items():
        if image.suffix != ".h5" and case[:10] not in phases:
            info = infos.get(image.parent, image.parent / "Info.cfg")
            # It is no file of a case, which are checked for this later.
            check_inside([info], [source])
            phases[case[:10]] = _read_phases(info)
    return phases


def _read_phases(info: Path) -> _Phases:
    try:
        lines = info.read_text(encoding="utf-8").splitlines()
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        phases = {int(values[name]): name for name in ("ED", "ES")}
        if len(phases) < 2:
            raise ValueError("ED and ES are one frame")
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise HarmosegError(
            f"{info}: cannot be read; expected the patient's file with lines such as 'ED: 1' and "
            f"'ES: 12' ({type(error).__name__}: {error})"
        ) from error
    return phases


def _phase(case: str, phases: _Phases) -> str:
    frame = int(case[-2:])
    if frame not in phases:
        raise HarmosegError(
            f"{case} has labels, but Info.cfg of {case[:10]} names the frames {sorted(phases)}; "
            "replace the patient's folder"
        )
    return phases[frame]


def _check_both(frames: _Found, phases: Mapping[str, _Phases]) -> None:
    """Raise HarmosegError for a patient of whom one of the two frames is missing."""
    found: dict[str, set[int]] = defaultdict(set)
    for case in frames:
        found[case[:10]].add(int(case[-2:]))
    for patient, numbers in found.items():
        # The HDF5 form numbers the two frames in its own way.
        expected = set(phases.get(patient, ()))
        if len(numbers) < 2 or expected - numbers:
            wanted = f"those of its Info.cfg, {sorted(expected)}" if expected else "two"
            raise HarmosegError(
                f"{patient}: frame(s) {sorted(numbers)} found, expected {wanted}; complete the "
                "download, or, where only a part is wanted, pass --allow_missing true"
            )


def _read_nifti(image: Path, mask: Path) -> Sample:
    # Slices as acquired: the short axis of the heart lies oblique to the body's axes.
    return read_nifti_pair(image, mask, classes=_CLASSES, window=None)


def _read_hdf5(files: tuple[Path, ...]) -> Sample:
    # Together too, small files may claim more than fits into memory.
    check_size((len(files), *hdf5_shape(files[0], "image")), 8, files[0])
    parts = [read_hdf5(file, "image", "label") for file in files]
    if len(files) > 1:
        shapes = {array.shape for pair in parts for array in pair}
        if len(shapes) > 1:
            raise HarmosegError(f"{files[0]}: slices of different shapes: {sorted(shapes)}")
        image, label = (np.stack([pair[i] for pair in parts]) for i in (0, 1))
    else:
        image, label = parts[0]
    return sample_of_arrays(image, label, files[0], classes=_CLASSES, window=None)
