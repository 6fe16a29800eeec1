"""Pictures of scored cases for the report: one plane of each, with truth and predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.pictures import is_grey, read_image
from harmoseg.datasets.sources import in_parallel
from harmoseg.datasets.volumes import read_nifti
from harmoseg.errors import HarmosegError
from harmoseg.evaluation.mask_files import NIFTI, MaskFile, suffix_of
from harmoseg.evaluation.mask_runs import Run
from harmoseg.report.gallery import Gallery, GalleryCase, GalleryPart, spread_evenly
from harmoseg.store.tiling import resize_image, resize_label

Volume = NDArray[np.integer]
_SIDE = 320
"""The longer side of a picture at most."""


def make_gallery(
    cases: Sequence[str],
    runs: Sequence[Run],
    truths: Mapping[str, Any],
    images: Mapping[str, Path],
    names: Mapping[int, str],
    read: Callable[[Any], MaskFile],
    tested_on: str,
) -> Gallery:
    """Return pictures of cases that are spread evenly over their names: no score chooses them.

    `names` are the classes by label, and `read` reads a mask. A case without an image is drawn on
    black. Raises HarmosegError for an image of another size than its mask.
    """
    chosen = [cases[place] for place in spread_evenly(len(cases))]
    work = partial(_picture, runs=runs, truths=truths, images=images, labels=list(names), read=read)
    found = tuple(in_parallel(work, chosen, "pictures"))
    return Gallery((GalleryPart("", tested_on, tuple(names.values()), found),))


def _picture(
    case: str,
    *,
    runs: Sequence[Run],
    truths: Mapping[str, Any],
    images: Mapping[str, Path],
    labels: Sequence[int],
    read: Callable[[Any], MaskFile],
) -> GalleryCase:
    mask = read(truths[case])
    found = {
        (run.method, run.seed): read(run.files[case]).labels for run in runs if case in run.files
    }
    plane = None if mask.labels.ndim == 2 else _fullest_plane(mask.labels, list(found.values()))
    height, width = mask.labels.shape[-2:]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))

    def shown(part: NDArray[np.integer]) -> NDArray[np.uint8]:
        flat = part if plane is None else part[plane]
        places = np.zeros(max(int(flat.max(initial=0)), *labels) + 1, np.uint8)
        places[list(labels)] = np.arange(1, len(labels) + 1)
        return resize_label(places[flat], *size)

    image = np.zeros((height, width, 1), np.uint8)
    if case in images:
        image = _read_plane(images[case], plane)
        if image.shape[:2] != (height, width):
            raise HarmosegError(
                f"{images[case]}: {image.shape[0]} x {image.shape[1]}, its mask {mask.path} is "
                f"{height} x {width}; expected the image that was segmented"
            )
    pitch = mask.spacing[-2:] if mask.spacing else (1.0, 1.0)
    return GalleryCase(
        case,
        resize_image(image, *size),
        shown(mask.labels),
        "" if plane is None else f"plane {plane + 1}",
        height * pitch[0] / (width * pitch[1]),
        {run: shown(part) for run, part in found.items()},
    )


def _fullest_plane(truth: Volume, predictions: Sequence[Volume]) -> int:
    """Return the plane with the most foreground of the truth, or else of the predictions."""
    for volumes in ([truth], predictions):
        counts = np.sum([np.count_nonzero(volume, axis=(1, 2)) for volume in volumes], axis=0)
        if np.any(counts):
            return int(np.argmax(counts))
    return len(truth) // 2


def _read_plane(path: Path, plane: int | None) -> NDArray[np.uint8]:
    """Read an image as (H, W, C) in bytes."""
    if suffix_of(path) not in NIFTI:
        return read_image(path, 1 if is_grey(path) else 3).pixels
    slices = read_nifti(path, window=None, assume_spacing=(1, 1, 1)).slices
    if plane is None or plane >= len(slices):
        raise HarmosegError(f"{path}: a volume of {len(slices)} planes, its mask has others")
    found: NDArray[np.uint8] = slices[plane][..., None]
    return found
