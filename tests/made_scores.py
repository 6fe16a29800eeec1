"""Scores made of plain arrays: what statistics, tables, figures and the report read.

Tests get this module as the fixture `made` (tests/conftest.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from harmoseg.report.gallery import GalleryCase, GalleryPart
from harmoseg.scores.table import BACKGROUND, CLEAN, Scores
from harmoseg.statistics.blocks import split_into_blocks
from harmoseg.statistics.comparison import Comparison, compare

SIDE = 24


def make_bins(accuracy: float = 1.0) -> pd.DataFrame:
    """Make ten bins of 1000 pixels, right as often as they say times `accuracy`."""
    confidence = np.linspace(0.05, 0.95, 10)
    return pd.DataFrame(
        {
            "convention": "foreground",
            "bin": np.arange(10),
            "low": np.linspace(0, 0.9, 10),
            "high": np.linspace(0.1, 1, 10),
            "count": 1000,
            "confidence_sum": 1000 * confidence,
            "right_sum": 1000 * accuracy * confidence,
        }
    )


def make_rings(
    cases: int, classes: int, correlation: ArrayLike = (0.95, 0.9, 0.8, 0.6)
) -> NDArray[np.float64]:
    """Make correlations (cases, classes, rings) of one that goes to this shape; NaN: no power."""
    given = np.asarray(correlation, dtype=np.float64)
    return np.broadcast_to(given, (cases, classes, given.shape[-1]))


def make_scores(
    scores: Mapping[str, ArrayLike],
    *,
    name: str = "made",
    also: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    damaged: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    seeds: Mapping[str, Sequence[int]] | None = None,
    groups: Sequence[str] = (),
    classes: Sequence[str] = ("fg",),
    bins: Mapping[str, pd.DataFrame] | None = None,
    rings: Mapping[str, NDArray[np.float64]] | None = None,
) -> Scores:
    """Make scores from DSC in points, (seeds, cases) by method.

    `also` has further test sets by name; `damaged` the scores under conditions, the same on every
    test set that has as many cases. `seeds` names the finished ones, if not 0, 1, ...; `bins` and
    `rings` are those of methods. Every class and every share has the scores; counts are those of
    100 pixels.
    """
    rows: list[dict[str, Any]] = []
    sums: list[dict[str, Any]] = []
    pooled: list[pd.DataFrame] = []
    for tested_on, found in {name: scores, **(also or {})}.items():
        for method, given in found.items():
            values = np.atleast_2d(np.asarray(given, np.float64))
            finished = (seeds or {}).get(method, range(len(values)))
            for row, seed in enumerate(finished):
                run = {
                    "trained_on": name,
                    "method": method,
                    "seed": str(seed),
                    "tested_on": tested_on,
                }
                conditions = {CLEAN: values[row]}
                for condition, hurt in (damaged or {}).items():
                    conditions[condition] = np.atleast_2d(np.asarray(hurt[method], float))[row]
                of_group = groups if tested_on == name else ()
                for condition, line in conditions.items():
                    rows += _rows({**run, "condition": condition}, line, of_group, classes)
                correlation = (rings or {}).get(method, make_rings(values.shape[1], len(classes)))
                sums += _ring_rows(run, correlation, classes, of_group)
                table = (bins or {}).get(method, make_bins())
                pooled.append(table.assign(**run, condition=CLEAN, case="case0"))
    return Scores.of(
        pd.DataFrame(rows), rings=pd.DataFrame(sums), bins=pd.concat(pooled, ignore_index=True)
    )


def make_comparison(scores: Mapping[str, ArrayLike], **how: Any) -> Comparison:
    """Compare scores made by `make_scores`, the first method as reference."""
    return compare(make_scores(scores, **how), reference=next(iter(scores)))


def make_logs(
    epochs: Mapping[str, Sequence[int]], *, trained_on: str = "made", validated: bool = True
) -> pd.DataFrame:
    """Make training logs of so many epochs for every seed of every method."""
    rows = [
        {
            "trained_on": trained_on,
            "method": method,
            "seed": str(seed),
            "epoch": epoch,
            "train_total": 2 / epoch + 0.1 * seed,
            # Not every epoch is validated.
            "val_dsc": 1 - 1 / epoch - 0.01 * seed
            if validated and (epoch % 2 == 0 or epoch == last)
            else np.nan,
        }
        for method, counts in epochs.items()
        for seed, last in enumerate(counts)
        for epoch in range(1, last + 1)
    ]
    return pd.DataFrame(rows)


def make_gallery_part(
    comparison: Comparison, *, name: str = "made", classes: Sequence[str] = ("fg",)
) -> GalleryPart:
    """Make pictures of discs on noise for every case, each predicted two pixels lower."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    block = next(block for block in comparison.blocks if block.tested_on == name)
    cases = []
    for i, case in enumerate(block.cases):
        angle = (np.arctan2(y, x) / (2 * np.pi) + 0.5) * len(classes)
        label = 1 + np.minimum(angle.astype(np.uint8), len(classes) - 1)
        truth = np.where(np.hypot(x, y) < 3 + i % 6, label, 0).astype(np.uint8)
        noise = random.integers(0, 90, (SIDE, SIDE, 1)) + 120 * (truth > 0)[..., None]
        runs = [(method, seed) for method, found in block.seeds.items() for seed in found]
        labels = {run: np.roll(truth, 2, 0) for run in runs}
        cases.append(GalleryCase(case, noise.astype(np.uint8), truth, labels=labels))
    return GalleryPart(block.trained_on, name, tuple(classes), tuple(cases))


