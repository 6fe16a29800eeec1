"""Reading DICOM series: slices sorted by position, in the units of the scanner."""

from __future__ import annotations

import importlib.util
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Pair
from numpy.typing import NDArray

from harmoseg.datasets.arrays import Window, check_size, one_line, scale_intensities
from harmoseg.datasets.volumes import Frame, Volume
from harmoseg.errors import HarmosegError

SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
_DIRECTORY = "1.2.840.10008.1.3.10"
"""The class of DICOMDIR, a table of contents."""
_CONVERT = "convert the series to NIfTI (for example with dcm2niix) and give that"
_EVEN = 0.02
"""Largest unevenness of slices, as a share of their distance: rounding makes some."""
_TURNED = 1e-3
"""Largest difference of direction cosines within a series."""


@dataclass(frozen=True)
class Series:
    """The files of one series in one folder; `number` is what the scanner calls it, if anything."""

    uid: str
    number: str
    files: tuple[Path, ...]


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its first bytes, with the usual preamble or without."""
    try:
        head = _head(path)
    except OSError:
        return False
    return _has_mark(head) or _begins_with_element(head)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(1024)


def _has_mark(head: bytes) -> bool:
    return head[128:132] == b"DICM"


def _begins_with_element(head: bytes) -> bool:
    """Return whether a file begins with a data element at once, as files of old archives do.

    That is of group 2 (of files) or 8 (of objects), and so is the element after it. The length of
    an element stands after two capitals that name its kind, or without these in four bytes.
    """
    for order in "<>":
        if len(head) < 16 or struct.unpack_from(f"{order}H", head)[0] not in {2, 8}:
            continue
        kind, place = head[4:6], 8
        if kind in {b"OB", b"OW", b"UN", b"SQ", b"UT"}:
            (length,), place = struct.unpack_from(f"{order}I", head, 8), 12
        elif kind.isalpha() and kind.isupper():
            (length,) = struct.unpack_from(f"{order}H", head, 6)
        else:
            (length,) = struct.unpack_from(f"{order}I", head, 4)
        if head[place + length : place + length + 2] == head[:2]:
            return True
    return False


def check_installed(example: Path) -> None:
    """Raise HarmosegError, naming a file that needs it, where pydicom is not installed."""
    if importlib.util.find_spec("pydicom") is None:
        raise HarmosegError(
            f"{example}: DICOM files need pydicom; install it with: pip install 'harmoseg[dicom]'"
        )


def find_series(files: Iterable[Path]) -> list[Series]:
    """Sort the DICOM files of a folder into series; those that hold no image are left out.

    Raises HarmosegError for a file that cannot be read.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    numbers: dict[str, str] = {}
    wanted = ["SeriesInstanceUID", "SeriesNumber", "Rows", "MediaStorageSOPClassUID"]
    for file in files:
        header = _read(file, stop_before_pixels=True, specific_tags=wanted)
        kind = str(getattr(header.file_meta, "MediaStorageSOPClassUID", ""))
        if kind == _DIRECTORY or "Rows" not in header:
            continue
        uid = str(header.get("SeriesInstanceUID", ""))
        found[uid].append(file)
        numbers.setdefault(uid, str(header.get("SeriesNumber", "") or ""))
    return [Series(uid, numbers[uid], tuple(found[uid])) for uid in sorted(found)]


