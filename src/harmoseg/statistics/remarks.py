"""What a comparison must mention beside its differences: one run twice, cases left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from harmoseg.errors import HarmosegError
from harmoseg.metrics.measures import Measure
from harmoseg.scores.table import CLEAN
from harmoseg.statistics.blocks import Block

_FEW = 4
Planned = Sequence[tuple[Block, str, str, Any]]


def find_remarks(planned: Planned, primary: Measure) -> tuple[str, ...]:
    """Return the remarks on what is compared, given (block, method, reference, kind).

    Raises HarmosegError where no method shares a case with its reference.
    """
    blocks = list(dict.fromkeys(block for block, *_ in planned))
    found = [text for block in blocks for text in _identical_runs(block, primary)]
    return (*found, *_left_out(planned), *_other_classes(planned, primary))


def _identical_runs(block: Block, primary: Measure) -> Iterator[str]:
    """Name runs with the same scores: one training under two names."""
    alike: dict[bytes, list[tuple[str, str]]] = {}
    arrays = {name: _of_runs(block, measure) for name, measure in block.measures.items()}
    for run, values in arrays[primary.name].items():
        if len(np.unique(values[np.isfinite(values)])) > 1:
            alike.setdefault(values.tobytes(), []).append(run)
    for runs in alike.values():
        for (a, seed), (b, other) in combinations(runs, 2):
            pairs = ((by[a, seed], by[b, other]) for by in arrays.values())
            if all(_same(mine, theirs) for mine, theirs in pairs):
                one = f"{a} and {b}" if a != b else f"Seeds {seed} and {other} of {a}"
                at = f" on {block.place}" if block.place else ""
                yield f"{one} have identical scores{at}: they seem to be one run under two names."


def _of_runs(block: Block, measure: Measure) -> dict[tuple[str, str], Any]:
    """Return the values of a measure on clean images by (method, seed), in one row each."""
    if CLEAN not in block.conditions:
        return {}
    labels = [None] if measure.per == "case" else list(block.classes)
    return {
        (method, seed): np.stack([by_label[label][i] for label in labels])
        for method in block.methods
        if block.has_rows(method, CLEAN)
        for by_label in [{k: block.values(method, measure, label=k) for k in labels}]
        for i, seed in enumerate(block.seeds[method])
    }


def _same(mine: Any, theirs: Any) -> bool:
    """Return whether values are equal, or one run lacks the measure."""
    lacking = not np.isfinite(mine).any() or not np.isfinite(theirs).any()
    return lacking or np.array_equal(mine, theirs, equal_nan=True)


def _left_out(planned: Planned) -> Iterator[str]:
    """Count the cases that one of two methods lacks."""
    counts = []
    for block, method, reference, _ in planned:
        mine, theirs = (
            block.present[block.methods.index(name)].any(axis=(0, 1, 3))
            for name in (method, reference)
        )
        counts.append((int((mine & theirs).sum()), int((mine ^ theirs).sum())))
    if counts and not any(common for common, _ in counts):
        block, method, reference, _ = planned[0]
        shown = [_cases_of(block, name) for name in (method, reference)]
        raise HarmosegError(
            f"{method} and {reference} have no case in common{_at(block)}: {method} has "
            f"{shown[0]}; {reference} has {shown[1]}; give the same case the same name in both"
        )
    told = [
        f"{alone} of {common + alone} cases have scores of one method only and are left out "
        f"({method} and {reference}{_at(block)})."
        for (common, alone), (block, method, reference, _) in zip(counts, planned, strict=True)
        if alone
    ]
    yield from told[:_FEW]
    if len(told) > _FEW:
        yield f"So are cases of {len(told) - _FEW} further comparisons; each states its cases."


def _other_classes(planned: Planned, primary: Measure) -> Iterator[str]:
    """Count the cases whose mean over classes covers other classes for one method."""
    for block, method, reference, _ in planned[:_FEW]:
        if primary.per == "case" or len(block.classes) < 2 or CLEAN not in block.conditions:
            continue
        ours, theirs = block.paired_seeds(method, reference)
        differ = np.zeros(len(block.cases), dtype=bool)
        for label in block.classes:
            mine = np.isfinite(block.values(method, primary, label=label, seeds=ours))
            others = np.isfinite(block.values(reference, primary, label=label, seeds=theirs))
            at = block.conditions.index(CLEAN), slice(None), block.classes.index(label)
            both = block.present[:, :, *at]
            there = np.logical_and(
                *(both[block.methods.index(name)].any(0) for name in (method, reference))
            )
            differ |= (mine != others).any(axis=0) & there
        if differ.any():
            yield (
                f"In {int(differ.sum())} cases {method} and {reference} are averaged over "
                f"different classes{_at(block)}, since {primary.title} of a class is undefined "
                "for one of them; read the differences by class."
            )


def _cases_of(block: Block, method: str) -> str:
    there = block.present[block.methods.index(method)].any(axis=(0, 1, 3))
    names = [case for case, found in zip(block.cases, there, strict=True) if found]
    return f"{', '.join(names[:2])}{' ...' if len(names) > 2 else ''} ({len(names)})"


def _at(block: Block) -> str:
    return f" on {block.place}" if block.place else ""
