"""Measure one case: everything that is known of a prediction once its truth is there.

Planes are measured as they come, beside the network; surfaces once the case is whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.ensemble_members import MemberSums, measure_members, sum_members
from harmoseg.evaluation.predicting import predict_store
from harmoseg.evaluation.probabilities import ProbabilityFile
from harmoseg.inference.labels import labels_of
from harmoseg.inference.planes import Plane
from harmoseg.inference.predictor import Predictor
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
from harmoseg.metrics.calibration import rescale
from harmoseg.metrics.overlap import betti0_error, centreline_dice
from harmoseg.parallel import ordered_map
from harmoseg.spectrum import Rings, make_rings
from harmoseg.store.corruptions import Corruption
from harmoseg.store.reading import Store

DISTANCES = ("HD95", "HD", "ASSD", "NSD")
CENTRELINE_DICE, BETTI0_ERROR = "clDice", "betti0_error"
_THREADS = 2
"""NumPy, SciPy and the network leave Python's lock alone for most of their time."""


@dataclass(frozen=True)
class Measuring:
    """How distances are measured.

    Args:
        definition: Of the Hausdorff distances: both directions pooled, or the larger of the two.
        on_empty: What a distance is where prediction or truth is empty: nan leaves it out and
            counts it, diagonal punishes it by that of the image, transunet is the legacy rule of
            published tables.
        tolerance: Of the normalised surface Dice, in the unit of the distances.
        thin: Measure what matters for thin structures too: centreline Dice and the error in the
            number of connected parts. None does so where the dataset's card names clDice.
        calibration_band: Calibration counts the pixels within this distance of a boundary of the
            truth (of a volume its surface), in the unit of the distances; all where it is None.
    """

    definition: Definition = "pooled"
    on_empty: OnEmpty = "nan"
    tolerance: float = 2.0
    calibration_band: float | None = None
    thin: bool | None = None

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
    but counts is measured of the background. `calibration` are the bins of the pixels that count,
    `rescaled` the same under the temperature of the network. `further` are measures that not every
    evaluation has, (classes,) by the name of their column.
    """

    counts: NDArray[np.int64]
    distances: NDArray[np.float64]
    calibration: CalibrationBins
    cross: NDArray[np.float64]
    power: NDArray[np.float64]
    log_magnitude: NDArray[np.float64]
    further: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    rescaled: CalibrationBins | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything as lists, exactly."""
        further = {name: array.tolist() for name, array in self.further.items()}
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        rescaled = None if self.rescaled is None else self.rescaled.to_lists()
        bins = {"calibration": self.calibration.to_lists(), "rescaled": rescaled}
        return {**bins, "further": further, **arrays}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CaseScores:
        """Take back what `to_json` gave."""
        arrays: dict[str, NDArray[Any]] = {
            name: np.asarray(values[name], np.int64 if name == "counts" else np.float64)
            for name in _ARRAYS
        }
        bins = CalibrationBins.from_lists(values["calibration"])
        further = {name: np.asarray(value) for name, value in values["further"].items()}
        after = values["rescaled"]
        rescaled = None if after is None else CalibrationBins.from_lists(after)
        return cls(calibration=bins, further=further, rescaled=rescaled, **arrays)


_ARRAYS = ("counts", "distances", "cross", "power", "log_magnitude")


@dataclass(frozen=True, eq=False)
class _PlaneScores:
    label: NDArray[np.uint8]
    counts: NDArray[np.int64]
    calibration: CalibrationBins
    cross: NDArray[np.float64]
    power: NDArray[np.float64]
    log_magnitude: NDArray[np.float64]
    rescaled: CalibrationBins | None
    members: MemberSums | None


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
    """Return the unit of distances on a store: mm where every case has a spacing, else px."""
    return "mm" if all(case.spacing for case in store.cases) else "px"


