"""Single cases for a report: a run's predictions of images, and of planes of volumes.

Predictions are made once, beside the evaluation, so that a report of many runs asks no network
again. Grad-CAMs are made when a report is asked to explain.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from harmoseg.errors import HarmosegError
from harmoseg.explain.cam import explain_slices
from harmoseg.explain.slices import ShownSlice, choose_planes, choose_slices
from harmoseg.files import make_folder, write_bytes
from harmoseg.inference.predictor import choose_device, labels_of
from harmoseg.report.gallery import MOST_PLANES, spread_evenly
from harmoseg.store.layout import Split
from harmoseg.store.reading import Store
from harmoseg.training.run import open_run

CAM_LAYER = "decoder"
_CAM_SIDE = 64
_BATCH = 16
_Found = TypeVar("_Found")


@dataclass(frozen=True, eq=False)
class Exhibits:
    """Label maps (n, H, W) that a run predicted at training resolution, of `cases` and `planes`.

    A plane counts from 1; 0 is a plain image. Without `planes`, as harmoseg 0.1.0 wrote them, every
    case has its fullest slice.
    """

    cases: tuple[str, ...]
    planes: tuple[int, ...]
    labels: NDArray[np.uint8]

    @cached_property
    def _places(self) -> dict[tuple[str, int] | str, int]:
        if not self.planes:
            return {case: place for place, case in enumerate(self.cases)}
        return {key: i for i, key in enumerate(zip(self.cases, self.planes, strict=True))}

    def label_of(self, item: ShownSlice) -> NDArray[np.uint8] | None:
        """Return what was predicted of a slice; None where that was not kept."""
        place = self._places.get((item.case, item.plane) if self.planes else item.case)
        return None if place is None else np.asarray(self.labels[place])


def exhibited_slices(store: Store, split: Split) -> list[ShownSlice]:
    """Choose cases by their place in the store, and of each its fullest slice: by no score."""
    return choose_slices(store, split, _names(store, split))


def exhibited_planes(store: Store, split: Split) -> list[ShownSlice]:
    """Choose the same cases, and of volumes the planes to scroll through."""
    return choose_planes(store, split, _names(store, split), MOST_PLANES)


def _names(store: Store, split: Split) -> list[str]:
    numbers = store.cases_of(split)
    return [store.cases[numbers[place]].case for place in spread_evenly(len(numbers))]


def make_exhibits(run: Path, store: Store, split: Split, out: Path) -> None:
    """Predict what is exhibited of a store with a finished run, and write it."""
    model = open_run(run)
    model.network.to(choose_device())
    shown = exhibited_planes(store, split)
    labels = []
    for start in range(0, len(shown), _BATCH):
        images = np.stack([item.image for item in shown[start : start + _BATCH]])
        labels += [labels_of(probabilities) for probabilities in model.probabilities(images)]
    _write(
        out,
        cases=np.asarray([item.case for item in shown]),
        planes=np.asarray([item.plane for item in shown]),
        labels=np.stack(labels),
    )


def make_cams(run: Path, store: Store, split: Split, out: Path) -> None:
    """Write the Grad-CAM at `CAM_LAYER` of every exhibited case, for the truth's largest class."""
    model = open_run(run)
    shown = exhibited_slices(store, split)
    targets = [item.largest_class or 1 for item in shown]
    found = explain_slices(
        model.network, model.info.mode, shown, layers=(CAM_LAYER,), targets=targets
    )
    cams = _small([part.cams[CAM_LAYER] for part in found])
    _write(out, cases=np.asarray([item.case for item in shown]), cams=cams)


def read_exhibits(path: Path) -> Exhibits | None:
    """Read what `make_exhibits` wrote, None where it is not there. Raises HarmosegError if bad."""

    def take(found: Any) -> Exhibits:
        planes = found["planes"].tolist() if "planes" in found else []
        return Exhibits(tuple(map(str, found["cases"])), tuple(planes), found["labels"])

    return _read(path, take)


def read_cams(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Read what `make_cams` wrote: maps (h, w), 0 to 255, by case. Raises HarmosegError if bad."""
    found = _read(path, lambda part: dict(zip(map(str, part["cases"]), part["cams"], strict=True)))
    return found or {}


def _write(out: Path, **arrays: NDArray[Any]) -> None:
    make_folder(out.parent)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # names that are no option
    write_bytes(out, buffer.getvalue())


def _read(path: Path, take: Callable[[Any], _Found]) -> _Found | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return take(found)
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
