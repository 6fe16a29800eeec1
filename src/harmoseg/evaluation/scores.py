"""The scores of all cases under one condition, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmoseg.evaluation.measuring import (
    CaseScores,
    Measuring,
    distance_names,
    distance_unit,
    training_rings,
)
from harmoseg.metrics import (
    METRICS,
    CalibrationBins,
    RingFidelity,
    overlap_metric,
    pool_calibration,
    transunet_dsc,
)
from harmoseg.store.reading import Store

CUTOFF = "cutoff_cycles_per_px"
LOG_MAGNITUDE = "log_magnitude_r"


@dataclass(frozen=True, eq=False)
class ConditionScores:
    """What was measured under one condition.

    `counts` (cases, classes, 4) are of the background too. `distances`, `spectral` and `further`
    give (cases, classes) per name of a measure, NaN where it is undefined and for the background.
    `calibration` has the bins of every case, over the pixels `calibrated_where`, and `rescaled` the
    same under the temperature of the network, where one was fitted; `cross` and
    `power` (cases, classes, rings) are the ring sums and `frequency` (rings,) the rings' mean, in
    cycles per pixel of the training resolution.
    """

    counts: NDArray[np.int64]
    distances: dict[str, NDArray[np.float64]]
    spectral: dict[str, NDArray[np.float64]]
    further: dict[str, NDArray[np.float64]]
    calibration: tuple[CalibrationBins, ...]
    rescaled: tuple[CalibrationBins, ...] | None
    calibrated_where: str
    frequency: NDArray[np.float64]
    cross: NDArray[np.float64]
    power: NDArray[np.float64]

    @classmethod
    def of(cls, scores: Sequence[CaseScores], store: Store, how: Measuring) -> ConditionScores:
        """Put the scores of cases together."""
        frequency = np.asarray(training_rings(store).frequency)
        counts = np.stack([case.counts for case in scores])
        cross, power = (np.stack([getattr(case, name) for case in scores]) for name in _RING_SUMS)
        cutoff = np.full(counts.shape[:2], np.nan)
        for case, c in np.ndindex(cutoff.shape):
            if c > 0:  # nothing but counts is measured of the background
                curve = RingFidelity(frequency, cross[case, c], power[case, c], "cycles/px")
                cutoff[case, c] = curve.cutoff()
        unit, band = distance_unit(store), how.calibration_band
        distances = np.stack([case.distances for case in scores])
        names = distance_names(unit, how)
        further = {
            name: np.stack([case.further[name] for case in scores]) for name in scores[0].further
        }
        if how.on_empty == "transunet":
            further["DSC_transunet"] = transunet_dsc(counts)
        rescaled: Any = tuple(case.rescaled for case in scores)
        return cls(
            counts=counts,
            distances={name: distances[..., i] for i, name in enumerate(names)},
            spectral={
                CUTOFF: cutoff,
                LOG_MAGNITUDE: np.stack([case.log_magnitude for case in scores]),
            },
            further=further,
            calibration=tuple(case.calibration for case in scores),
            rescaled=None if None in rescaled else rescaled,
            calibrated_where=(
                "all pixels" if band is None else f"within {band:g} {unit} of the truth's boundary"
            ),
            frequency=frequency,
            cross=cross,
            power=power,
        )

    def take(self, chosen: NDArray[np.intp]) -> ConditionScores:
        """Keep the cases at some positions."""
        per_case: dict[str, Any] = {
            name: {key: values[chosen] for key, values in getattr(self, name).items()}
            for name in ("distances", "spectral", "further")
        }
        return replace(
            self,
            counts=self.counts[chosen],
            calibration=tuple(self.calibration[i] for i in chosen),
            rescaled=None if self.rescaled is None else tuple(self.rescaled[i] for i in chosen),
            cross=self.cross[chosen],
            power=self.power[chosen],
            **per_case,
        )

    def measures(self) -> dict[str, NDArray[np.float64]]:
        """Return every measure (cases, classes) by the name of its column in cases.csv."""
        overlap: dict[str, NDArray[np.float64]] = {
            name: overlap_metric(name, self.counts) for name in (*METRICS, "precision")
        }
        return {**overlap, **self.further, **self.distances, **self.spectral}

    def one_sided(self) -> NDArray[np.int64]:
        """Count for every class the cases where either prediction or truth is empty, not both."""
        tp, fp, fn, _ = np.moveaxis(self.counts, -1, 0)
        return np.asarray(((tp + fp == 0) != (tp + fn == 0)).sum(0))

    def pooled_calibration(self) -> CalibrationBins:
        """Pool the bins of all cases."""
        return pool_calibration(self.calibration)

    def rings(self, case: int, class_index: int) -> RingFidelity:
        """Return the ring sums of a class of a case."""
        cross, power = self.cross[case, class_index], self.power[case, class_index]
        return RingFidelity(self.frequency, cross, power, "cycles/px")


_RING_SUMS = ("cross", "power")
