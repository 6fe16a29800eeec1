"""Predict the cases of a store: its slices are the windows that the network sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harmoseg.inference.planes import Plane, predict_planes
from harmoseg.inference.predictor import Predictor
from harmoseg.inference.windows import Window
from harmoseg.store.corruptions import Corruption, corrupt
from harmoseg.store.reading import Store


def predict_store(
    predictor: Predictor,
    store: Store,
    cases: Sequence[int],
    *,
    corruption: Corruption | None = None,
    seed: int = 0,
) -> Iterator[Plane[int]]:
    """Yield the prediction of every plane of the cases, in order; planes are named by their case.

    A `corruption` is applied to what the network sees, drawn from `seed` and the case.
    """

    def windows(number: int) -> Iterator[Window]:
        rows = store.rows_of(number)
        images = store.images[rows.start : rows.stop]
        if corruption is not None:
            case = store.cases[number].case
            images = corrupt(images, corruption, case=case, seed=seed)
        for row, image in zip(rows, images, strict=True):
            place = store.slice(row)
            yield Window(place.plane, place.top, place.left, place.height, place.width, image)

    shapes = ((store.cases[n].depth, store.cases[n].height, store.cases[n].width) for n in cases)
    return predict_planes(
        predictor, ((n, shape, windows(n)) for n, shape in zip(cases, shapes, strict=True))
    )
