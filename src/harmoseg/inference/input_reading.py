"""Reading an input as the model's training data were read, ready for the network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets import arrays, volumes
from harmoseg.datasets.dicom import read_series
from harmoseg.datasets.pictures import read_grey_image, read_image
from harmoseg.datasets.sources import hash_files
from harmoseg.errors import HarmosegError
from harmoseg.inference.inputs import Input
from harmoseg.inference.options import PredictionOptions
from harmoseg.inference.saved_model import ModelInfo
from harmoseg.inference.windows import Window, cut_windows


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
