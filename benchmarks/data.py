"""How fast data comes: loading, augmenting, and how long a training waits for it.

python benchmarks/data.py --out benchmarks/results/data.md
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from common import Target, markdown_table, publish, targets_table
from torch import Tensor
from torch.utils.data import DataLoader

from harmoseg.store.card import Card
from harmoseg.store.layout import Case
from harmoseg.store.tiling import Sample, cut
from harmoseg.store.training_view import open_training_view
from harmoseg.store.transforms import apply_transforms, draw_transforms
from harmoseg.store.writing import writing_store
from harmoseg.training import network, run
from harmoseg.training.batches import Batch, seeded_generator, training_loader
from harmoseg.training.options import TrainingOptions

BATCH, SIZE, CHANNELS = 8, 224, 3
SLICES = 2000
ROUNDS = 5
STEPS = 6


@dataclass(frozen=True)
class Section:
    """A part of the report: its figures with what was asked, and its text."""

    targets: list[Target]
    text: str


def loading() -> Section:
    """Measure the loader without and with augmentation, in images per second."""
    with tempfile.TemporaryDirectory() as folder:
        part = open_training_view(
            made_store(Path(folder) / "store", SLICES), validation_fraction=0
        ).train

        def loaded() -> Iterator[int]:
            for images, _, _ in training_loader(part, BATCH, seed=0):
                yield len(images)

        def augmented() -> Iterator[int]:
            for step, (images, labels, _) in enumerate(training_loader(part, BATCH, seed=0)):
                apply_transforms(images, labels, drawn(step))
                yield len(images)

        sum(loaded())  # fills the page cache
        speeds = {
            (name, threads): _speeds(epoch, threads)
            for threads in (2, 1)
            for name, epoch in (("plain", loaded), ("augmented", augmented))
        }
    targets = []
    for name, asked in (("plain", 4000), ("augmented", 600)):
        speed = statistics.median(speeds[name, 2])
        targets.append(
            Target(f"loader, {name}", f">= {asked} images/s", f"{speed:.0f}", speed >= asked)
        )
    rows = [
        [
            name,
            str(threads),
            f"{statistics.median(found):.0f}",
            f"{min(found):.0f} to {max(found):.0f}",
        ]
        for (name, threads), found in speeds.items()
    ]
    text = (
        f"{SLICES} slices of {SIZE} x {SIZE} x {CHANNELS} bytes, read from the page cache in "
        f"batches of {BATCH}, shuffled. Augmented: flips, right-angle and small-angle rotations of "
        f"image and label, as a training draws them. {ROUNDS} epochs each.\n\n"
    )
    header = ["loader", "threads", "images/s, median", "range over epochs"]
    return Section(targets, text + markdown_table(header, rows))


def _speeds(epoch: Callable[[], Iterator[int]], threads: int) -> list[float]:
    """Time epochs that yield the sizes of their batches; return images per second."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    speeds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        count = sum(epoch())
        speeds.append(count / (time.perf_counter() - start))
    torch.set_num_threads(before)
    return speeds


@dataclass
class Stopwatch:
    """Time that a training spends on data, in seconds per step."""

    loading: list[float] = field(default_factory=list)
    augmenting: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)


def waiting() -> Section:
    """Measure the share of a UNet-ResNet50 training's time that goes into data."""
    watch = Stopwatch()
    run.training_loader = _timed_loader(watch)
    network.apply_transforms = _timed(network.apply_transforms, watch.augmenting)
    network.TrainedNetwork.on_train_batch_end = (  # type: ignore[method-assign,assignment]
        lambda *_, **__: watch.ends.append(time.perf_counter())
    )
    options = TrainingOptions(epochs=1, batch_size=BATCH, validation_fraction=0, select="last")
    with tempfile.TemporaryDirectory() as folder:
        # The first two steps warm up and are left out.
        store = made_store(Path(folder) / "store", (STEPS + 2) * BATCH)
        run.train(store, Path(folder) / "run", method="unet+scc", seed=0, options=options)
    steps = [after - before for before, after in itertools.pairwise(watch.ends[1:])]
    parts = {
        "next(loader)": watch.loading[-len(steps) :],
        "apply_transforms": watch.augmenting[-len(steps) :],
    }
    share = sum(map(sum, parts.values())) / sum(steps)
    rows = [
        [name, f"{1000 * statistics.median(times):.2f}", f"{100 * sum(times) / sum(steps):.2f} %"]
        for name, times in (*parts.items(), ("whole step", steps))
    ]
    target = Target(
        "share of a UNet-ResNet50 step spent on data", "< 1 %", f"{100 * share:.2f} %", share < 0.01
    )
    header = [f"UNet-ResNet50, {SIZE} px, batch {BATCH}", "ms per step, median", "share"]
    return Section(
        [target], f"`harmoseg train`, {len(steps)} steps:\n\n" + markdown_table(header, rows)
    )


def made_store(path: Path, count: int) -> Path:
    """Write a store of noise for training, every case a slice."""
    card = Card("made", "Made", "none", "binary", ("background", "foreground"), channels=CHANNELS)
    random = np.random.default_rng(0)
    with writing_store(path, card, shape=(SIZE, SIZE, CHANNELS)) as writer:
        for number in range(count):
            image = random.integers(0, 256, (1, SIZE, SIZE, CHANNELS), dtype=np.uint8)
            sample = Sample(image, image[..., 0] // 128)
            name = f"{number:05d}"
            case = Case(
                name, name, "train", "", 1, 1, SIZE, SIZE, (), (), image="", mask="", sha256=""
            )
            writer.add(case, cut(sample, size=SIZE), sample.label)
        writer.finish({})
    return path


def drawn(step: int) -> Tensor:
    """Draw the transforms of a step as a training does."""
    return draw_transforms(BATCH, SIZE, SIZE, seeded_generator(0, 0, step + 1))


def _timed(call: Callable[..., object], times: list[float]) -> Callable[..., object]:
    def timed(*arguments: object) -> object:
        start = time.perf_counter()
        result = call(*arguments)
        times.append(time.perf_counter() - start)
        return result

    return timed


def _timed_loader(watch: Stopwatch) -> Callable[..., DataLoader[Batch]]:
    class TimedLoader(DataLoader[Batch]):
        def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
            batches = super().__iter__()
            while True:
                start = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    return
                watch.loading.append(time.perf_counter() - start)
                yield batch

    def make(*arguments: object, **options: object) -> DataLoader[Batch]:
        loader = training_loader(*arguments, **options)  # type: ignore[arg-type]
        loader.__class__ = TimedLoader
        return loader

    return make


SECTIONS: tuple[Callable[[], Section], ...] = (loading, waiting)


def main() -> None:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    sections = [section() for section in SECTIONS]
    targets = [target for section in sections for target in section.targets]
    publish(
        "How fast data comes",
        [targets_table(targets), *(section.text for section in sections)],
        options.out,
    )


if __name__ == "__main__":
    main()
