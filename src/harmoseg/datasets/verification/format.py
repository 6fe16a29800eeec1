"""A verification in words for people, and as JSON for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import numpy as np

from harmoseg.datasets.verification.checks import class_pixels
from harmoseg.datasets.verification.findings import SEVERITIES, Finding, name_some
from harmoseg.datasets.verification.scan import CaseFacts
from harmoseg.datasets.verification.verifying import Verification
from harmoseg.store.describing import describe_shapes
from harmoseg.store.layout import SPLITS

SCHEMA = 1
_MOST_LINES = 10


def tell(verification: Verification) -> str:
    """Format what was verified and what was found, with the cures, and one closing line."""
    lines = [f"{name + ':':<16}{text}" for name, text in describe(verification)]
    for severity in SEVERITIES:
        found = verification.of(severity)
        if found:
            lines += ["", f"{severity}s ({len(found)})"]
        for check, items in groupby(found, key=lambda item: item.check):
            lines += _tell_check(check, list(items))
    return "\n".join([*lines, "", closing_line(verification)])


def closing_line(verification: Verification) -> str:
    """Count the findings in one line."""
    errors, warnings, notes = (len(verification.of(severity)) for severity in SEVERITIES)
    return f"verified: {errors} error(s), {warnings} warning(s), {notes} note(s)"


def describe(verification: Verification) -> list[tuple[str, str]]:
    """Describe what was verified: names and texts, without those that have nothing to say."""
    card, facts = verification.card, verification.facts
    if card is None:
        return [(verification.kind, verification.name)]
    lines: list[tuple[str, str]] = [
        (verification.kind, f"{verification.name}: {card.title} ({card.modality}, {card.mode})")
    ]
    if facts:
        shapes = {item.shape for item in facts if item.shape}
        expected = ", ".join(
            f"{card.counts[split]} {split}" for split in SPLITS if split in card.counts
        )
        counts = Counter(item.split for item in facts)
        found = ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])
        lines += [
            ("cases", found + (f" (the card expects {expected})" if expected else "")),
            ("subsets", _subsets(facts)),
            ("patients", _patients(facts)),
            ("sizes", describe_shapes(shapes) if shapes else ""),
            ("spacing", _spacings(facts)),
            ("orientation", _orientations(facts)),
            ("intensities", _intensities(facts)),
            ("compared", _compared(facts)),
        ]
        lines += [(f"pixels, {split}", text) for split, text in _shares(verification)]
    return [(name, text) for name, text in lines if text]


def class_shares(verification: Verification) -> dict[str, dict[str, float]]:
    """Return the share of the pixels of every class, 0 to 1, per split, at the source's size."""
    if verification.card is None:
        return {}
    names = verification.card.classes
    return {
        split: {
            name: count / max(1, sum(pixels)) for name, count in zip(names, pixels, strict=True)
        }
        for split, pixels in class_pixels(verification.card, verification.facts).items()
    }


def as_json(verification: Verification) -> dict[str, Any]:
    """Return all but the pictures as a JSON object; docs/how-to/verify.md names its fields."""
    card, facts = verification.card, verification.facts
    return {
        "schema": SCHEMA,
        "kind": verification.kind,
        "name": verification.name,
        "dataset": card.name if card else None,
        "errors": len(verification.of("error")),
        "warnings": len(verification.of("warning")),
        "notes": len(verification.of("note")),
        "expected": dict(card.counts) if card else {},
        "splits": {
            split: {
                "cases": len(cases),
                "patients": len({item.group for item in cases}),
                "slices": sum(item.slices for item in cases),
                "empty_masks": sum(
                    bool(item.pixels) and not any(item.pixels[1:]) for item in cases
                ),
                "class_shares": class_shares(verification).get(split, {}),
            }
            for split in SPLITS
            if (cases := [item for item in facts if item.split == split])
        },
        "slices_compared": sum(item.slices - item.featureless for item in facts),
        "slices_without_features": sum(item.featureless for item in facts),
        "findings": [
            {name: value for name, value in asdict(item).items() if name != "shown"}
            for item in verification.findings
        ],
        "cases": [_case_as_json(item) for item in facts],
    }


def _case_as_json(item: CaseFacts) -> dict[str, Any]:
    left_out = {"problem", "remark", "slices", "featureless", "image_size"}
    values = {name: value for name, value in asdict(item).items() if name not in left_out}
    # JSON has no NaN; what is wrong with such a spacing is among the findings.
    values["spacing"] = [float(v) if np.isfinite(v) else None for v in item.spacing]
    return values


def _tell_check(check: str, items: list[Finding]) -> list[str]:
    lines = [f"  {check}"]
    for item in items[:_MOST_LINES]:
        # What names its cases itself need not be preceded by them.
        named = [name for name in item.where if name not in item.found]
        lines.append(f"    {name_some(named)}: {item.found}" if named else f"    {item.found}")
    if len(items) > _MOST_LINES:
        lines.append(f"    and {len(items) - _MOST_LINES} more (--json FILE lists all)")
    lines += [f"    -> {cure}" for cure in dict.fromkeys(item.cure for item in items[:_MOST_LINES])]
    return [line for line in lines if line.strip() != "->"]


def _subsets(facts: Sequence[CaseFacts]) -> str:
    counts = Counter(item.subset for item in facts if item.subset)
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _patients(facts: Sequence[CaseFacts]) -> str:
    if all(item.group == item.case for item in facts):
        return "not known: every case stands for itself"
    counts = {split: len({item.group for item in facts if item.split == split}) for split in SPLITS}
    return ", ".join(f"{count} {split}" for split, count in counts.items() if count)


def _spacings(facts: Sequence[CaseFacts]) -> str:
    known = np.asarray([item.spacing[::-1] for item in facts if item.spacing])
    if not len(known):
        return ""
    ranges = [
        f"{low:.2f}" if np.isclose(low, high) else f"{low:.2f}-{high:.2f}"
        for low, high in zip(known.min(0), known.max(0), strict=True)
    ]
    return f"{' x '.join(ranges)} mm (width, height, depth)"


def _orientations(facts: Sequence[CaseFacts]) -> str:
    counts = Counter(item.orientation for item in facts if item.orientation)
    return ", ".join(f"{code} {count}" for code, count in counts.most_common())


def _intensities(facts: Sequence[CaseFacts]) -> str:
    read = [item for item in facts if not item.problem]
    if not read:
        return ""
    low, high = min(item.low for item in read), max(item.high for item in read)
    return f"{low} to {high}, as 8 bits"


def _compared(facts: Sequence[CaseFacts]) -> str:
    slices, featureless = sum(i.slices for i in facts), sum(i.featureless for i in facts)
    left_out = f"; {featureless} show too little to be compared" if featureless else ""
    splits = len({item.split for item in facts})
    others = "all of the other splits" if splits > 1 else "nothing: there is one split"
    return f"{slices - featureless} slices, each with {others}{left_out}"


def _shares(verification: Verification) -> list[tuple[str, str]]:
    return [
        (split, ", ".join(f"{name} {100 * share:.2f} %" for name, share in shares.items()))
        for split, shares in class_shares(verification).items()
    ]
