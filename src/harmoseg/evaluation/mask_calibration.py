"""Calibration of probability maps in files, by the same bins as an evaluation's."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.volumes import Frame, open_nifti, read_voxels
from harmoseg.errors import HarmosegError
from harmoseg.evaluation.mask_files import NIFTI, MaskFile, suffix_of
from harmoseg.metrics import (
    CalibrationBins,
    binary_calibration,
    boundary_band,
    multiclass_calibration,
    top_label,
)

_OF_NNUNET = ("probabilities", "softmax")
"""Names of the array in the .npz files of nnU-Net 2 and 1."""


def calibrate_map(
    path: Path,
    truth: MaskFile,
    decided: NDArray[np.integer],
    values: tuple[int, ...],
    band: float | None,
    spacing: Any,
) -> tuple[CalibrationBins, float]:
    """Return the calibration bins of a probability map, and where it contradicts its mask.

    `decided` is the predicted mask; the second value is the share of pixels where it is not the
    most probable class. `values` are the labels of the foreground classes, in the order of the
    map; without them the labels are places in the map. Raises HarmosegError naming the file for
    another shape and for values that are no probabilities.
    """
    maps = read_map(path, truth.labels.shape)
    labels, decided = (_as_places(found, values) for found in (truth.labels, decided))
    where = None if band is None else boundary_band(labels, band, spacing=spacing)
    most = max(int(labels.max(initial=0)), len(values))
    if most >= max(2, len(maps)):
        raise HarmosegError(
            f"{path}: {len(maps)} map(s), the truth has labels up to {most}; expected "
            f"{most + 1}: one of the background and one of every class"
        )
    try:
        if len(maps) <= 2 and most <= 1:
            # Two maps that add up to 1 say what one says: foreground is measured, as evaluated.
            if len(maps) == 2:
                multiclass_calibration(maps, labels, where=where)
            bins = binary_calibration(maps[-1], labels, where=where)
            chosen: NDArray[np.integer] = (maps[-1] > 0.5).view(np.uint8)
        else:
            bins = multiclass_calibration(maps, labels, where=where)
            chosen = top_label(maps)[0]
    except HarmosegError as error:
        raise HarmosegError(f"{path}: {error}") from error
    return bins, np.count_nonzero(chosen != decided) / max(1, decided.size)


def read_map(path: Path, shape: tuple[int, ...]) -> NDArray[np.floating[Any]]:
    """Read the probabilities of every class, the class first, for masks of `shape`.

    An array is (C, H, W) or (C, D, H, W); without C it is of the foreground alone, and (D, C, H, W)
    is what an evaluation keeps. NIfTI is (X, Y, Z) or (X, Y, Z, C).
    """
    found = _read_volumes(path) if suffix_of(path) in NIFTI else _read_array(path)
    if found.shape == shape:
        found = found[None]
    elif found.ndim == len(shape) + 2 == 4:  # a picture as a volume of one plane
        found = found[:, 0] if found.shape[1] == 1 else found[0] if found.shape[0] == 1 else found
    elif found.shape[1:] != shape and found.swapaxes(0, 1).shape[1:] == shape:
        found = found.swapaxes(0, 1)
    if found.shape[1:] != shape:
        raise HarmosegError(
            f"{path}: shape {found.shape}, expected (classes, {', '.join(map(str, shape))})"
        )
    if found.dtype.kind != "f":
        raise HarmosegError(
            f"{path}: values of {found.dtype}, expected probabilities from 0 to 1 in floating point"
        )
    return found


def _read_volumes(path: Path) -> NDArray[Any]:
    """Read (X, Y, Z, C) as (C, D, H, W), turned as masks are."""
    image = open_nifti(path, channels=True)
    frame = Frame.of(image.affine, image.shape[:3], None)
    voxels = read_voxels(image, path)
    return np.stack([frame.slices(voxels[..., c]) for c in range(voxels.shape[3])])


def _read_array(path: Path) -> NDArray[Any]:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            names = [name for name in _OF_NNUNET if name in content] or content.files
            if len(names) != 1:
                raise HarmosegError(
                    f"{path}: holds the arrays {', '.join(names) or 'none'}; expected one, or one "
                    "called probabilities"
                )
            return np.asarray(content[names[0]])
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise HarmosegError(
            f"{path}: cannot be read as an array ({error}); write it again"
        ) from error


def _as_places(labels: NDArray[np.integer], values: tuple[int, ...]) -> NDArray[np.integer]:
    """Replace the label of every class by its place among the classes."""
    if not values or values == tuple(range(1, len(values) + 1)):
        return labels
    table = np.zeros(max(int(labels.max(initial=0)), *values) + 1, np.int32)
    table[list(values)] = np.arange(1, len(values) + 1)
    return np.asarray(table[labels])
