"""What judging costs: scoring folders of masks, and reading a long table of somebody else.

python benchmarks/judging.py --out benchmarks/results/judging.md
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from common import Target, markdown_table, publish, targets_table
from PIL import Image

import metrics
from harmoseg import read_scores, score
from harmoseg.metrics import class_surface_distances, confusion_counts

PAIRS, SIDE, ROWS = 500, 512, 200_000


def write_pictures(folder: Path) -> None:
    """Write pairs of black-and-white masks."""
    metrics.IMAGE = SIDE
    for name in ("pred", "truth"):
        (folder / name).mkdir(parents=True)
    for number, pair in enumerate(metrics.make_images(PAIRS)):
        for name, mask in zip(("pred", "truth"), pair, strict=True):
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            picture.save(folder / name / f"{number:03d}.png")


def write_table(file: Path) -> None:
    """Write a long table of two methods, ten classes and ten thousand cases."""
    random = np.random.default_rng(0)
    lines = ["filename,organ,algorithm,Dice,HD95 (mm)"]
    dice, distance = random.random(ROWS), random.exponential(5, ROWS)
    for i in range(ROWS):
        case, rest = divmod(i, 20)
        keys = f"/data/case_{case:05d}.nii.gz,organ{rest % 10},{'ab'[rest // 10]}"
        lines.append(f"{keys},{dice[i]},{distance[i]}")
    file.write_text("\n".join(lines) + "\n")


def write_volume(folder: Path) -> tuple[metrics.Labels, metrics.Labels]:
    """Write the volume of benchmarks/metrics.py and its prediction as NIfTI; return both."""
    pair = metrics.make_volume()
    for name, labels in zip(("pred", "truth"), pair, strict=True):
        (folder / name).mkdir(parents=True)
        image = nibabel.Nifti1Image(labels.transpose(2, 1, 0), np.diag([*metrics.SPACING[::-1], 1]))
        nibabel.save(image, folder / name / "abdomen.nii")
    return pair


def seconds(call: object, rounds: int = 3) -> float:
    """Return the least of a few wall-clock times: other programs only add to it."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_pictures(root / "pictures")
        write_table(root / "table.csv")
        pred, truth = write_volume(root / "volume")

        def score_of(name: str) -> None:
            score({"a": root / name / "pred"}, root / name / "truth")

        def measure_alone() -> None:
            confusion_counts(pred, truth, metrics.CLASSES)
            for surface in class_surface_distances(
                pred, truth, metrics.CLASSES, spacing=metrics.SPACING
            ).values():
                surface.hausdorff(95), surface.hausdorff(100), surface.assd()
                surface.surface_dice(2.0)

        pictures = PAIRS / seconds(lambda: score_of("pictures"))
        table = seconds(lambda: read_scores(root / "table.csv"))
        alone, whole = seconds(measure_alone), seconds(lambda: score_of("volume"))
    extra = 100 * (whole / alone - 1)
    targets = [
        Target(
            f"`score`, {PAIRS} PNG pairs of {SIDE} x {SIDE}", "150 pairs/s",
            f"{pictures:.0f} pairs/s", pictures >= 150,
        ),
        Target(f"`read_scores`, {ROWS:,} rows", "3 s", f"{table:.1f} s", table <= 3),
        Target(
            "`score` of a volume over its metrics alone", "20 %", f"{extra:.0f} %", extra <= 20
        ),
    ]  # fmt: skip
    rows = [
        ["metrics of the volume alone", f"{alone:.2f} s"],
        ["`score` of the volume, files read", f"{whole:.2f} s"],
    ]
    publish(
        "What judging costs",
        [targets_table(targets), markdown_table(["what", "took"], rows)],
        args.out,
    )


if __name__ == "__main__":
    main()
