"""How much of an evaluation's time is not the network's.

python benchmarks/evaluating.py --pair RUN STORE [--pair RUN STORE] --out evaluating.md

RUN is a finished run of `harmoseg train`. For every pair of a run and a store the whole of
`evaluate`, reading and writing included, takes turns with the network alone on the same images,
already in memory and in the same batches.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from common import Target, markdown_table, publish, targets_table

from harmoseg.evaluation.evaluate import evaluate
from harmoseg.store.reading import open_store
from harmoseg.store.transforms import images_to_tensor, normalise
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
        info = open_run(run).info
        card = open_store(store).info.card
        name = f"{card.name}, {info.encoder}, {info.height} px"
        turns, slices = measure(run, store)
        shares = [1 - turn.alone / turn.whole for turn in turns]
        of_work = [1 - turn.work_alone / turn.work_whole for turn in turns]
        share = statistics.median(shares)
        rows.append(
            [
                name,
                str(slices),
                f"{statistics.median(turn.whole for turn in turns):.2f}",
                f"{statistics.median(turn.alone for turn in turns):.2f}",
                f"{100 * share:.1f}",
                f"{100 * min(shares):.1f} to {100 * max(shares):.1f}",
                f"{100 * statistics.median(of_work):.1f}",
            ]
        )
        asked = f"<= {100 * MOST_OUTSIDE:.0f} %"
        targets.append(Target(name, asked, f"{100 * share:.1f} %", share <= MOST_OUTSIDE))
    header = ["store, encoder, size", "slices", "evaluate, s", "network alone, s"]
    table = markdown_table([*header, "outside, %", "range", "of processor time, %"], rows)
    publish(
        "Time of an evaluation outside the network",
        [
            targets_table(targets),
            f"Medians of {ROUNDS} rounds, each of one evaluation (clean images, all metrics, all "
            "files) and of the network alone. Processor time is that of all threads together: it "
            "knows no other work on the machine, and no thread that only waits.",
            table,
        ],
        arguments.out,
    )


@dataclass(frozen=True)
class Turn:
    """Seconds of an evaluation and of the network alone, and the processor seconds of both."""

    whole: float
    alone: float
    work_whole: float
    work_alone: float


def measure(run: Path, store: Path) -> tuple[list[Turn], int]:
    """Time evaluations and the network alone, in turns; return also the number of slices."""
    model = open_run(run)
    network = model.network
    data = open_store(store)
    rows = [row for number in data.cases_of("test") for row in data.rows_of(number)]
    batches = [
        normalise(images_to_tensor(data.images[rows[i : i + BATCH]])).contiguous(
            memory_format=torch.channels_last
        )
        for i in range(0, len(rows), BATCH)
    ]
    network.eval()
    bf16 = model.info.trained["precision"] == "bf16"
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS + 1):
            start = time.perf_counter(), time.process_time()
            evaluate(run, store, Path(folder) / str(number))
            middle = time.perf_counter(), time.process_time()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                for batch in batches:
                    network(batch)
            end = time.perf_counter(), time.process_time()
            turns.append(
                Turn(
                    whole=middle[0] - start[0],
                    alone=end[0] - middle[0],
                    work_whole=middle[1] - start[1],
                    work_alone=end[1] - middle[1],
                )
            )
    # The first turn fills caches.
    return turns[1:], len(rows)


if __name__ == "__main__":
    main()
