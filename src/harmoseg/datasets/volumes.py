"""Reading volumes: NIfTI pairs, HDF5 and NumPy files; intensities brought to 8 bits."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Pair
from nibabel.orientations import aff2axcodes, axcodes2ornt, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.store.cutting import Sample

Window = tuple[float, float]

_MOST_VOXELS = 1_000_000_000
"""A whole-body CT has half of it; a small compressed file may claim any number."""


def open_nifti(path: Path) -> Nifti1Pair:
    """Open a NIfTI file of three dimensions, its voxels unread.

    Raises HarmosegError where it is damaged, of another kind, or of other dimensions.
    """
    try:
        image = nibabel.load(path)
    except (OSError, ImageFileError, HeaderDataError, EOFError, ValueError, zlib.error) as error:
        raise HarmosegError(
            f"{path}: cannot be read as NIfTI ({error}); replace the file"
        ) from error
    if not isinstance(image, Nifti1Pair):
        raise HarmosegError(f"{path}: {type(image).__name__}, expected a NIfTI file")
    if len(image.shape) != 3 or min(image.shape) < 1:
        raise HarmosegError(f"{path}: shape {image.shape}, expected three dimensions")
    _check_size(image.shape, path)
    return image


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
    for other label values, and where header and affine contradict each other on the spacing.
    """
    image, label = open_nifti(image_path), open_nifti(label_path)
    if image.shape != label.shape:
        raise HarmosegError(
            f"shapes differ: {image_path} is {image.shape}, its labels {label_path.name} are "
            f"{label.shape}; both must cover the same voxels"
        )
    if not np.allclose(image.affine, label.affine, rtol=1e-3, atol=1e-3):
        raise HarmosegError(
            f"affines differ: {image_path} is oriented {_orientation(image)}, its labels "
            f"{label_path.name} {_orientation(label)} (or shifted or scaled); export both from the "
            "same frame"
        )
    if axes is not None:
        turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(axes))
        image, label = image.as_reoriented(turn), label.as_reoriented(turn)
    spacing = _spacing(image, image_path)
    labels = _classes_of(_planes(label, label_path), classes, label_path)
    pixels = scale_intensities(_planes(image, image_path), window, image_path)
    affine = tuple(float(value) for value in np.asarray(image.affine)[:3].ravel())
    return Sample(pixels[..., None], labels, spacing, affine)


def read_hdf5(path: Path, *names: str) -> list[NDArray[Any]]:
    """Read arrays of an HDF5 file; raise HarmosegError naming the file or the array missing."""
    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in names if not isinstance(file.get(name), h5py.Dataset)]
            if missing:
                raise HarmosegError(
                    f"{path}: no {' and no '.join(missing)} in it, found {', '.join(file)}"
                )
            for name in names:
                _check_size(file[name].shape, path)
            return [np.asarray(file[name]) for name in names]
    except (OSError, RuntimeError) as error:
        raise HarmosegError(
            f"{path}: cannot be read as HDF5 ({error}); replace the file"
        ) from error


