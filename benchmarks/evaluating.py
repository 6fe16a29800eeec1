"""How much of an evaluation's time is not the network's.

python benchmarks/evaluating.py --pair RUN STORE [--pair RUN STORE] --out evaluating.md

For every pair of a run and a store the whole of `evaluate`, reading and writing included, takes
turns with the network alone on the same images, already in memory and in the same batches.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from common import Target, markdown_table, publish, targets_table

from harmoseg.evaluation.evaluate import evaluate
from harmoseg.store.reading import open_store
from harmoseg.store.tensors import images_to_tensor, normalise
from harmoseg.training.run import open_run

ROUNDS = 5
BATCH = 16
MOST_OUTSIDE = 0.15


def main() -> None:
    """Measure all pairs and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", nargs=2, action="append", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    rows, targets = [], []
    for run, store in arguments.pair:
        experiment, _ = open_run(run)
        card = open_store(store).info.card
        name = f"{card.name}, {experiment.options.encoder}, {experiment.height} px"
        whole, alone, slices = measure(run, store)
        shares = [1 - b / a for a, b in zip(whole, alone, strict=True)]
        share = statistics.median(shares)
        rows.append(
            [
                name,
                str(slices),
                f"{statistics.median(whole):.2f}",
                f"{statistics.median(alone):.2f}",
                f"{100 * share:.1f}",
                f"{100 * min(shares):.1f} to {100 * max(shares):.1f}",
            ]
        )
        asked = f"<= {100 * MOST_OUTSIDE:.0f} %"
        targets.append(Target(name, asked, f"{100 * share:.1f} %", share <= MOST_OUTSIDE))
    header = ["store, encoder, size", "slices", "evaluate, s", "network alone, s"]
    table = markdown_table([*header, "outside, %", "range"], rows)
    publish(
        "Time of an evaluation outside the network",
        [
            targets_table(targets),
            f"Medians of {ROUNDS} rounds, each of one evaluation (clean images, all metrics, all "
            "files) and of the network alone.",
            table,
        ],
        arguments.out,
    )


def measure(run: Path, store: Path) -> tuple[list[float], list[float], int]:
    """Time evaluations and the network alone, in turns; return also the number of slices."""
    experiment, network = open_run(run)
    data = open_store(store)
    rows = [row for number in data.cases_of("test") for row in data.rows_of(number)]
    batches = [
        normalise(images_to_tensor(data.images[rows[i : i + BATCH]])).contiguous(
            memory_format=torch.channels_last
        )
        for i in range(0, len(rows), BATCH)
    ]
    network.eval()
    bf16 = experiment.options.precision == "bf16"
    whole, alone = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS + 1):
            start = time.perf_counter()
            evaluate(run, store, Path(folder) / str(turn))
            middle = time.perf_counter()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                for batch in batches:
                    network(batch)
            whole.append(middle - start)
            alone.append(time.perf_counter() - middle)
    # The first turn fills caches.
    return whole[1:], alone[1:], len(rows)


if __name__ == "__main__":
    main()
