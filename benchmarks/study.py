"""Time what a person waits for around a finished study: its status, and tables, figures and report.

Usage: python benchmarks/study.py STUDY [--out FILE]

STUDY is a study folder with its runs finished, of any size; the targets are for 40 runs. Whole
commands are timed, the start of Python included.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import Target, markdown_table, publish, targets_table

from harmoseg.study.status import study_status

ROUNDS = 5


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = study_status(arguments.study)
    finished = found.count("finished")
    if not finished:
        sys.exit(f"{arguments.study}: no run is finished")
    status = [timed("study", "status", str(arguments.study)) for _ in range(ROUNDS)]
    report = timed("study", "report", str(arguments.study))
    page = arguments.study / "report.html"
    size = page.stat().st_size / 2**20
    median = statistics.median(status)
    figures = len(list((arguments.study / "figures").glob("*.png")))
    tables = len(list((arguments.study / "tables").glob("*.csv")))
    share = 40 / finished
    publish(
        "Status and report of a finished study",
        [
            targets_table(
                [
                    Target("status", "< 2 s", f"{median:.2f} s", median < 2),
                    Target(
                        "tables, figures and report, for 40 runs",
                        "< 90 s",
                        f"{report * share:.0f} s",
                        report * share < 90,
                    ),
                    Target("report.html", "< 25 MiB", f"{size:.1f} MiB", size < 25),
                ]
            ),
            f"Median of {ROUNDS} for the status, once for the report, whole commands. The time of "
            "the report is scaled to 40 runs by their number.",
            markdown_table(
                ["study", "runs finished", "status, s", "report, s", "tables", "figures"],
                [
                    [
                        found.title,
                        str(finished),
                        ", ".join(f"{seconds:.2f}" for seconds in status),
                        f"{report:.1f}",
                        str(tables),
                        f"{figures}, each as PNG and SVG",
                    ]
                ],
            ),
        ],
        arguments.out,
    )


def timed(*words: str) -> float:
    """Run a harmoseg command and give the seconds it took."""
    start = time.perf_counter()
    subprocess.run(  # noqa: S603  # this interpreter, this package
        [sys.executable, "-m", "harmoseg", *words], check=True, capture_output=True
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
