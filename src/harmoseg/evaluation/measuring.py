"""Predict the cases of a store, and measure all that is known of a case once its truth is there.

Planes are measured as they come, beside the network; surfaces once the case is whole. Agreement and
confidence of the members of an ensemble are known without the truth, so that they may tell which
cases fail; they are measured at training resolution, where all members are at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.case_scores import (
    BETTI0_ERROR,
    CENTRELINE_DICE,
    DISTANCES,
    CaseScores,
    Measuring,
    fill_bins,
)
from harmoseg.evaluation.journal import ProbabilityFile
from harmoseg.inference.planes import Plane, Window, predict_planes
from harmoseg.inference.predictor import Predictor, labels_of, mean_of_members
from harmoseg.metrics import (
    CalibrationBins,
    boundary_band,
    class_surface_distances,
    confusion_counts,
    mean_of_defined,
    pool_calibration,
    spectral_fidelity,
)
from harmoseg.metrics.calibration import rescale
from harmoseg.metrics.overlap import betti0_error, centreline_dice, divide_defined
from harmoseg.parallel import ordered_map
from harmoseg.spectrum import Rings, make_rings
from harmoseg.store.corruptions import Corruption, corrupt
from harmoseg.store.reading import Store

_THREADS = 2
"""NumPy, SciPy and the network leave Python's lock alone for most of their time."""


class MemberSums(NamedTuple):
    """Sums over pixels, by class with the background first.

    `both` and `either` (pairs, classes) count the pixels that both members of a pair gave a class,
    and the sum of what each gave. `confidence` and `pixels` (classes,) are the summed probability
    of the class over the pixels that the ensemble gave it, and their number.
    """

    both: NDArray[np.int64]
    either: NDArray[np.int64]
    confidence: NDArray[np.float64]
    pixels: NDArray[np.int64]


class _PlaneScores(NamedTuple):
    label: NDArray[np.uint8]
    counts: NDArray[np.int64]
    calibration: CalibrationBins
    cross: NDArray[np.float64]
    power: NDArray[np.float64]
    log_magnitude: NDArray[np.float64]
    rescaled: CalibrationBins | None
    members: MemberSums | None


def training_rings(store: Store) -> Rings:
    """Make the octave rings of a store's training resolution, in cycles per pixel."""
    return make_rings((store.info.height, store.info.width), kind="octave")


def distance_unit(store: Store) -> str:
    """Return the unit of distances on a store: mm where every case has a spacing, else px."""
    return "mm" if all(case.spacing for case in store.cases) else "px"


def predict_store(
    predictor: Predictor,
    store: Store,
    cases: Sequence[int],
    *,
    corruption: Corruption | None = None,
    seed: int = 0,
) -> Iterator[Plane[int]]:
    """Yield the prediction of every plane of the cases, in order; planes are named by their case.

    The slices of a store are the windows that the network sees. A `corruption` is applied to them,
    drawn from `seed` and the case.
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
            work = partial(_measure_plane, temperature=temperature)
            measured = ordered_map(work, with_truth(), threads=_THREADS, eager=True)
            for reference, plane, scores in stack.enter_context(closing(measured)):
                if keep:
                    if not planes:
                        shape = (len(reference.truth), *plane.probabilities.shape)
                        kept = ProbabilityFile(keep(plane.item), shape)
                        stack.enter_context(closing(kept))
                    kept.append(plane.probabilities, last=plane.last)
                planes.append(scores)
                if plane.last:
                    yield reference, planes
                    planes = []

    yield from ordered_map(_measure_case, whole_cases(), threads=_THREADS, eager=True)


@dataclass(frozen=True, eq=False)
class _Reference:
    """Truth that the prediction of a case is measured against.

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
        bins = fill_bins(plane.probabilities, truth, where)
        if temperature is not None:
            rescaled = fill_bins(rescale(plane.probabilities, temperature), truth, where)
    cross, power = np.zeros((2, classes, len(rings)))
    correlations = np.full((len(plane.parts), classes), np.nan)
    for place, (_, probabilities) in enumerate(plane.parts):
        mean = mean_of_members(probabilities).cpu().numpy()
        seen, shown = labels_of(mean), store.labels[first + place]
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


def _measure_case(
    measured: tuple[_Reference, Sequence[_PlaneScores]],
) -> tuple[int, CaseScores]:
    reference, parts = measured
    card, how = reference.store.info.card, reference.how
    predicted, truth = np.stack([part.label for part in parts]), reference.truth
    if len(truth) == 1:  # a plain image: a surface is its outline
        predicted, truth = predicted[0], truth[0]
    classes = len(card.classes)
    distances = np.full((classes, len(DISTANCES)), np.nan)
    with reference.named():
        found = class_surface_distances(predicted, truth, classes, spacing=reference.spacing)
    for c, surface in found.items():
        distances[c] = how.distances_of(surface)
    further = measure_members([part.members for part in parts if part.members is not None])
    if CENTRELINE_DICE in card.metrics if how.thin is None else how.thin:
        thin = {CENTRELINE_DICE: centreline_dice, BETTI0_ERROR: betti0_error}
        values = {
            name: [np.nan, *(of(predicted == c, truth == c) for c in range(1, classes))]
            for name, of in thin.items()
        }
        further = {name: np.array(value) for name, value in values.items()} | further
    rescaled = [part.rescaled for part in parts if part.rescaled is not None]
    scores = CaseScores(
        counts=np.sum([part.counts for part in parts], axis=0),
        distances=distances,
        calibration=pool_calibration(part.calibration for part in parts),
        cross=np.sum([part.cross for part in parts], axis=0),
        power=np.sum([part.power for part in parts], axis=0),
        log_magnitude=mean_of_defined(np.stack([part.log_magnitude for part in parts])),
        rescaled=pool_calibration(rescaled) if rescaled else None,
        further=further,
    )
    return reference.number, scores


def sum_members(parts: Sequence[Tensor], classes: int) -> MemberSums:
    """Sum over the parts of a plane, each with the probabilities (members, C, h, w)."""
    pairs = list(combinations(range(len(parts[0])), 2))
    both, either = np.zeros((2, len(pairs), classes), np.int64)
    confidence, pixels = np.zeros(classes), np.zeros(classes, np.int64)
    for part in parts:
        found = part.cpu().numpy()
        labels = np.stack([labels_of(member) for member in found])
        mean = found.mean(0)
        whole = np.concatenate([1 - mean, mean]) if len(mean) == 1 else mean
        decided = labels_of(mean)
        for c in range(classes):
            given = labels == c
            size = given.sum((1, 2))
            for place, (i, j) in enumerate(pairs):
                both[place, c] += int((given[i] & given[j]).sum())
                either[place, c] += size[i] + size[j]
            chosen = decided == c
            confidence[c] += whole[c][chosen].sum(dtype=np.float64)
            pixels[c] += int(chosen.sum())
    return MemberSums(both, either, confidence, pixels)


def measure_members(planes: Sequence[MemberSums]) -> dict[str, NDArray[np.float64]]:
    """Return agreement and confidence of a case by class (classes,); nothing without planes.

    Agreement is the mean Dice over the pairs of members that marked the class at all, NaN where
    none did. Confidence is NaN where the ensemble marked nothing. Both are NaN of the background.
    """
    if not planes:
        return {}
    both, either, confidence, pixels = (np.sum(sums, axis=0) for sums in zip(*planes, strict=True))
    agreement = mean_of_defined(divide_defined(2 * both, either))
    mean_confidence = divide_defined(confidence, pixels)
    agreement[0] = mean_confidence[0] = np.nan
    return {"agreement": agreement, "confidence": mean_confidence}
