"""Cost of corruptions to a method: one number per method, beside the ladders.

The number is the relative balanced error (rBE) of MedMNIST-C, with segmentation's error 1 - DSC in
the place of balanced error, and the reference method in the place of AlexNet (F. Di Salvo, S.
Doerrich and C. Ledig, "MedMNIST-C", arXiv 2406.17536, 2024; after the relative mCE of D. Hendrycks
and T. Dietterich, ICLR 2019)::

    rBE = mean over corruptions c of  (E_c - E_clean) / (E_c of the reference - its E_clean)

where E_c is the mean error over the severities of c. 1 loses as much as the reference, 0.8 a fifth
less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harmoseg.conditions import parse_corruption
from harmoseg.errors import HarmosegError
from harmoseg.metrics.measures import Measure
from harmoseg.scores.table import CLEAN
from harmoseg.statistics.blocks import Block, Values
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.intervals import Estimate, Sample, estimate_means
from harmoseg.statistics.printing import Table, format_estimate

RELATIVE = Measure(
    "relative_degradation",
    "Relative degradation",
    direction="lower",
    decimals=2,
    definition="mean over corruptions of the loss over severities, divided by the reference's",
)


@dataclass(frozen=True, eq=False)
class Degradation:
    """Cost of corruptions to a method on a test set.

    Args:
        block: The test set.
        method: The method.
        reference: The method whose losses count as 1.
        corruptions: The corruptions that are averaged, by name.
        left_out: Those under which the reference loses nothing, which have no ratio.
        lost: Mean loss in the primary measure, in printed units; more is worse.
        relative: The mean ratio to the reference; more is worse. 1 by definition for the reference.
        difference: `relative` minus 1, paired with the reference by case and seed; None for the
            reference itself.
    """

    block: Block
    method: str
    reference: str
    corruptions: tuple[str, ...]
    left_out: tuple[str, ...]
    lost: Estimate
    relative: Estimate
    difference: Estimate | None


def group_conditions(conditions: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the conditions of every corruption, by its name; one of somebody else stands alone."""
    found: dict[str, list[str]] = {}
    for text in conditions:
        if text == CLEAN:
            continue
        try:
            name = parse_corruption(text).name
        except HarmosegError:
            name = text
        found.setdefault(name, []).append(text)
    return {name: tuple(levels) for name, levels in found.items()}


def measure_degradation(comparison: Comparison) -> list[Degradation]:
    """Return what corruptions cost every method on every test set that has some.

    The reference of a test set is its first method that no other is compared with before it. A
    ratio of means has no value of a single case: its interval is that of its linearisation
    (R + (a_i - R b_i) / B per case, with a and b the losses of the two methods and B the mean of
    b), over seeds and patients as any other interval, so that the two methods are paired.
    """
    return [
        item
        for block in comparison.blocks
        if CLEAN in block.conditions
        for method in block.methods
        if (item := _degradation(block, method, _reference(comparison, block), comparison.primary))
    ]


def degradation_table(comparison: Comparison) -> Table | None:
    """Return the degradation of every method; None where no corruption was scored."""
    items = measure_degradation(comparison)
    if not items:
        return None
    primary = comparison.primary
    rows = [
        {
            "tested on": item.block.place,
            "method": item.method,
            f"lost {primary.heading}": format_estimate(item.lost, primary.decimals),
            "relative": format_estimate(item.relative, RELATIVE.decimals)
            if item.difference
            else "1 by definition",
            "minus 1, paired": format_estimate(item.difference, RELATIVE.decimals, signed=True)
            if item.difference
            else "",
        }
        for item in items
    ]
    records = [
        {
            **item.block.sets,
            "method": item.method,
            "reference": item.reference,
            "corruptions": " ".join(item.corruptions),
            "left_out": " ".join(item.left_out),
            **item.lost.fields("lost"),
            **item.relative.fields("relative"),
            "seeds": item.relative.seeds,
            "cases": item.relative.cases,
        }
        for item in items
    ]
    left_out = dict.fromkeys(name for item in items for name in item.left_out)
    without = (
        f" Without {', '.join(left_out)}, under which the reference loses nothing."
        if left_out
        else ""
    )
    caption = (
        f"Lost: mean loss in {primary.title} from clean to corrupted images, over severities, then "
        f"over corruptions ({', '.join(dict.fromkeys(n for i in items for n in i.corruptions))}). "
        "Relative: the mean over corruptions of the loss divided by that of the reference "
        f"({', '.join(dict.fromkeys(item.reference for item in items))}): the relative balanced "
        "error of MedMNIST-C (arXiv 2406.17536) with the reference in the place of AlexNet; below "
        "1 loses less. Paired by case and seed. A method that is worse on clean images has less to "
        f"lose: read it beside the clean scores.{without}"
    )
    return Table.of("degradation", "Cost of corruptions", caption, rows, records)


def _reference(comparison: Comparison, block: Block) -> str:
    """Return the method that is compared with none; the first one where there is no such method."""
    compared = {item.method for item in comparison.headline if item.block is block}
    return next((name for name in block.methods if name not in compared), block.methods[0])


def _degradation(block: Block, method: str, reference: str, primary: Measure) -> Degradation | None:
    pair = list(zip((method, reference), block.paired_seeds(method, reference), strict=True))
    shared = (x for x in block.conditions if all(block.has_rows(name, x) for name, _ in pair))
    groups = group_conditions(list(shared))
    if not groups or not pair[0][1]:
        return None
    mine, base = (
        [_losses(block, name, primary, levels, seeds) for levels in groups.values()]
        for name, seeds in pair
    )
    # A case counts where every condition has a value under every run of both.
    known = np.isfinite([*mine, *base]).all(axis=(0, 1))
    lost = np.mean(mine, axis=0)
    lost[:, ~known] = np.nan
    kept, parts = [], []
    for name, ours, theirs in zip(groups, mine, base, strict=True):
        total = theirs[:, known].mean() if known.any() else 0.0
        if total > 0:
            ratio = ours[:, known].mean() / total
            kept.append(name)
            parts.append(ratio + (ours - ratio * theirs) / total)
    relative = np.full_like(lost, np.nan)
    if kept:
        relative[:, known] = np.mean(parts, axis=0)[:, known]
    samples = [Sample(values, block.group_codes) for values in (lost, relative)]
    loss, ratio_to = estimate_means(samples, fixed_networks=True)
    low, high = (None if end is None else end - 1 for end in (ratio_to.low, ratio_to.high))
    difference = replace(ratio_to, mean=ratio_to.mean - 1, low=low, high=high)
    return Degradation(
        block,
        method,
        reference,
        tuple(kept or groups),
        tuple(name for name in groups if name not in kept),
        loss,
        ratio_to,
        None if method == reference else difference,
    )


def _losses(
    block: Block, method: str, measure: Measure, levels: Sequence[str], seeds: Sequence[str]
) -> Values:
    """Return what a corruption costs every case, mean over its severities: (seeds, cases)."""
    clean = block.values(method, measure, seeds=seeds)
    hurt = [block.values(method, measure, condition=level, seeds=seeds) for level in levels]
    return np.asarray(measure.sign * (clean - np.mean(hurt, axis=0)))
