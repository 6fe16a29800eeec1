"""Sentences on a comparison: what was found, and what must be mentioned beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from harmoseg.errors import HarmosegError
from harmoseg.losses.method import Kind
from harmoseg.metrics.measures import Measure
from harmoseg.scores.table import CLEAN
from harmoseg.statistics.blocks import WHOLE, Block, Where
from harmoseg.statistics.intervals import Estimate
from harmoseg.statistics.printing import (
    FOR_THESE_NETWORKS,
    format_interval,
    format_number,
)

if TYPE_CHECKING:
    from harmoseg.statistics.comparison import Comparison, Difference

_FEW = 8
"""Each of so many comparisons gets a sentence; of more only those that show something."""
_FEW_REMARKS = 4
_NEEDED = "two seeds and two patients or more"
_KINDS: dict[Kind, str] = {
    "without the term": "Its control: the same without the term.",
    "BCE + Dice instead": "Its control: BCE + Dice in the place of its base.",
    "overlap term instead": "Its control: an overlap term of the same weight instead.",
    "control": "Its control, as named.",
    "no control": "Not a control: more than a term may differ.",
}


def describe(comparison: Comparison) -> list[str]:
    """Return what was found in the primary measure, then what the secondary measures show."""
    items = comparison.headline
    if not items:
        return [_nothing_to_compare(comparison)]
    few = len(items) <= _FEW
    found = [sentence(item) for item in items] if few else _many(comparison, items)
    return [*found, *_secondary(comparison), *comparison.notes]


def sentence(item: Difference) -> str:
    """Return one sentence on whether the method scores higher or lower than its reference."""
    words = describe_difference(
        item.estimate,
        item.method,
        item.reference,
        f"{item.measure.unit} of {item.measure.title}".strip().removeprefix("of "),
        item.false_marks,
        margin=item.margin if item.word == "equivalent" else None,
        decimals=item.measure.decimals,
        smaller_is=item.word if item.measure.sign < 0 else "",
    )
    if item.block.place:
        where = f"On {item.block.place}{_part(item.where)}: "
        words = where + (words[0].lower() + words[1:] if words.startswith("N") else words)
    paired = " They share no seed, so they are paired in order." if item.in_order else ""
    kind = f" {_KINDS[item.kind]}" if item.shown_kind else ""
    return f"{words}{kind}{paired}"


def describe_difference(
    difference: Estimate,
    method: str,
    reference: str,
    unit: str,
    false_marks: tuple[int, int] = (0, 0),
    *,
    margin: float | None = None,
    decimals: int = 1,
    smaller_is: str = "",
) -> str:
    """Return one sentence on whether a method scores higher than its reference, in `unit`.

    `false_marks` counts, among the cases left out, those without anything to find where the method
    marks something in more runs than the reference, and those where it is the other way round.
    `margin` is that within which the two are equivalent; None where they are not. `smaller_is` is
    the verdict where smaller values are better.
    """
    left_out = _left_out(difference.dropped, method, reference, false_marks)
    unknown = f"Not known whether {method} differs from {reference}"
    if not difference.seeds:
        return f"{unknown}: there is no seed that both have finished."
    if not difference.cases:
        return f"{unknown}: no case could be scored{left_out}."
    over = f"over {difference.seeds} seed(s) and {difference.cases} cases"
    if difference.fixed_networks:
        over = f"over {difference.cases} cases"
        left_out += f", {FOR_THESE_NETWORKS}"
    decimals = max(difference.decimals, decimals)
    mean = format_number(difference.mean, decimals)
    if difference.low is None or difference.high is None:
        return f"{unknown}: {mean} {unit} {over}; an interval needs {_NEEDED}{left_out}."
    interval = format_interval(difference.low, difference.high, decimals)
    value = f"{mean} {interval} {unit} {over}"
    if margin is not None:
        also = ", though the interval excludes 0" if difference.excludes_zero else ""
        return (
            f"{method} and {reference} are equivalent within {margin:g} {unit}{also}: "
            f"{value}{left_out}."
        )
    if not difference.excludes_zero:
        text = f"No difference between {method} and {reference} can be seen: {value}"
        smallest = f"{difference.detectable or 0:.{decimals}f}"
        if float(smallest):
            text += f"; a difference of {smallest} or more would probably have been seen"
        return f"{text}{left_out}."
    direction = "higher" if difference.mean > 0 else "lower"
    better = f" ({smaller_is}: smaller is better)" if smaller_is else ""
    return f"{method} scores {direction} than {reference}{better}: {value}{left_out}."


def _left_out(dropped: int, method: str, reference: str, false_marks: tuple[int, int]) -> str:
    """Return how many cases are left out and whom that spares; nothing where there are none."""
    if not dropped:
        return ""
    words = f"; {dropped} {'case' if dropped == 1 else 'cases'} left out, undefined under some run"
    pairs = ((method, reference), (reference, method))
    spared = [
        f"on {count} of them {one} marks something where there is nothing in more runs than {other}"
        for count, (one, other) in zip(false_marks, pairs, strict=True)
        if count
    ]
    return f"{words}; {' and '.join(spared)}" if spared else words


def _part(where: Where) -> str:
    """Name a condition, class or centre behind the name of a test set."""
    parts = [where.label, where.subset, where.condition if where.condition != CLEAN else None]
    named = [part for part in parts if part]
    return f" ({', '.join(named)})" if named else ""


def _many(comparison: Comparison, items: Sequence[Difference]) -> list[str]:
    """Count many comparisons, and describe those that show a difference."""
    with_interval = [item for item in items if item.estimate.low is not None]
    known = [item for item in with_interval if item.kind != "no control"]
    others = [item for item in with_interval if item.kind == "no control"]
    differing = [sentence(item) for item in others if item.word in ("better", "worse")]
    rest = []
    if others:
        lacking = any(item.lacks_control for item in others)
        which = " with no control, where more than a term may differ," if lacking else ""
        rest.append(
            f"Of {len(others)} comparisons{which} {len(differing)} show a "
            f"difference{_networks(others)}."
        )
    if len(with_interval) < len(items):
        rest.append(
            f"Of {len(items) - len(with_interval)} comparisons nothing can be said: an interval "
            f"needs {_NEEDED}."
        )
    if not known:
        return [*rest, *differing]
    gains = [item for item in known if item.word == "better"]
    losses = [item for item in known if item.word == "worse"]
    equal = sum(item.word == "equivalent" for item in known)
    alike = f", equivalent {equal}" if comparison.margins else ""
    first = (
        f"Of {len(known)} comparisons of a method with a control in {comparison.primary.title}: "
        f"gains {len(gains)}, losses {len(losses)}{alike}, no difference that can be seen "
        f"{len(known) - len(gains) - len(losses) - equal}. Where there is none at all, one in "
        f"twenty intervals shows one by chance{_networks(known)}."
    )
    told = [sentence(item) + _beside(item, known) for item in (*gains, *losses)]
    return [first, *told, *rest, *differing]


def _networks(items: Sequence[Difference]) -> str:
    """Return what restricts verdicts on which one training per method was seen."""
    return f", {FOR_THESE_NETWORKS}" if any(item.estimate.fixed_networks for item in items) else ""


def _beside(item: Difference, known: Sequence[Difference]) -> str:
    """Return what is left of the gain of a term over its overlap control."""
    for other in known:
        if (
            item.kind == "without the term"
            and other.kind == "overlap term instead"
            and other.block is item.block
            and other.method == item.method
        ):
            what = "a difference" if other.estimate.excludes_zero else "no difference"
            return (
                f" Over an overlap term of the same weight, {other.reference}, {what} shows: "
                f"{other.shown}."
            )
    return ""


def _secondary(comparison: Comparison) -> list[str]:
    """Return one sentence on how many differences the secondary measures show."""
    items = [item for item in comparison.find(where=WHOLE) if not item.primary and item.turned]
    if not items:
        return []
    words = [item.word for item in items]
    told = ", ".join(f"{words.count(word)} {word}" for word in ("better", "worse"))
    equal = words.count("equivalent")
    alike = f", {equal} equivalent" if equal else ""
    measures = len({item.measure.name for item in items})
    return [
        f"Secondary measures ({measures}): of {len(items)} differences {told}{alike}, the rest "
        f"open{_networks(items)}. They were not declared beforehand and are not corrected for "
        "their number."
    ]


def _nothing_to_compare(comparison: Comparison) -> str:
    methods = comparison.scores.values_of("method")
    if len(methods) == 1:
        return f"One method, {methods[0]}: there is nothing to compare it with."
    return (
        f"None of {len(methods)} methods has a reference beside it: name one with reference, or "
        "the control of each with controls."
    )


_Pairs = Sequence[tuple[Block, str, str]]


def find_remarks(pairs: _Pairs, primary: Measure) -> tuple[str, ...]:
    """Return the remarks on what is compared, given (block, method, reference).

    Raises HarmosegError where no method shares a case with its reference.
    """
    blocks = dict.fromkeys(block for block, *_ in pairs)
    found = [text for block in blocks for text in _identical_runs(block, primary)]
    return (*found, *_unshared_cases(pairs), *_other_classes(pairs, primary))


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
                yield (
                    f"{one} have identical scores{_at(block)}: they seem to be one run under two "
                    "names."
                )


def _of_runs(block: Block, measure: Measure) -> dict[tuple[str, str], Any]:
    """Return the values of a measure on clean images by (method, seed), in one row each."""
    if CLEAN not in block.conditions:
        return {}
    labels = [None] if measure.per == "case" else list(block.classes)
    return {
        (method, seed): values
        for method in block.methods
        if block.has_rows(method, CLEAN)
        for seed, values in zip(
            block.seeds[method],
            np.stack([block.values(method, measure, label=label) for label in labels], axis=1),
            strict=True,
        )
    }


def _same(mine: Any, theirs: Any) -> bool:
    """Return whether values are equal, or one run lacks the measure."""
    lacking = not np.isfinite(mine).any() or not np.isfinite(theirs).any()
    return lacking or np.array_equal(mine, theirs, equal_nan=True)


def _unshared_cases(pairs: _Pairs) -> Iterator[str]:
    """Count the cases that one of two methods lacks."""
    counts = []
    for block, method, reference in pairs:
        mine, theirs = block.cases_of(method), block.cases_of(reference)
        counts.append((int((mine & theirs).sum()), int((mine ^ theirs).sum())))
    if counts and not any(common for common, _ in counts):
        block, method, reference = pairs[0]
        shown = [_list_cases(block, name) for name in (method, reference)]
        raise HarmosegError(
            f"{method} and {reference} have no case in common{_at(block)}: {method} has "
            f"{shown[0]}; {reference} has {shown[1]}; give the same case the same name in both"
        )
    told = [
        f"{alone} of {common + alone} cases have scores of one method only and are left out "
        f"({method} and {reference}{_at(block)})."
        for (common, alone), (block, method, reference) in zip(counts, pairs, strict=True)
        if alone
    ]
    yield from told[:_FEW_REMARKS]
    if len(told) > _FEW_REMARKS:
        more = len(told) - _FEW_REMARKS
        yield f"So are cases of {more} further comparisons; each states its cases."


def _other_classes(pairs: _Pairs, primary: Measure) -> Iterator[str]:
    """Count the cases whose mean over classes covers other classes for one method."""
    for block, method, reference in pairs[:_FEW_REMARKS]:
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


def _list_cases(block: Block, method: str) -> str:
    names = np.asarray(block.cases)[block.cases_of(method)]
    return f"{', '.join(names[:2])}{' ...' if len(names) > 2 else ''} ({len(names)})"


def _at(block: Block) -> str:
    return f" on {block.place}" if block.place else ""
