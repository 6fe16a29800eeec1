"""Size of a large report, how long it takes to make, and how long Chromium takes to open it.

python benchmarks/report.py --out benchmarks/results/report.md

Made data: images of fine noise (which compress worse than real ones), masks of uneven outline,
scores in nine measures. Needs Debian's chromium, or Chrome, and playwright, which drives it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from common import Target, markdown_table, publish, targets_table
from numpy.typing import NDArray
from playwright.sync_api import Browser, sync_playwright
from scipy import ndimage

from harmoseg.report.gallery import Gallery, GalleryCase, GalleryPart
from harmoseg.report.html import write_report
from harmoseg.scores.table import Scores
from harmoseg.statistics.comparison import compare

METHODS = ["unet", "unet+dice", "unet+scc", "unet+scc:1", "unet+rings:1"]
SEEDS = ["0", "1", "2"]
CASES = 120
MASKS = 60
KINDS = ((128, 1), (224, 1), (224, 8))
ROUNDS = 5
MOST_MIB = 25.0
MOST_SECONDS = 3.0
MOST_WRITING = 60.0
# The case that was asked for last is the one that is drawn.
DRAWN = """() => {
  const it = document.getElementById("browser").dataset;
  return it.asked && it.asked === it.drawn;
}"""


def main() -> None:
    """Make the pages, measure them and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        parser.error("no Chromium on the path; apt-get install chromium")
    targets: list[Target] = []
    rows = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = playwright.chromium.launch(executable_path=executable)
        version = chromium.version
        for size, classes in KINDS:
            name = f"{size} px, {classes} class{'es' if classes > 1 else ''}"
            path = Path(folder) / "report.html"
            written = write_page(path, size, classes)
            mib = path.stat().st_size / 2**20
            times = [open_page(chromium, path) for _ in range(ROUNDS + 1)][1:]
            loaded, drawn, following = map(statistics.median, zip(*times, strict=True))
            slowest = max(round_[1] for round_ in times)
            seconds = [f"{value:.2f}" for value in (loaded, drawn, slowest)]
            rows.append([name, f"{mib:.1f}", f"{written:.1f}", *seconds, f"{1000 * following:.0f}"])
            targets += [
                Target(f"{name}: size", "< 25 MiB", f"{mib:.1f} MiB", mib < MOST_MIB),
                Target(f"{name}: made in", "< 60 s", f"{written:.0f} s", written < MOST_WRITING),
                Target(f"{name}: opens in", "< 3 s", f"{drawn:.2f} s", drawn < MOST_SECONDS),
            ]
        chromium.close()
    header = ["report", "MiB", "written in, s", "load event, s", "case drawn, s"]
    publish(
        "Size of a report and the time to open it",
        [
            targets_table(targets),
            f"{len(METHODS)} methods, {len(SEEDS)} seeds, {CASES} cases, made scores and pictures; "
            f"tables and figures beside the page. Headless Chromium {version}, from a file; "
            f"medians of {ROUNDS} times after one that is not counted. A page is open at "
            "its load event: the first screen needs no script. The case is drawn when its part of "
            "the page is opened. The next case is that after an arrow key. "
            "The times include what driving the browser costs.",
            markdown_table([*header, "slowest, s", "next case, ms"], rows),
        ],
        arguments.out,
    )


def write_page(path: Path, size: int, classes: int) -> float:
    """Write a report of made scores and pictures; return the seconds that it took."""
    random = np.random.default_rng(0)
    masks = [uneven_mask(random, size, classes) for _ in range(MASKS)]
    names = tuple(f"class {i + 1}" for i in range(classes))
    runs = [(method, seed) for method in METHODS for seed in SEEDS]
    cases = []
    for number in range(CASES):
        noise = ndimage.gaussian_filter(random.normal(size=(size, size, 3)), (1, 1, 0))
        image = np.clip(128 + 160 * noise, 0, 255).astype(np.uint8)
        labels = {run: masks[random.integers(MASKS)] for run in runs}
        truth = masks[number % MASKS]
        cases.append(GalleryCase(f"case-{number:04d}", image, truth, labels=labels))
    gallery = Gallery((GalleryPart("made", "made", names, tuple(cases)),))
    scores = Scores.of(pd.DataFrame(made_rows(random, names, runs)))
    start = time.perf_counter()
    write_report(compare(scores, reference="unet", margin=1.0), path, gallery, files=path.parent)
    return time.perf_counter() - start


def made_rows(
    random: np.random.Generator, classes: Sequence[str], runs: Sequence[tuple[str, str]]
) -> list[dict[str, object]]:
    """Make scores in a dozen measures, as an evaluation has them."""
    rows: list[dict[str, object]] = []
    for number in range(CASES):
        level = random.uniform(0.6, 0.95)
        for method, seed in runs:
            for name in classes:
                value = float(np.clip(level + random.normal(0, 0.02), 0, 1))
                keys = {"method": method, "seed": seed, "case": f"case-{number:04d}"}
                places = {"trained_on": "made", "tested_on": "made", "class": name}
                shares = dict.fromkeys(("DSC", "IoU", "SE", "SP", "ACC", "precision"), value)
                others = {"HD95_pooled_px": 20 * (1 - value), "ASSD_px": 5 * (1 - value)}
                rows.append({**keys, **places, **shares, **others, "NSD_2px": value})
    return rows


def uneven_mask(random: np.random.Generator, size: int, classes: int) -> NDArray[np.uint8]:
    """Draw a blob with a wavy outline per class."""
    rows, columns = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.uint8)
    turns = np.linspace(-np.pi, np.pi, 721)
    for label in range(1, classes + 1):
        y, x = random.uniform(0.3 * size, 0.7 * size, 2)
        waves = np.ones(turns.size)
        for k in range(2, 12):
            waves += random.normal(0, 0.15 / k) * np.cos(k * turns + random.uniform(0, 6))
        radius = random.uniform(0.1, 0.3) / classes**0.25 * size * waves
        outline = np.interp(np.arctan2(rows - y, columns - x), turns, radius)
        labels[np.hypot(rows - y, columns - x) < outline] = label
    return labels


def open_page(chromium: Browser, path: Path) -> tuple[float, float, float]:
    """Return the seconds to the load event, to the case drawn, and from a key to the next case."""
    tab = chromium.new_page()
    start = time.perf_counter()
    tab.goto(path.as_uri(), wait_until="load")
    loaded = time.perf_counter() - start
    tab.evaluate("location.hash = '#cases'")
    tab.wait_for_function(DRAWN)
    drawn = time.perf_counter() - start
    tab.locator("#stage").focus()
    start = time.perf_counter()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function(DRAWN)
    following = time.perf_counter() - start
    tab.close()
    return loaded, drawn, following


if __name__ == "__main__":
    main()
