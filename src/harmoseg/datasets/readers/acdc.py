"""ACDC: cine-MRI of the heart."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from harmoseg.datasets.catalogue import load_card, load_slices, load_split
from harmoseg.datasets.readers.common import check_published, chosen_split
from harmoseg.datasets.readers.finding import by_id, check_slices, files_below, in_order
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
from harmoseg.store.card import Card
from harmoseg.store.layout import Split
from harmoseg.store.tiling import Sample

_CLASSES = {0: 0, 1: 1, 2: 2, 3: 3}
"""Background, right ventricle, myocardium, left ventricle: the same in both forms."""
_TRAINING = [f"patient{number:03d}" for number in range(1, 101)]
_TESTING = [f"patient{number:03d}" for number in range(101, 151)]
"""Patients of the challenge's test part, whose labels came with a later release."""
_PATIENT = re.compile(r"(patient\d{3})_frame\d{2}", re.IGNORECASE)
_FRAME = re.compile(r"(patient\d{3})_frame(\d{2})\.nii(?:\.gz)?", re.IGNORECASE)
_MASK = re.compile(r"(patient\d{3})_frame(\d{2})_gt\.nii(?:\.gz)?", re.IGNORECASE)
_SLICE = re.compile(r"(patient\d{3})_frame(\d{2})_slice_(\d+)\.h5")
_VOLUME = re.compile(r"(patient\d{3})_frame(\d{2})\.h5")


def list_acdc(source: Path, options: SourceOptions) -> Listing:
    """List the two labelled frames of every patient of ACDC.

    The split ``usual`` is the field's 70 / 10 / 20 of the 100 patients of the training part.
    ``challenge`` is the challenge's own: these 100 train, the 50 patients of the test part test.

    Reads the official NIfTI files (``training/patient001/patient001_frame01.nii.gz``, ``..._gt``,
    ``Info.cfg``), or the common HDF5 form (``patient001_frame01.h5``, or slices
    ``patient001_frame01_slice_1.h5``), which carries no spacing. HDF5 copies number the two frames
    of a patient 01 and 02, or keep the numbers of the NIfTI files; slices count from 0 or from 1.
    """
    card = load_card("acdc")
    split = chosen_split(options, "usual", "challenge")
    splits, title = load_split("acdc"), "ACDC (70 / 10 / 20 patients)"
    if split == "challenge":
        splits = {**dict.fromkeys(_TRAINING, "train"), **dict.fromkeys(_TESTING, "test")}
        title = "ACDC (100 / 50 patients)"
        card = replace(card, counts={"train": 2 * len(_TRAINING), "test": 2 * len(_TESTING)})
    files, left_out = _without_test_part(files_below(source, card.title), splits)
    frames = _nifti_frames(files) or _hdf5_frames(files)
    if not frames:
        raise _nothing_found(source, card, left_out)
    check_published(sorted({case[:10] for case in frames}), splits, title, options)
    _check_shapes(frames)
    phases = _phases(frames, files, source)
    _check_both(frames, phases, options)
    return make_listing(
        card,
        [
            SourceCase(
                case=case,
                group=case[:10],
                split=splits[case[:10]],
                subset=_phase(case, phases[case[:10]]) if frame.is_nifti else "",
                image=relative_name(frame.image, source),
                mask=relative_name(frame.mask, source),
                files=frame.files,
                read=partial(_read_nifti, frame.image, frame.mask)
                if frame.is_nifti
                else partial(_read_hdf5, frame.files),
            )
            for case, frame in frames.items()
        ],
        roots=[source],
        determined_by={} if split == "usual" else {"split": split},
        remarks=[
            f"{len(left_out)} patients of the challenge's test part ({left_out[0]} to "
            f"{left_out[-1]}) are left out: the usual lists split the 100 of its training part; "
            "--split challenge tests on them"
        ]
        if left_out
        else [],
    )


@dataclass(frozen=True)
class _Frame:
    """The files of a labelled frame, with the shape and the number of slices of its image."""

    image: Path
    mask: Path
    files: tuple[Path, ...]
    shape: tuple[int, ...]
    slices: int

    @property
    def is_nifti(self) -> bool:
        return self.image.suffix != ".h5"


_Found = dict[str, _Frame]


def _without_test_part(
    files: list[Path], splits: Mapping[str, Split]
) -> tuple[list[Path], list[str]]:
    """Leave out the files of the challenge's test part, unless the split has its patients.

    They may come without labels. Returns the other files, and the patients that were left out.
    """
    ignored = set(_TESTING) - splits.keys()
    matches = [(file, _PATIENT.match(file.name)) for file in files]
    named = [(file, match[1].lower() if match else "") for file, match in matches]
    return (
        [file for file, patient in named if patient not in ignored],
        sorted({patient for _, patient in named} & ignored),
    )


def _nothing_found(source: Path, card: Card, left_out: list[str]) -> HarmosegError:
    if left_out:
        return HarmosegError(
            f"{source}: only the challenge's test part is here ({left_out[0]} to {left_out[-1]}), "
            "which the usual split leaves out; expected the folder that holds training/. To test "
            "on this part pass --split challenge, with training/ beside it, or alone with "
            "--allow-missing"
        )
    return HarmosegError(f"{source}: no frames of ACDC; expected {card.layout}")


