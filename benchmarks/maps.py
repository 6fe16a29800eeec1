"""How much a loss with a map of the truth slows a training step of `harmoseg train`.

python benchmarks/maps.py --out benchmarks/results/maps.md
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from common import Target, markdown_table, publish, targets_table
from torch.utils.data import DataLoader

from harmoseg.diagnostics.probe import phantom_masks
from harmoseg.losses.method import parse_loss
from harmoseg.losses.named import make_loss
from harmoseg.training.batches import TrainingLoader
from harmoseg.training.network import TrainedNetwork
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import train
from training import BATCH, prepare_store

SIZES = (128, 224, 512)
LOSSES = ("boundary", "skeleton-recall", "hausdorff-dt")
BESIDE = TrainingLoader.__iter__
INSIDE = DataLoader.__iter__
Times = dict[str, list[tuple[float, float]]]


def train_steps(store: Path, encoder: str, method: str) -> list[tuple[float, float]]:
    """Train an epoch; return seconds and processor seconds of every step but the first two."""
    marks: list[tuple[float, float]] = []

    def mark(*_: object, **__: object) -> None:
        marks.append((time.perf_counter(), time.process_time()))

    TrainedNetwork.on_train_batch_end = mark  # type: ignore[method-assign]
    options = TrainingOptions(
        encoder=encoder, epochs=1, batch_size=BATCH, validation_fraction=0, select="last"
    )
    with tempfile.TemporaryDirectory() as folder:
        train(store, Path(folder) / "run", method=method, seed=0, options=options)
    pairs = itertools.pairwise(marks[1:])
    return [(after[0] - before[0], after[1] - before[1]) for before, after in pairs]


def measure(store: Path, encoder: str, rounds: int) -> Times:
    """Train without a map, and with each loss, its map made beside the network and in the loss."""
    times: Times = {}
    for _ in range(rounds):  # in turn: a machine that slows down slows down everybody
        for name in ("none", *LOSSES):
            for way, iterate in (("beside", BESIDE), ("inside", INSIDE)):
                if name == "none" and way == "inside":
                    continue
                TrainingLoader.__iter__ = iterate  # type: ignore[method-assign]
                method = "unet" if name == "none" else f"unet+{name}:0.01"
                key = name if name == "none" else f"{name}, {way}"
                times.setdefault(key, []).extend(train_steps(store, encoder, method))
    return times


def time_maps(sizes: tuple[int, ...]) -> list[list[str]]:
    """Time the maps of a batch of the phantom's masks, alone in one thread."""
    rows = []
    for name in LOSSES:
        make_map = make_loss(parse_loss(name), "binary").make_map
        row = [name]
        for size in sizes:
            labels = phantom_masks(2, size, size, BATCH).numpy()
            times = []
            for _ in range(7):
                start = time.thread_time()
                make_map(labels, 1)  # type: ignore[operator]  # a MapLoss
                times.append(1000 * (time.thread_time() - start))
            row.append(f"{statistics.median(times):.1f}")
        rows.append(row)
    return rows


def main() -> None:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--encoder", default="resnet18")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = prepare_store(Path(folder) / "store", options.size, options.steps)
        times = measure(store, options.encoder, options.rounds)
    medians = {
        name: [statistics.median(column) for column in zip(*steps, strict=True)]
        for name, steps in times.items()
    }
    wall, busy = medians["none"]
    rows = [
        [name, f"{1000 * a:.0f}", f"{a / wall:.3f}", f"{1000 * b:.0f}", f"{b / busy:.3f}"]
        for name, (a, b) in medians.items()
    ]
    header = ["loss, where its map is made", "ms per step", "/ none", "processor ms", "/ none"]
    targets = []
    for name in LOSSES:
        ratio = medians[f"{name}, beside"][1] / busy
        title = f"{name}: processor time of a step / that without the loss"
        targets.append(Target(title, "<= 1.10", f"{ratio:.3f}", ratio <= 1.1))
    note = (
        f"UNet with {options.encoder}, {options.size} px, batch {BATCH}: medians of "
        f"{options.rounds} trainings of {options.steps} steps each, in turn. `none` is BCE + Dice "
        "alone, `beside` what `harmoseg train` does, `inside` the same map made in the loss. "
        "Processor time is that of all threads: on a processor that is busy with the network there "
        "is no idle time to hide a map in, so that it bounds what the map costs. Where it is far "
        "below the threads' share of the clock, other work had the machine, and the clock says "
        "nothing. On a GPU a map costs nothing as long as it takes less than a step; that was not "
        "measured. The map of `hausdorff-dt` is half of "
        "its work: the distances of the prediction have to wait for the network."
    )
    publish(
        "What a map of the truth costs in training",
        [
            note,
            targets_table(targets),
            markdown_table(header, rows),
            f"The maps of a batch of {BATCH} alone, in ms of one thread:",
            markdown_table(["map of", *(f"{size} px" for size in SIZES)], time_maps(SIZES)),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
