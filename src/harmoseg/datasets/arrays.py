"""Volumes as arrays: HDF5 and NumPy files, intensities brought to 8 bits, labels to classes."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.store.tiling import Sample

Window = tuple[float, float]

_MOST_BYTES = 1 << 30
"""Eight times a long CT; a file of a few kilobytes may claim any number."""
_MOST_PIXELS = 89_478_485
"""Largest slice, as large as the largest picture."""
_OVERSHOOT = 0.01
"""Share of a window's width by which windowed intensities may leave it: resampling does that."""


def read_hdf5(path: Path, *names: str) -> list[NDArray[Any]]:
    """Read arrays of an HDF5 file.

    Raises HarmosegError naming the file or the array missing, and where an array's values lie in
    another file, which nobody would check or hash.
    """
    with refusing(path, "read as HDF5"), h5py.File(path, "r") as file:
        return [np.asarray(array) for array in _arrays_in(file, names, path)]


def hdf5_shape(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of an array of an HDF5 file, its values unread; raise as `read_hdf5`."""
    with refusing(path, "read as HDF5"), h5py.File(path, "r") as file:
        return tuple(_arrays_in(file, (name,), path)[0].shape)


def read_npz(path: Path, *names: str) -> list[NDArray[Any]]:
    """Read arrays of a .npz file, never Python objects; raise HarmosegError as `read_hdf5`."""
    with refusing(path, "read"):
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
        check_numbers(array.dtype, path)
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


def sample_of_slices(
    files: tuple[Path, ...],
    read: Callable[..., list[NDArray[Any]]],
    classes: Mapping[int, int],
    window: Window | None,
) -> Sample:
    """Make a sample of slices, a file each, whose "image" and "label" `read` reads.

    Checks as `sample_of_arrays` does, naming the file.
    """
    images: list[NDArray[Any]] = []
    labels = []
    for file in files:
        image, label = read(file, "image", "label")
        if image.shape != label.shape or image.ndim != 2:
            raise HarmosegError(
                f"{file}: image of shape {image.shape} and label of shape {label.shape}; expected "
                "both of one shape (height, width)"
            )
        if images and image.shape != images[0].shape:
            raise HarmosegError(
                f"{file}: shape {image.shape}, the slices before it have {images[0].shape}"
            )
        # Together too, small files may claim more than fits into memory.
        check_size((len(files), *image.shape), 8, file)
        images.append(image)
        labels.append(classes_of(label[None], classes, file)[0])
    # A slice of one value is nothing strange, so intensities are looked at as a volume.
    pixels = scale_intensities(np.stack(images), window, files[0], windowed=True)
    return Sample(pixels[..., None], np.stack(labels))


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
    """Scale intensities (D, H, W) to 0 ... 255, slice by slice so that no float copy is made.

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
def refusing(path: Path, done: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into one line that names the file."""
    try:
        yield
    except HarmosegError:
        raise
    except MemoryError as error:
        raise HarmosegError(
            f"{path}: too little memory to read it ({one_line(error)}); crop it, or free memory"
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
            f"{path}: cannot be {done} ({one_line(error)}); replace the file"
        ) from error


def one_line(error: BaseException) -> str:
    """Return the text of an error without line breaks."""
    return " ".join(str(error).split())


def check_numbers(dtype: np.dtype[Any], path: Path) -> None:
    """Raise HarmosegError for values that are no plain numbers."""
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
    nodes = {name: _node(file, name, path) for name in names}
    # Groups have no shape; that of an array without values is None.
    missing = [name for name, node in nodes.items() if getattr(node, "shape", None) is None]
    if missing:
        raise HarmosegError(f"{path}: no {' and no '.join(missing)} in it, found {', '.join(file)}")
    for node in nodes.values():
        if node.is_virtual or node.external:
            raise _elsewhere(node.name, path)
        check_numbers(node.dtype, path)
        check_size(node.shape, node.dtype.itemsize, path)
    return list(nodes.values())


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