def read_series(files: Sequence[Path], *, window: Window | None, axes: str | None = None) -> Volume:
    """Read the slices of one series as a volume.

    They are sorted by their position along the normal of their planes, rescaled to the scanner's
    units, and windowed as `scale_intensities` does. Voxels of padding (PixelPaddingValue), where
    nothing was scanned, do not count for percentiles and become as dark as the darkest voxel. With
    `axes` the volume is turned as by `read_nifti`. The volume's `source` is a NIfTI header with the
    geometry of the series.

    Raises HarmosegError, naming the file, for objects other than single grey slices, where slices
    differ in series, size, direction or pixel spacing, where positions are missing, double or
    uneven, and where pixels are compressed in a way that nothing installed decodes.
    """
    slices = [_Slice.of(_read(file), file) for file in files]
    _check_alike(slices)
    normal = np.cross(slices[0].directions[:3], slices[0].directions[3:])
    slices.sort(key=lambda item: float(item.position @ normal))
    step = _step(slices, normal)
    first = slices[0]
    check_size((*first.shape, len(slices)), 4, first.path)
    stack = np.empty((len(slices), *first.shape), np.float32)
    padding = np.zeros(stack.shape, np.bool_)
    for item, target, outside in zip(slices, stack, padding, strict=True):
        target[:], outside[:] = item.values()
    if padding.all():
        raise HarmosegError(f"{first.path}: every voxel is padding: an empty series; remove it")
    if padding.any():
        darkest = stack[~padding].min()
        # Air lies below a window, even where none was scanned.
        stack[padding] = darkest if window is None else min(darkest, window[0])
    affine = np.eye(4)
    affine[:3, 0] = first.directions[:3] * first.spacing[1]
    affine[:3, 1] = first.directions[3:] * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    affine[:2] *= -1  # DICOM counts towards left and posterior, NIfTI towards right and anterior
    voxels = stack.transpose(2, 1, 0)
    frame = Frame.of(affine, voxels.shape, axes)
    pixels = scale_intensities(
        frame.slices(voxels),
        window,
        first.path.parent,
        padding=frame.slices(padding.transpose(2, 1, 0)) if padding.any() else None,
    )
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(pixels, frame, frame.spacing(zooms), _header_of(affine, voxels.shape))


