"""Up to which detail predictions follow the truth: correlation in rings of the spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.metrics.aggregates import mean_of_defined
from harmoseg.scores.table import CLEAN, Scores
from harmoseg.statistics.blocks import Block, Values
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.intervals import Estimate, Sample, estimate_means
from harmoseg.statistics.printing import Table

# As `harmoseg.spectrum` has it: what a transform leaves by rounding in a ring without power.
_ROUNDING = (32 * float(np.finfo(np.float64).eps)) ** 2
_STUB = ("tested on", "method", "minus")


def ring_correlations(cross: Values, power: Values) -> Values:
    """Return the correlation of every case in every ring: (..., rings), NaN without power.

    `cross` and `power` are sums (..., classes, rings). A ring without power in truth and prediction
    has nothing to agree about: it is left out here, where a loss counts it as 1. With several
    foreground classes a case has the mean over those that are defined.
    """
    floor = np.nansum(power, axis=-1, keepdims=True) * _ROUNDING
    correlation = np.full(power.shape, np.nan)
    np.divide(2 * cross, power, out=correlation, where=power > floor)
    return mean_of_defined(correlation, axis=-2)


@dataclass(frozen=True, eq=False)
class RingCurves:
    """The ring correlations of a block on clean images, (seeds, cases, rings) by method."""

    block: Block
    frequency: NDArray[np.float64]
    values: dict[str, Values]

    def estimates(self, method: str) -> list[Estimate]:
        """Estimate a method's mean correlation in every ring."""
        return self._of_rings(self.values[method])

    def gains(self, method: str, reference: str) -> list[Estimate]:
        """Estimate the paired difference of two methods in every ring."""
        pair = self.block.paired_seeds(method, reference)
        ours, theirs = (
            self.values[name][[self.block.seeds[name].index(seed) for seed in seeds]]
            for name, seeds in zip((method, reference), pair, strict=True)
        )
        return self._of_rings(ours - theirs)

    def _of_rings(self, values: Values) -> list[Estimate]:
        rings = range(values.shape[-1])
        return estimate_means([Sample(values[..., ring], self.block.group_codes) for ring in rings])


def ring_curves(scores: Scores, block: Block) -> RingCurves | None:
    """Return the ring correlations of a block; None where the scores have no ring sums of it."""
    rows = scores.rings
    if rows is not None:
        rows = block.rows_of(rows)
        rows = rows[rows["condition"] == CLEAN]
    if rows is None or rows.empty:
        return None
    frequency = rows.groupby("ring")["cycles_per_px"].first().sort_index()
    places = block.places_of(rows)
    shape = (
        len(block.methods),
        max(map(len, block.seeds.values())),
        len(block.cases),
        len(block.classes),
        len(frequency),
    )
    at = (
        *(places[name] for name in ("method", "seed", "case", "class")),
        frequency.index.get_indexer(pd.Index(rows["ring"])),
    )
    sums = []
    for name in ("cross", "power"):
        array = np.full(shape, np.nan)
        array[at] = rows[name].to_numpy()
        sums.append(array)
    found = ring_correlations(*sums)
    values = {
        method: found[i, : len(block.seeds[method])] for i, method in enumerate(block.methods)
    }
    return RingCurves(block, frequency.to_numpy(), values)


def ring_table(comparison: Comparison) -> Table | None:
    """Return what every method gains over its references in every ring; None without ring sums."""
    rows: list[tuple[str, ...]] = []
    records: list[dict[str, object]] = []
    header: tuple[str, ...] = _STUB
    for block in comparison.blocks:
        curves = ring_curves(comparison.scores, block)
        if curves is None:
            continue
        names = tuple(f"{frequency:.3f}" for frequency in curves.frequency)
        # Test sets of one size have the same rings; of others the numbers are in the CSV alone.
        header = (*_STUB, *names) if header == _STUB else header
        for item in comparison.headline:
            if item.block is not block:
                continue
            found = curves.gains(item.method, item.reference)
            if header == (*_STUB, *names):
                rows.append((block.place, item.method, item.reference, *map(_format, found)))
            records += [
                {
                    "trained_on": block.trained_on,
                    "tested_on": block.tested_on,
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
    if not records:
        return None
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


def _format(estimate: Estimate) -> str:
    """Format a difference of correlations with three decimals or more, which points lack."""
    if np.isnan(estimate.mean):
        return "undefined"
    decimals = max(3, estimate.decimals)
    # Adding 0 makes a 0 of the -0 that rounding may leave.
    mean = f"{round(estimate.mean, decimals) + 0.0:+.{decimals}f}"
    if estimate.low is None or estimate.high is None:
        return mean
    low, high = (round(end, decimals) + 0.0 for end in (estimate.low, estimate.high))
    return f"{mean} [{low:+.{decimals}f}, {high:+.{decimals}f}]"
