"""Synapse multi-organ: abdominal CT, eight organs of the thirteen that BTCV labels."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.readers.common import check_published, chosen_split
from harmoseg.datasets.sources import (
    Listing,
    SourceCase,
    SourceOptions,
    make_listing,
    relative_name,
)
from harmoseg.datasets.volumes import read_hdf5, read_nifti_pair, read_npz, sample_of_arrays
from harmoseg.errors import HarmosegError
from harmoseg.store.cutting import Sample

_HOUNSFIELD = (-125.0, 275.0)
_UNIT = (0.0, 1.0)  # the preprocessed form is windowed already

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
_IMAGE = re.compile(r"img(\d{4})\.nii(?:\.gz)?$")
_SLICE = re.compile(r"case(\d{4})_slice(\d+)\.npz$")
_VOLUME = re.compile(r"case(\d{4})(?:\.npy)?\.h5$")


def list_synapse(source: Path, options: SourceOptions) -> Listing:
    """List the 30 cases with the usual 18 / 12 split, wherever below `source` they lie.

    From BTCV's own files (``img0001.nii.gz``, ``label0001.nii.gz``), or from the common
    preprocessed form (``case0005_slice000.npz`` for training, ``case0001.npy.h5`` for testing),
    which carries no spacing and numbers the organs differently.
    """
    card = load_card("synapse")
    chosen_split(options, "usual")
    if not source.is_dir():
        raise HarmosegError(f"{source}: no such folder; expected the folder of {card.title}")
    files = sorted(path for path in source.rglob("*") if path.is_file())
    cases = _btcv(files, source) or _preprocessed(files, source)
    if not cases:
        raise HarmosegError(f"{source}: no cases of Synapse; expected {card.layout}")
    splits = load_split("synapse")
    check_published(sorted(item.case for item in cases), splits, "Synapse (18 / 12 cases)", options)
    return make_listing(card, cases, roots=[source])


def _btcv(files: list[Path], source: Path) -> list[SourceCase]:
    by_name = {path.name: path for path in files}
    splits = load_split("synapse")
    cases = []
    for image in files:
        match = _IMAGE.fullmatch(image.name)
        # The twenty official test scans have no public labels.
        if match is None or f"case{match[1]}" not in splits:
            continue
        mask = by_name.get(image.name.replace("img", "label", 1))
        if mask is None:
            raise HarmosegError(
                f"{image}: patient without mask, label{match[1]}.nii.gz is missing; complete the "
                "download"
            )
        read = partial(
            # Axial slices as they are looked at: left of the patient on the right.
            read_nifti_pair,
            image,
            mask,
            classes=_BTCV,
            window=_HOUNSFIELD,
            axes="LPS",
        )
        cases.append(_case(f"case{match[1]}", (image, mask), source, read))
    return cases


def _preprocessed(files: list[Path], source: Path) -> list[SourceCase]:
    volumes: dict[str, Path] = {}
    slices: dict[str, dict[int, Path]] = defaultdict(dict)
    for file in files:
        part, volume = _SLICE.fullmatch(file.name), _VOLUME.fullmatch(file.name)
        if part:
            slices[f"case{part[1]}"][int(part[2])] = file
        elif volume:
            volumes[f"case{volume[1]}"] = file
    cases = [
        _case(name, (file,), source, partial(_read_volume, file)) for name, file in volumes.items()
    ]
    for name, parts in slices.items():
        absent = sorted(set(range(max(parts) + 1)) - parts.keys())
        if absent:
            raise HarmosegError(
                f"{parts[max(parts)].parent}: slice(s) {absent[:5]} of {name} are missing; "
                "complete the download"
            )
        ordered = tuple(parts[number] for number in sorted(parts))
        cases.append(_case(name, ordered, source, partial(_read_slices, ordered)))
    return cases


def _case(name: str, files: tuple[Path, ...], source: Path, read: partial[Sample]) -> SourceCase:
    splits = load_split("synapse")
    return SourceCase(
        case=name,
        group=name,
        # An unlisted case is refused by the check of the list, which comes after.
        split=splits.get(name, "test"),
        subset="",
        image=relative_name(files[0], source),
        mask=relative_name(files[-1], source),
        files=files,
        read=read,
    )


def _read_volume(file: Path) -> Sample:
    image, label = read_hdf5(file, "image", "label")
    return sample_of_arrays(image, label, file, classes=_PREPROCESSED, window=_UNIT)


def _read_slices(files: tuple[Path, ...]) -> Sample:
    images: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.float32]] = []
    for file in files:
        image, label = read_npz(file, "image", "label")
        if image.shape != label.shape or image.ndim != 2:
            raise HarmosegError(
                f"{file}: image of shape {image.shape} and label of shape {label.shape}; expected "
                "both of one shape (height, width)"
            )
        if images and image.shape != images[0].shape:
            raise HarmosegError(
                f"{file}: shape {image.shape}, the slices before it have {images[0].shape}"
            )
        images.append(image.astype(np.float32))
        labels.append(label.astype(np.float32))
    return sample_of_arrays(
        np.stack(images), np.stack(labels), files[0], classes=_PREPROCESSED, window=_UNIT
    )
