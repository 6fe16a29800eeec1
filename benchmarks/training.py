"""How fast `harmoseg train` trains, and in how much memory, against a plain float32 loop.

python benchmarks/training.py --out benchmarks/results/training.md
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from common import Target, interleaved_medians, markdown_table, publish, targets_table

from harmoseg import HarmonizedLoss, create_model
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.inference.options import resolve_precision
from harmoseg.training.network import TrainedNetwork
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import train
from harmoseg.training.run_costs import peak_memory

BATCH = 8
MODELS = {"unet": "UNet-ResNet50", "transunet": "TransUNet"}
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}

Step = Callable[[], object]


@dataclass
class Times:
    """Seconds of the steps that were timed in turn, by who took them."""

    of: dict[str, list[float]] = field(default_factory=dict)

    def rate(self, name: str) -> float:
        """Return images per second, from the median."""
        return BATCH / statistics.median(self.of[name])

    def row(self, name: str) -> list[str]:
        """Return the row of a table: the rate, and its range over the steps."""
        times = self.of[name]
        spread = f"{BATCH / max(times):.2f} to {BATCH / min(times):.2f}"
        return [name, f"{self.rate(name):.2f}", spread]


def plain_step(model: str, size: int) -> Step:
    """Make the step that people write first: float32, PyTorch's layout, losses and SGD of the box.

    The batch is in memory, normalised: nothing but the network, the loss and the optimiser.
    """
    network = smp.Unet("resnet50", encoder_weights=None, in_channels=1)
    if model != "unet":
        network = create_model(model, in_channels=1)
    optimizer = torch.optim.SGD(network.parameters(), **SGD)
    images, target = torch.randn(BATCH, 1, size, size), torch.zeros(BATCH, 1, size, size)
    bce, dice = torch.nn.BCEWithLogitsLoss(), smp.losses.DiceLoss("binary")

    def step() -> None:
        optimizer.zero_grad()
        logits = network(images)
        (bce(logits, target) + dice(logits, target)).backward()
        optimizer.step()

    return step


def bare_step(model: str, size: int, *, bf16: bool, channels_last: bool) -> Step:
    """Make the step of `harmoseg train` on a normalised batch in memory: no data, no engine."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = create_model(model, in_channels=1).to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), **SGD, fused=True)
    images = torch.randn(BATCH, 1, size, size).contiguous(memory_format=layout)
    target = torch.zeros(BATCH, size, size, dtype=torch.long)
    loss = HarmonizedLoss("binary")

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            total = loss(network(images), target)
        total.backward()
        optimizer.step()

    return step


def run_training(
    model: str, store: Path, after_step: Callable[[], None] | None = None
) -> dict[str, object]:
    """Train an epoch with `harmoseg train`; return its done.json."""

    def hook(*_: object, **__: object) -> None:
        if after_step is not None:
            after_step()

    TrainedNetwork.on_train_batch_end = hook  # type: ignore[method-assign,assignment]
    options = TrainingOptions(epochs=1, batch_size=BATCH, validation_fraction=0, select="last")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(store, run, method=f"{model}+scc", seed=0, options=options)
        return dict(json.loads((run / "done.json").read_text()))


def time_in_turn(model: str, store: Path, others: dict[str, Step]) -> Times:
    """Time the steps of `harmoseg train` and of the others, one of each in turn.

    The others' steps are taken in the training's own hook after each of its steps, while its clock
    stands: a machine that slows down slows down everybody. The first round warms up.
    """
    times = Times({name: [] for name in ("harmoseg train", *others)})
    marks = {"begun": 0.0, "rounds": 0.0}

    def after_step() -> None:
        if marks["rounds"] > 1:  # the first step has no beginning, the second is not yet warm
            times.of["harmoseg train"].append(time.perf_counter() - marks["begun"])
        for name, step in others.items():
            start = time.perf_counter()
            step()
            if marks["rounds"] > 1:
                times.of[name].append(time.perf_counter() - start)
        marks["rounds"] += 1
        marks["begun"] = time.perf_counter()

    run_training(model, store, after_step)
    return times


def measure_speed(model: str, store: Path, size: int) -> tuple[str, list[Target]]:
    """Hold the steps of one network against its plain loop and against its own bare step."""
    plain = "plain float32 loop"
    others = {plain: plain_step(model, size)}
    if model == "unet":
        bf16 = resolve_precision("auto") == "bf16"
        others["the same on data in memory"] = bare_step(model, size, bf16=bf16, channels_last=True)
    times = time_in_turn(model, store, others)
    # A processor without bfloat16 units has nothing to win from it.
    asked = (3.3 if model == "unet" else 3.0) if resolve_precision("auto") == "bf16" else 1.0
    targets = [_at_least(f"{MODELS[model]}: harmoseg train / {plain}", times, plain, asked)]
    if model == "unet":
        other = "the same on data in memory"
        targets.append(_at_least(f"{MODELS[model]}: harmoseg train / {other}", times, other, 0.95))
    header = [f"{MODELS[model]}, {size} px, batch {BATCH}", "images/s, median", "range over steps"]
    return markdown_table(header, [times.row(name) for name in times.of]), targets


