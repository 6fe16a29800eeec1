"""The table of values on the reference page is what the code gives.

Run as a script, this prints the table.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from medpy.metric import binary as medpy
from monai.metrics import compute_hausdorff_distance

from harmoseg.metrics import (
    confusion_counts,
    overlap_metric,
    surface_distances,
    transunet_dsc,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
HEADER = (
    "128 x 128, px",
    "DSC",
    "IoU",
    "HD95 pooled",
    "HD95 max",
    "HD",
    "ASSD",
    "NSD at 2",
    "HD95 diagonal",
    "HD95 transunet",
    "DSC transunet",
    "MedPy hd95",
    "MONAI HD95",
)


def disc(y: int, x: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:128, :128]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


TRUTH = disc(64, 50, 20)
NOTHING = np.zeros_like(TRUTH)
CASES = {
    "disc of radius 20, shifted by 4": (disc(64, 54, 20), TRUTH),
    "far false positive of radius 5": (TRUTH | disc(64, 115, 5), TRUTH),
    "far false positive of radius 2": (TRUTH | disc(64, 115, 2), TRUTH),
    "half of the disc missed": (TRUTH & (np.arange(128) >= 50), TRUTH),
    "prediction empty (miss)": (NOTHING, TRUTH),
    "truth empty (false positive)": (TRUTH, NOTHING),
    "both empty": (NOTHING, NOTHING),
}


def written(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")


def of_medpy(pred: np.ndarray, truth: np.ndarray) -> str:
    try:
        return written(medpy.hd95(pred, truth))
    except RuntimeError:
        return "error"


def of_monai(pred: np.ndarray, truth: np.ndarray) -> str:
    masks = (torch.from_numpy(mask)[None, None] for mask in (pred, truth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on empty masks, and on an argument of its own
        return written(
            compute_hausdorff_distance(*masks, include_background=True, percentile=95).item()
        )


def rows() -> Iterator[str]:
    yield "| " + " | ".join(HEADER) + " |"
    for name, (pred, truth) in CASES.items():
        counts = confusion_counts(pred, truth, 2)[1]
        distances = surface_distances(pred, truth, spacing="pixel")
        values = [
            float(overlap_metric("DSC", counts)),
            float(overlap_metric("IoU", counts)),
            distances.hausdorff(),
            distances.hausdorff(definition="max"),
            distances.hausdorff(100),
            distances.assd(),
            distances.surface_dice(2),
            distances.hausdorff(on_empty="diagonal"),
            distances.hausdorff(on_empty="transunet"),
            float(transunet_dsc(counts)),
        ]
        cells = [*map(written, values), of_medpy(pred, truth), of_monai(pred, truth)]
        yield "| " + " | ".join([name, *cells]) + " |"


def test_table_of_values_is_what_the_code_gives() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for row in rows():
        assert row in page


if __name__ == "__main__":
    print("\n".join(rows()))
