"""A training step beside one busy program, with and without a bound on how long threads spin.

Every setting runs in a process of its own, since OpenMP reads it when it is loaded, and takes turns
with the others. The busy program is an endless loop on one core.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from common import markdown_table, publish

_SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
_NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
_STEP = """
import sys, time, statistics, torch
from harmoseg import HarmonizedLoss, create_model
encoder, steps, size = sys.argv[1], int(sys.argv[2]), 128
torch.manual_seed(0)
network = create_model("unet", encoder=encoder).to(memory_format=torch.channels_last)
loss, optimiser = HarmonizedLoss("binary"), torch.optim.SGD(network.parameters(), lr=0.01)
images, target = torch.randn(8, 3, size, size), (torch.rand(8, 1, size, size) > 0.9).float()
times = []
for _ in range(steps + 1):
    start = time.perf_counter()
    optimiser.zero_grad()
    loss(network(images), target).backward()
    optimiser.step()
    times.append(time.perf_counter() - start)
print(statistics.median(times[1:]))
"""


def measure(encoder: str, setting: dict[str, str], *, busy: bool, steps: int) -> float:
    """Return the median seconds of a step."""
    environment = {name: value for name, value in os.environ.items() if name not in _NAMES}
    beside = None
    if busy:
        beside = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        ended = subprocess.run(  # noqa: S603
            [sys.executable, "-c", _STEP, encoder, str(steps)],
            env={**environment, **setting},
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        if beside is not None:
            beside.kill()
            beside.wait()
    return float(ended.stdout)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", nargs="+", default=["resnet18", "mobilenet_v2"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--note", default="", help="what else the machine did meanwhile")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows: list[list[str]] = []
    for encoder in asked.encoders:
        times: dict[tuple[str, bool], list[float]] = {}
        for _ in range(asked.rounds):
            for name, setting in _SETTINGS.items():
                for busy in (False, True):
                    found = measure(encoder, setting, busy=busy, steps=asked.steps)
                    times.setdefault((name, busy), []).append(found)
        medians = {key: statistics.median(values) for key, values in times.items()}
        for name in _SETTINGS:
            alone, beside = medians[name, False], medians[name, True]
            over = (beside / alone, beside / medians["default", True])
            numbers = [f"{value:.2f}" for value in (alone, beside, *over)]
            rows.append([encoder, name, *numbers])
    header = ["encoder", "setting", "alone", "beside", "beside / alone", "beside / default beside"]
    about = (
        f"Seconds of a training step (UNet, batch 8, 128 px, float32), median of {asked.steps} "
        f"steps and {asked.rounds} round(s). Beside: an endless loop on one core. {asked.note}"
    )
    sections = [about.strip(), markdown_table(header, rows)]
    publish("Spinning threads beside a busy program", sections, asked.out)


if __name__ == "__main__":
    main()
