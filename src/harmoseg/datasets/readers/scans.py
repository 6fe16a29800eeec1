"""Datasets of volumes: ACDC (cine-MRI of the heart) and Synapse (abdominal CT).

Both exist as the official NIfTI files and as a common preprocessed form without spacing: whole
volumes in HDF5, or slices in files of their own. Files are found by their names, wherever they lie.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from harmoseg.datasets.arrays import (
    Window,
    hdf5_shape,
    read_hdf5,
    read_npz,
    sample_of_arrays,
    sample_of_slices,
)
from harmoseg.datasets.catalogue import load_card, load_slices, load_split
from harmoseg.datasets.readers.common import (
    by_case,
    check_published,
    check_slices,
    chosen_split,
    files_below,
    in_order,
    mask_of,
    slices_by_case,
)
from harmoseg.datasets.sources import (
    Listing,
    SourceCase,
    SourceOptions,
    check_inside,
    make_listing,
    relative_name,
)
from harmoseg.datasets.volumes import open_nifti, read_nifti_pair
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.tiling import Sample

_ACDC = {0: 0, 1: 1, 2: 2, 3: 3}
"""Background, right ventricle, myocardium, left ventricle: the same in both forms."""
_TRAINING = [f"patient{number:03d}" for number in range(1, 101)]
_TESTING = [f"patient{number:03d}" for number in range(101, 151)]
"""Patients of the challenge's test part, whose labels came with a later release."""
_PATIENT = re.compile(r"(patient\d{3})_frame\d{2}", re.IGNORECASE)
_FRAME = re.compile(r"(patient\d{3})_frame(\d{2})\.nii(?:\.gz)?", re.IGNORECASE)
_FRAME_MASK = re.compile(r"(patient\d{3})_frame(\d{2})_gt\.nii(?:\.gz)?", re.IGNORECASE)
_FRAME_SLICE = re.compile(r"(patient\d{3})_frame(\d{2})_slice_(\d+)\.h5")
_FRAME_VOLUME = re.compile(r"(patient\d{3})_frame(\d{2})\.h5")
_FRAME_NAME = "{}_frame{}"

# The card's order is that of the preprocessed form: aorta, gallbladder, left kidney, right kidney,
# liver, pancreas, spleen, stomach.
_PREPROCESSED = {value: value for value in range(9)}
_BTCV = {
    0: 0,
    1: 7,  # spleen
    2: 4,  # right kidney
    3: 3,  # left kidney
    4: 2,  # gallbladder
    5: 0,  # oesophagus, not scored
    6: 5,  # liver
    7: 8,  # stomach
    8: 1,  # aorta
    9: 0,  # inferior vena cava, not scored
    10: 0,  # portal and splenic vein, not scored
    11: 6,  # pancreas
    12: 0,  # right adrenal gland, not scored
    13: 0,  # left adrenal gland, not scored
}
_UNIT = (0.0, 1.0)  # the preprocessed form is windowed already
_SCAN_MEMORY = 512 << 20
"""Bytes that a case takes: a scan of 250 slices, and its arrays."""
_SCAN = re.compile(r"img(\d{4})\.nii(?:\.gz)?", re.IGNORECASE)
_SCAN_LABEL = re.compile(r"label(\d{4})\.nii(?:\.gz)?", re.IGNORECASE)
_SCAN_SLICE = re.compile(r"case(\d{4})_slice(\d+)\.npz")
_SCAN_VOLUME = re.compile(r"case(\d{4})(?:\.npy)?\.h5")
_SCAN_NAME = "case{}"


def list_synapse(source: Path, options: SourceOptions) -> Listing:
    """List the 30 cases with the usual 18 / 12 split, wherever below `source` they lie.

    From BTCV's own files (``img0001.nii.gz``, ``label0001.nii.gz``), or from the common
    preprocessed form (``case0005_slice000.npz`` for training, ``case0001.npy.h5`` for testing),
    which carries no spacing and numbers the organs differently.
    """
    card, splits = load_card("synapse"), load_split("synapse")
    chosen_split(options, "usual")
    files = files_below(source, card.title)
    found = _btcv(files, card)
    if not found:
        found = _preprocessed(files)
        card = replace(card, window=_UNIT, axes="")
    if not found:
        raise HarmosegError(f"{source}: no cases of Synapse; expected {card.layout}")
    check_published(list(dict(found)), splits, "Synapse (18 / 12 cases)", options)
    cases = [
        SourceCase(
            case=name,
            group=name,
            split=splits[name],
            subset="",
            image=relative_name(scan.files[0], source),
            mask=relative_name(scan.files[-1], source),
            files=scan.files,
            read=scan.read,
            memory=_SCAN_MEMORY,
        )
        for name, scan in found
    ]
    return make_listing(card, cases, roots=[source])


