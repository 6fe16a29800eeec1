"""Masks and probability maps in files: which file is of which case, and what a file holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.label_values import BlackAndWhite
from harmoseg.datasets.pictures import (
    BLACK,
    SUFFIXES,
    WHITE,
    Colour,
    Decoded,
    read_image,
    read_mask_values,
)
from harmoseg.datasets.sources import list_files
from harmoseg.datasets.volumes import (
    Frame,
    affine_in_mm,
    open_nifti,
    read_voxels,
    zooms_in_mm,
)
from harmoseg.errors import HarmosegError
from harmoseg.evaluation.case_scores import fill_bins
from harmoseg.inference.predictor import labels_of
from harmoseg.metrics import CalibrationBins, boundary_band, multiclass_calibration

NIFTI = (".nii.gz", ".nii")
MASKS = (*NIFTI, *sorted(SUFFIXES))
"""Endings of mask and image files."""
ARRAYS = (".npz", ".npy")
_MARK = re.compile(
    r"[_-](masks?|pred(iction)?s?|seg(mentation)?s?|labels?|gt|groundtruth|manual|"
    r"prob(abilitie)?s?|softmax|images?|img)$",
    re.IGNORECASE,
)
WHITE_SHADE = 255
"""The value of white where a file shows what is white, and its values do not say it."""
_MOST_LABELS = 256
_FEW = 10
_BLOCK = 1 << 17


@dataclass(frozen=True)
class FileValues:
    """The sorted values of a mask file as they are stored, and the colours of its palette if any.

    Of a picture with the losses of JPEG, the values are those of black and white.
    """

    path: Path
    values: tuple[int, ...]
    palette: tuple[Colour, ...] = ()

    def colour(self, value: int) -> Colour:
        """Return the colour of a value; black beyond the palette."""
        return self.palette[value] if value < len(self.palette) else BLACK


@dataclass(frozen=True, eq=False)
class MaskFile:
    """A label map (H, W) or (D, H, W) with its sorted values, and what its file says of it.

    `spacing` is in mm along the axes of `labels`, None where the file has none. `palette` holds
    the colours of the values, if the file does.
    """

    path: Path
    labels: NDArray[np.integer]
    values: Sequence[int]
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    palette: tuple[Colour, ...] = ()

    @property
    def stored(self) -> FileValues:
        """Return the values without the map."""
        return FileValues(self.path, tuple(self.values), self.palette)


@dataclass(frozen=True)
class Reading:
    """Rule that makes labels of values: one for all files, as one file alone may look otherwise.

    `white` is the label of all that is not 0, where all masks are black and white; None takes
    values as labels. Of the files `shades` it is the palette that says what is white. `held` are
    masks in memory, as they are stored: decoding them again would take longer than measuring.
    """

    white: int | None = None
    shades: frozenset[Path] = frozenset()
    held: Mapping[Path, MaskFile] = field(default_factory=dict, compare=False, repr=False)


AS_STORED = Reading()


def find_masks(source: str | Path, what: str, endings: Sequence[str] = MASKS) -> dict[str, Path]:
    """Return the files of a folder with some endings, or of a pattern with one ``*``, by case.

    The case is the file's path in the folder without ending and without marks such as ``_mask``;
    of a pattern it is what the ``*`` stands for. Raises HarmosegError naming the folder where there
    are none, and two files of one case.
    """
    text = str(source)
    if "*" in text:
        folder, name = Path(text).parent, Path(text).name
        pattern = re.compile(r"(.+)".join(map(re.escape, name.split("*", 1))))
        names = {file: pattern.fullmatch(file.name) for file in sorted(folder.glob(name))}
        keyed = [(found[1], file) for file, found in names.items() if found]
    else:
        folder = Path(source)
        if not folder.is_dir():
            raise HarmosegError(f"{what} {folder}: no such folder; expected a folder of files")
        files = [file for file in list_files(folder) if suffix_of(file, endings)]
        keyed = [(case_of(file, folder, endings), file) for file in files]
    if not keyed:
        raise HarmosegError(
            f"{what} {source}: none in it; expected files ending in {', '.join(endings)}"
        )
    found_files: dict[str, Path] = {}
    for case, file in keyed:
        if case in found_files:
            raise HarmosegError(
                f"{what} {source}: two files of case {case!r}, {found_files[case].name} and "
                f"{file.name}; keep one of them"
            )
        found_files[case] = file
    return found_files


def split_by_class(
    files: Mapping[str, Path], classes: Sequence[str], source: str | Path
) -> dict[str, dict[str, Path]]:
    """Return files of single classes by case and class.

    ``001/liver``, ``liver/001`` and ``001_liver`` are the class liver of case 001.
    Raises HarmosegError for a file that names no class, or several.
    """
    found: dict[str, dict[str, Path]] = {}
    for key, file in files.items():
        fits = []
        for name in classes:
            parts = key.split("/")
            if name in parts:
                fits.append((name, "/".join(part for part in parts if part != name)))
            elif ends := re.fullmatch(rf"(.+)[_-]{re.escape(name)}", key):
                fits.append((name, ends[1]))
        if len(fits) != 1:
            raise HarmosegError(
                f"{source}: {file.name} names {'no class' if not fits else 'several classes'}; "
                f"expected one of {', '.join(classes)} as its folder or the end of its name"
            )
        name, case = fits[0]
        found.setdefault(case, {})[name] = file
    return found


def read_mask(path: Path, colours: Sequence[Colour] = (), reading: Reading = AS_STORED) -> MaskFile:
    """Read a mask as labels; `colours` and errors as of `decode_mask`."""
    mask = reading.held.get(path) or decode_mask(path, colours)
    labels, values = mask.labels, mask.values
    if path in reading.shades:
        table = np.zeros(256, np.uint8)  # beyond a palette is black
        table[[value for value, colour in enumerate(mask.palette) if colour == WHITE]] = WHITE_SHADE
        labels = table[labels]
        values = values_of(labels)
    if reading.white is not None:
        labels = (labels > 0).view(np.uint8)
        if reading.white > 1:
            labels = labels * np.min_scalar_type(reading.white).type(reading.white)
        values = sorted({reading.white * (value > 0) for value in values})
    return replace(mask, labels=labels, values=values)


def decode_mask(path: Path, colours: Sequence[Colour] = ()) -> MaskFile:
    """Read a mask as it is stored; with `colours`, that of every class becomes its place from 1.

    Raises HarmosegError for other colours, and for values that are no labels.
    """
    if suffix_of(path) in NIFTI:
        mask = _decode_volume(path)
    elif colours:
        labels = _by_colour(read_image(path, 3).pixels, colours, path)
        mask = MaskFile(path, labels, values_of(labels))
    else:
        found = read_mask_values(path)
        mask = MaskFile(path, *_without_losses(path, found), palette=found.palette)
    if mask.values[0] < 0:
        raise HarmosegError(
            f"{path}: label {mask.values[0]}, expected 0 (background) and above; score has no "
            "ignored pixels: write them as background in truth and predictions"
        )
    return mask


def values_of(labels: NDArray[np.integer]) -> list[int]:
    """Return the values of a label map, sorted."""
    if labels.dtype != np.uint8:
        return [int(value) for value in np.unique(labels)]
    flat, found = labels.ravel(), set[int]()
    # Comparing cached blocks takes a small part of the time of a histogram.
    for block in (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK)):
        top = int(block.max())
        likely = range(top + 1) if top < _FEW else (0, top)
        counts = {value: np.count_nonzero(block == value) for value in likely}
        if sum(counts.values()) < block.size:
            found |= set(np.flatnonzero(np.bincount(block)).tolist())
        found |= {value for value, count in counts.items() if count}
    return sorted(found)


def suffix_of(path: Path, endings: Sequence[str] = MASKS) -> str:
    """Return the ending of a file in lower case; empty where it is none of `endings`."""
    name = path.name.lower()
    return next((ending for ending in endings if name.endswith(ending)), "")


def case_of(file: Path, folder: Path, endings: Sequence[str] = MASKS) -> str:
    """Return the case of a file: its path in the folder, without ending and marks."""
    key = file.relative_to(folder).as_posix()
    return _MARK.sub("", key[: -len(suffix_of(file, endings))])


def _without_losses(path: Path, mask: Decoded[np.integer]) -> tuple[NDArray[np.integer], list[int]]:
    """Return labels and their values; of smeared black and white, 0 and 255."""
    pixels, values = mask.pixels, values_of(mask.pixels)
    if mask.lossy or len(values) > _MOST_LABELS:
        pixels = BlackAndWhite().apply(mask, path) * np.uint8(WHITE_SHADE)
        values = values_of(pixels)
    return pixels, values


def _decode_volume(path: Path) -> MaskFile:
    image = open_nifti(path)
    voxels = read_voxels(image, path)
    if voxels.dtype.kind == "f":
        whole = np.rint(voxels)
        if not np.array_equal(whole, voxels):
            raise HarmosegError(
                f"{path}: values that are no whole numbers, expected labels; threshold "
                "probabilities, or resample with the nearest neighbour"
            )
        voxels = whole.astype(np.int32)
    affine = affine_in_mm(image)
    frame = Frame.of(affine, image.shape, None)
    labels = np.ascontiguousarray(frame.slices(voxels))
    zooms = zooms_in_mm(image, path)
    # Some releases (ACDC) have an affine without scale beside the header's voxel sizes.
    affine[:3, :3] *= zooms / np.linalg.norm(affine[:3, :3], axis=0)
    return MaskFile(path, labels, values_of(labels), frame.spacing(zooms), affine)


def _by_colour(
    pixels: NDArray[np.uint8], colours: Sequence[Colour], path: Path
) -> NDArray[np.integer]:
    codes = pixels.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    labels = np.zeros(codes.shape, dtype=np.uint8)
    known = codes == 0
    for label, (red, green, blue) in enumerate(colours, start=1):
        here = codes == 65536 * red + 256 * green + blue
        labels[here] = label
        known |= here
    if not known.all():
        other: Any = int(codes[~known][0])
        raise HarmosegError(
            f"{path}: {int((~known).sum())} pixels have other colours, the first #{other:06x}; "
            "expected black and the colours of the classes"
        )
    return labels


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
    labels, decided = (as_places(found, values) for found in (truth.labels, decided))
    where = None if band is None else boundary_band(labels, band, spacing=spacing)
    most = max(int(labels.max(initial=0)), len(values))
    if most >= max(2, len(maps)):
        raise HarmosegError(
            f"{path}: {len(maps)} map(s), the truth has labels up to {most}; expected "
            f"{most + 1}: one of the background and one of every class"
        )
    try:
        if len(maps) == 2 and most <= 1:
            multiclass_calibration(maps, labels, where=where)
            # Two maps that add up to 1 say what one says: foreground is measured, as evaluated.
            maps = maps[1:]
        bins = fill_bins(maps, labels, where)
    except HarmosegError as error:
        raise HarmosegError(f"{path}: {error}") from error
    return bins, np.count_nonzero(labels_of(maps) != decided) / max(1, decided.size)


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


def as_places(labels: NDArray[np.integer], values: Sequence[int]) -> NDArray[np.integer]:
    """Replace the label of every class by its place among the classes, from 1."""
    if tuple(values) == tuple(range(1, len(values) + 1)):
        return labels
    dtype = np.uint8 if len(values) < 256 else np.int32
    table = np.zeros(max(int(labels.max(initial=0)), *values) + 1, dtype)
    table[list(values)] = np.arange(1, len(values) + 1)
    return np.asarray(table[labels])
