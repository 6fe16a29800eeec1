"""What is measured of a case: options, distances, calibration; of a network and of files alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.metrics import (
    METRICS,
    CalibrationBins,
    Definition,
    Metric,
    OnEmpty,
    SurfaceDistances,
    binary_calibration,
    multiclass_calibration,
)
from harmoseg.scores.table import RESCALED

OVERLAP: tuple[Metric, ...] = (*METRICS, "precision")
DISTANCES = ("HD95", "HD", "ASSD", "NSD")
CALIBRATION = ("ECE", "MCE", "ACE", "Brier", "NLL")
CENTRELINE_DICE, BETTI0_ERROR = "clDice", "betti0_error"
BOTH_EMPTY = SurfaceDistances(np.zeros(0), np.zeros(0), "both", 0.0, "px")
"""The surfaces of a class that neither truth nor prediction has."""
_ARRAYS = ("counts", "distances", "cross", "power", "log_magnitude")


@dataclass(frozen=True)
class Measuring:
    """Options of distances and calibration.

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

    def distance_names(self, unit: str) -> tuple[str, ...]:
        """Name the distances as they are measured, in the order of `DISTANCES`."""
        return (
            f"HD95_{self.definition}_{unit}",
            f"HD_{unit}",
            f"ASSD_{unit}",
            f"NSD_{self.tolerance:g}{unit}",
        )

    def distances_of(self, surface: SurfaceDistances) -> list[float]:
        """Return the distances of a class, in the order of `DISTANCES`."""
        # The legacy rule speaks of Hausdorff distances alone.
        milder = "nan" if self.on_empty == "transunet" else self.on_empty
        return [
            surface.hausdorff(95, definition=self.definition, on_empty=self.on_empty),
            surface.hausdorff(100, definition=self.definition, on_empty=self.on_empty),
            surface.assd(on_empty=milder),
            surface.surface_dice(self.tolerance, on_empty=milder),
        ]


@dataclass(frozen=True, eq=False)
class CaseScores:
    """Scores of a case, per class with the background first.

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
        return {
            "calibration": self.calibration.to_lists(),
            "rescaled": None if self.rescaled is None else self.rescaled.to_lists(),
            "further": {name: array.tolist() for name, array in self.further.items()},
            **{name: getattr(self, name).tolist() for name in _ARRAYS},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CaseScores:
        """Return the scores that `to_json` wrote."""
        arrays: dict[str, NDArray[Any]] = {
            name: np.asarray(values[name], np.int64 if name == "counts" else np.float64)
            for name in _ARRAYS
        }
        after = values["rescaled"]
        return cls(
            calibration=CalibrationBins.from_lists(values["calibration"]),
            rescaled=None if after is None else CalibrationBins.from_lists(after),
            further={name: np.asarray(value) for name, value in values["further"].items()},
            **arrays,
        )


def fill_bins(
    probabilities: NDArray[np.floating[Any]],
    truth: NDArray[np.integer],
    where: NDArray[np.bool_] | None,
) -> CalibrationBins:
    """Return the calibration bins of probabilities (C, *S): of the foreground where C is 1."""
    if len(probabilities) == 1:
        return binary_calibration(probabilities[0], truth, where=where)
    return multiclass_calibration(probabilities, truth, where=where)


def calibration_measures(bins: CalibrationBins) -> dict[str, float]:
    """Return every calibration measure of some bins, in the order of `CALIBRATION`."""
    values = (bins.ece(), bins.mce(), bins.ace(), bins.brier(), bins.nll())
    return dict(zip(CALIBRATION, values, strict=True))


def bin_table(
    keys: Mapping[str, str], bins: CalibrationBins, *, rescaled: bool = False
) -> pd.DataFrame:
    """Return a row per bin of a case: `keys`, edges, pixels, and the sums over them."""
    edges = np.linspace(0, 1, bins.count.size + 1)
    return pd.DataFrame(
        {
            **keys,
            "convention": bins.convention + (RESCALED if rescaled else ""),
            "bin": np.arange(bins.count.size),
            "low": edges[:-1],
            "high": edges[1:],
            "count": bins.count,
            "confidence_sum": np.nan_to_num(bins.mean_confidence) * bins.count,
            "right_sum": np.nan_to_num(bins.frequency) * bins.count,
        }
    )