def _rows(
    keys: Mapping[str, str],
    points: NDArray[np.float64],
    groups: Sequence[str],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    found = []
    for i, value in enumerate(points / 100):
        hits = int(np.rint(100 * np.nan_to_num(value)))
        case = {"case": f"case{i}", "group": groups[i] if groups else f"case{i}"}
        counts = {"TP": hits, "FP": 100 - hits, "FN": 100 - hits, "TN": SIDE * SIDE - 200 + hits}
        shares = dict.fromkeys(("DSC", "IoU", "SE", "SP", "ACC"), value)
        errors = dict.fromkeys(("ECE", "MCE"), 1 - value)
        for label in classes:
            found.append({**keys, **case, "class": label, **counts, **shares, **errors})
        found.append({**keys, **case, "class": BACKGROUND, **counts, **errors})
    return found


def _ring_rows(
    run: Mapping[str, str],
    correlation: NDArray[np.float64],
    classes: Sequence[str],
    groups: Sequence[str],
) -> list[dict[str, Any]]:
    """Make ring sums of power 2; where a correlation is NaN a ring has no power."""
    count = correlation.shape[-1]
    frequency = [0.0, *(0.5 ** np.arange(count - 1, 0, -1))]
    return [
        {
            **run,
            "condition": CLEAN,
            "case": f"case{i}",
            "group": groups[i] if groups else f"case{i}",
            "class": label,
            "ring": ring,
            "cycles_per_px": frequency[ring],
            "cross": np.nan_to_num(correlation[i, c, ring]),
            "power": 2.0 * np.isfinite(correlation[i, c, ring]),
        }
        for i in range(len(correlation))
        for c, label in enumerate(classes)
        for ring in range(count)
    ]


def counts_of(
    scores: Scores, classes: Sequence[str] = (), condition: str = CLEAN
) -> NDArray[np.int64]:
    """Return the counts of the one run of scores, (cases, classes, 4), the background first."""
    (block,) = split_into_blocks(scores)
    found = block.counts(block.methods[0], condition)[0]
    names = [*block.classes, BACKGROUND]
    order = [names.index(name) for name in (BACKGROUND, *(classes or block.classes))]
    return found[:, order].astype(np.int64)
