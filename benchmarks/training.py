"""How fast `harmoseg train` trains: UNet-ResNet50 at 224 px, batch 8, against a plain loop.

python benchmarks/training.py --out benchmarks/results/training.md
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from common import Target, markdown_table, publish, targets_table

from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.training.experiment import TrainingOptions
from harmoseg.training.network import TrainedNetwork
from harmoseg.training.run import train

BATCH, SIZE = 8, 224


def plain_loop(steps: int) -> list[float]:
    """Time the steps of a plain float32 loop in PyTorch's default layout, in seconds."""
    network = smp.Unet("resnet50", encoder_weights=None, in_channels=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    images, target = torch.randn(BATCH, 1, SIZE, SIZE), torch.zeros(BATCH, 1, SIZE, SIZE)
    loss = torch.nn.BCEWithLogitsLoss()
    dice = smp.losses.DiceLoss("binary")
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        logits = network(images)
        (loss(logits, target) + dice(logits, target)).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return times[1:]


def through_harmoseg(steps: int) -> list[float]:
    """Time the steps of `harmoseg train`, data, augmentation and loss included, in seconds."""
    marks: list[float] = []

    def mark(*_: object, **__: object) -> None:
        marks.append(time.perf_counter())

    TrainedNetwork.on_train_batch_end = mark  # type: ignore[method-assign,assignment]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        # All but 40 % of the phantom is for training.
        count = round((steps + 2) * BATCH / 0.6) + 1
        prepare_phantom(PhantomOptions(store, mode="binary", count=count, size=SIZE))
        options = TrainingOptions(epochs=1, batch_size=BATCH, validation_fraction=0, select="last")
        train(store, Path(folder) / "run", method="unet+scc", seed=0, options=options)
    return [after - before for before, after in itertools.pairwise(marks[1:])]


def main() -> None:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(2)
    rows, medians = [], {}
    # The plain loop before and after, so that a drifting machine shows.
    for name, measure in (
        ("plain float32 loop", plain_loop),
        ("harmoseg train", through_harmoseg),
        ("plain float32 loop, again", plain_loop),
    ):
        times = measure(options.steps)
        medians[name] = BATCH / statistics.median(times)
        rows.append(
            [
                name,
                f"{medians[name]:.2f}",
                f"{BATCH / max(times):.2f} to {BATCH / min(times):.2f}",
            ]
        )
    plain = statistics.mean([medians["plain float32 loop"], medians["plain float32 loop, again"]])
    ratio = medians["harmoseg train"] / plain
    has_units = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    wanted = 3.0 if has_units else 1.0
    target = Target(
        "harmoseg train / plain float32 loop", f">= {wanted:g}", f"{ratio:.2f}", ratio >= wanted
    )
    header = ["UNet-ResNet50, 224 px, batch 8", "images/s, median", "range over steps"]
    publish(
        "How fast training is",
        [targets_table([target]), markdown_table(header, rows)],
        options.out,
    )


if __name__ == "__main__":
    main()
