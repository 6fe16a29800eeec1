"""How often the intervals of a study hold the truth, on simulated studies.

python benchmarks/coverage.py --out benchmarks/results/coverage.md
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import markdown_table, publish
from numpy.typing import NDArray

from harmoseg.statistics.intervals import estimate_mean

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
SEEDS = (2, 3, 4, 5, 10)
CASES = (20, 50, 120)
RESAMPLES = 300  # they give the interval its shape only, and 10,000 would take hours
MIXES = {
    "seeds 90, cases 5": (0.90, 0.05),
    "seeds 70, cases 20": (0.70, 0.20),
    "seeds 45, cases 45": (0.45, 0.45),
    "seeds 20, cases 60": (0.20, 0.60),
    "seeds 0, cases 90": (0.00, 0.90),
    "seeds 10, cases 10": (0.10, 0.10),
}
PILOT = Path(__file__).parents[1] / "results" / "kvasir-seg-pilot" / "validated" / "results.csv"


def simulate(
    random: np.random.Generator, seeds: int, cases: int, mix: tuple[float, float], draw: Draw
) -> NDArray[np.float64]:
    """Draw values (seeds, cases) whose true mean is 0 and whose observed mean has variance 1.

    `mix` holds the shares of that variance which seeds and cases bring; the rest is that of a
    case under a seed. Seeds and rest are normal, cases are as `draw` has them.
    """
    of_seeds, of_cases = mix
    return (
        random.normal(0, np.sqrt(of_seeds * seeds), (seeds, 1))
        + np.sqrt(of_cases * cases) * draw(random, cases)
        + random.normal(0, np.sqrt((1 - of_seeds - of_cases) * seeds * cases), (seeds, cases))
    )


def measure(
    seeds: int, cases: int, mix: tuple[float, float], draw: Draw, trials: int
) -> tuple[float, float]:
    """Measure in percent how often 0 lies in our interval, and in the bootstrap's percentiles."""
    random = np.random.default_rng([seeds, cases])
    of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    of_cases = random.multinomial(cases, np.full(cases, 1 / cases), RESAMPLES) / cases
    ours = percentile = 0
    for _ in range(trials):
        values = simulate(random, seeds, cases, mix, draw)
        estimate = estimate_mean(values, resamples=RESAMPLES)
        assert estimate.low is not None and estimate.high is not None
        ours += estimate.low <= 0 <= estimate.high
        means = np.einsum("rs,sc,rc->r", of_seeds, values, of_cases, optimize=True)
        low, high = np.quantile(means, (0.025, 0.975))
        percentile += bool(low <= 0 <= high)
    return 100 * ours / trials, 100 * percentile / trials


def normal(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Draw standard normal values."""
    return random.normal(size=count)


def exponential(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Draw from an exponential distribution, mean 0 and variance 1: skewness 2."""
    return random.exponential(size=count) - 1


def failures(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Draw mean 0 and variance 1 where one case in ten loses by far: skewness -5."""
    lost = (random.random(count) < 0.1) * random.exponential(6, count)
    return (random.normal(size=count) - lost + 0.6) / np.sqrt(1 + 0.1 * 72 - 0.36)


def measured_scores() -> dict[str, Draw]:
    """Give the shapes measured in the pilot: scores and differences of 120 polyp images."""
    scores: dict[str, dict[str, list[float]]] = {"unet": {}, "unet+scc": {}}
    with PILOT.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["store"] == "kvasir-seg":
                scores[row["method"]].setdefault(row["case"], []).append(float(row["DSC"]))
    reference, method = (np.array(list(by_case.values())).mean(1) for by_case in scores.values())

    def draws_of(values: NDArray[np.float64]) -> Draw:
        standard = (values - values.mean()) / values.std()
        return lambda random, count: random.choice(standard, count)

    return {
        "DSC measured on 120 polyp images": draws_of(reference),
        "differences in DSC measured on 120 polyp images": draws_of(method - reference),
    }


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000, help="simulated studies per figure")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()

    def table(draw: Draw, mixes: dict[str, tuple[float, float]]) -> tuple[str, str]:
        ours, plain = [], []
        for name, mix in mixes.items():
            for cases in CASES:
                found = [measure(seeds, cases, mix, draw, args.trials) for seeds in SEEDS]
                head = [f"{name}, rest {100 * (1 - sum(mix)):.0f}", str(cases)]
                ours.append(head + [f"{pair[0]:.1f}" for pair in found])
                plain.append(head + [f"{pair[1]:.1f}" for pair in found])
        header = ["variance of the mean, %", "cases", *(f"{seeds} seeds" for seeds in SEEDS)]
        return markdown_table(header, ours), markdown_table(header, plain)

    ours, plain = table(normal, MIXES)
    error = 100 * np.sqrt(0.95 * 0.05 / args.trials)
    sections = [
        f"Share of 95 % intervals that hold the truth, in percent, over {args.trials} simulated "
        f"studies per figure (standard error {error:.1f}). The variance of the mean over seeds and "
        "cases is 1 throughout; the first column says what it comes from.",
        f"## Intervals of harmoseg\n\n{ours}",
        f"## Percentiles of the bootstrap alone, for comparison\n\n{plain}",
    ]
    shapes = {"exponential": exponential, "one in ten loses by far": failures, **measured_scores()}
    for name, draw in shapes.items():
        mixes = {key: MIXES[key] for key in ("seeds 45, cases 45", "seeds 0, cases 90")}
        sections.append(f"## Cases not normal: {name}\n\n{table(draw, mixes)[0]}")
    publish("How often the intervals hold the truth", sections, args.out)


if __name__ == "__main__":
    main()
