"""Synapse multi-organ: abdominal CT, eight organs of the thirteen that BTCV labels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.catalogue import load_card, load_slices, load_split
from harmoseg.datasets.readers.common import check_published, chosen_split
from harmoseg.datasets.readers.finding import by_id, check_slices, files_below, in_order
from harmoseg.datasets.sources import (
    Listing,
    SourceCase,
    SourceOptions,
    make_listing,
    relative_name,
)
from harmoseg.datasets.volumes import (
    Window,
    check_size,
    classes_of,
    read_hdf5,
    read_nifti_pair,
    read_npz,
    sample_of_arrays,
    scale_intensities,
)
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.tiling import Sample

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
_MEMORY = 512 << 20
"""Of a case: a scan of 250 slices, and what is made of it."""
_IMAGE = re.compile(r"img(\d{4})\.nii(?:\.gz)?", re.IGNORECASE)
_LABEL = re.compile(r"label(\d{4})\.nii(?:\.gz)?", re.IGNORECASE)
_SLICE = re.compile(r"case(\d{4})_slice(\d+)\.npz")
_VOLUME = re.compile(r"case(\d{4})(?:\.npy)?\.h5")


def list_synapse(source: Path, options: SourceOptions) -> Listing:
    """List the 30 cases with the usual 18 / 12 split, wherever below `source` they lie.

    From BTCV's own files (``img0001.nii.gz``, ``label0001.nii.gz``), or from the common
    preprocessed form (``case0005_slice000.npz`` for training, ``case0001.npy.h5`` for testing),
    which carries no spacing and numbers the organs differently.
    """
    card = load_card("synapse")
    chosen_split(options, "usual")
    files = files_below(source, card.title)
    cases = _btcv(files, source, card)
    if not cases:
        cases = _preprocessed(files, source)
        card = replace(card, window=_UNIT, axes="")
    if not cases:
        raise HarmosegError(f"{source}: no cases of Synapse; expected {card.layout}")
    splits = load_split("synapse")
    check_published(sorted(item.case for item in cases), splits, "Synapse (18 / 12 cases)", options)
    return make_listing(card, cases, roots=[source])


def _btcv(files: list[Path], source: Path, card: Card) -> list[SourceCase]:
    splits = load_split("synapse")
    labels = by_id(_named(_LABEL, files))
    cases = []
    for name, image in by_id(_named(_IMAGE, files)).items():
        # The twenty official test scans have no public labels.
        if name not in splits:
            continue
        if name not in labels:
            raise HarmosegError(
                f"{image}: patient without mask, {name.replace('case', 'label')}.nii.gz is "
                "missing; complete the download"
            )
        read = partial(
            read_nifti_pair,
            image,
            labels[name],
            classes=_BTCV,
            window=cast(Window, card.window),
            axes=card.axes,
        )
        cases.append(_case(name, (image, labels[name]), source, read))
    return cases


def _preprocessed(files: list[Path], source: Path) -> list[SourceCase]:
    cases = [
        _case(name, (file,), source, partial(_read_volume, file))
        for name, file in by_id(_named(_VOLUME, files)).items()
    ]
    numbered = ((_SLICE.fullmatch(file.name), file) for file in files)
    found = by_id(((part[1], int(part[2])), file) for part, file in numbered if part)
    slices: dict[str, dict[int, Path]] = defaultdict(dict)
    for (case, number), file in found.items():
        slices[f"case{case}"][number] = file
    published = load_slices("synapse")
    for name, parts in slices.items():
        ordered = in_order(parts, name, first=0)
        # The last slices leave no gap where they are missing.
        check_slices(name, len(ordered), published.get(name), ordered[0].parent)
        cases.append(_case(name, ordered, source, partial(_read_slices, ordered)))
    return cases


def _named(pattern: re.Pattern[str], files: list[Path]) -> Iterator[tuple[str, Path]]:
    for file in files:
        match = pattern.fullmatch(file.name)
        if match:
            yield f"case{match[1]}", file


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
        memory=_MEMORY,
    )


def _read_volume(file: Path) -> Sample:
    image, label = read_hdf5(file, "image", "label")
    return sample_of_arrays(image, label, file, classes=_PREPROCESSED, window=_UNIT)


def _read_slices(files: tuple[Path, ...]) -> Sample:
    first, _ = _read_slice(files[0])
    check_size((len(files), *first.shape), 4, files[0])
    images = np.empty((len(files), *first.shape), np.float32)
    labels = np.empty(images.shape, np.uint8)
    for number, file in enumerate(files):
        image, label = _read_slice(file)
        if image.shape != first.shape:
            raise HarmosegError(
                f"{file}: shape {image.shape}, the slices before it have {first.shape}"
            )
        images[number] = image
        labels[number] = classes_of(label[None], _PREPROCESSED, file)[0]
    # A slice of one value is nothing strange, so intensities are looked at as a volume.
    pixels = scale_intensities(images, _UNIT, files[0], windowed=True)
    return Sample(pixels[..., None], labels)


def _read_slice(file: Path) -> list[NDArray[Any]]:
    image, label = read_npz(file, "image", "label")
    if image.shape != label.shape or image.ndim != 2:
        raise HarmosegError(
            f"{file}: image of shape {image.shape} and label of shape {label.shape}; expected "
            "both of one shape (height, width)"
        )
    return [image, label]
