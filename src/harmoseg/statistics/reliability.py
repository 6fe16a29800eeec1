"""How often what a network says is true: calibration bins, pooled over cases and seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmoseg.scores.table import CLEAN, Scores
from harmoseg.statistics.blocks import Block


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


def pooled_bins(scores: Scores, block: Block, method: str) -> Bins | None:
    """Add up the bins of a method on clean images; None where the scores have none of it."""
    if scores.bins is None:
        return None
    rows = block.rows_of(scores.bins)
    rows = rows[(rows["condition"] == CLEAN) & (rows["method"] == method)]
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
    return Bins(str(rows["convention"].iloc[0]), count, confidence, frequency)
