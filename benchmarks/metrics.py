"""What scoring costs: surface distances, overlap and calibration against their peers.

python benchmarks/metrics.py --out benchmarks/results/metrics.md
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from common import Target, markdown_table, publish, targets_table
from medpy.metric import binary as medpy
from monai.metrics import compute_hausdorff_distance
from numpy.typing import NDArray
from scipy import ndimage
from torchmetrics.classification import BinaryCalibrationError

from harmoseg.metrics import (
    SurfaceDistances,
    binary_calibration,
    class_surface_distances,
    confusion_counts,
    overlap_metric,
    pool_calibration,
    surface_distances,
)
from harmoseg.metrics.surface import bounding_box

Labels = NDArray[np.uint8]

SHAPE, SPACING, CLASSES = (148, 512, 512), (3.0, 0.8, 0.8), 9
# Centre and semi-axes in pixels of eight organs of an abdomen.
ORGANS = (
    ((80, 190, 160), (30, 90, 75)),
    ((75, 200, 370), (22, 45, 50)),
    ((60, 300, 190), (20, 32, 28)),
    ((60, 300, 330), (20, 32, 28)),
    ((85, 230, 260), (18, 30, 60)),
    ((70, 330, 256), (60, 14, 14)),
    ((50, 180, 240), (10, 18, 22)),
    ((72, 160, 290), (14, 30, 45)),
)
IMAGE = 352
BILLION = 10**9


def make_volume() -> tuple[Labels, Labels]:
    """Make a volume of ellipsoids and a prediction that moves and scales each a little."""
    random = np.random.default_rng(0)
    grid = np.ogrid[tuple(slice(n) for n in SHAPE)]
    pred, truth = np.zeros((2, *SHAPE), dtype=np.uint8)
    for organ, (centre, axes) in enumerate(ORGANS, start=1):
        moved = np.add(centre, random.integers(-2, 3, 3))
        scaled = np.multiply(axes, random.uniform(0.92, 1.08, 3))
        for labels, c, r in ((truth, centre, axes), (pred, moved, scaled)):
            inside = sum(((g - m) / s) ** 2 for g, m, s in zip(grid, c, r, strict=True)) < 1
            labels[inside] = organ
    return pred, truth


def make_images(count: int) -> list[tuple[Labels, Labels]]:
    """Make pairs of wavy blobs, from 1 to 25 % of an image, as polyps are."""
    random = np.random.default_rng(0)
    rows, columns = np.ogrid[:IMAGE, :IMAGE]
    pairs = []
    for _ in range(count):
        centre, radius = random.uniform(110, 240, 2), random.uniform(20, 95)
        pair = []
        for _ in range(2):
            y, x = centre + random.normal(0, 3, 2)
            angle, waves = np.arctan2(rows - y, columns - x), random.integers(2, 7)
            edge = radius * (1 + 0.1 * np.sin(waves * angle + random.uniform(0, 6)))
            pair.append((np.hypot(rows - y, columns - x) < edge).astype(np.uint8))
        pairs.append((pair[0], pair[1]))
    return pairs


def by_medpy(pred: Labels, truth: Labels) -> list[float]:
    """Score HD95 class by class with MedPy, as published scripts do."""
    return [float(medpy.hd95(pred == c, truth == c, SPACING)) for c in range(1, CLASSES)]


def by_cropped_transforms(pred: Labels, truth: Labels) -> list[float]:
    """Score HD95 by two distance transforms of each class's box.

    The approach of google-deepmind/surface-distance, without its weights by surface area.
    """
    values = []
    for c in range(1, CLASSES):
        box = bounding_box((pred == c) | (truth == c))
        assert box is not None
        p, y = (np.pad(labels[box] == c, 1) for labels in (pred, truth))
        edges = [mask ^ ndimage.binary_erosion(mask) for mask in (p, y)]
        to_pred, to_truth = (
            ndimage.distance_transform_edt(~edge, sampling=SPACING) for edge in edges
        )
        found = np.concatenate((to_truth[edges[0]], to_pred[edges[1]]))
        values.append(float(np.percentile(found, 95)))
    return values


def by_harmoseg(pred: Labels, truth: Labels) -> list[float]:
    """Score HD95 of all classes."""
    return [d.hausdorff() for d in measured(pred, truth).values()]


def measured(pred: Labels, truth: Labels) -> dict[int, SurfaceDistances]:
    """Measure the distances of all classes."""
    return class_surface_distances(pred, truth, CLASSES, spacing=SPACING)


def every_statistic(distances: SurfaceDistances) -> tuple[float, ...]:
    """Return all distance measures of one set of distances."""
    return (
        distances.hausdorff(),
        distances.hausdorff(definition="max"),
        distances.hausdorff(100),
        distances.assd(),
        distances.surface_dice(2),
    )


def timed(call: Callable[[], object]) -> float:
    """Time a call once, in seconds of processor time."""
    start = time.process_time()
    call()
    return time.process_time() - start


def medians(calls: dict[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Time every call some rounds in turn, after one of warm-up, in seconds of processor time."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            seconds = timed(call)
            if i:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def measure_volume(slow: bool) -> tuple[str, list[Target]]:
    """Time the eight organs with every contender, and check that the values are the same."""
    pred, truth = make_volume()
    one_hot = [
        torch.from_numpy(np.stack([labels == c for c in range(CLASSES)]))[None]
        for labels in (pred, truth)
    ]

    def by_monai() -> NDArray[np.float32]:
        found = compute_hausdorff_distance(*one_hot, percentile=95, spacing=list(SPACING))
        return np.asarray(found[0])

    pooled, largest = [], []
    for distances in measured(pred, truth).values():
        pooled.append(distances.hausdorff())
        largest.append(distances.hausdorff(definition="max"))
    apart = float(np.abs(by_monai() - largest).max())
    seconds = medians(
        {
            "harmoseg": lambda: by_harmoseg(pred, truth),
            "harmoseg, all surface metrics": lambda: [
                every_statistic(d) for d in measured(pred, truth).values()
            ],
            "boxes and distance transforms": lambda: by_cropped_transforms(pred, truth),
            "MONAI": by_monai,
        },
    )
    own, everything = seconds["harmoseg"], seconds["harmoseg, all surface metrics"]
    targets = [
        Target("MONAI's value minus ours (max), mm", "<= 1e-5", f"{apart:.1e}", apart <= 1e-5),
        Target(
            "MONAI / harmoseg, HD95",
            ">= 15",
            f"{seconds['MONAI'] / own:.1f}",
            seconds["MONAI"] >= 15 * own,
        ),
        Target(
            "all surface metrics / HD95 alone",
            "< 1.3",
            f"{everything / own:.2f}",
            everything < 1.3 * own,
        ),
    ]
    if slow:
        values: list[float] = []
        seconds["MedPy"] = timed(lambda: values.extend(by_medpy(pred, truth)))
        gap = float(np.abs(np.subtract(values, pooled)).max())
        ratio = seconds["MedPy"] / own
        targets = [
            Target("MedPy's value minus ours (pooled), mm", "<= 1e-9", f"{gap:.1e}", gap <= 1e-9),
            Target("MedPy / harmoseg, HD95", ">= 200", f"{ratio:.0f}", ratio >= 200),
            *targets,
        ]
    rows = [
        [name, f"{value:.3f}", f"{value / own:.1f}"]
        for name, value in sorted(seconds.items(), key=lambda item: item[1])
    ]
    return markdown_table(["HD95 of eight organs", "s", "over harmoseg"], rows), targets


def measure_worst() -> tuple[str, list[Target]]:
    """Time predictions whose surface is everywhere."""
    _, truth = make_volume()
    random = np.random.default_rng(0)
    all_classes = random.integers(0, CLASSES, SHAPE, dtype=np.uint8)
    sprinkled = np.where(random.random(SHAPE) < 0.02, all_classes, truth)
    one_class = (random.random(SHAPE) < 0.5).astype(np.uint8)
    liver = (truth == 1).astype(np.uint8)

    def one() -> object:
        return surface_distances(one_class, liver, spacing=SPACING).hausdorff()

    seconds = {
        "every voxel of a random class, eight organs": timed(
            lambda: by_harmoseg(all_classes, truth)
        ),
        "2 % of the voxels of a random class, eight organs": timed(
            lambda: by_harmoseg(sprinkled, truth)
        ),
        "half of all voxels, one organ": timed(one),
    }
    targets = [Target(name, "< 10 s", f"{s:.1f} s", s < 10) for name, s in seconds.items()]
    rows = [[name, f"{s:.1f}"] for name, s in seconds.items()]
    return markdown_table(["noisy prediction of the volume", "s"], rows), targets


def measure_images(count: int = 200) -> tuple[str, list[Target]]:
    """Time pairs of images of 352 x 352."""
    pairs = make_images(count)
    metrics = ("DSC", "IoU", "SE", "SP", "ACC", "precision")

    def overlap(pred: Labels, truth: Labels) -> None:
        counts = confusion_counts(pred, truth, 2)
        for metric in metrics:
            overlap_metric(metric, counts)

    def surface(pred: Labels, truth: Labels) -> None:
        every_statistic(surface_distances(pred, truth, spacing="pixel"))

    def both(pred: Labels, truth: Labels) -> None:
        overlap(pred, truth)
        surface(pred, truth)

    def over_all(score: Callable[[Labels, Labels], object]) -> Callable[[], object]:
        return lambda: [score(pred, truth) for pred, truth in pairs]

    times = medians(
        {
            "overlap": over_all(overlap),
            "overlap and surface": over_all(both),
            "MedPy hd95 alone": over_all(medpy.hd95),
        },
    )
    rate = {name: count / seconds for name, seconds in times.items()}
    targets = [
        Target(
            f"pairs/s of 352 x 352, {name}", f">= {asked}", f"{rate[name]:.0f}", rate[name] >= asked
        )
        for name, asked in (("overlap", 2000), ("overlap and surface", 300))
    ]
    rows = [[name, f"{value:.0f}"] for name, value in rate.items()]
    return markdown_table(["352 x 352", "pairs/s"], rows), targets


def peak_memory() -> float:
    """Read the most memory that this process has held, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def stream_pixels(pixels: int) -> tuple[float, float]:
    """Score pixels image by image; return MiB above where the process stood, and ns per pixel."""
    random = np.random.default_rng(0)
    p = random.random((IMAGE, IMAGE), dtype=np.float32)
    y = random.random(p.shape) < p
    Path("/proc/self/clear_refs").write_text("5")  # start the record of the peak again
    before = peak_memory()
    start = time.process_time()
    pooled = pool_calibration(binary_calibration(p, y) for _ in range(-(-pixels // p.size)))
    taken = time.process_time() - start
    assert pooled.pixels >= pixels
    return peak_memory() - before, 1e9 * taken / pooled.pixels


def measure_calibration(pixels: int) -> tuple[str, list[Target]]:
    """Stream a billion pixels in a fresh process; compare with torchmetrics on fewer."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        extra, own = pool.apply(stream_pixels, (pixels,))
    random = np.random.default_rng(0)
    images = [random.random((IMAGE, IMAGE), dtype=np.float32) for _ in range(160)]
    truths = [random.random(p.shape) < p for p in images]
    total = len(images) * images[0].size

    def by_torchmetrics() -> float:
        metric = BinaryCalibrationError(n_bins=15)
        for p, y in zip(images, truths, strict=True):
            metric.update(torch.from_numpy(p), torch.from_numpy(y).int())
        return float(metric.compute())

    def by_bins() -> float:
        parts = (binary_calibration(p, y) for p, y in zip(images, truths, strict=True))
        return pool_calibration(parts).ece()

    times = medians({"ours": by_bins, "theirs": by_torchmetrics})
    ours, theirs = (1e9 * seconds / total for seconds in times.values())
    ratio = theirs / ours
    targets = [
        Target(
            f"extra memory for {pixels:.0e} pixels", "< 100 MiB", f"{extra:.1f} MiB", extra < 100
        ),
        Target("torchmetrics / harmoseg, per pixel", ">= 5", f"{ratio:.1f}", ratio >= 5),
    ]
    p, y = np.concatenate(images).ravel().astype(np.float64), np.concatenate(truths).ravel()
    index = np.minimum((p * 15).astype(np.int64), 14)
    exact = np.abs(np.bincount(index, y, 15) - np.bincount(index, p, 15)).sum() / total
    rows = [
        [f"harmoseg, {pixels:.0e} pixels: ECE, MCE, ACE, Brier and NLL", f"{own:.1f}", ""],
        [f"harmoseg, {total:.0e} pixels: the same", f"{ours:.1f}", f"{by_bins():.6f}"],
        [f"torchmetrics, {total:.0e} pixels: ECE", f"{theirs:.1f}", f"{by_torchmetrics():.6f}"],
        [f"directly in float64, {total:.0e} pixels: ECE", "", f"{exact:.6f}"],
    ]
    return markdown_table(["calibration", "ns per pixel", "ECE"], rows), targets


def main() -> None:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--without-medpy", action="store_true", help="leave out its minutes")
    parser.add_argument("--pixels", type=int, default=BILLION)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # MONAI passes an argument that MONAI has deprecated.
    warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
    sections, targets = [], []
    for table, found in (
        measure_volume(slow=not options.without_medpy),
        measure_worst(),
        measure_images(),
        measure_calibration(options.pixels),
    ):
        sections.append(table)
        targets += found
    names = ("medpy", "monai", "torchmetrics", "scipy", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    note = (
        "The volume is 148 x 512 x 512 with eight organs, spacing (3, 0.8, 0.8) mm. Processor "
        "time, one thread for everybody; medians of 5 rounds in turn, MedPy and the noisy volumes "
        f"once. MONAI is given one-hot masks. Versions: {versions}."
    )
    publish("What scoring costs", [note, targets_table(targets), *sections], options.out)


if __name__ == "__main__":
    main()
