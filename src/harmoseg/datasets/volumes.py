"""Volumes as NIfTI files: read, turned from the frame of their file to slices, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Pair
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from harmoseg.datasets.arrays import (
    Window,
    check_numbers,
    check_size,
    classes_of,
    refusing,
    scale_intensities,
)
from harmoseg.errors import HarmosegError
from harmoseg.store.tiling import Sample

_AS_ACQUIRED = np.array([[0, 1], [1, 1], [2, 1]])
"""The orientation, as nibabel writes it, that turns nothing."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Mapping from the voxels (X, Y, Z) of a file to slices (D, H, W).

    `turn` is an orientation as nibabel writes it; `affine` (4, 4) leads from the turned voxels to
    mm, towards right, anterior and superior.
    """

    turn: NDArray[Any]
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, affine: NDArray[Any], shape: tuple[int, ...], axes: str | None) -> Frame:
        """Turn voxels of `shape` to `axes`, such as ``"LPS"``; leave them as acquired if None."""
        affine = np.asarray(affine, dtype=np.float64)
        if not axes:
            return cls(_AS_ACQUIRED, affine)
        turn = ornt_transform(io_orientation(affine), axcodes2ornt(axes)).astype(int)
        return cls(turn, affine @ inv_ornt_aff(turn, shape[:3]))

    def slices(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Turn (X, Y, Z) into (D, H, W), slices along the third axis."""
        return np.asarray(apply_orientation(voxels, self.turn)).transpose(2, 1, 0)

    def voxels(self, slices: NDArray[Any]) -> NDArray[Any]:
        """Turn (D, H, W) or (D, H, W, C) back into (X, Y, Z) or (X, Y, Z, C)."""
        turned = slices.transpose(2, 1, 0, *range(3, slices.ndim))
        back = ornt_transform(_AS_ACQUIRED, self.turn).astype(int)
        return np.asarray(apply_orientation(turned, back))

    def spacing(self, zooms: NDArray[Any]) -> tuple[float, ...]:
        """Order voxel sizes along X, Y, Z as (depth, height, width) of the slices."""
        turned = np.empty(3)
        turned[self.turn[:, 0]] = zooms
        # Rounded to a nanometre: a header's numbers are of single precision.
        return tuple(round(float(value), 6) for value in turned[::-1])

    @property
    def rows(self) -> tuple[float, ...]:
        """Return the upper three rows of the affine, as stores keep them."""
        return tuple(map(float, self.affine[:3].ravel()))


def _millimetres(image: Nifti1Pair) -> float:
    """Return the length in mm of the unit that a header gives; a file without a unit is in mm."""
    return {1: 1000.0, 3: 0.001}.get(int(image.header["xyzt_units"]) & 7, 1.0)


def affine_in_mm(image: Nifti1Pair) -> NDArray[np.float64]:
    """Return the affine (4, 4) from voxels to mm, whatever unit the header gives."""
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _millimetres(image)
    return affine


def zooms_in_mm(image: Nifti1Pair, path: Path) -> NDArray[np.float64]:
    """Return the sizes of an image's voxels along X, Y, Z in mm.

    The header's voxel sizes count. Some releases carry an affine without scale beside them; any
    other contradiction between the two is an error.
    """
    zooms = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
    scales = np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)
    unit = _millimetres(image)
    if not (np.isfinite(zooms).all() and (zooms > 0).all()):
        raise HarmosegError(f"{path}: voxel sizes {zooms.tolist()}, expected positive numbers")
    if not np.allclose(scales, 1, atol=1e-3) and not np.allclose(scales, zooms, rtol=1e-2):
        raise HarmosegError(
            f"{path}: the header says voxels of {_shown(zooms * unit)} mm, the affine "
            f"{_shown(scales * unit)} mm; export the file again"
        )
    return zooms * unit


def _shown(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)


def open_nifti(path: Path, *, channels: bool = False) -> Nifti1Pair:
    """Open a NIfTI file of three dimensions, its voxels unread; axes of length 1 beyond them go.

    With `channels` it may have a fourth axis, or a fifth as ITK writes vectors: (X, Y, Z, C).

    Raises HarmosegError where it is damaged, of another kind, or of other dimensions, and where
    its affine does not say where the voxels lie.
    """
    with refusing(path, "read as NIfTI"):
        image = nibabel.load(path)
    if not isinstance(image, Nifti1Pair):
        raise HarmosegError(f"{path}: {type(image).__name__}, expected a NIfTI file")
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1:
        raise HarmosegError(f"{path}: shape {shape}, expected three dimensions")
    if math.prod(shape[3:]) != 1 and not (channels and math.prod(shape[3:]) == shape[-1]):
        raise HarmosegError(
            f"{path}: shape {shape}, expected three dimensions: a series of volumes; export the "
            "one that the labels belong to"
        )
    check_numbers(dtype, path)
    check_size(shape[:3], dtype.itemsize, path)
    if not np.isfinite(image.affine).all() or np.isnan(io_orientation(image.affine)).any():
        raise HarmosegError(
            f"{path}: the affine {np.asarray(image.affine)[:3].tolist()} is not finite, or gives "
            "an axis no direction; export the file again"
        )
    wanted = (*shape[:3], math.prod(shape[3:])) if channels else shape[:3]
    if shape == wanted:
        return image
    return type(image)(_proxy(image).reshape(wanted), image.affine, image.header)


