"""What to be wary of in a comparison, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harmoseg.errors import HarmosegError
from harmoseg.losses.method import Method, parse_method
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.curves import explained_by_temperature
from harmoseg.statistics.heterogeneity import describe_spread, measure_spread

_FEW_SEEDS = 5


def warnings(comparison: Comparison) -> list[str]:
    """Return what a reader should be wary of, the weightiest first; first sentences are short."""
    return [
        *_of_seeds(comparison),
        *_of_controls(comparison),
        *_of_centres(comparison),
        *_of_patients(comparison),
        *comparison.notes,
        *comparison.scores.remarks,
        *_of_undefined(comparison),
        *explained_by_temperature(comparison),
    ]


def _of_seeds(comparison: Comparison) -> list[str]:
    counts = [len(seeds) for block in comparison.blocks for seeds in block.seeds.values()]
    fewest, most = min(counts), max(counts)
    if fewest < 2 <= most:
        return [
            f"Seeds: {fewest} to {most}, where some runs are missing. With one "
            "seed an interval is over patients alone, for these networks."
        ]
    if most < 2:
        return [
            "One training per method: every verdict is for these networks, not for the methods. "
            "How much training varies is not known, and intervals are over patients alone."
        ]
    if fewest < _FEW_SEEDS:
        found = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        return [
            f"{found} seeds: how much training varies is known only roughly. The intervals "
            "allow for that and are wide for it; more seeds make them narrower."
        ]
    return []


def _of_controls(comparison: Comparison) -> list[str]:
    """Name the methods whose gain could be that of any overlap term, for want of the control."""
    terms = [
        (block.tested_on, block.methods, method)
        for block in comparison.blocks
        if block.trained_on in ("", block.tested_on)
        for method in map(_parsed, block.methods)
        if method is not None and method.term is not None
    ]
    bare = [
        (str(method), place) for place, methods, method in terms if str(method.plain) not in methods
    ]
    lacking = [
        (str(method), place)
        for place, methods, method in terms
        if (control := method.overlap_control) is not None and str(control) not in methods
    ]
    found = []
    if bare:
        found.append(
            f"The same network and reduction without the term was not run for {_by_method(bare)}: "
            "what the term does there is not known."
        )
    if lacking:
        found.append(
            "No control with an overlap term of the same weight was run for "
            f"{_by_method(lacking)}: a gain of theirs over the plain network could be that of any "
            "overlap term."
        )
    return found


def _parsed(name: str) -> Method | None:
    try:
        method = parse_method(name)
    except HarmosegError:
        return None
    return method if str(method) == name else None


def _by_method(found: Sequence[tuple[str, str]]) -> str:
    """List pairs of method and dataset, each method once."""
    datasets: dict[str, list[str]] = {}
    for method, dataset in found:
        datasets.setdefault(method, []).append(dataset)
    return "; ".join(
        f"{method} on {', '.join(names)}" if any(names) else method
        for method, names in datasets.items()
    )


def _of_centres(comparison: Comparison) -> list[str]:
    """Name the differences that are better on the whole and worse in some centre."""
    return [
        f"{item.whole.method} is better than {item.whole.reference} on the whole"
        f"{f' of {item.whole.block.place}' if item.whole.block.place else ''}, and worse in "
        f"{item.worst.where.subset}. {describe_spread(item)}"
        for item in measure_spread(comparison)
        if item.whole.word == "better" and item.worst is not None and item.worst.word == "worse"
    ]


def _of_patients(comparison: Comparison) -> list[str]:
    """Name the test sets whose cases may be several of one patient, and nobody can tell."""
    unnamed = [
        block.tested_on or "the unnamed set"
        for block in comparison.blocks
        if not block.names_patients
    ]
    if not unnamed:
        return []
    several = len(comparison.blocks) > 1 or unnamed != ["the unnamed set"]
    named = f" on {', '.join(dict.fromkeys(unnamed))}" if several else ""
    return [
        f"No patients are named{named}: every case counts as one. Where "
        "several are of one patient, the intervals are too narrow."
    ]


def _of_undefined(comparison: Comparison) -> list[str]:
    primary = comparison.primary
    some = any(
        np.isnan(block.values(method, primary)).any()
        for block in comparison.blocks
        for method in block.methods
    )
    if not some:
        return []
    definition = f" ({primary.definition})" if primary.definition else ""
    return [
        f"Some cases have no defined value of {primary.title}{definition}. A mean leaves out what "
        "is undefined under some run of its method, a paired difference what is undefined under "
        "some run of either method: also a case where one rightly marks nothing and the other "
        "marks something. The tables count the cases left out; the scores have every case."
    ]