@dataclass(frozen=True)
class _Scan:
    """The files of a volume, the image first and the labels last, and how they are read."""

    files: tuple[Path, ...]
    read: Callable[[], Sample]


def _btcv(files: list[Path], card: Card) -> list[tuple[str, _Scan]]:
    listed = load_split("synapse")
    labels = by_case(_SCAN_LABEL, files, _SCAN_NAME)
    found = []
    for name, image in by_case(_SCAN, files, _SCAN_NAME).items():
        # The twenty official test scans have no public labels.
        if name not in listed:
            continue
        pair = (image, mask_of(name, image, labels, name.replace("case", "label")))
        window = cast(Window, card.window)
        read = partial(read_nifti_pair, *pair, classes=_BTCV, window=window, axes=card.axes)
        found.append((name, _Scan(pair, read)))
    return found


def _preprocessed(files: list[Path]) -> list[tuple[str, _Scan]]:
    found = [
        (name, _Scan((file,), partial(_read_volume, file, _PREPROCESSED, _UNIT)))
        for name, file in by_case(_SCAN_VOLUME, files, _SCAN_NAME).items()
    ]
    published = load_slices("synapse")
    for name, parts in slices_by_case(_SCAN_SLICE, files, _SCAN_NAME).items():
        ordered = in_order(parts, name, first=0)
        # The last slices leave no gap where they are missing.
        check_slices(name, len(ordered), published.get(name), ordered[0].parent)
        read = partial(sample_of_slices, ordered, read_npz, _PREPROCESSED, _UNIT)
        found.append((name, _Scan(ordered, read)))
    return found


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
    # Those whom the split does not have may come without labels.
    ignored = set(_TESTING) - splits.keys()
    every = [(_patient_of(file), file) for file in files_below(source, card.title)]
    files = [file for patient, file in every if patient not in ignored]
    left_out = sorted({patient for patient, _ in every} & ignored)
    frames = _nifti_frames(files) or _hdf5_frames(files)
    if not frames:
        raise _nothing_found(source, card, left_out)
    check_published({case[:10] for case in frames}, splits, title, options)
    _check_shapes(frames)
    phases = _phases(frames, files, source)
    _check_both(frames, phases, options)
    cases = [
        SourceCase(
            case=case,
            group=case[:10],
            split=splits[case[:10]],
            subset=phases[case[:10]][int(case[-2:])] if frame.is_nifti else "",
            image=relative_name(frame.files[0], source),
            mask=relative_name(frame.files[1 if frame.is_nifti else 0], source),
            files=frame.files,
            read=frame.read,
        )
        for case, frame in frames.items()
    ]
    remarks = []
    if left_out:
        remarks.append(
            f"{len(left_out)} patients of the challenge's test part ({left_out[0]} to "
            f"{left_out[-1]}) are left out: the usual lists split the 100 of its training part; "
            "--split challenge tests on them"
        )
    return make_listing(
        card,
        cases,
        roots=[source],
        determined_by={} if split == "usual" else {"split": split},
        remarks=remarks,
    )


@dataclass(frozen=True)
class _Frame(_Scan):
    """The files of a labelled frame, with the shape and the number of slices of its image."""

    shape: tuple[int, ...]
    slices: int

    @property
    def is_nifti(self) -> bool:
        return self.files[0].suffix != ".h5"


_Frames = dict[str, _Frame]


def _patient_of(file: Path) -> str:
    match = _PATIENT.match(file.name)
    return match[1].lower() if match else ""


def _nothing_found(source: Path, card: Card, left_out: list[str]) -> HarmosegError:
    if left_out:
        return HarmosegError(
            f"{source}: only the challenge's test part is here ({left_out[0]} to {left_out[-1]}), "
            "which the usual split leaves out; expected the folder that holds training/. To test "
            "on this part pass --split challenge, with training/ beside it, or alone with "
            "--allow-missing"
        )
    return HarmosegError(f"{source}: no frames of ACDC; expected {card.layout}")


