"""The checks of what was gathered of a dataset: each takes facts and gives findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Protocol

import numpy as np

from harmoseg.datasets.catalogue import CHANGES, load_card
from harmoseg.datasets.sources import find_gaps
from harmoseg.datasets.verification.findings import Finding, finding_of_error
from harmoseg.datasets.verification.scan import CaseFacts
from harmoseg.datasets.verification.similarity import BITS, Fingerprints, SlicePair, find_copies
from harmoseg.store.card import Card
from harmoseg.store.layout import SPLITS, StoreInfo

Facts = Sequence[CaseFacts]

MOST_PAIRS = 10_000
"""Pairs of look-alike cases after which the search stops: beyond it they are not looked at
one by one any more."""
SPACING_FACTOR = 3.0
"""How far from the median of its axis a spacing may be: patients and protocols differ by less, a
mistaken unit by ten or a thousand."""


class _Placed(Protocol):
    @property
    def split(self) -> str: ...

    @property
    def subset(self) -> str: ...


def check_case_counts(card: Card, cases: Sequence[_Placed]) -> Iterator[Finding]:
    """Compare the number of cases per split, and per published part, with the card.

    Without counts there it says nothing.
    """
    for gap in find_gaps(card, (item.split for item in cases), (item.subset for item in cases)):
        text = f"{gap.found} {gap.name} cases, expected {gap.expected}"
        if gap.found == 0:
            cure = "complete the download if this part is needed"
            yield Finding("warning", "counts", (gap.name,), f"not in this copy: {text}", cure)
        elif gap.found < gap.expected:
            cure = "complete the download, or name what is left out where results are given"
            yield Finding("error", "counts", (gap.name,), f"incomplete: {text}", cure)
        else:
            cure = "remove what is no part of the dataset, or replace the download"
            yield Finding("error", "counts", (gap.name,), f"too many: {text}", cure)


def check_version(info: StoreInfo) -> Iterator[Finding]:
    """Report a store whose labels were made as an earlier version of its card made them."""
    determined_by = info.provenance.get("determined_by", {})
    for change in CHANGES.get(info.card.name, ()):
        if info.card.version < change.version and change.concerns.items() <= determined_by.items():
            yield Finding(
                "error",
                "card version",
                (),
                f"made by version {info.card.version} of the card, which is at version "
                f"{load_card(info.card.name).version} now: {change.before}",
                "prepare the store again with --overwrite, and train again on it",
            )


def check_readable(facts: Facts, root: str) -> Iterator[Finding]:
    """Report each case that cannot be read, in the words of its reader."""
    for item in facts:
        if item.problem:
            yield finding_of_error(item.problem, "readable", (item.case,), root=root)


def check_labels(card: Card, facts: Facts) -> Iterator[Finding]:
    """Report label values beyond the card's classes, masks without foreground, absent classes."""
    classes = len(card.classes)
    for item in facts:
        beyond = [value for value in range(classes, len(item.pixels)) if item.pixels[value]]
        if beyond:
            yield Finding(
                "error",
                "label values",
                (item.case,),
                f"value(s) {', '.join(map(str, beyond))} in the mask; the card's {classes} classes "
                f"are 0 to {classes - 1}",
                "map the values to classes, or correct the mask",
            )
    empty = [item.case for item in facts if item.pixels and not any(item.pixels[1:])]
    if empty and len(empty) == sum(bool(item.pixels) for item in facts):
        yield Finding(
            "error",
            "empty masks",
            (),
            f"not one pixel of foreground in {len(empty)} mask(s)",
            "check that these are the masks, and with which values they are stored",
        )
    elif empty:
        yield Finding(
            "note",
            "empty masks",
            tuple(empty),
            f"{len(empty)} case(s) without any foreground",
            "nothing, if that is how they are; their Dice is undefined and counted apart",
        )
    for split, pixels in class_pixels(card, facts).items():
        absent = [name for name, count in zip(card.classes, pixels, strict=True) if count == 0]
        if absent:
            yield Finding(
                "warning",
                "class shares",
                (split,),
                f"class(es) {', '.join(absent)} have no pixel in {split}",
                "check the masks and the split: what is absent can be neither learnt nor scored",
            )