def read_nifti_pair(
    image_path: Path,
    label_path: Path,
    *,
    classes: Mapping[int, int],
    window: Window | None,
    axes: str | None = None,
) -> Sample:
    """Read a volume and its labels, slices along the third axis.

    `classes` gives the class of every label value that may occur; `window` the intensities that
    become 0 and 255, the volume's own 0.5 and 99.5 percentiles when None. With `axes`, such as
    ``"LPS"``, both are first turned to that orientation; otherwise they stay as acquired.

    Raises HarmosegError where the two differ in shape or affine, for NaN, for a constant image,
    for one that does not reach the window's ends, for other label values, and where header and
    affine contradict each other on the spacing.
    """
    image, label = open_nifti(image_path), open_nifti(label_path)
    if image.shape != label.shape:
        raise HarmosegError(
            f"shapes differ: {image_path} is {image.shape}, its labels {label_path.name} are "
            f"{label.shape}; both must cover the same voxels"
        )
    affine = affine_in_mm(image)
    if not np.allclose(affine, affine_in_mm(label), rtol=1e-3, atol=1e-3):
        raise HarmosegError(
            f"affines differ: {image_path} is oriented {_orientation(image)}, its labels "
            f"{label_path.name} {_orientation(label)} (or shifted or scaled); export both from the "
            "same frame"
        )
    frame = Frame.of(affine, image.shape, axes)
    spacing = frame.spacing(zooms_in_mm(image, image_path))
    labels = classes_of(frame.slices(read_voxels(label, label_path)), classes, label_path)
    pixels = scale_intensities(frame.slices(read_voxels(image, image_path)), window, image_path)
    return Sample(pixels[..., None], labels, spacing, frame.rows)


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume without labels: slices (D, H, W) of bytes, and how they lie in their file.

    `spacing` is (depth, height, width) in mm, empty where it is not known. `source` has the header
    and the affine that a label map of this volume gets.
    """

    slices: NDArray[np.uint8]
    frame: Frame
    spacing: tuple[float, ...]
    source: Nifti1Pair


def read_nifti(
    path: Path,
    *,
    window: Window | None,
    axes: str | None = None,
    assume_spacing: Sequence[float] | None = None,
) -> Volume:
    """Read a volume, its slices as `read_nifti_pair` makes them.

    A file that does not say where its voxels lie (sform_code and qform_code are 0) is refused,
    unless `assume_spacing` gives the sizes of its voxels along X, Y, Z in mm; they then lie
    towards right, anterior and superior. Raises HarmosegError otherwise as `read_nifti_pair` does.
    """
    image = open_nifti(path)
    affine = affine_in_mm(image)
    if int(image.header["sform_code"]) or int(image.header["qform_code"]):
        zooms = zooms_in_mm(image, path)
    elif assume_spacing is None:
        raise HarmosegError(
            f"{path}: does not say where its voxels lie (sform_code and qform_code are 0); export "
            "it again with its geometry, or give the sizes of its voxels in mm with "
            "--assume-spacing X Y Z"
        )
    else:
        zooms = np.asarray(assume_spacing, dtype=np.float64)
        affine = np.diag([*zooms, 1.0])
    frame = Frame.of(affine, image.shape, axes)
    slices = scale_intensities(frame.slices(read_voxels(image, path)), window, path)
    return Volume(slices, frame, frame.spacing(zooms), image)


def read_voxels(image: Nifti1Pair, path: Path) -> NDArray[Any]:
    """Read the voxels of an image that is open, in the file's type if it has no scale.

    Raises HarmosegError where the file is damaged.
    """
    with refusing(path, "decoded"):
        proxy = _proxy(image)
        stored: NDArray[Any] = np.asanyarray(proxy.get_unscaled())
        if (proxy.slope, proxy.inter) == (1, 0):
            return stored
        # In single precision: nibabel's double takes twice a CT's memory.
        values = np.empty(stored.shape, np.float32, order="F")
        with np.errstate(over="ignore"):  # infinities are refused later, with their number
            for plane in range(stored.shape[2]):
                values[..., plane] = stored[..., plane] * proxy.slope + proxy.inter
        return values


def _proxy(image: Nifti1Pair) -> ArrayProxy:
    """Return the voxels of an image opened from a file, unread."""
    return cast(ArrayProxy, image.dataobj)


def _orientation(image: Nifti1Pair) -> str:
    return "".join(str(code) for code in aff2axcodes(image.affine))
