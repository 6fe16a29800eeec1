"""How often what a network says is true: calibration bins, pooled over cases and seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmoseg.scores.table import CLEAN, RESCALED, Scores
from harmoseg.statistics.blocks import Block
from harmoseg.statistics.comparison import Comparison


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
    if scores.bins is None:
        return None
    rows = block.rows_of(scores.bins)
    rows = rows[(rows["condition"] == CLEAN) & (rows["method"] == method)]
    rows = rows[rows["convention"].str.endswith(RESCALED) == rescaled]
    if rows.empty:
        return None
    sums = rows.groupby("bin")[["count", "confidence_sum", "right_sum"]].sum().sort_index()
    count = sums["count"].to_numpy(dtype=np.float64)
    confidence, frequency = (
        np.divide(
            sums[name].to_numpy(dtype=np.float64),
            count,
            out=np.full(count.shape, np.nan),
            where=count > 0,
        )
        for name in ("confidence_sum", "right_sum")
    )
    return Bins(
        str(rows["convention"].iloc[0]).removesuffix(RESCALED), count, confidence, frequency
    )


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
