"""Reading volumes: NIfTI pairs, HDF5 and NumPy files; intensities brought to 8 bits."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Pair
from nibabel.orientations import aff2axcodes, io_orientation
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from harmoseg.datasets.frames import Frame, affine_in_mm, zooms_in_mm
from harmoseg.errors import HarmosegError
from harmoseg.store.tiling import Sample

Window = tuple[float, float]

_MOST_BYTES = 1 << 30
"""Eight times a long CT; a file of a few kilobytes may claim any number."""
_MOST_PIXELS = 89_478_485
"""Of one slice, as of one picture."""
_OVERSHOOT = 0.01
"""By what share of its width windowed intensities may leave a window, as resampling makes them."""


def open_nifti(path: Path, *, channels: bool = False) -> Nifti1Pair:
    """Open a NIfTI file of three dimensions, its voxels unread; axes of length 1 beyond them go.

    With `channels` it may have a fourth axis, or a fifth as ITK writes vectors: (X, Y, Z, C).

    Raises HarmosegError where it is damaged, of another kind, or of other dimensions, and where
    its affine does not say where the voxels lie.
    """
    with _refusing(path, "read as NIfTI"):
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
    _check_numbers(dtype, path)
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


def read_hdf5(path: Path, *names: str) -> list[NDArray[Any]]:
    """Read arrays of an HDF5 file.

    Raises HarmosegError naming the file or the array missing, and where an array's values lie in
    another file, which nobody would check or hash.
    """
    with _refusing(path, "read as HDF5"), h5py.File(path, "r") as file:
        return [np.asarray(array) for array in _arrays_in(file, names, path)]


def hdf5_shape(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of an array of an HDF5 file, its values unread; raise as `read_hdf5`."""
    with _refusing(path, "read as HDF5"), h5py.File(path, "r") as file:
        return tuple(_arrays_in(file, (name,), path)[0].shape)


def read_npz(path: Path, *names: str) -> list[NDArray[Any]]:
    """Read arrays of a .npz file, never Python objects; raise HarmosegError as `read_hdf5`."""
    with _refusing(path, "read"):
        with zipfile.ZipFile(path) as archive:
            # Sizes of what is packed, in bytes, before any of it is unpacked.
            check_size((sum(item.file_size for item in archive.infolist()),), 1, path)
        with np.load(path, allow_pickle=False) as parts:
            missing = [name for name in names if name not in parts]
            if missing:
                raise HarmosegError(
                    f"{path}: no {' and no '.join(missing)} in it, found {', '.join(parts.files)}"
                )
            arrays = [parts[name] for name in names]
    for array in arrays:
        _check_numbers(array.dtype, path)
    return arrays


def sample_of_arrays(
    image: NDArray[Any],
    label: NDArray[Any],
    path: Path,
    *,
    classes: Mapping[int, int],
    window: Window | None,
) -> Sample:
    """Make a sample of arrays (D, H, W) that carry no geometry; checks as `read_nifti_pair`.

    A `window` is here the one that intensities lie in already.
    """
    if image.shape != label.shape or image.ndim != 3 or min(image.shape) < 1:
        raise HarmosegError(
            f"{path}: image of shape {image.shape} and labels of shape {label.shape}; expected "
            "both of one shape (slices, height, width)"
        )
    check_slices_first(image.shape, path)
    pixels = scale_intensities(image, window, path, windowed=True)
    return Sample(pixels[..., None], classes_of(label, classes, path))


def check_slices_first(shape: tuple[int, ...], path: Path) -> None:
    """Raise HarmosegError for an array of three dimensions that looks like (H, W, D)."""
    # Slices are often square, and hardly ever exactly as many as they are high.
    if shape[0] == shape[1] != shape[2]:
        raise HarmosegError(
            f"{path}: shape {shape} looks like (height, width, slices), expected (slices, height, "
            "width); write its arrays anew as numpy.moveaxis(array, -1, 0)"
        )


