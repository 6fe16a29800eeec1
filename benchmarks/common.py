"""What the benchmarks share: a table with targets, and what machine it was measured on."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from harmoseg.inference.options import bfloat16_units
from harmoseg.training.run_costs import processor_name


@dataclass(frozen=True)
class Target:
    """A figure, what was asked of it, and whether it was reached."""

    name: str
    asked: str
    measured: str
    met: bool


def interleaved_medians(
    calls: dict[str, Callable[[], object]], *, rounds: int = 21, warmup: int = 3
) -> dict[str, float]:
    """Time every call `rounds` times in turn; return medians in milliseconds.

    In turn, so that a machine that slows down slows down everybody.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(warmup + rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if i >= warmup:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def peak_extra_bytes(call: Callable[[], object], forget: Callable[[], object]) -> int:
    """Measure how far PyTorch's CPU memory rises above where it was when `call` began.

    `forget` frees what an earlier call left, so that its end is not taken for a saving.
    """
    call()
    forget()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        call()
    events = [
        (event.start_ns(), event.nbytes())
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    current = peak = 0
    for _, size in sorted(events):  # what is freed has a negative size
        current += size
        peak = max(peak, current)
    return peak


def describe_machine() -> str:
    """Name processor features, threads and versions."""
    found = ", ".join(bfloat16_units()) or "no bf16 units"
    return (
        f"{processor_name()} ({found}), {torch.get_num_threads()} threads, "
        f"PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def targets_table(targets: list[Target]) -> str:
    """Write the targets, met or not."""
    rows = [[t.name, t.asked, t.measured, "yes" if t.met else "**no**"] for t in targets]
    return markdown_table(["figure", "asked", "measured", "met"], rows)


def publish(title: str, sections: list[str], out: Path | None) -> None:
    """Print a report, and write it where asked."""
    text = "\n\n".join([f"# {title}", f"Measured on: {describe_machine()}", *sections]) + "\n"
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