@dataclass(frozen=True, eq=False)
class _Slice:
    """One file; `directions` of its rows and columns, `spacing` (between rows, columns) in mm."""

    path: Path
    header: Any
    directions: NDArray[np.float64]
    position: NDArray[np.float64]
    spacing: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int]:
        """Return the height and the width in pixels."""
        return int(self.header.Rows), int(self.header.Columns)

    @classmethod
    def of(cls, header: Any, path: Path) -> _Slice:
        """Take what a slice needs; raise HarmosegError for other objects."""
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            raise HarmosegError(
                f"{path}: {header.NumberOfFrames} frames in one file, expected one slice per file; "
                f"{_CONVERT}"
            )
        colours = str(header.get("PhotometricInterpretation", ""))
        if int(header.get("SamplesPerPixel", 1)) != 1 or colours != "MONOCHROME2":
            raise HarmosegError(
                f"{path}: pixels are {colours or 'of an unnamed kind'}, expected MONOCHROME2, one "
                "grey value per pixel, brighter for more; export it as PNG to predict it as an "
                "image"
            )
        try:
            numbers = [
                np.asarray(header[name].value, dtype=np.float64)
                for name in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
            ]
        except (KeyError, TypeError, ValueError):
            numbers = []
        if [item.shape for item in numbers] != [(6,), (3,), (2,)] or not all(
            np.isfinite(item).all() for item in numbers
        ):
            raise HarmosegError(
                f"{path}: does not say where it lies (ImageOrientationPatient, "
                "ImagePositionPatient, PixelSpacing); give the series as the scanner made it, or "
                "export it as PNG to predict it as an image"
            )
        directions, position, spacing = numbers
        lengths = np.linalg.norm(directions.reshape(2, 3), axis=1)
        if not np.allclose(lengths, 1, atol=0.01) or (spacing <= 0).any():
            raise HarmosegError(
                f"{path}: directions {directions.tolist()} and pixel spacing {spacing.tolist()} "
                f"cannot be; {_CONVERT}"
            )
        return cls(path, header, directions, position, spacing)

    def values(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Decode the pixels (H, W) in the scanner's units, and which of them are padding."""
        _check_decodable(self.header, self.path)
        try:
            stored = np.asarray(self.header.pixel_array)
        except Exception as error:  # decoders raise whatever they like on a damaged file
            raise HarmosegError(
                f"{self.path}: cannot be decoded ({one_line(error)[:200]}); replace the file"
            ) from error
        if stored.shape != self.shape:
            raise HarmosegError(
                f"{self.path}: {stored.shape} pixels, its header says {self.shape}; replace the "
                "file"
            )
        slope = float(self.header.get("RescaleSlope", 1) or 1)
        intercept = np.float32(self.header.get("RescaleIntercept", 0) or 0)
        values = stored.astype(np.float32) * np.float32(slope) + intercept
        return values, self._padding(stored)

    def _padding(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Find the pixels of the padding value, or from there to its limit, as they are stored."""
        named = map(self.header.get, ("PixelPaddingValue", "PixelPaddingRangeLimit"))
        ends = [int(value) for value in named if value not in (None, "")]
        if "PixelPaddingValue" not in self.header or not ends:
            return np.zeros(stored.shape, np.bool_)
        # Scanners write -2000 as 63536, and the other way round.
        signed = bool(self.header.get("PixelRepresentation", 0))
        whole = 1 << int(self.header.get("BitsAllocated", 16))
        ends = [end - whole if signed and end >= whole // 2 else end for end in ends]
        ends = [end + whole if not signed and end < 0 else end for end in ends]
        return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _read(path: Path, **options: Any) -> Any:
    from pydicom import dcmread, uid

    try:
        head = _head(path)
        if not (_has_mark(head) or _begins_with_element(head)):
            raise ValueError("neither the mark DICM nor a data element at its beginning")
        header = dcmread(path, force=not _has_mark(head), **options)
        if "TransferSyntaxUID" not in header.file_meta:  # decoders go by it
            implicit, little = header.original_encoding
            explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
            header.file_meta.TransferSyntaxUID = (
                uid.ImplicitVRLittleEndian if implicit else explicit
            )
        return header
    except Exception as error:  # pydicom raises whatever a damaged file leads it to
        raise HarmosegError(
            f"{path}: cannot be read as DICOM ({one_line(error)[:200]}); replace or remove the file"
        ) from error


def _check_decodable(header: Any, path: Path) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_compressed:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise HarmosegError(
            f"{path}: compressed as {syntax.name}, which nothing installed decodes; run: pip "
            "install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg (or python-gdcm)"
        )


def _check_alike(slices: Sequence[_Slice]) -> None:
    first = slices[0]
    uid = first.header.get("SeriesInstanceUID")
    for item in slices[1:]:
        differing = {
            "series": item.header.get("SeriesInstanceUID") == uid,
            "size in pixels": item.shape == first.shape,
            "direction": np.allclose(item.directions, first.directions, atol=_TURNED),
            "pixel spacing": np.allclose(item.spacing, first.spacing, rtol=1e-3),
        }
        what = next((what for what, same in differing.items() if not same), None)
        if what:
            raise HarmosegError(
                f"{item.path}: another {what} than {first.path.name}, expected one series of like "
                "slices; put each stack of slices into a folder of its own (a localiser apart)"
            )


def _step(slices: Sequence[_Slice], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the step in mm from one sorted slice to the next; raise where it is not always one."""
    if len(slices) == 1:
        thickness = float(slices[0].header.get("SliceThickness", 1) or 1)
        return np.asarray(normal * thickness)
    positions = np.stack([item.position for item in slices])
    gaps = np.diff(positions @ normal)
    places = [
        f"{one.path.parent}: {one.path.name} and {other.path.name}"
        for one, other in pairwise(slices)
    ]
    for place, gap in zip(places, gaps, strict=True):
        if gap < 1e-3:
            raise HarmosegError(
                f"{place} lie at one position, expected one slice at each; this folder mixes "
                "several phases, echoes or copies: put each into a folder of its own"
            )
    # The lower median: of two gaps the wider is the one with a slice missing.
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    for number, (place, gap) in enumerate(zip(places, gaps, strict=True)):
        if abs(gap - usual) > _EVEN * usual:
            missing = round(gap / usual) - 1
            told = (
                f"{missing} slice(s) missing there" if missing > 0 else "the positions are uneven"
            )
            raise HarmosegError(
                f"{place} (numbers {number + 1} and {number + 2} by position) are {gap:.4g} mm "
                f"apart where slices are {usual:.4g} mm apart: {told}; complete the series"
            )
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(slices) - 1)
    drift = positions - positions[0] - np.arange(len(slices))[:, None] * step
    worst = int(np.abs(drift).max(axis=1).argmax())
    if np.abs(drift).max() > max(0.05, _EVEN * usual) * 2:
        raise HarmosegError(
            f"{slices[worst].path}: shifted against the other slices, expected one straight stack; "
            f"{_CONVERT}"
        )
    return step


def _header_of(affine: NDArray[np.float64], shape: tuple[int, ...]) -> Nifti1Pair:
    """Make a NIfTI header with this geometry, as of a scanner; its voxels are never used."""
    image = nibabel.Nifti1Image(np.broadcast_to(np.uint8(0), shape), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    # A tilted gantry shears the voxels, which a quaternion cannot say.
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(columns.T @ columns, np.eye(3), atol=1e-4):
        image.set_qform(affine, code="scanner")
    return image