def read_npz(path: Path, *names: str) -> list[NDArray[Any]]:
    """Read arrays of a .npz file, never Python objects; raise HarmosegError as `read_hdf5`."""
    try:
        with zipfile.ZipFile(path) as archive:
            # Sizes of what is packed, in bytes, before any of it is unpacked.
            _check_size((sum(item.file_size for item in archive.infolist()) // 8,), path)
        with np.load(path, allow_pickle=False) as parts:
            missing = [name for name in names if name not in parts]
            if missing:
                raise HarmosegError(
                    f"{path}: no {' and no '.join(missing)} in it, found {', '.join(parts.files)}"
                )
            return [parts[name] for name in names]
    except HarmosegError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise HarmosegError(f"{path}: cannot be read ({error}); replace the file") from error


def sample_of_arrays(
    image: NDArray[Any],
    label: NDArray[Any],
    path: Path,
    *,
    classes: Mapping[int, int],
    window: Window | None,
) -> Sample:
    """Make a sample of arrays (D, H, W) that carry no geometry; checks as `read_nifti_pair`."""
    if image.shape != label.shape or image.ndim != 3:
        raise HarmosegError(
            f"{path}: image of shape {image.shape} and labels of shape {label.shape}; expected "
            "both of one shape (slices, height, width)"
        )
    pixels = scale_intensities(image, window, path)
    return Sample(pixels[..., None], _classes_of(label, classes, path))


def scale_intensities(
    image: NDArray[Any], window: Window | None, path: Path, *, percentiles: Window = (0.5, 99.5)
) -> NDArray[np.uint8]:
    """Bring intensities (D, H, W) to 0 ... 255, slice by slice so that no float copy is made.

    Raises HarmosegError for NaN or infinite values, and where all values are one.
    """
    if image.dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in image):
        bad = sum(int((~np.isfinite(plane)).sum()) for plane in image)
        raise HarmosegError(
            f"{path}: {bad} voxel(s) are NaN or infinite; repair or remove the case"
        )
    lowest, highest = image.min(), image.max()
    if lowest == highest:
        raise HarmosegError(
            f"{path}: every voxel has the value {lowest}: an empty image; remove it"
        )
    if window is None:
        low, high = (float(value) for value in np.percentile(image, percentiles))
        if high <= low:  # nearly all voxels are one: what is left is still an image
            low, high = float(lowest), float(highest)
    else:
        low, high = window
    scaled = np.empty(image.shape, dtype=np.uint8)
    for plane, target in zip(image, scaled, strict=True):
        clipped = np.clip(plane.astype(np.float32), low, high)
        target[:] = np.rint((clipped - low) * (255 / (high - low)))
    return scaled


def _check_size(shape: tuple[int, ...], path: Path) -> None:
    if math.prod(shape) > _MOST_VOXELS:
        raise HarmosegError(
            f"{path}: refused, {' x '.join(map(str, shape))} are too many voxels (at most "
            f"{_MOST_VOXELS:,}); crop it, or replace the file if it should be smaller"
        )


def _planes(image: Nifti1Pair, path: Path) -> NDArray[Any]:
    """Read the voxels as (depth, height, width), in the type of the file where it has no scale."""
    try:
        voxels = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise HarmosegError(f"{path}: cannot be decoded ({error}); replace the file") from error
    return voxels.transpose(2, 1, 0)


def _classes_of(values: NDArray[Any], classes: Mapping[int, int], path: Path) -> NDArray[np.uint8]:
    table = np.full(256, 255, dtype=np.uint8)
    table[list(classes)] = list(classes.values())
    out = np.empty(values.shape, dtype=np.uint8)
    unexpected: set[float] = set()
    for plane, target in zip(values, out, strict=True):
        whole = np.clip(np.nan_to_num(plane, nan=-1), -1, 255).astype(np.int16)
        strange = (whole != plane) | (table[whole] == 255) | (whole < 0)
        if strange.any():
            unexpected |= set(np.unique(plane[strange])[:6].tolist())
        target[:] = table[whole]
    if unexpected:
        raise HarmosegError(
            f"{path}: unexpected label value(s) {', '.join(f'{v:g}' for v in sorted(unexpected))}; "
            f"expected {', '.join(map(str, sorted(classes)))}; check that this is the label file "
            "of this dataset"
        )
    return out


def _spacing(image: Nifti1Pair, path: Path) -> tuple[float, ...]:
    """Give (depth, height, width) in mm.

    The header's voxel sizes count. Some releases carry an affine without scale beside them; any
    other contradiction between the two is an error.
    """
    zooms = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
    scales = np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)
    if not (np.isfinite(zooms).all() and (zooms > 0).all()):
        raise HarmosegError(f"{path}: voxel sizes {zooms.tolist()}, expected positive numbers")
    if not np.allclose(scales, 1, atol=1e-3) and not np.allclose(scales, zooms, rtol=1e-2):
        raise HarmosegError(
            f"{path}: the header says voxels of {_shown(zooms)} mm, the affine {_shown(scales)} "
            "mm; export the file again"
        )
    # Rounded to a nanometre: the header's numbers are of single precision.
    return tuple(round(float(value), 6) for value in zooms[::-1])


def _shown(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)


def _orientation(image: Nifti1Pair) -> str:
    return "".join(str(code) for code in aff2axcodes(image.affine))