def measure_cases(
    predictor: Predictor,
    store: Store,
    cases: Sequence[int],
    how: Measuring,
    *,
    corruption: Corruption | None = None,
    seed: int = 0,
    temperature: float | None = None,
    keep: Callable[[int], Path] | None = None,
) -> Iterator[tuple[int, CaseScores]]:
    """Predict cases and yield the scores of each, in order, measuring beside the network.

    `corruption` and `seed` as for `predict_store`. With a `temperature` calibration is measured of
    rescaled probabilities too. `keep` names for a case's number the file that
    its probabilities are written to, (D, C, H, W) in float16; they are not kept where it is None.
    """
    rings = training_rings(store)

    def with_truth() -> Generator[tuple[_Reference, Plane[int], int]]:
        reference: _Reference | None = None
        row = 0
        for plane in predict_store(predictor, store, cases, corruption=corruption, seed=seed):
            if reference is None or reference.number != plane.item:
                reference = _Reference.of(store, plane.item, rings, how)
                row = store.rows_of(plane.item).start
            yield reference, plane, row
            row += len(plane.parts)

    def whole_cases() -> Generator[tuple[_Reference, list[_PlaneScores]]]:
        planes: list[_PlaneScores] = []
        with ExitStack() as stack:
            kept: ProbabilityFile | None = None
            work = partial(_measure_plane, temperature=temperature)
            measured = ordered_map(work, with_truth(), threads=_THREADS, eager=True)
            for reference, plane, scores in stack.enter_context(closing(measured)):
                if keep and not planes:
                    shape = (len(reference.truth), *plane.probabilities.shape)
                    kept = stack.enter_context(ProbabilityFile(keep(plane.item), shape))
                if kept is not None:
                    kept.append(plane.probabilities)
                planes.append(scores)
                if plane.last:
                    if kept is not None:
                        kept.finish()
                    yield reference, planes
                    planes, kept = [], None

    yield from ordered_map(_measure_case, whole_cases(), threads=_THREADS, eager=True)


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

    @property
    def is_thin(self) -> bool:
        """Return whether the measures of thin structures are asked for."""
        named = CENTRELINE_DICE in self.store.info.card.metrics
        return named if self.how.thin is None else self.how.thin

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the case in an error."""
        try:
            yield
        except HarmosegError as error:
            case = self.store.cases[self.number].case
            raise HarmosegError(f"{self.store.path}: case {case!r}: {error}") from error


def _measure_plane(
    predicted: tuple[_Reference, Plane[int], int], *, temperature: float | None
) -> tuple[_Reference, Plane[int], _PlaneScores]:
    """Measure a plane, whose slices begin at a row of the store."""
    reference, plane, first = predicted
    store, rings = reference.store, reference.rings
    classes = len(store.info.card.classes)
    label, truth = plane.label, reference.truth[plane.number]
    where = None if reference.band is None else reference.band[plane.number]
    rescaled = None
    with reference.named():
        bins = _calibration(plane.probabilities, truth, where)
        if temperature is not None:
            rescaled = _calibration(rescale(plane.probabilities, temperature), truth, where)
    cross, power = np.zeros((2, classes, len(rings)))
    correlations = np.full((len(plane.parts), classes), np.nan)
    for place, (_, probabilities) in enumerate(plane.parts):
        seen, shown = labels_of(probabilities.mean(0).cpu().numpy()), store.labels[first + place]
        for c in range(1, classes):
            mask, target = seen == c, shown == c
            if not (mask.any() or target.any()):
                continue  # no power: nothing is added, and a flat map has no correlation
            found, correlations[place, c] = spectral_fidelity(
                mask, target, spacing="pixel", rings=rings
            )
            cross[c] += found.cross
            power[c] += found.power
    counts = confusion_counts(label, truth, classes)
    correlation = mean_of_defined(correlations)
    of_members = [probabilities for _, probabilities in plane.parts]
    members = sum_members(of_members, classes) if len(of_members[0]) > 1 else None
    scores = _PlaneScores(label, counts, bins, cross, power, correlation, rescaled, members)
    return reference, plane, scores


def _calibration(
    probabilities: NDArray[np.float32], truth: NDArray[np.uint8], where: NDArray[np.bool_] | None
) -> CalibrationBins:
    if len(probabilities) == 1:
        return binary_calibration(probabilities[0], truth, where=where)
    return multiclass_calibration(probabilities, truth, where=where)


def _measure_case(
    measured: tuple[_Reference, Sequence[_PlaneScores]],
) -> tuple[int, CaseScores]:
    reference, parts = measured
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
    rescaled = [part.rescaled for part in parts if part.rescaled is not None]
    scores = CaseScores(
        counts=np.sum([part.counts for part in parts], axis=0),
        distances=distances,
        calibration=pool_calibration(part.calibration for part in parts),
        cross=np.sum([part.cross for part in parts], axis=0),
        power=np.sum([part.power for part in parts], axis=0),
        log_magnitude=mean_of_defined(np.stack([part.log_magnitude for part in parts])),
        rescaled=pool_calibration(rescaled) if rescaled else None,
        further={
            **(_measure_thin(predicted, truth, classes) if reference.is_thin else {}),
            **measure_members([part.members for part in parts if part.members is not None]),
        },
    )
    return reference.number, scores


def _measure_thin(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int
) -> dict[str, NDArray[np.float64]]:
    found = {CENTRELINE_DICE: centreline_dice, BETTI0_ERROR: betti0_error}
    return {
        name: np.array([np.nan, *(of(predicted == c, truth == c) for c in range(1, classes))])
        for name, of in found.items()
    }
