"""What the loss costs: time and memory against its peers, forward and backward.

python benchmarks/loss.py --out benchmarks/results/loss.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import monai.losses
import segmentation_models_pytorch as smp
import torch
from common import (
    Target,
    interleaved_medians,
    markdown_table,
    peak_extra_bytes,
    publish,
    targets_table,
)
from torch import Tensor
from torch.nn import functional as F

from harmoseg import HarmonizedLoss, create_model

Loss = Callable[[Tensor, Tensor], Tensor]
SIZES = ((8, 1, 224, 224), (8, 9, 224, 224), (1, 3, 128, 128, 128))


def make_batch(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Make logits that need a gradient, and a target: (B, 1, *S) float or (B, *S) indices."""
    torch.manual_seed(0)
    logits = torch.randn(shape, requires_grad=True)
    if shape[1] == 1:
        return logits, (torch.rand(shape) > 0.8).float()
    return logits, torch.randint(0, shape[1], (shape[0], *shape[2:]))


def naive(logits: Tensor, target: Tensor) -> Tensor:
    """Write the paper down as it stands, with full complex transforms of both masks."""
    axes = tuple(range(2, logits.ndim))
    if logits.shape[1] == 1:
        p, y = logits.sigmoid(), target
        pixel = F.binary_cross_entropy_with_logits(logits, target)
    else:
        p = logits.softmax(1)
        y = F.one_hot(target, logits.shape[1]).movedim(-1, 1).float()
        pixel = F.cross_entropy(logits, target)
    over = (0, *axes)
    dice = 2 * (p * y).sum(over) / (p.sum(over) + y.sum(over))
    a, b = torch.fft.fftn(p, dim=axes), torch.fft.fftn(y, dim=axes)
    cross = (a.real * b.real + a.imag * b.imag).sum(over)
    scc = 2 * cross / (a.abs().square() + b.abs().square()).sum(over)
    return pixel + (1 - dice).mean() + 0.2 * (1 - scc).mean()


def closed_form(logits: Tensor, target: Tensor) -> Tensor:
    """Add the three terms in closed form and leave the gradient to PyTorch."""
    binary = logits.shape[1] == 1
    p = logits.sigmoid() if binary else logits.softmax(1)
    y = target if binary else F.one_hot(target, logits.shape[1]).movedim(-1, 1).float()
    pixel = (F.binary_cross_entropy_with_logits if binary else F.cross_entropy)(logits, target)
    over = (0, *range(2, logits.ndim))
    cross = (p * y).sum(over)
    dice = 2 * cross / (p.sum(over) + y.sum(over))
    scc = 2 * cross / (p.square().sum(over) + y.square().sum(over))
    return pixel + (1 - dice).mean() + 0.2 * (1 - scc).mean()


def contenders(shape: tuple[int, ...]) -> dict[str, Loss]:
    """Name the losses that are compared at one size."""
    binary = shape[1] == 1
    mode = "binary" if binary else "multiclass"
    plain: Loss = F.binary_cross_entropy_with_logits if binary else F.cross_entropy
    dice_ce = monai.losses.DiceCELoss(
        sigmoid=binary, softmax=not binary, to_onehot_y=not binary, batch=True
    )
    smp_dice = smp.losses.DiceLoss(mode)
    full, rings = HarmonizedLoss(mode), HarmonizedLoss(mode, bands="rings")
    return {
        "BCE or CE": plain,
        "MONAI DiceCELoss": lambda z, t: dice_ce(z, t if binary else t.unsqueeze(1)),
        "SMP Dice + BCE or CE": lambda z, t: smp_dice(z, t) + plain(z, t),
        "naive FFT": naive,
        "closed form by autograd": closed_form,
        "closed form by autograd, compiled": torch.compile(closed_form, fullgraph=True),
        "harmoseg": full,
        "harmoseg, compiled": torch.compile(full, fullgraph=True),
        "harmoseg rings": rings,
        "harmoseg rings, compiled": torch.compile(rings, fullgraph=True),
    }


def step(loss: Loss, logits: Tensor, target: Tensor) -> Callable[[], object]:
    """Make a call of forward and backward."""

    def call() -> None:
        logits.grad = None
        loss(logits, target).backward()

    return call