def _nifti_frames(files: list[Path]) -> _Frames:
    frames: _Frames = {}
    masks = by_case(_FRAME_MASK, files, _FRAME_NAME)
    for case, image in by_case(_FRAME, files, _FRAME_NAME).items():
        pair = (image, mask_of(case, image, masks, f"{case}_gt"))
        # Slices as acquired: the short axis of the heart lies oblique to the body's axes.
        read = partial(read_nifti_pair, *pair, classes=_ACDC, window=None)
        shape = open_nifti(image).shape
        frames[case] = _Frame(pair, read, shape, shape[-1])
    return frames


def _hdf5_frames(files: list[Path]) -> _Frames:
    frames: _Frames = {}
    for case, file in by_case(_FRAME_VOLUME, files, _FRAME_NAME).items():
        shape = hdf5_shape(file, "image")
        read = partial(_read_volume, file, _ACDC, None)
        frames[case] = _Frame((file,), read, shape, shape[0] if shape else 0)
    for case, parts in slices_by_case(_FRAME_SLICE, files, _FRAME_NAME).items():
        ordered = in_order(parts, case, first=1)
        if case not in frames:
            shape = (len(ordered), *hdf5_shape(ordered[0], "image"))
            read = partial(sample_of_slices, ordered, read_hdf5, _ACDC, None)
            frames[case] = _Frame(ordered, read, shape, len(ordered))
        elif frames[case].slices != len(ordered):  # the same frame as a whole volume
            raise HarmosegError(
                f"{frames[case].files[0]}: shape {frames[case].shape}, but {len(ordered)} of its "
                f"slices are files in {ordered[0].parent}; complete the download"
            )
    _check_numbering(frames)
    return frames


def _check_numbering(frames: _Frames) -> None:
    """Raise HarmosegError where frames are numbered in two ways: two copies are mixed.

    No frame of the release is the second of its film, so 02 is a number that a copy gave.
    """
    given = next((case for case in frames if int(case[-2:]) == 2), None)
    kept = next((case for case in frames if int(case[-2:]) > 2), None)
    if given and kept:
        raise HarmosegError(
            f"{frames[given].files[0]}: this copy numbers the two frames of a patient 01 and 02, "
            f"the copy of {frames[kept].files[0]} keeps the numbers of the release; two "
            "preprocessed copies differ in their intensities: prepare from one of them"
        )


def _check_shapes(frames: _Frames) -> None:
    """Raise HarmosegError where frames of a patient differ in shape, or slices are missing."""
    published = load_slices("acdc")
    first: dict[str, tuple[str, _Frame]] = {}
    for case, frame in frames.items():
        image = frame.files[0]
        place = image.parent if len(frame.files) > 2 else image
        check_slices(case, frame.slices, published.get(case[:10]), place)
        other, expected = first.setdefault(case[:10], (case, frame))
        if expected.shape != frame.shape:
            raise HarmosegError(
                f"{image}: shape {frame.shape}, but {other} of the same patient has "
                f"{expected.shape}; the frames of one examination have one shape: complete the "
                "download, or replace the wrong one"
            )


_Phases = Mapping[int, str]


def _phases(frames: _Frames, files: list[Path], source: Path) -> dict[str, _Phases]:
    """Read which frames are end-diastole and end-systole, of every patient that has NIfTI files."""
    infos = {file.parent: file for file in files if file.name.lower() == "info.cfg"}
    phases: dict[str, _Phases] = {}
    for case, frame in frames.items():
        if frame.is_nifti and case[:10] not in phases:
            folder = frame.files[0].parent
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


def _check_both(frames: _Frames, phases: Mapping[str, _Phases], options: SourceOptions) -> None:
    """Raise HarmosegError for a patient who has other than the two labelled frames.

    With `allow_missing` one of the two may be missing.
    """
    found: dict[str, set[int]] = defaultdict(set)
    for case in frames:
        found[case[:10]].add(int(case[-2:]))
    for patient, numbers in found.items():
        # HDF5 copies have no Info.cfg, and may number the two frames in their own way.
        expected = set(phases.get(patient, ()))
        wanted = f"those of its Info.cfg, {sorted(expected)}" if expected else "two"
        if len(numbers) > 2 or (expected and numbers - expected):
            cure = "remove what is no part of the dataset"
        elif len(numbers) < 2 and not options.allow_missing:
            cure = "complete the download, or, where only a part is wanted, pass --allow-missing"
        else:
            continue
        raise HarmosegError(
            f"{patient}: frame(s) {sorted(numbers)} found, expected {wanted}; {cure}"
        )


def _read_volume(file: Path, classes: Mapping[int, int], window: Window | None) -> Sample:
    image, label = read_hdf5(file, "image", "label")
    return sample_of_arrays(image, label, file, classes=classes, window=window)
