"""Writing what was predicted for a case, in the form and the frame of its input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Pair
from numpy.typing import NDArray
from PIL import Image

from harmoseg.colours import class_colours, colour_codes, draw_outlines, overlay_size
from harmoseg.datasets.volumes import Volume
from harmoseg.files import make_folder, whole_file
from harmoseg.inference.inputs import Case, Input
from harmoseg.inference.options import PredictionOptions
from harmoseg.store.card import Card

MASKS, OVERLAYS, PROBABILITIES = "masks", "overlays", "probabilities"


def outputs_of(item: Input, options: PredictionOptions) -> list[str]:
    """Name what is written for an input, relative to the output folder; the mask first."""
    names = [f"{MASKS}/{item.mask}"]
    if options.overlays:
        names.append(f"{OVERLAYS}/{item.overlay}")
    if options.probabilities:
        names.append(f"{PROBABILITIES}/{item.probabilities}")
    return names


def write_outputs(
    out: Path,
    case: Case,
    card: Card,
    label: NDArray[np.uint8],
    probabilities: NDArray[np.float32] | None,
    *,
    overlay: bool,
) -> None:
    """Write the mask of a case (D, H, W), and what else was asked for; the mask last.

    `probabilities` are (D, C, H, W). Every file is whole or not there. Raises HarmosegError where
    the disk is full.
    """
    if probabilities is not None:
        with _new_file(out / PROBABILITIES / case.item.probabilities) as file:
            _save_probabilities(file, case, probabilities)
    if overlay:
        plane = int(np.count_nonzero(label, axis=(1, 2)).argmax())  # with the most foreground
        size = overlay_size(*label.shape[1:])
        drawn = draw_outlines(case.image[plane], label[plane], class_colours(card), size)
        with _new_file(out / OVERLAYS / case.item.overlay) as file:
            Image.fromarray(drawn).save(file, compress_level=1)
    made = None if case.volume is None else _like(case.volume, label, np.dtype(np.uint8))
    with _new_file(out / MASKS / case.item.mask) as file:
        if made is not None:
            nibabel.save(made, file)
        elif case.item.kind == "image":
            _save_mask(file, label[0], card)
        else:
            with h5py.File(file, "w") as stored:
                stored.create_dataset("label", data=label, compression="gzip", compression_opts=1)


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    make_folder(path.parent)
    with whole_file(path) as partial:
        yield partial


def _save_mask(path: Path, label: NDArray[np.uint8], card: Card) -> None:
    """Save class indices so that a person sees them: white for binary, else by a palette."""
    # At level 1 masks are hardly larger, and written several times faster.
    if card.mode == "binary":
        Image.fromarray(label * np.uint8(255)).save(path, compress_level=1)
        return
    colours = colour_codes(class_colours(card))
    picture = Image.fromarray(label, mode="P")
    palette = np.concatenate([np.zeros((1, 3), np.uint8), colours])
    picture.putpalette(palette.tobytes())
    picture.save(path, compress_level=1)


def _save_probabilities(path: Path, case: Case, probabilities: NDArray[np.float32]) -> None:
    if case.volume is not None:
        channels_last = probabilities.transpose(0, 2, 3, 1)
        nibabel.save(_like(case.volume, channels_last, np.dtype(np.float32)), path)
        return
    array = probabilities.transpose(1, 0, 2, 3).astype(np.float16)
    with path.open("wb") as stream:
        np.save(stream, array[:, 0] if case.item.kind == "image" else array)


def _like(volume: Volume, slices: NDArray[np.generic], dtype: np.dtype[np.generic]) -> Nifti1Pair:
    """Make an image of slices (D, H, W) or (D, H, W, C) with the geometry of its source."""
    voxels = volume.frame.voxels(slices)
    header = volume.source.header.copy()
    # Geometry alone is taken over: no other person's remarks, no scale, no range of intensities.
    header.extensions.clear()
    header.set_data_shape(voxels.shape)
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"], header["intent_code"] = b"harmoseg", 0
    for name in ("aux_file", "db_name", "intent_name"):
        if name in header:  # NIfTI-2 has no db_name
            header[name] = b""
    return type(volume.source)(voxels, volume.source.affine, header)
