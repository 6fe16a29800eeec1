"""Measure one case: everything that is known of a prediction once its truth is there.

Planes are measured as they come, beside the network; surfaces once the case is whole.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.predicting import PredictedPlane, Prediction, predict_planes
from harmoseg.evaluation.probabilities import ProbabilityFile
from harmoseg.metrics import (
    CalibrationBins,
    Definition,
    OnEmpty,
    binary_calibration,
    boundary_band,
    class_surface_distances,
    confusion_counts,
    mean_of_defined,
    multiclass_calibration,
    pool_calibration,
    spectral_fidelity,
)
from harmoseg.spectrum import Rings, make_rings
from harmoseg.store.reading import Store

DISTANCES = ("HD95", "HD", "ASSD", "NSD")
_THREADS = 2
"""NumPy, SciPy and the network leave Python's lock alone for most of their time."""
_AHEAD = 16
"""Planes that may wait to be measured: what bounds the memory."""


@dataclass(frozen=True)
class Measuring:
    """How distances are measured.

    Args:
        definition: Of the Hausdorff distances: both directions pooled, or the larger of the two.
        on_empty: What a distance is where prediction or truth is empty: nan leaves it out and
            counts it, diagonal punishes it by that of the image, transunet is the legacy rule of
            published tables.
        tolerance: Of the normalised surface Dice, in the unit of the distances.
        calibration_band: Calibration counts the pixels within this distance of a boundary of the
            truth (of a volume its surface), in the unit of the distances; all where it is None.
    """

    definition: Definition = "pooled"
    on_empty: OnEmpty = "nan"
    tolerance: float = 2.0
    calibration_band: float | None = None

    def __post_init__(self) -> None:
        """Raise HarmosegError for a value that cannot be meant."""
        for name, words in (("definition", get_args(Definition)), ("on_empty", get_args(OnEmpty))):
            if getattr(self, name) not in words:
                raise HarmosegError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(words)}"
                )
        for name in ("tolerance", "calibration_band"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise HarmosegError(f"{name} is {value}, expected a distance of 0 or more")


@dataclass(frozen=True, eq=False)
class CaseScores:
    """What was measured of a case, per class with the background first.

    `counts` (classes, 4), `distances` (classes, 4) in the order of `DISTANCES`, `cross` and `power`
    (classes, rings) at training resolution, `log_magnitude` (classes,). NaN is undefined; nothing
    but counts is measured of the background. `calibration` are the bins of the pixels that count.
    """

    counts: NDArray[np.int64]
    distances: NDArray[np.float64]
    calibration: CalibrationBins
    cross: NDArray[np.float64]
    power: NDArray[np.float64]
    log_magnitude: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """Give everything as lists, exactly."""
        bins = {name: array.tolist() for name, array in self.calibration.as_arrays().items()}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {"calibration": bins} | {name: array.tolist() for name, array in arrays.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CaseScores:
        """Take back what `to_json` gave."""
        bins = {name: np.asarray(value) for name, value in values["calibration"].items()}
        arrays: dict[str, NDArray[Any]] = {
            name: np.asarray(values[name], np.int64 if name == "counts" else np.float64)
            for name in _ARRAYS
        }
        return cls(calibration=CalibrationBins.from_arrays(bins), **arrays)


_ARRAYS = ("counts", "distances", "cross", "power", "log_magnitude")


@dataclass(frozen=True, eq=False)
class _PlaneScores:
    label: NDArray[np.uint8]
    counts: NDArray[np.int64]
    calibration: CalibrationBins
    cross: NDArray[np.float64]
    power: NDArray[np.float64]
    log_magnitude: NDArray[np.float64]


def distance_names(unit: str, how: Measuring) -> tuple[str, ...]:
    """Name the distances as they were measured, in the order of `DISTANCES`."""
    return (
        f"HD95_{how.definition}_{unit}",
        f"HD_{unit}",
        f"ASSD_{unit}",
        f"NSD_{how.tolerance:g}{unit}",
    )


def training_rings(store: Store) -> Rings:
    """Make the octave rings of a store's training resolution, in cycles per pixel."""
    return make_rings((store.info.height, store.info.width), kind="octave")


def distance_unit(store: Store) -> str:
    """Say in which unit distances on a store are: mm where every case has a spacing, else px."""
    return "mm" if all(case.spacing for case in store.cases) else "px"


def measure_cases(
    network: nn.Module,
    store: Store,
    cases: Sequence[int],
    asked: Prediction,
    how: Measuring,
    keep: Callable[[int], Path] | None = None,
) -> Iterator[tuple[int, CaseScores]]:
    """Predict cases and yield the scores of each, in order, measuring beside the network.

    `keep` names for a case's number the file that its probabilities are written to, (D, C, H, W)
    in float16; they are not kept where it is None.
    """
    rings = training_rings(store)
    pool = ThreadPoolExecutor(_THREADS)
    planes: list[Future[_PlaneScores]] = []
    waiting: deque[Future[_PlaneScores]] = deque()
    whole: deque[tuple[int, Future[CaseScores]]] = deque()
    # On a processor network and measuring take turns: every operation of the network is split over
    # all cores and waits for the slowest. On a device they overlap.
    may_wait = _AHEAD // 2 if torch.cuda.is_available() else 0
    with ExitStack() as stack:
        stack.callback(pool.shutdown, cancel_futures=True)
        reference: _Reference | None = None
        kept: ProbabilityFile | None = None
        for plane in predict_planes(network, store, cases, asked):
            if reference is None:
                reference = _Reference.of(store, plane.case, rings, how)
                if keep:
                    shape = (len(reference.truth), *plane.probabilities.shape)
                    kept = stack.enter_context(ProbabilityFile(keep(plane.case), shape))
            if kept is not None:
                kept.append(plane.probabilities)
            work = pool.submit(_measure_plane, reference, plane)
            planes.append(work)
            waiting.append(work)
            if plane.last:
                # First in, first out: its planes are measured, or being so, when this begins.
                whole.append((plane.case, pool.submit(_measure_case, reference, planes)))
                if kept is not None:
                    kept.finish()
                planes, reference = [], None
            if len(waiting) == _AHEAD:
                while len(waiting) > may_wait:
                    waiting.popleft().result()
                if not may_wait:
                    wait(work for _, work in whole)
            while whole and whole[0][1].done():
                number, done = whole.popleft()
                yield number, done.result()
        for number, done in whole:
            yield number, done.result()


@dataclass(frozen=True, eq=False)
class _Reference:
    """What the prediction of a case is measured against.

    `band` marks the pixels (D, H, W) whose calibration counts, all where it is None. `spacing` is
    that of the distances.
    """

    store: Store
    number: int
    truth: NDArray[np.uint8]
    band: NDArray[np.bool_] | None
    spacing: Any
    rings: Rings
    how: Measuring

    @classmethod
    def of(cls, store: Store, number: int, rings: Rings, how: Measuring) -> _Reference:
        """Open the truth of a case; raise HarmosegError where the card has not all its labels."""
        truth = store.native_label(number)
        classes = store.info.card.classes
        if truth.max(initial=0) >= len(classes):
            raise HarmosegError(
                f"{store.path}: case {store.cases[number].case!r} has the label {truth.max()}, "
                f"expected 0 to {len(classes) - 1} ({', '.join(classes)}); prepare the store again"
            )
        spacing: Any = store.cases[number].spacing if distance_unit(store) == "mm" else "pixel"
        if len(truth) == 1 and spacing != "pixel":
            spacing = spacing[1:]
        band = None
        if how.calibration_band is not None:
            # Of a plain image a boundary is its outline, of a volume its surface.
            flat = truth[0] if len(truth) == 1 else truth
            band = boundary_band(flat, how.calibration_band, spacing=spacing).reshape(truth.shape)
        return cls(store, number, truth, band, spacing, rings, how)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Say of which case an error is."""
        try:
            yield
        except HarmosegError as error:
            case = self.store.cases[self.number].case
            raise HarmosegError(f"{self.store.path}: case {case!r}: {error}") from error


def _measure_plane(reference: _Reference, plane: PredictedPlane) -> _PlaneScores:
    store, rings = reference.store, reference.rings
    classes = len(store.info.card.classes)
    label, truth = plane.label, reference.truth[plane.plane]
    where = None if reference.band is None else reference.band[plane.plane]
    with reference.named():
        if len(plane.probabilities) == 1:
            bins = binary_calibration(plane.probabilities[0], truth, where=where)
        else:
            bins = multiclass_calibration(plane.probabilities, truth, where=where)
    cross, power = np.zeros((2, classes, len(rings)))
    correlations = np.full((len(plane.slices), classes), np.nan)
    for place, (row, predicted) in enumerate(plane.slices):
        shown = store.labels[row]
        for c in range(1, classes):
            mask, target = predicted == c, shown == c
            if not (mask.any() or target.any()):
                continue  # no power: nothing is added, and a flat map has no correlation
            found, correlations[place, c] = spectral_fidelity(
                mask, target, spacing="pixel", rings=rings
            )
            cross[c] += found.cross
            power[c] += found.power
    counts = confusion_counts(label, truth, classes)
    return _PlaneScores(label, counts, bins, cross, power, mean_of_defined(correlations))


def _measure_case(reference: _Reference, planes: Sequence[Future[_PlaneScores]]) -> CaseScores:
    parts = [plane.result() for plane in planes]
    classes, how = len(reference.store.info.card.classes), reference.how
    predicted, truth = np.stack([part.label for part in parts]), reference.truth
    if len(truth) == 1:  # a plain image: a surface is its outline
        predicted, truth = predicted[0], truth[0]
    distances = np.full((classes, len(DISTANCES)), np.nan)
    with reference.named():
        found = class_surface_distances(predicted, truth, classes, spacing=reference.spacing)
    # The legacy rule speaks of Hausdorff distances alone.
    milder = "nan" if how.on_empty == "transunet" else how.on_empty
    for c, surface in found.items():
        distances[c] = (
            surface.hausdorff(95, definition=how.definition, on_empty=how.on_empty),
            surface.hausdorff(100, definition=how.definition, on_empty=how.on_empty),
            surface.assd(on_empty=milder),
            surface.surface_dice(how.tolerance, on_empty=milder),
        )
    return CaseScores(
        counts=np.sum([part.counts for part in parts], axis=0),
        distances=distances,
        calibration=pool_calibration(part.calibration for part in parts),
        cross=np.sum([part.cross for part in parts], axis=0),
        power=np.sum([part.power for part in parts], axis=0),
        log_magnitude=mean_of_defined(np.stack([part.log_magnitude for part in parts])),
    )
