"""Predict the cases of a store, brought back to the resolution of their source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.metrics import top_label
from harmoseg.store.card import TaskMode
from harmoseg.store.corruptions import Corruption, corrupt
from harmoseg.store.layout import Slice
from harmoseg.store.reading import Store
from harmoseg.store.tensors import images_to_tensor, normalise

_BATCH = 16
_FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""Axes of (B, C, H, W) that test-time augmentation flips; the first is the image as it is."""


@dataclass(frozen=True)
class Prediction:
    """How a network is asked.

    A `corruption` is applied to what the network sees, drawn from `seed` and the case. With `flips`
    probabilities are averaged over the image and its mirror images (test-time augmentation).
    """

    mode: TaskMode
    bf16: bool = False
    corruption: Corruption | None = None
    seed: int = 0
    flips: bool = False


@dataclass(frozen=True, eq=False)
class PredictedPlane:
    """One plane of case number `case`.

    `probabilities` (C, H, W) are at the source's resolution: of the foreground alone for binary
    (C = 1), of every class for multiclass. `slices` gives, for the rows of the store that show the
    plane, the label maps (h, w) at training resolution. `last` marks the case's last plane.
    """

    case: int
    plane: int
    probabilities: NDArray[np.float32]
    slices: tuple[tuple[int, NDArray[np.uint8]], ...]
    last: bool

    @property
    def label(self) -> NDArray[np.uint8]:
        """Decide every pixel: (H, W)."""
        return _decide(self.probabilities)


def predict_cases(
    network: nn.Module, store: Store, cases: Sequence[int], asked: Prediction
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the number of every case with its predicted label map (D, H, W) as in the source."""
    planes: list[NDArray[np.uint8]] = []
    for plane in predict_planes(network, store, cases, asked):
        planes.append(plane.label)
        if plane.last:
            yield plane.case, np.stack(planes)
            planes = []


def predict_planes(
    network: nn.Module, store: Store, cases: Sequence[int], asked: Prediction
) -> Iterator[PredictedPlane]:
    """Yield the prediction of every plane of the cases, in order.

    The network sees the store's resolution; probabilities are resized bilinearly to the source's
    and decided there, so that a coarse network is not also given a coarse outline. Where slices
    overlap, probabilities are averaged, those near a slice's middle weighing more.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device).eval()
    predicted = _predict_slices(network, store, cases, device, asked)
    for number in cases:
        case = store.cases[number]
        rows = list(store.rows_of(number))
        places = [store.slice(row) for row in rows]
        for plane in range(case.depth):
            canvas = _Canvas(case.height, case.width)
            slices = []
            for row, place in zip(rows, places, strict=True):
                if place.plane == plane:
                    probabilities = next(predicted)
                    slices.append((row, _decide(probabilities.cpu().numpy())))
                    canvas.add(place, probabilities)
            last = plane == case.depth - 1
            yield PredictedPlane(number, plane, canvas.finish(), tuple(slices), last)


def _decide(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    if len(probabilities) == 1:
        return np.asarray(probabilities[0] > 0.5, np.uint8)
    return top_label(probabilities)[0]


@dataclass
class _Canvas:
    """The probabilities of one plane at the source's resolution, put together from its slices."""

    height: int
    width: int
    sums: Tensor | None = None
    weights: Tensor | None = field(default=None)

    def add(self, place: Slice, probabilities: Tensor) -> None:
        """Put the probabilities (C, h, w) of a slice in their place."""
        shape = (place.height, place.width)
        if probabilities.shape[1:] != shape:
            probabilities = F.interpolate(
                probabilities[None], size=shape, mode="bilinear", align_corners=False
            )[0]
        if shape == (self.height, self.width):
            self.sums = probabilities
            return
        if self.sums is None or self.weights is None:
            self.sums = probabilities.new_zeros(len(probabilities), self.height, self.width)
            self.weights = probabilities.new_zeros(self.height, self.width)
        where = (
            slice(place.top, place.top + place.height),
            slice(place.left, place.left + place.width),
        )
        taper = _taper(shape, probabilities.device)
        self.sums[:, *where] += taper * probabilities
        self.weights[where] += taper

    def finish(self) -> NDArray[np.float32]:
        """Give the plane (C, H, W)."""
        if self.sums is None:
            raise RuntimeError("a plane without slices")
        mean = self.sums if self.weights is None else self.sums / self.weights
        plane: NDArray[np.float32] = mean.cpu().numpy()
        # Rounding may carry a mean of probabilities just beyond 1.
        return np.clip(plane, 0, 1, out=plane)


def _taper(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Weigh a slice's pixels from 1 in the middle down to nearly 0 at its border: (h, w)."""
    rows, columns = (1 - (2 * (torch.arange(n, device=device) + 0.5) / n - 1).abs() for n in shape)
    return rows[:, None] * columns


def _predict_slices(
    network: nn.Module, store: Store, cases: Sequence[int], device: str, asked: Prediction
) -> Iterator[Tensor]:
    """Yield the probabilities (C, h, w) of every slice of the cases, in order."""
    for images in _batches(_images(store, cases, asked)):
        prepared = normalise(images_to_tensor(images).to(device))
        total = None
        views = _FLIPS if asked.flips else _FLIPS[:1]
        for axes in views:
            view = prepared.flip(axes).contiguous(memory_format=torch.channels_last)
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=asked.bf16):
                logits = network(view)
            logits = logits.float()
            found = logits.sigmoid() if asked.mode == "binary" else logits.softmax(1)
            found = found.flip(axes)
            total = found if total is None else total + found
        if total is not None:
            # Resizing a slice takes half as long where its channels lie one after another.
            yield from (total / len(views)).contiguous()


def _images(store: Store, cases: Sequence[int], asked: Prediction) -> Iterator[NDArray[np.uint8]]:
    """Yield the image (H, W, C) of every slice of the cases, corrupted case by case."""
    for number in cases:
        rows = store.rows_of(number)
        images = store.images[rows.start : rows.stop]
        if asked.corruption is not None:
            case = store.cases[number].case
            images = corrupt(images, asked.corruption, case=case, seed=asked.seed)
        yield from images


def _batches(images: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    batch = []
    for image in images:
        batch.append(image)
        if len(batch) == _BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