def _at_least(name: str, times: Times, other: str, limit: float) -> Target:
    ratio = times.rate("harmoseg train") / times.rate(other)
    return Target(name, f">= {limit:g}", f"{ratio:.2f}", ratio >= limit)


def measure_precision(size: int, rounds: int) -> tuple[str, Target]:
    """Time the bare step in both precisions and both memory layouts, in turn."""
    forms = {
        f"{'bf16' if bf16 else 'fp32'}, {'channels last' if last else 'contiguous'}": bare_step(
            "unet", size, bf16=bf16, channels_last=last
        )
        for bf16 in (True, False)
        for last in (True, False)
    }
    times = interleaved_medians(forms, rounds=rounds, warmup=1)
    chosen = f"{resolve_precision('auto')}, channels last"
    rows = [[name, f"{ms:.0f}", f"{times[chosen] / ms:.2f}"] for name, ms in times.items()]
    ratio = times[chosen] / min(times.values())
    header = [f"{MODELS['unet']}, {size} px, batch {BATCH}", "ms per step", f"{chosen} / this"]
    target = Target(
        f"what precision auto chooses ({chosen}) / fastest of four",
        "<= 1.05",
        f"{ratio:.2f}",
        ratio <= 1.05,
    )
    return markdown_table(header, rows), target


def peak_over_imports(who: str, store: Path, size: int, steps: int) -> int:
    """Run one training in this process; return how far memory rose over what imports take."""
    # VmHWM rather than ru_maxrss, which begins with that of the process that started this one.
    before = peak_memory() or 0
    if who == "plain":
        step = plain_step("unet", size)
        for _ in range(steps):
            step()
    else:
        run_training("unet", store)
    return (peak_memory() or 0) - before


def measure_memory(store: Path, size: int, steps: int) -> tuple[str, Target]:
    """Compare peaks of resident memory, each in a process of its own."""
    peaks = {}
    for who in ("plain", "harmoseg"):
        command = [sys.executable, __file__, "--peak_of", who, "--store", str(store)]
        command += ["--size", str(size), "--steps", str(steps)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        peaks[who] = int(done.stdout.split()[-1])
    ratio = peaks["harmoseg"] / peaks["plain"]
    rows = [["plain float32 loop", f"{peaks['plain'] / 1e9:.2f}"]]
    rows.append(["harmoseg train", f"{peaks['harmoseg'] / 1e9:.2f}"])
    note = (
        "Peak of resident memory (VmHWM) of a process that does nothing else, less what it was "
        "when everything had been imported. Writing the checkpoint and the weights is included."
    )
    table = markdown_table([f"{MODELS['unet']}, {size} px, batch {BATCH}", "GB"], rows)
    target = Target(
        f"{MODELS['unet']}: peak memory of harmoseg train / plain float32 loop",
        "< 0.7",
        f"{ratio:.2f}",
        ratio < 0.7,
    )
    return f"{note}\n\n{table}", target


def prepare_store(store: Path, size: int, steps: int) -> Path:
    """Prepare a phantom with so many batches to train on, and two to warm up."""
    # All but 40 % of the phantom is for training.
    count = round((steps + 2) * BATCH / 0.6) + 1
    prepare_phantom(PhantomOptions(store, mode="binary", count=count, size=size))
    return store


def main() -> None:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=15, help="Steps timed of each, in turn.")
    parser.add_argument("--size", type=int, default=224, help="Side of the images, in pixels.")
    parser.add_argument("--peak_of", choices=("plain", "harmoseg"), help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.peak_of:
        print(peak_over_imports(options.peak_of, options.store, options.size, options.steps))
        return
    sections, targets = [], []
    with tempfile.TemporaryDirectory() as folder:
        store = prepare_store(Path(folder) / "many", options.size, options.steps)
        for model in MODELS:
            table, reached = measure_speed(model, store, options.size)
            sections.append(f"## Speed of {MODELS[model]}\n\n{table}")
            targets += reached
        few = prepare_store(Path(folder) / "few", options.size, 1)
        table, memory = measure_memory(few, options.size, 3)
    sections.append(f"## Memory\n\n{table}")
    table, precision = measure_precision(options.size, max(1, options.steps // 3))
    sections.append(f"## Precision and layout\n\nThe bare step, on data in memory.\n\n{table}")
    note = (
        f"{options.steps} steps of each, one of each in turn in one process after two of warm-up; "
        "ratios are of medians. A step of `harmoseg train` is all of it: data, augmentation, "
        "network, loss, optimiser, log. The plain loop has its batch in memory."
    )
    table = targets_table([*targets, memory, precision])
    publish("How fast training is", [note, table, *sections], options.out)


if __name__ == "__main__":
    main()