def measure_size(shape: tuple[int, ...], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Time every contender in milliseconds, and give its peak extra memory over the logits'."""
    logits, target = make_batch(shape)
    losses = contenders(shape)
    calls = {name: step(loss, logits, target) for name, loss in losses.items()}
    times = interleaved_medians(calls, rounds=rounds)

    def forget() -> None:
        logits.grad = None

    memory = {
        name: peak_extra_bytes(call, forget) / (4 * logits.numel()) for name, call in calls.items()
    }
    return times, memory


def judge(
    shape: tuple[int, ...], times: dict[str, float], memory: dict[str, float]
) -> list[Target]:
    """Hold the measurements at one size against the targets."""
    label = "x".join(map(str, shape))
    eager, compiled = times["harmoseg"], times["harmoseg, compiled"]
    most_memory = 2.0 if shape[1] == 1 else 2.5

    def at_most(name: str, value: float, limit: float) -> Target:
        return Target(f"{label}: {name}", f"<= {limit:g}", f"{value:.2f}", round(value, 2) <= limit)

    def at_least(name: str, value: float, limit: float) -> Target:
        return Target(f"{label}: {name}", f">= {limit:g}", f"{value:.1f}", value >= limit)

    targets = [
        at_most("compiled / plain BCE or CE", compiled / times["BCE or CE"], 1.4),
        at_most("compiled / MONAI DiceCELoss", compiled / times["MONAI DiceCELoss"], 0.6),
        at_most("eager / MONAI DiceCELoss", eager / times["MONAI DiceCELoss"], 1.0),
        at_least("naive FFT / eager", times["naive FFT"] / eager, 9),
        at_most("eager, peak extra memory / logits", memory["harmoseg"], most_memory),
        at_most("compiled, peak extra memory / logits", memory["harmoseg, compiled"], most_memory),
    ]
    if len(shape) == 4:
        best = min(times["harmoseg rings"], times["harmoseg rings, compiled"])
        ratio = times["naive FFT"] / best
        targets.append(at_least("naive FFT / rings, the faster of eager and compiled", ratio, 3))
    return targets


def measure_growth(rounds: int) -> tuple[str, list[Target]]:
    """Show that cost grows linearly with pixels and with classes."""
    rows, per_item = [], {}
    for size in (64, 128, 256, 512, 1024):
        per_item[f"1 class, {size} px"] = (8, 1, size, size)
    for classes in (2, 4, 8, 16, 32):
        per_item[f"{classes} classes, 128 px"] = (8, classes, 128, 128)
    costs: dict[str, float] = {}
    for name, shape in per_item.items():
        logits, target = make_batch(shape)
        loss = HarmonizedLoss("binary" if shape[1] == 1 else "multiclass")
        time_ms = interleaved_medians({"x": step(loss, logits, target)}, rounds=rounds)["x"]
        costs[name] = 1e6 * time_ms / logits.numel()
        rows.append([name, f"{time_ms:.2f}", f"{costs[name]:.2f}"])
    pixel = costs["1 class, 1024 px"] / costs["1 class, 256 px"]
    of_class = costs["32 classes, 128 px"] / costs["4 classes, 128 px"]
    targets = [
        Target("cost per pixel, 1024 px / 256 px", "<= 2", f"{pixel:.2f}", pixel <= 2),
        Target("cost per logit, 32 / 4 classes", "<= 2", f"{of_class:.2f}", of_class <= 2),
    ]
    return markdown_table(["batch of 8", "ms", "ns per logit"], rows), targets


def measure_share() -> Target:
    """Measure the loss's share of a whole UNet-ResNet50 training step at 224 px, batch 8."""
    network = create_model("unet").to(memory_format=torch.channels_last)
    images = torch.randn(8, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    target = (torch.rand(8, 1, 224, 224) > 0.8).float()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    loss = HarmonizedLoss("binary")
    whole, own = [], []
    for _ in range(5):
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)
        loss_start = time.perf_counter()
        leaf = logits.detach().requires_grad_()
        value = loss(leaf, target)
        value.backward()
        loss_end = time.perf_counter()
        logits.backward(leaf.grad)
        optimizer.step()
        whole.append(time.perf_counter() - start)
        own.append(loss_end - loss_start)
    share = min(own[1:]) / min(whole[1:])
    return Target("share of a UNet-ResNet50 step", "< 1 %", f"{100 * share:.2f} %", share < 0.01)


def main() -> None:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    torch.set_num_threads(2)
    sections, targets = [], []
    for shape in SIZES:
        times, memory = measure_size(shape, options.rounds)
        rows = [
            [
                name,
                f"{times[name]:.2f}",
                f"{times[name] / times['BCE or CE']:.2f}",
                f"{memory[name]:.2f}",
            ]
            for name in times
        ]
        header = ["loss", "ms", "over plain BCE or CE", "peak extra memory / logits"]
        sections.append(f"## {'x'.join(map(str, shape))}\n\n{markdown_table(header, rows)}")
        targets += judge(shape, times, memory)
    growth, growth_targets = measure_growth(options.rounds)
    sections.append(f"## Growth\n\n{growth}")
    targets += [*growth_targets, measure_share()]
    note = (
        "Forward and backward, float32, two threads, medians of "
        f"{options.rounds} rounds in turn after 3 of warm-up."
    )
    publish("What the loss costs", [note, targets_table(targets), *sections], options.out)


if __name__ == "__main__":
    main()
