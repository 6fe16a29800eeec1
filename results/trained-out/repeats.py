"""Do intervals keep their word on real trainings? Two groups of seeds of one method, compared.

    python results/trained-out/repeats.py STUDY

Of 2,000 random ways to draw two groups of three of the seeds of a study with one method: in how
many does the 95 % interval of their difference in DSC exclude 0? 5 % is meant. Beside it stands
the jackknife interval over the seeds: the rate without each of them in turn.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from harmoseg import read_scores
from harmoseg.statistics.blocks import split_into_blocks
from harmoseg.statistics.intervals import Sample, estimate_means

DRAWS, GROUP, RESAMPLES = 2000, 3, 1000  # the width of an interval is no matter of resampling


def rate_of(values: NDArray[np.float64], groups: NDArray[np.intp], draws: int, seed: int) -> float:
    """Return the share of random pairs of groups of seeds whose interval excludes 0."""
    random = np.random.default_rng(seed)
    samples = []
    for _ in range(draws):
        chosen = random.permutation(len(values))[: 2 * GROUP]
        samples.append(Sample(values[chosen[:GROUP]] - values[chosen[GROUP:]], groups))
    found = estimate_means(samples, resamples=RESAMPLES)
    return float(np.mean([estimate.excludes_zero for estimate in found]))


def main() -> None:
    """Print the rate and its jackknife interval."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="A study folder, or its table of scores.")
    parser.add_argument("--draws", type=int, default=DRAWS)
    arguments = parser.parse_args()
    scores = read_scores(arguments.study)
    for block in split_into_blocks(scores):
        values = block.values(block.methods[0], scores.measures["DSC"])
        seeds = len(values)
        whole = rate_of(values, block.group_codes, arguments.draws, 0)
        without = [
            rate_of(np.delete(values, i, axis=0), block.group_codes, arguments.draws // 4, 1 + i)
            for i in range(seeds)
        ]
        spread = math.sqrt((seeds - 1) / seeds * np.square(without - np.mean(without)).sum())
        reach = float(student.ppf(0.975, seeds - 1)) * spread
        print(
            f"{block.tested_on}: {seeds} seeds, {arguments.draws:,} pairs of groups of {GROUP}: "
            f"{100 * whole:.1f} % of intervals exclude 0, jackknife interval "
            f"{100 * max(0.0, whole - reach):.1f} to {100 * min(1.0, whole + reach):.1f} %"
        )


if __name__ == "__main__":
    main()