def _nifti_frames(files: list[Path]) -> _Found:
    frames: _Found = {}
    masks = by_id(_named(_MASK, files))
    for case, image in by_id(_named(_FRAME, files)).items():
        if case not in masks:
            raise HarmosegError(
                f"{image}: patient without mask, {case}_gt.nii.gz is missing; complete the "
                f"download, or remove the folder {image.parent.name}"
            )
        shape = open_nifti(image).shape
        frames[case] = _Frame(image, masks[case], (image, masks[case]), shape, shape[-1])
    return frames


def _hdf5_frames(files: list[Path]) -> _Found:
    frames: _Found = {}
    for case, file in by_id(_named(_VOLUME, files)).items():
        shape = hdf5_shape(file, "image")
        frames[case] = _Frame(file, file, (file,), shape, shape[0] if shape else 0)
    for case, parts in _slices(files).items():
        ordered = in_order(parts, case, first=1)
        if case in frames:  # the same frame as a whole volume
            _check_depth(frames[case], ordered)
        else:
            shape = (len(ordered), *hdf5_shape(ordered[0], "image"))
            frames[case] = _Frame(ordered[0], ordered[0], ordered, shape, len(ordered))
    _check_numbering(frames)
    return frames


def _check_numbering(frames: _Found) -> None:
    """Raise HarmosegError where frames are numbered in two ways: two copies are mixed.

    No frame of the release is the second of its film, so 02 is a number that a copy gave.
    """
    given = next((case for case in frames if int(case[-2:]) == 2), None)
    kept = next((case for case in frames if int(case[-2:]) > 2), None)
    if given and kept:
        raise HarmosegError(
            f"{frames[given].image}: this copy numbers the two frames of a patient 01 and 02, the "
            f"copy of {frames[kept].image} keeps the numbers of the release; two preprocessed "
            "copies differ in their intensities: prepare from one of them"
        )


def _check_shapes(frames: _Found) -> None:
    """Raise HarmosegError where frames of a patient differ in shape, or slices are missing."""
    published = load_slices("acdc")
    first: dict[str, tuple[str, _Frame]] = {}
    for case, frame in frames.items():
        place = frame.image.parent if len(frame.files) > 2 else frame.image
        check_slices(case, frame.slices, published.get(case[:10]), place)
        other, expected = first.setdefault(case[:10], (case, frame))
        if expected.shape != frame.shape:
            raise HarmosegError(
                f"{frame.image}: shape {frame.shape}, but {other} of the same patient has "
                f"{expected.shape}; the frames of one examination have one shape: complete the "
                "download, or replace the wrong one"
            )


def _slices(files: list[Path]) -> dict[str, dict[int, Path]]:
    found = by_id(
        ((case, int(file.stem.rpartition("_")[2])), file) for case, file in _named(_SLICE, files)
    )
    slices: dict[str, dict[int, Path]] = defaultdict(dict)
    for (case, number), file in found.items():
        slices[case][number] = file
    return slices


def _check_depth(volume: _Frame, slices: tuple[Path, ...]) -> None:
    if volume.slices != len(slices):
        raise HarmosegError(
            f"{volume.image}: shape {volume.shape}, but {len(slices)} of its slices are files in "
            f"{slices[0].parent}; complete the download"
        )


def _named(pattern: re.Pattern[str], files: list[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the frames whose files have such a name, with the file."""
    for file in files:
        match = pattern.fullmatch(file.name)
        if match:
            yield f"{match[1].lower()}_frame{match[2]}", file


_Phases = Mapping[int, str]


def _phases(frames: _Found, files: list[Path], source: Path) -> dict[str, _Phases]:
    """Read which frames are end-diastole and end-systole, of every patient that has NIfTI files."""
    infos = {file.parent: file for file in files if file.name.lower() == "info.cfg"}
    phases: dict[str, _Phases] = {}
    for case, frame in frames.items():
        if frame.is_nifti and case[:10] not in phases:
            folder = frame.image.parent
            info = infos.get(folder, folder / "Info.cfg")
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


def _check_both(frames: _Found, phases: Mapping[str, _Phases], options: SourceOptions) -> None:
    """Raise HarmosegError for a patient who has other than the two labelled frames.

    With `allow_missing` one of the two may be missing.
    """
    found: dict[str, set[int]] = defaultdict(set)
    for case in frames:
        found[case[:10]].add(int(case[-2:]))
    for patient, numbers in found.items():
        # HDF5 copies have no Info.cfg, and may number the two frames in their own way.
        expected = set(phases.get(patient, ()))
        missing = len(numbers) < 2 or bool(expected - numbers)
        if len(numbers) > 2 or (missing and not options.allow_missing):
            wanted = f"those of its Info.cfg, {sorted(expected)}" if expected else "two"
            cure = (
                "remove what is no part of the dataset"
                if len(numbers) > 2
                else "complete the download, or, where only a part is wanted, pass --allow-missing"
            )
            raise HarmosegError(
                f"{patient}: frame(s) {sorted(numbers)} found, expected {wanted}; {cure}"
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
