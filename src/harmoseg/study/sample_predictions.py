"""What a report shows of single cases: a run's prediction and its Grad-CAM, one slice per case.

Made once, beside the evaluation, so that a report of many runs asks no network again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from harmoseg.errors import HarmosegError
from harmoseg.explain.networks import explain_slices
from harmoseg.explain.slices import ShownSlice, choose_slices
from harmoseg.files import make_folder, write_bytes
from harmoseg.report.gallery import spread_evenly
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store
from harmoseg.training.run import open_run

CAM_LAYER = "decoder"
_CAM_SIDE = 64


@dataclass(frozen=True, eq=False)
class Exhibits:
    """One slice of every exhibited case under one run, in the order of `exhibited_slices`.

    `labels` (n, H, W) is what was predicted at training resolution; `cams` (n, h, w) the Grad-CAM
    at `CAM_LAYER` of the foreground class that the truth has most of, 0 to 255.
    """

    cases: tuple[str, ...]
    labels: NDArray[np.uint8]
    cams: NDArray[np.uint8]


def exhibited_slices(store: Store, split: Split) -> list[ShownSlice]:
    """Choose cases by their place in the store, and of each its fullest slice: by no score."""
    numbers = store.cases_of(split)
    places = spread_evenly(len(numbers))
    return choose_slices(store, split, [store.cases[numbers[place]].case for place in places])


def make_exhibits(run: Path, store: Store, split: Split, out: Path) -> None:
    """Ask a finished run for its exhibits of a store, and write them."""
    model = open_run(run)
    shown = exhibited_slices(store, split)
    targets = [item.largest_class or 1 for item in shown]
    found = explain_slices(
        model.network, model.info.mode, shown, layers=(CAM_LAYER,), targets=targets
    )
    make_folder(out.parent)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        cases=np.asarray([item.case for item in shown]),
        labels=np.stack([part.predicted for part in found]),
        cams=_small([part.cams[CAM_LAYER] for part in found]),
    )
    write_bytes(out, buffer.getvalue())


def read_exhibits(path: Path) -> Exhibits | None:
    """Read what `make_exhibits` wrote, None where it is not there. Raises HarmosegError if bad."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            cases = tuple(str(name) for name in found["cases"])
            return Exhibits(cases, found["labels"], found["cams"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise HarmosegError(
            f"{path}: damaged ({error}); remove it and run the study again"
        ) from error


def _small(cams: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Average maps over cells and write them in bytes: they have no more detail than features."""
    maps = torch.from_numpy(np.stack(cams))[:, None]
    if min(maps.shape[2:]) > _CAM_SIDE:
        maps = F.adaptive_avg_pool2d(maps, _CAM_SIDE)
    return np.asarray((255 * maps[:, 0]).round().byte().numpy())
