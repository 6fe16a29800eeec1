"""How long `harmoseg prepare` takes, and how much memory, on real sets and on a large made one.

python benchmarks/preparing.py --data FOLDER --out benchmarks/results/preparing.md

FOLDER holds acdc, kvasir-seg, btseg, isic-2017 and monuseg in their official layouts; those that
are missing are left out, and said to be.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Target, markdown_table, publish, targets_table
from PIL import Image

SECONDS = {"acdc": 60.0, "kvasir-seg": 20.0, "btseg": 30.0}
SECONDS_AGAIN = 2.0
GIBIBYTES = 1.5
MADE_SLICES = 50_000
_COMMAND = """
import sys
from harmoseg.cli.main import main
status = main()
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
sys.exit(status)
"""
"""The command, which tells its own peak: what the system tells its parent of a child begins with
the memory of the parent, and this one has PyTorch loaded."""


def main() -> None:
    """Prepare every set twice, and the made set once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--slices", type=int, default=MADE_SLICES, help="of the made set; 0 leaves it out"
    )
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    rows, targets, absent = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("acdc", "kvasir-seg", "btseg", "isic-2017", "monuseg"):
            source = arguments.data / name
            if not source.is_dir():
                absent.append(name)
                continue
            words = [name, "--source", str(source), "--out", f"{scratch}/{name}"]
            first, _, memory = run(words)
            again, work, _ = run(words)
            rows.append([name, f"{first:.1f}", f"{again:.2f}", f"{work:.2f}", f"{memory:.2f}"])
            if name in SECONDS:
                asked = SECONDS[name]
                targets.append(Target(f"{name}, s", f"< {asked:g}", f"{first:.1f}", first < asked))
            targets.append(
                Target(
                    f"{name} again, nothing changed, s",
                    f"< {SECONDS_AGAIN:g}",
                    f"{again:.2f}",
                    again < SECONDS_AGAIN,
                )
            )
        if arguments.slices:
            source = make_slices(Path(scratch) / "made", arguments.slices)
            words = ["folder", "--images", f"{source}/images", "--masks", f"{source}/masks"]
            seconds, _, memory = run([*words, "--out", f"{scratch}/store"])
            name = f"made, {arguments.slices:,} slices"
            rows.append([name, f"{seconds:.1f}", "", "", f"{memory:.2f}"])
        else:
            absent.append("the made set")
    peak = max(float(row[-1]) for row in rows)
    targets.append(
        Target("largest peak memory, GiB", f"<= {GIBIBYTES:g}", f"{peak:.2f}", peak <= GIBIBYTES)
    )
    notes = (
        "Whole commands at 224 px, start of Python included, one run each; memory is the largest "
        "resident set of the process. Processor time is that of all threads together: where it is "
        "the shorter one, other work on the machine took the rest."
    )
    if absent:
        notes += f" Not there and left out: {', '.join(absent)}."
    header = ["dataset", "first, s", "again, s", "again, processor s", "peak memory, GiB"]
    sections = [notes, markdown_table(header, rows), targets_table(targets)]
    publish("Preparing datasets", sections, arguments.out)


def run(words: list[str]) -> tuple[float, float, float]:
    """Run `harmoseg prepare`; return its seconds, its processor seconds, its peak memory in GiB."""
    start = time.perf_counter()
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", _COMMAND, "prepare", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    said = child.stdout.read() if child.stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
    if child.returncode != 0:
        sys.exit(f"harmoseg prepare {' '.join(words)} failed")
    kibibytes = int(said.split()[-2])  # VmHWM:   123456 kB
    return seconds, usage.ru_utime + usage.ru_stime, kibibytes / 2**20


def make_slices(root: Path, count: int) -> Path:
    """Write `count` small grey images and masks."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (256, 64, 64)).astype(np.uint8)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        image = np.roll(noise[number % 256], number // 256, axis=0)
        mask = np.zeros((64, 64), np.uint8)
        mask[8 : 16 + number % 40, 8:40] = 255
        for folder, pixels in (("images", image), ("masks", mask)):
            path = root / folder / f"{number:06d}.png"
            Image.fromarray(pixels).save(path, compress_level=1)
    return root


if __name__ == "__main__":
    main()
