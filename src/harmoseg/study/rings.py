"""Up to which detail predictions follow the truth: correlation in rings of the spectrum.

The evaluations have the ring sums of every case; what follows from them for methods is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmoseg.evaluation.reading import CLEAN
from harmoseg.evaluation.reading import Rings as RingSums
from harmoseg.metrics import mean_of_defined
from harmoseg.statistics.intervals import Estimate
from harmoseg.study.estimates import estimate_point
from harmoseg.study.results import Study, TaskResults, Values
from harmoseg.study.tables import Difference, places
from harmoseg.study.writing import Table

# As `harmoseg.spectrum` has it: what a transform leaves by rounding in a ring without power.
_ROUNDING = (32 * float(np.finfo(np.float64).eps)) ** 2
_STUB = ("tested on", "method", "minus")


def ring_correlations(sums: RingSums) -> Values:
    """Give the correlation of every case in every ring: (cases, rings), NaN without power.

    A ring without power in truth and prediction has nothing to agree about: it is left out here,
    where a loss counts it as 1. With several foreground classes a case has the mean over those
    that are defined.
    """
    floor = sums.power.sum(axis=-1, keepdims=True) * _ROUNDING
    correlation = np.full(sums.power.shape, np.nan)
    np.divide(2 * sums.cross, sums.power, out=correlation, where=sums.power > floor)
    return mean_of_defined(correlation, axis=1)


@dataclass(frozen=True)
class RingCurves:
    """The ring correlations of a task's runs on a store: (cases, rings) by method and seed."""

    frequency: NDArray[np.float64]
    groups: tuple[str, ...]
    values: dict[tuple[str, int], Values]

    def estimates(self, method: str, seeds: Sequence[int]) -> list[Estimate]:
        """Estimate a method's mean correlation in every ring."""
        return self._of_rings(self._stack(method, seeds))

    def gains(self, method: str, reference: str, seeds: Sequence[int]) -> list[Estimate]:
        """Estimate the paired difference of two methods in every ring."""
        return self._of_rings(self._stack(method, seeds) - self._stack(reference, seeds))

    def _stack(self, method: str, seeds: Sequence[int]) -> NDArray[np.float64]:
        empty = np.empty((0, len(self.groups), len(self.frequency)))
        return np.stack([self.values[method, seed] for seed in seeds]) if seeds else empty

    def _of_rings(self, values: NDArray[np.float64]) -> list[Estimate]:
        rings = range(len(self.frequency))
        return [estimate_point(values[..., ring], self.groups) for ring in rings]


def read_ring_curves(task: TaskResults, store: str) -> RingCurves:
    """Read the ring sums of all runs on a store; raises HarmosegError where one is damaged."""
    values = {}
    frequency = np.empty(0)
    for run in task.runs:
        sums = run.evaluations[store].rings()[CLEAN]
        frequency = sums.frequency
        values[run.experiment.method, run.experiment.seed] = ring_correlations(sums)
    return RingCurves(frequency, task.groups(store), values)


def ring_table(study: Study, differences: Sequence[Difference]) -> Table:
    """Tell what every method gains over its references in every ring."""
    rows: list[tuple[str, ...]] = []
    records: list[dict[str, object]] = []
    header: tuple[str, ...] = _STUB
    for task, store, place in places(study):
        chosen = [item for item in differences if (item.task, item.store) == (task.name, store)]
        curves = read_ring_curves(task, store)
        names = tuple(f"{frequency:.3f}" for frequency in curves.frequency)
        # Stores of one size have the same rings; of others the numbers are in the CSV file alone.
        if len(header) == len(_STUB):
            header = (*_STUB, *names)
        for item in chosen:
            both = [s for s in task.seeds_of(item.method) if s in task.seeds_of(item.reference)]
            found = curves.gains(item.method, item.reference, both)
            if header == (*_STUB, *names):
                cells = [_told(estimate) for estimate in found]
                rows.append((place, item.method, item.reference, *cells))
            records += [
                {
                    "trained_on": task.name,
                    "tested_on": store,
                    "method": item.method,
                    "minus": item.reference,
                    "kind": item.kind,
                    "cycles_per_px": round(float(frequency), 6),
                    "mean": estimate.mean,
                    "low": estimate.low,
                    "high": estimate.high,
                    "seeds": estimate.seeds,
                    "cases": estimate.cases,
                }
                for frequency, estimate in zip(curves.frequency, found, strict=True)
            ]
    return Table(
        "ring-gains",
        "Gain in ring correlation",
        "Method minus reference in the correlation of prediction and truth (1: equal) in octave "
        "rings, named by their mean frequency in cycles per pixel at training resolution; 0 "
        "compares areas. Paired by case and seed; brackets: 95 % interval over seeds and patients. "
        "A case without power in a ring is left out of it.",
        header,
        tuple(rows),
        records=tuple(records),
    )


def _told(estimate: Estimate) -> str:
    """Write a difference of correlations with three decimals or more, which points lack."""
    if np.isnan(estimate.mean):
        return "undefined"
    decimals = max(3, estimate.decimals)
    # Adding 0 makes a 0 of the -0 that rounding may leave.
    mean = f"{round(estimate.mean, decimals) + 0.0:+.{decimals}f}"
    if estimate.low is None or estimate.high is None:
        return mean
    low, high = (round(end, decimals) + 0.0 for end in (estimate.low, estimate.high))
    return f"{mean} [{low:+.{decimals}f}, {high:+.{decimals}f}]"
