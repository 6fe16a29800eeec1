"""Inputs of predictions: images, volumes, series in a folder; how each is read and named."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets import arrays, dicom, pictures, volumes
from harmoseg.datasets.dicom import read_series
from harmoseg.datasets.pictures import read_grey_image, read_image
from harmoseg.datasets.sources import Folder, hash_files, relative_name, walk
from harmoseg.errors import HarmosegError
from harmoseg.inference.options import PredictionOptions
from harmoseg.inference.planes import Window, cut_windows
from harmoseg.inference.saved_model import ModelInfo

Kind = Literal["image", "nifti", "dicom", "hdf5"]

_ENDINGS: dict[str, Kind] = {
    **dict.fromkeys(sorted(pictures.SUFFIXES), "image"),
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
}
EXPECTED = (
    "PNG, JPEG, TIFF, BMP, NIfTI (.nii, .nii.gz), DICOM (.dcm or without ending), or HDF5 (.h5)"
)


@dataclass(frozen=True)
class Input:
    """One case to predict: its name, its files, and the names of what is written for it.

    `mask`, `overlay` and `probabilities` are relative to the folders of these. `problem` says why
    it cannot be predicted, as far as that is known before it is read.
    """

    name: str
    kind: Kind
    files: tuple[Path, ...]
    mask: str
    problem: str = ""

    @property
    def overlay(self) -> str:
        """Return the name of the picture with the outlines of the mask."""
        return self.mask if self.kind == "image" else f"{self.mask}.png"

    @property
    def probabilities(self) -> str:
        """Return the name of the file of probabilities: NIfTI in a frame, else an array."""
        if self.kind in ("nifti", "dicom"):
            return self.mask
        return f"{self.mask.removesuffix('.png') if self.kind == 'image' else self.mask}.npy"

    @property
    def memory(self) -> int:
        """Estimate the bytes that reading it takes; few large volumes are read at a time."""
        if self.problem or self.kind == "image":
            return 0
        packed = 4 if self.files[0].suffix.lower() == ".gz" or self.kind == "hdf5" else 2
        # A file that is not there any more is named when it is read.
        return packed * sum(file.stat().st_size for file in self.files if file.exists())


def find_inputs(source: Path) -> tuple[list[Input], Counter[str]]:
    """Find what can be predicted, a file or all files below a folder, in order of their names.

    Hidden files and those of other kinds are counted by their ending. What a symbolic link leads
    out of the folder to is an input with a problem. Raises HarmosegError where there is nothing to
    predict, where two inputs would be written to one file, and where pydicom is needed and not
    installed.
    """
    if not source.exists():
        raise HarmosegError(f"{source}: no such file or folder; expected {EXPECTED}")
    others: Counter[str] = Counter()
    root = source if source.is_dir() else source.parent
    folders = walk(source) if source.is_dir() else [Folder(root, (source,), (), ())]
    inputs: list[Input] = []
    for folder in folders:
        dicoms = []
        others.update(_ending(path) for path in folder.hidden)
        for path in [*folder.files, *folder.links]:
            if outside := _leads_outside(path, source):
                inputs.append(_leaving(path, root, outside))
            elif path.is_dir():
                continue  # a link to a folder that is searched where it lies
            elif kind := _kind(path):
                inputs.append(_one_file(path, kind, root))
            elif _may_be_dicom(path):
                dicoms.append(path)
            else:
                others[_ending(path)] += 1
        if dicoms:
            inputs.extend(_series(folder.path, dicoms, source))
    if not inputs:
        skipped = ", ".join(f"{count} {name}" for name, count in others.most_common(4))
        raise HarmosegError(
            f"{source}: nothing to predict, found {skipped or 'no files'}; expected {EXPECTED}"
        )
    inputs.sort(key=lambda item: item.name)
    _check_names(inputs)
    return inputs, others


def _ending(path: Path) -> str:
    return path.suffix.lower() or "without ending"


def searched_folder(source: Path) -> Path:
    """Return the folder that a person takes inputs from, apart from which outputs have to lie.

    A single file stands for its folder where that holds other inputs, too.
    """
    if source.is_dir() or not source.exists():
        return source
    others = (path for path in next(walk(source.parent)).files if path.name != source.name)
    return source.parent if any(_kind(path) or _may_be_dicom(path) for path in others) else source


def _leads_outside(path: Path, source: Path) -> Path | None:
    target = path.resolve()
    # A file that was named itself may be a link: whoever named it meant it.
    inside = path == source or target.is_relative_to(source.resolve())
    return None if inside else target


def _kind(path: Path) -> Kind | None:
    name = path.name.lower()
    return next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)


def _may_be_dicom(path: Path) -> bool:
    return path.suffix.lower() in dicom.SUFFIXES or dicom.is_dicom(path)


def _one_file(path: Path, kind: Kind, root: Path) -> Input:
    name = relative_name(path, root)
    mask = name
    if kind == "image":
        mask = str(PurePosixPath(name).with_suffix(".png"))
    elif kind == "nifti":
        ending = ".nii.gz" if name.lower().endswith(".gz") else ".nii"
        mask = name[: -len(ending)] + ending  # in small letters, by which nibabel goes
    return Input(name, kind, (path,), mask)


def _series(folder: Path, files: list[Path], source: Path) -> Iterator[Input]:
    dicom.check_installed(files[0])
    if source.is_dir():
        name = relative_name(folder, source)
        name = folder.resolve().name if name == "." else name
    else:
        name = source.stem
    try:
        found = dicom.find_series(files)
    except HarmosegError as error:
        yield Input(name, "dicom", tuple(files), f"{name}.nii.gz", str(error))
        return
    numbers = Counter(series.number for series in found)
    for series in found:
        # Only digits and dots of what a file says become part of a path.
        known = series.number.isdigit() and numbers[series.number] == 1
        part = series.number if known else "".join(c for c in series.uid if c in "0123456789.")
        own = f"{name}/series-{part or 'unnamed'}" if len(found) > 1 else name
        yield Input(own, "dicom", series.files, f"{own}.nii.gz")


def _leaving(path: Path, root: Path, target: Path) -> Input:
    item = _one_file(path, "image", root)
    return replace(
        item,
        problem=f"{path}: a symbolic link that leaves the input (to {target}); put the file itself "
        "there, or give the folder that it lies in",
    )


def _check_names(inputs: list[Input]) -> None:
    for what in ("mask", "overlay", "probabilities"):
        names: dict[str, Input] = {}
        for item in inputs:
            # Some file systems do not tell A from a.
            other = names.setdefault(getattr(item, what).casefold(), item)
            if other is not item:
                raise HarmosegError(
                    f"{other.name} and {item.name} would both be written to {getattr(item, what)}; "
                    "rename one of them, or predict them apart"
                )


@dataclass(frozen=True, eq=False)
class Case:
    """An input in memory: `image` (D, H, W, C), and what the network sees of it.

    `volume` has the geometry of a NIfTI file or a DICOM series. `sha256` is a hash of all files,
    `seconds` what reading took.
    """

    item: Input
    image: NDArray[np.uint8]
    volume: volumes.Volume | None
    windows: list[Window]
    sha256: str
    seconds: float

    @property
    def spacing(self) -> tuple[float, ...]:
        """Return (depth, height, width) in mm, or nothing where the file has no geometry."""
        return () if self.volume is None else self.volume.spacing


def problem_of(item: Input, info: ModelInfo, options: PredictionOptions) -> str:
    """Return why a model does not take an input of this kind; empty if it does."""
    if item.problem or item.kind == "image":
        return item.problem
    if info.channels == 3:
        return (
            f"{item.files[0]}: a volume, but this model was trained on colour images; expected an "
            "image, or a model trained on volumes"
        )
    if not info.volumes and not options.slices:
        return (
            f"{item.files[0]}: a volume, but this model was trained on plain images; to predict "
            "each of its slices as such an image, pass --slices true"
        )
    return ""


def read_case(item: Input, info: ModelInfo, options: PredictionOptions) -> Case:
    """Read an input and cut its windows; raise HarmosegError naming the file if it is no good."""
    started = time.perf_counter()
    window = cast(arrays.Window, info.card.window) or None
    axes = info.card.axes or None
    path = item.files[0]
    volume = None
    if item.kind == "image":
        image = _read_picture(path, info)[None]
    elif item.kind == "hdf5":
        image = _read_hdf5(path, window)[..., None]
    else:
        volume = (
            read_series(item.files, window=window, axes=axes)
            if item.kind == "dicom"
            else volumes.read_nifti(
                path, window=window, axes=axes, assume_spacing=options.assume_spacing
            )
        )
        image = volume.slices[..., None]
    return Case(
        item,
        image,
        volume,
        cut_windows(
            image,
            (info.height, info.width),
            tile=info.card.tile,
            overlap=options.overlap if options.window == "sliding" else None,
        ),
        hash_files(item.files),
        time.perf_counter() - started,
    )


def _read_picture(path: Path, info: ModelInfo) -> NDArray[np.uint8]:
    if not info.volumes:
        return read_image(path, info.channels).pixels
    # A slice of a volume is grey; it may be written in the form of a colour image.
    grey = read_grey_image(path, info.channels)
    if grey is None:
        raise HarmosegError(
            f"{path}: a colour image, but this model was trained on volumes; expected a grey image "
            "of one slice, or a model trained on colour images"
        )
    return grey


def _read_hdf5(path: Path, window: arrays.Window | None) -> NDArray[np.uint8]:
    (array,) = arrays.read_hdf5(path, "image")
    if array.ndim != 3 or min(array.shape) < 1:
        raise HarmosegError(
            f"{path}: image of shape {array.shape}, expected (slices, height, width)"
        )
    arrays.check_slices_first(array.shape, path)
    return arrays.scale_intensities(array, window, path)