def class_pixels(card: Card, facts: Facts) -> dict[str, tuple[int, ...]]:
    """Count the pixels of every class of the card per split, at the source's resolution."""
    totals: dict[str, list[int]] = {}
    for split in SPLITS:
        for item in facts:
            if item.split == split and item.pixels:
                total = totals.setdefault(split, [0] * len(card.classes))
                for value, count in enumerate(item.pixels[: len(total)]):
                    total[value] += count
    return {split: tuple(total) for split, total in totals.items()}


def check_intensities(facts: Facts) -> Iterator[Finding]:
    """Report images of one single intensity."""
    for number, item in enumerate(facts):
        if not item.problem and item.low == item.high:
            yield Finding(
                "error",
                "constant image",
                (item.case,),
                f"every pixel has the value {item.low}",
                "replace the file, or remove the case",
                ((number, 0),),
            )


def check_spacing(facts: Facts) -> Iterator[Finding]:
    """Report spacings that are missing, impossible, or far from the others'."""
    read = [item for item in facts if not item.problem]
    known = [item for item in read if item.spacing]
    without = [item.case for item in read if not item.spacing]
    if not known:
        if any(item.shape[0] > 1 for item in read):
            yield Finding(
                "note",
                "spacing",
                (),
                "no volume says its spacing",
                "nothing, if the files carry none; distances can then be given in voxels only",
            )
        return
    if without:
        yield Finding(
            "warning",
            "spacing",
            tuple(without),
            f"{len(without)} case(s) without spacing, {len(known)} with",
            "export them again with their geometry; their distances are in voxels, not mm",
        )
    sound = [item for item in known if _is_possible(item.spacing)]
    for item in known:
        if not _is_possible(item.spacing):
            yield Finding(
                "error",
                "spacing",
                (item.case,),
                f"spacing {_millimetres(item)}",
                "correct the header: spacing is a positive number of mm",
            )
    if not sound:
        return
    median = np.median([item.spacing for item in sound], axis=0)
    for item in sound:
        ratio = np.asarray(item.spacing) / median
        if max(ratio.max(), 1 / ratio.min()) > SPACING_FACTOR:
            usual = " x ".join(f"{value:.3g}" for value in median)
            yield Finding(
                "warning",
                "spacing",
                (item.case,),
                f"spacing {_millimetres(item)}, the median is {usual} mm",
                "look whether its header is in mm, and right",
            )


def check_orientation(facts: Facts) -> Iterator[Finding]:
    """Report where some cases are turned otherwise than most."""
    by_code: dict[str, list[str]] = defaultdict(list)
    for item in facts:
        if not item.problem:
            by_code[item.orientation].append(item.case)
    if len(by_code) < 2:
        return
    usual = max(by_code, key=lambda code: len(by_code[code]))
    for code, cases in sorted(by_code.items()):
        if code != usual:
            yield Finding(
                "warning",
                "orientation",
                tuple(cases),
                f"{len(cases)} case(s) are {code or 'without orientation'}, "
                f"{len(by_code[usual])} are {usual or 'without orientation'}",
                "look at them: turn them to one orientation, unless they lie alike on the page",
            )


def check_groups(facts: Facts) -> Iterator[Finding]:
    """Report patients of whom some cases are on one side of the split and some on another."""
    sides: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in facts:
        sides[item.group][item.split].append(item.case)
    for group, by_split in sides.items():
        if len(by_split) > 1:
            cases = [case for names in by_split.values() for case in names]
            found = ", ".join(f"{len(names)} case(s) in {side}" for side, names in by_split.items())
            yield Finding(
                "error",
                "one patient on two sides",
                tuple(cases),
                f"patient {group!r} has {found}",
                "move all cases of a patient to one side and prepare again",
            )