def scale_intensities(
    image: NDArray[Any],
    window: Window | None,
    path: Path,
    *,
    percentiles: Window = (0.5, 99.5),
    windowed: bool = False,
    padding: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Bring intensities (D, H, W) to 0 ... 255, slice by slice so that no float copy is made.

    Intensities that are `windowed` lie in their window already; others reach both its ends. Voxels
    that are `padding`, outside what was scanned, do not count for percentiles.

    Raises HarmosegError for NaN or infinite values, for intensities that are in another unit than
    their window, and where all values are one, before the window or after it.
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
    extent = (float(lowest), float(highest))
    if window is None:
        scanned = image if padding is None else image[~padding]
        low, high = (float(value) for value in np.percentile(scanned, percentiles))
        if high <= low:  # nearly all voxels are one: what is left is still an image
            low, high = extent
    else:
        _check_unit(extent, window, windowed, path)
        low, high = window
    scaled = np.empty(image.shape, dtype=np.uint8)
    for plane, target in zip(image, scaled, strict=True):
        clipped = np.clip(plane.astype(np.float32), low, high)
        target[:] = np.rint((clipped - low) * (255 / (high - low)))
    if scaled.min() == scaled.max():
        raise HarmosegError(
            f"{path}: values from {extent[0]:g} to {extent[1]:g} are one value in the window from "
            f"{low:g} to {high:g}: an empty image; replace or remove it"
        )
    return scaled


def classes_of(values: NDArray[Any], classes: Mapping[int, int], path: Path) -> NDArray[np.uint8]:
    """Look up the class of every label value (D, H, W); raise HarmosegError for unexpected ones."""
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


def check_size(shape: tuple[int, ...], itemsize: int, path: Path) -> None:
    """Raise HarmosegError for an array of more bytes, or slices of more pixels, than are read."""
    size = math.prod(shape) * itemsize
    # Slices lie along one of the axes, whichever that is.
    pixels = math.prod(sorted(shape)[-2:]) if len(shape) > 1 else 0
    if size > _MOST_BYTES or pixels > _MOST_PIXELS:
        raise HarmosegError(
            f"{path}: refused, {' x '.join(map(str, shape))} values of {itemsize} byte(s) are too "
            f"many (at most {_MOST_BYTES:,} bytes, and {_MOST_PIXELS:,} pixels in a slice); crop "
            "it, or replace the file if it should be smaller"
        )


@contextmanager
def _refusing(path: Path, done: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into one line that names the file."""
    try:
        yield
    except HarmosegError:
        raise
    except MemoryError as error:
        raise HarmosegError(
            f"{path}: too little memory to read it ({_line(error)}); crop it, or free memory"
        ) from error
    except (
        OSError,
        EOFError,
        KeyError,
        RuntimeError,
        ValueError,
        ImageFileError,
        HeaderDataError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise HarmosegError(
            f"{path}: cannot be {done} ({_line(error)}); replace the file"
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _check_numbers(dtype: np.dtype[Any], path: Path) -> None:
    if dtype.kind not in "biuf":
        raise HarmosegError(f"{path}: values of type {dtype}, expected plain numbers")


def _check_unit(extent: Window, window: Window, windowed: bool, path: Path) -> None:
    """Raise HarmosegError for intensities of another unit, by their extremes."""
    margin = _OVERSHOOT * (window[1] - window[0])
    if windowed:
        fits = window[0] - margin <= extent[0] and extent[1] <= window[1] + margin
        wanted = "to lie in the window"
    else:
        fits = extent[0] <= window[0] and window[1] <= extent[1]
        wanted = "to reach both ends of the window"
    if not fits:
        raise HarmosegError(
            f"{path}: intensities from {extent[0]:g} to {extent[1]:g}, expected {wanted} from "
            f"{window[0]:g} to {window[1]:g}; they are in another unit than files of this form "
            "have: take them as published or as the scanner made them (CT in Hounsfield units)"
        )


def _arrays_in(file: h5py.File, names: tuple[str, ...], path: Path) -> list[h5py.Dataset]:
    """Find arrays, each checked for what reading it would take."""
    nodes = [_node(file, name, path) for name in names]
    missing = [
        name
        for name, node in zip(names, nodes, strict=True)
        if not isinstance(node, h5py.Dataset) or node.shape is None
    ]
    if missing:
        raise HarmosegError(f"{path}: no {' and no '.join(missing)} in it, found {', '.join(file)}")
    for node in nodes:
        if node.is_virtual or node.external:
            raise _elsewhere(node.name, path)
        _check_numbers(node.dtype, path)
        check_size(node.shape, node.dtype.itemsize, path)
    return nodes


def _node(file: h5py.File, name: str, path: Path) -> Any:
    """Walk to what bears a name, if anything does, following no link that may leave the file."""
    node: Any = file
    for part in name.split("/"):
        if not isinstance(node, h5py.Group) or not node.id.links.exists(part.encode()):
            return None
        if node.id.links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            raise _elsewhere(name, path)
        node = node[part]
    return node


def _elsewhere(name: str, path: Path) -> HarmosegError:
    return HarmosegError(
        f"{path}: {name} is a link to values that may lie in another file; copy them into this one"
    )


def read_voxels(image: Nifti1Pair, path: Path) -> NDArray[Any]:
    """Read the voxels of an image that is open, in the file's type if it has no scale.

    Raises HarmosegError where the file is damaged.
    """
    with _refusing(path, "decoded"):
        return _unscaled_or_single(_proxy(image))


def _proxy(image: Nifti1Pair) -> ArrayProxy:
    if not isinstance(image.dataobj, ArrayProxy):
        raise TypeError("not opened from a file")
    return image.dataobj


def _unscaled_or_single(proxy: ArrayProxy) -> NDArray[Any]:
    """Apply a file's scale in single precision; nibabel's double takes twice a CT's memory."""
    stored: NDArray[Any] = np.asanyarray(proxy.get_unscaled())
    if (proxy.slope, proxy.inter) == (1, 0):
        return stored
    values = np.empty(stored.shape, np.float32, order="F")
    with np.errstate(over="ignore"):  # infinities are refused later, with their number
        for plane in range(stored.shape[2]):
            values[..., plane] = stored[..., plane] * proxy.slope + proxy.inter
    return values


def _orientation(image: Nifti1Pair) -> str:
    return "".join(str(code) for code in aff2axcodes(image.affine))
