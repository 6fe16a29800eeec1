"""Curves from the sums beside the scores: correlation by frequency ring, outcome by confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.metrics.measures import Measure
from harmoseg.metrics.overlap import divide_defined, mean_of_defined
from harmoseg.scores.table import RESCALED, Scores
from harmoseg.statistics.blocks import Block, Values
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.intervals import Estimate, Sample, estimate_means
from harmoseg.statistics.printing import NO_INTERVAL, Table, format_estimate

# As `harmoseg.spectrum` has it: what a transform leaves by rounding in a ring without power.
_ROUNDING = (32 * float(np.finfo(np.float64).eps)) ** 2
_STUB = ("tested on", "method", "minus")
_CORRELATION = Measure("ring_correlation", "Ring correlation", decimals=3)


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
    rows = block.rows_of(scores.rings)
    if rows is None:
        return None
    frequency = rows.groupby("ring")["cycles_per_px"].first().sort_index()
    method, seed, _, case, label = block.places_of(rows)
    at = method, seed, case, label, frequency.index.get_indexer(pd.Index(rows["ring"]))
    seeds = max(map(len, block.seeds.values()))
    shape = len(block.methods), seeds, len(block.cases), len(block.classes), len(frequency)
    sums = np.full((2, *shape), np.nan)
    for array, name in zip(sums, ("cross", "power"), strict=True):
        array[at] = rows[name].to_numpy()
    found = ring_correlations(*sums)
    values = {
        method: found[i, : len(block.seeds[method])] for i, method in enumerate(block.methods)
    }
    return RingCurves(block, frequency.to_numpy(), values)


def ring_table(comparison: Comparison) -> Table | None:
    """Return what every method gains over its references in every ring; None without ring sums."""
    rows: list[tuple[str, ...]] = []
    records: list[dict[str, object]] = []
    header: tuple[str, ...] = ()
    for block in comparison.blocks:
        curves = ring_curves(comparison.scores, block)
        if curves is None:
            continue
        names = tuple(f"{frequency:.3f}" for frequency in curves.frequency)
        # Test sets of one size have the same rings; of others the numbers are in the CSV alone.
        header = header or (*_STUB, *names)
        for item in comparison.headline:
            if item.block is not block:
                continue
            found = curves.gains(item.method, item.reference)
            if header == (*_STUB, *names):
                cells = (
                    format_estimate(gain, _CORRELATION.decimals, signed=True) for gain in found
                )
                short = (cell.removesuffix(f" ({NO_INTERVAL})") for cell in cells)
                rows.append((block.place, item.method, item.reference, *short))
            records += [
                {
                    **block.sets,
                    "method": item.method,
                    "minus": item.reference,
                    "kind": item.kind,
                    "cycles_per_px": round(float(frequency), 6),
                    **gain.fields(),
                    "seeds": gain.seeds,
                    "cases": gain.cases,
                }
                for frequency, gain in zip(curves.frequency, found, strict=True)
            ]
    if not records:
        return None
    caption = (
        "Method minus reference in the correlation of prediction and truth (1: equal) in octave "
        "rings, named by their mean frequency in cycles per pixel at training resolution; 0 "
        "compares areas. Paired by case and seed; brackets: 95 % interval over seeds and patients. "
        "A case without power in a ring is left out of it."
    )
    title = "Gain in ring correlation"
    return Table("ring-gains", title, caption, header, tuple(rows), records=tuple(records))


@dataclass(frozen=True, eq=False)
class Bins:
    """The pixels by confidence: arrays (bins,), means NaN where a bin is empty."""

    convention: str
    count: NDArray[np.float64]
    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Return the expected calibration error in points; NaN without a pixel."""
        if not self.count.sum():
            return float("nan")
        gaps = np.abs(np.nan_to_num(self.frequency - self.confidence))
        return float(100 * (gaps * self.count).sum() / self.count.sum())


def pooled_bins(
    scores: Scores, block: Block, method: str, *, rescaled: bool = False
) -> Bins | None:
    """Add up the bins of a method on clean images; None where the scores have none of it.

    `rescaled` takes those under the temperature of each network.
    """
    rows = block.rows_of(scores.bins)
    if rows is None:
        return None
    rows = rows[rows["method"] == method]
    rows = rows[rows["convention"].str.endswith(RESCALED) == rescaled]
    if rows.empty:
        return None
    sums = rows.groupby("bin")[["count", "confidence_sum", "right_sum"]].sum().sort_index()
    count, *parts = sums.to_numpy(dtype=np.float64).T
    confidence, frequency = (divide_defined(part, count) for part in parts)
    convention = str(rows["convention"].iloc[0]).removesuffix(RESCALED)
    return Bins(convention, count, confidence, frequency)


def explained_by_temperature(comparison: Comparison) -> list[str]:
    """Return a sentence for every gain in calibration that one temperature per network gives too.

    Such a gain is better in ECE, and is not once probabilities are rescaled.
    """
    found = []
    for item in comparison.differences:
        if item.measure.name != "ECE" or not item.where.is_whole or item.word != "better":
            continue
        for after in comparison.find(where=item.where, block=item.block, method=item.method):
            same = (after.measure.name, after.reference) == ("ECE_rescaled", item.reference)
            if same and after.word != "better":
                at = f" on {item.block.tested_on}" if item.block.tested_on else ""
                found.append(
                    f"{item.method} is better calibrated than {item.reference}{at} (ECE "
                    f"{item.estimate.mean:+.2f} points), but not once the probabilities of each "
                    "network are rescaled by one temperature, fitted on validation cases "
                    f"({after.estimate.mean:+.2f}): that gain is one that a single number gives."
                )
    return found
