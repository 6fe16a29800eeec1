"""Time and memory of judging a large table of scores: reading it, and every comparison.

python benchmarks/comparing.py --out benchmarks/results/comparing.md

Ten methods, three seeds, five conditions, 1,000 cases of 500 patients, four classes: 600,000 rows
with four measures. Processor time on one thread, so that other work on the machine counts for
nothing.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import Target, publish, targets_table

METHODS, SEEDS, CONDITIONS, CASES, CLASSES = 10, 3, 5, 1000, 4
MOST_SECONDS = 20.0
MOST_GIB = 2.0
MOST_IMPORT = 0.5


def main() -> None:
    """Make the table, judge it in a process of its own, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--judge", type=Path, default=None, help="The table; used by the script.")
    arguments = parser.parse_args()
    if arguments.judge is not None:
        judge(arguments.judge)
        return
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "scores.csv"
        make_table().to_csv(table, index=False)
        size = table.stat().st_size / 2**20
        told = run("comparing.py", "--judge", str(table))
    read, compared, gib = map(float, told.split())
    total = read + compared
    start = min(seconds("-c", "import harmoseg") for _ in range(5))
    numpy = min(seconds("-c", "import torch, numpy") for _ in range(5))
    help_ = min(seconds("-m", "harmoseg", "--help") for _ in range(5))
    publish(
        "Judging a large table of scores",
        [
            targets_table(
                [
                    Target(
                        "read and compare 600,000 rows, processor seconds",
                        "<= 20",
                        f"{total:.1f} ({read:.1f} + {compared:.1f})",
                        total <= MOST_SECONDS,
                    ),
                    Target("peak memory", "<= 2 GiB", f"{gib:.2f} GiB", gib <= MOST_GIB),
                    Target(
                        "harmoseg --help, processor seconds",
                        "<= 0.5",
                        f"{help_:.2f}",
                        help_ <= MOST_IMPORT,
                    ),
                ]
            ),
            f"The file has {size:.0f} MiB. `import harmoseg` takes {start:.2f} s of processor "
            f"time; importing torch and numpy takes {numpy:.2f} s.",
        ],
        arguments.out,
    )


def judge(table: Path) -> None:
    """Print the processor seconds of reading and of comparing, and the peak memory in GiB."""
    import harmoseg

    start = time.process_time()
    scores = harmoseg.read_scores(table)
    read = time.process_time()
    result = harmoseg.compare(scores, reference="m0", margin=1.0)
    compared = time.process_time()
    assert len(result.differences) > 0 and len(scores) == 600_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(read - start, compared - read, peak)


def make_table() -> pd.DataFrame:
    """Return made scores: cases differ much, methods and seeds little."""
    random = np.random.default_rng(0)
    shape = (METHODS, SEEDS, CONDITIONS, CASES, CLASSES)
    index = np.indices(shape).reshape(5, -1)
    level = random.normal(0.8, 0.08, (1, 1, 1, CASES, 1)) + random.normal(0, 0.02, shape)
    level -= 0.03 * np.arange(CONDITIONS)[:, None, None]
    dice = level.clip(0.01, 0.99).reshape(-1)
    columns = {
        "method": np.char.add("m", index[0].astype(str)),
        "seed": index[1],
        "condition": np.char.add("noise:", index[2].astype(str)),
        "case": np.char.add("case", index[3].astype(str)),
        "group": np.char.add("patient", (index[3] // 2).astype(str)),
        "class": np.char.add("class", index[4].astype(str)),
        "DSC": dice,
        "IoU": dice / (2 - dice),
        "HD95_mm": 30 * (1 - dice),
        "NSD_2mm": dice**0.5,
    }
    frame = pd.DataFrame(columns)
    return frame.replace({"condition": {"noise:0": "clean"}})


def run(script: str, *words: str) -> str:
    """Run this script again on one thread; return what it prints."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *words]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=one_thread())  # noqa: S603
    return found.stdout


def seconds(*words: str) -> float:
    """Return the processor seconds of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=one_thread())  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def one_thread() -> dict[str, str]:
    """Return the environment of a process with one thread."""
    import os

    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