def check_same_pixels(facts: Facts) -> Iterator[Finding]:
    """Report images that are equal pixel by pixel, whatever their files."""
    by_digest: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(facts):
        if item.digest and item.low != item.high:
            by_digest[item.digest].append(number)
    for numbers in by_digest.values():
        if len(numbers) < 2:
            continue
        copies = [facts[number] for number in numbers]
        across = len({item.split for item in copies}) > 1
        masks = len({item.label_digest for item in copies})
        differ = f", with {masks} different masks" if masks > 1 else ", and so are their masks"
        patients = len({item.group for item in copies})
        known = any(item.group != item.case for item in copies)
        differ += f", and of {patients} patients, it is said" if known and patients > 1 else ""
        names = ", ".join(f"{item.case} ({item.split})" for item in copies[:6])
        yield Finding(
            "error" if across else "warning",
            "duplicates across splits" if across else "duplicates within a split",
            tuple(item.case for item in copies),
            f"equal pixel by pixel{differ}: {names}{' ...' if len(copies) > 6 else ''}",
            "keep one of them: a score on what was trained on says nothing"
            if across
            else "keep one of them, or accept that it counts twice",
            tuple((number, facts[number].slices // 2) for number in numbers[:4]),
        )


def check_near_copies(
    facts: Facts, fingerprints: Mapping[str, Fingerprints], most: int = MOST_PAIRS
) -> Iterator[Finding]:
    """Report pairs of cases on two sides of the split whose pictures are copies, as it seems.

    Cases that are equal pixel by pixel are left to `check_same_pixels`.
    """
    for split, other in combinations(SPLITS, 2):
        if split not in fingerprints or other not in fingerprints:
            continue
        left, right = fingerprints[split], fingerprints[other]
        alike: dict[tuple[int, int], list[SlicePair]] = defaultdict(list)
        for pair in find_copies(left, right):
            cases = (left.owners[pair.left][0], right.owners[pair.right][0])
            if facts[cases[0]].digest != facts[cases[1]].digest:
                alike[cases].append(pair)
            if len(alike) >= most:
                yield Finding(
                    "warning",
                    "near-duplicates across splits",
                    (split, other),
                    f"{most} pairs or more between {split} and {other}; the search stopped there",
                    "look at some of them; so many mean a wrong split, or images that show next to "
                    "nothing",
                )
                break
        for (first, second), pairs in sorted(alike.items()):
            best = max(pairs, key=lambda item: item.correlation)
            yield _near_copy(
                facts[first],
                facts[second],
                (left.owners[best.left], right.owners[best.right]),
                pairs,
                best,
            )


def _near_copy(
    first: CaseFacts,
    second: CaseFacts,
    owners: tuple[tuple[int, int], tuple[int, int]],
    pairs: Sequence[SlicePair],
    best: SlicePair,
) -> Finding:
    measured = f"{best.bits} of {BITS} bits differ, detail correlates {best.correlation:.2f}"
    if max(first.slices, second.slices) > 1:
        number = len({pair.left for pair in pairs})
        measured = f"{number} of {first.slices} slices have a copy; in the best, {measured}"
    return Finding(
        "warning",
        "near-duplicates across splits",
        (first.case, second.case),
        f"{first.case} ({first.split}) and {second.case} ({second.split}): {measured}",
        "look at the pair (--page FILE.html); if both show one picture, or one patient, they "
        "belong on one side",
        owners,
    )


def _is_possible(spacing: Sequence[float]) -> bool:
    return all(np.isfinite(value) and value > 0 for value in spacing)


def _millimetres(item: CaseFacts) -> str:
    return " x ".join(f"{value:.3g}" for value in item.spacing) + " mm"
