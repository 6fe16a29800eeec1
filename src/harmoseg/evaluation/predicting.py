"""Predict the cases of a store, brought back to the resolution of their source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from harmoseg.inference.predictor import Predictor, batched, choose_device, decide
from harmoseg.inference.stitching import Canvas
from harmoseg.store.card import TaskMode
from harmoseg.store.corruptions import Corruption, corrupt
from harmoseg.store.reading import Store


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
        return decide(self.probabilities)


def predict_planes(
    network: nn.Module, store: Store, cases: Sequence[int], asked: Prediction
) -> Iterator[PredictedPlane]:
    """Yield the prediction of every plane of the cases, in order.

    The network sees the store's resolution; probabilities are resized bilinearly to the source's
    and decided there, so that a coarse network is not also given a coarse outline. Where slices
    overlap, probabilities are averaged, those near a slice's middle weighing more.
    """
    device = choose_device()
    predictor = Predictor(
        network.to(device).eval(), asked.mode, device, bf16=asked.bf16, flips=asked.flips
    )
    predicted = _predict_slices(predictor, store, cases, asked)
    for number in cases:
        case = store.cases[number]
        rows = list(store.rows_of(number))
        places = [store.slice(row) for row in rows]
        for plane in range(case.depth):
            canvas = Canvas(case.height, case.width)
            slices = []
            for row, place in zip(rows, places, strict=True):
                if place.plane == plane:
                    probabilities = next(predicted)
                    slices.append((row, decide(probabilities.cpu().numpy())))
                    canvas.add(place, probabilities)
            last = plane == case.depth - 1
            yield PredictedPlane(number, plane, canvas.finish(), tuple(slices), last)


def _predict_slices(
    predictor: Predictor, store: Store, cases: Sequence[int], asked: Prediction
) -> Iterator[Tensor]:
    """Yield the probabilities (C, h, w) of every slice of the cases, in order."""
    batches = (
        (None, predictor.prepare(np.stack(images)))
        for images in batched(_images(store, cases, asked))
    )
    for _, found, _ in predictor.in_order(batches):
        yield from found


def _images(store: Store, cases: Sequence[int], asked: Prediction) -> Iterator[NDArray[np.uint8]]:
    """Yield the image (H, W, C) of every slice of the cases, corrupted case by case."""
    for number in cases:
        rows = store.rows_of(number)
        images = store.images[rows.start : rows.stop]
        if asked.corruption is not None:
            case = store.cases[number].case
            images = corrupt(images, asked.corruption, case=case, seed=asked.seed)
        yield from images
