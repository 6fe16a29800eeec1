"""The checks of what was gathered of a dataset: each takes facts and returns findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Literal, get_args

import numpy as np

from harmoseg.datasets.catalogue import CHANGES, load_card
from harmoseg.datasets.scan import CaseFacts
from harmoseg.datasets.similarity import BITS, Fingerprints, SlicePair, find_copies
from harmoseg.datasets.sources import REMOVE, SourceCase, find_gaps
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.layout import SPLITS, StoreInfo

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Facts = Sequence[CaseFacts]

MOST_PAIRS = 10_000
"""Pairs of look-alike cases after which the search stops: beyond it they are not looked at
one by one any more."""
SPACING_FACTOR = 3.0
"""Largest ratio of a spacing to the median of its axis: patients and protocols differ by less, a
mistaken unit by ten or a thousand."""


@dataclass(frozen=True)
class Finding:
    """One thing found.

    An error makes results wrong or cannot be repeated by others, a warning needs eyes, a note is
    good to know. `where` names cases, files or splits; `shown` are the pictures that show it, as
    (number of the case, number of the image within it).
    """

    severity: Severity
    check: str
    where: tuple[str, ...]
    found: str
    cure: str
    shown: tuple[tuple[int, int], ...] = ()


def finding_of_error(
    error: HarmosegError | str,
    check: str,
    where: Sequence[str] = (),
    *,
    root: str = "",
    cure: str = "repair, replace or remove what is named",
) -> Finding:
    """Make a finding of an error's text, which by our habit says what is wrong; then the cure.

    `cure` is given where the text has none. Paths below `root` are shortened to begin there.
    """
    text = str(error)
    if root:
        text = text.replace(f"{root.rstrip('/')}/", "")
    found, _, last = text.rpartition("; ")
    if not found or last.startswith("expected"):
        found, last = text, cure
    return Finding("error", check, tuple(where), found, last)


def check_case_counts(card: Card, cases: Sequence[SourceCase | CaseFacts]) -> Iterator[Finding]:
    """Compare the number of cases per split, and per published part, with the card.

    A card without counts expects nothing.
    """
    gaps = find_gaps(card, (item.split for item in cases), (item.subset for item in cases))
    for name, found, expected in gaps:
        severity: Severity = "error" if found else "warning"
        if found == 0:
            kind, cure = "not in this copy", "complete the download if this part is needed"
        elif found < expected:
            kind = "incomplete"
            cure = "complete the download, or name what is left out where results are given"
        else:
            kind, cure = "too many", REMOVE
        text = f"{kind}: {found} {name} cases, expected {expected}"
        yield Finding(severity, "counts", (name,), text, cure)


def check_version(info: StoreInfo) -> Iterator[Finding]:
    """Report a store whose labels were made as an earlier version of its card made them."""
    determined_by = info.provenance.get("determined_by", {})
    for version, concerns, before in CHANGES.get(info.card.name, ()):
        if info.card.version < version and concerns.items() <= determined_by.items():
            now = load_card(info.card.name).version
            made = f"made by version {info.card.version} of the card, which is at version {now} now"
            cure = "prepare the store again with --overwrite, and train again on it"
            yield Finding("error", "card version", (), f"{made}: {before}", cure)


def check_readable(facts: Facts, root: str) -> Iterator[Finding]:
    """Report each case that cannot be read, in the words of its reader."""
    for item in facts:
        if item.problem:
            yield finding_of_error(item.problem, "readable", (item.case,), root=root)


def check_labels(card: Card, facts: Facts) -> Iterator[Finding]:
    """Report label values beyond the card's classes."""
    classes = len(card.classes)
    for item in facts:
        beyond = [value for value in range(classes, len(item.pixels)) if item.pixels[value]]
        if beyond:
            found = (
                f"value(s) {', '.join(map(str, beyond))} in the mask; the card's {classes} classes "
                f"are 0 to {classes - 1}"
            )
            cure = "map the values to classes, or correct the mask"
            yield Finding("error", "label values", (item.case,), found, cure)


def check_foreground(card: Card, facts: Facts) -> Iterator[Finding]:
    """Report masks without foreground, and classes that are absent from a split."""
    empty = [item.case for item in facts if item.pixels and not any(item.pixels[1:])]
    if empty and len(empty) == sum(bool(item.pixels) for item in facts):
        found = f"not one pixel of foreground in {len(empty)} mask(s)"
        cure = "check that these are the masks, and with which values they are stored"
        yield Finding("error", "empty masks", (), found, cure)
    elif empty:
        found = f"{len(empty)} case(s) without any foreground"
        cure = "nothing, if that is how they are; their Dice is undefined and counted apart"
        yield Finding("note", "empty masks", tuple(empty), found, cure)
    for split, pixels in class_pixels(card, facts).items():
        absent = [name for name, count in zip(card.classes, pixels, strict=True) if count == 0]
        if absent:
            found = f"class(es) {', '.join(absent)} have no pixel in {split}"
            cure = "check the masks and the split: what is absent can be neither learnt nor scored"
            yield Finding("warning", "class shares", (split,), found, cure)


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
            found = f"every pixel has the value {item.low}"
            cure = "replace the file, or remove the case"
            yield Finding("error", "constant image", (item.case,), found, cure, ((number, 0),))


def check_spacing(facts: Facts) -> Iterator[Finding]:
    """Report spacings that are missing, impossible, or far from the others'."""
    read = [item for item in facts if not item.problem]
    known = [item for item in read if item.spacing]
    without = [item.case for item in read if not item.spacing]
    if not known:
        if any(item.shape[0] > 1 for item in read):
            cure = "nothing, if the files carry none; distances can then be given in voxels only"
            yield Finding("note", "spacing", (), "no volume says its spacing", cure)
        return
    if without:
        found = f"{len(without)} case(s) without spacing, {len(known)} with"
        cure = "export them again with their geometry; their distances are in voxels, not mm"
        yield Finding("warning", "spacing", tuple(without), found, cure)
    sound = []
    for item in known:
        if all(np.isfinite(value) and value > 0 for value in item.spacing):
            sound.append(item)
        else:
            cure = "correct the header: spacing is a positive number of mm"
            yield Finding("error", "spacing", (item.case,), f"spacing {_told(item.spacing)}", cure)
    if not sound:
        return
    median = np.median([item.spacing for item in sound], axis=0)
    for item in sound:
        ratio = np.asarray(item.spacing) / median
        if max(ratio.max(), 1 / ratio.min()) > SPACING_FACTOR:
            found = f"spacing {_told(item.spacing)}, the median is {_told(median)}"
            cure = "look whether its header is in mm, and right"
            yield Finding("warning", "spacing", (item.case,), found, cure)


def _told(spacing: Iterable[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in spacing) + " mm"


def check_orientation(facts: Facts) -> Iterator[Finding]:
    """Report where some cases are turned otherwise than most."""
    by_code: dict[str, list[str]] = defaultdict(list)
    for item in facts:
        if not item.problem:
            by_code[item.orientation].append(item.case)
    usual = max(by_code, key=lambda code: len(by_code[code]), default="")
    for code, cases in sorted(by_code.items()):
        if code != usual:
            found = (
                f"{len(cases)} case(s) are {code or 'without orientation'}, "
                f"{len(by_code[usual])} are {usual or 'without orientation'}"
            )
            cure = "look at them: turn them to one orientation, unless they lie alike on the page"
            yield Finding("warning", "orientation", tuple(cases), found, cure)


def check_groups(facts: Facts) -> Iterator[Finding]:
    """Report patients of whom some cases are on one side of the split and some on another."""
    sides: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in facts:
        sides[item.group][item.split].append(item.case)
    for group, by_split in sides.items():
        if len(by_split) > 1:
            cases = tuple(case for names in by_split.values() for case in names)
            counts = ", ".join(
                f"{len(names)} case(s) in {side}" for side, names in by_split.items()
            )
            found = f"patient {group!r} has {counts}"
            cure = "move all cases of a patient to one side and prepare again"
            yield Finding("error", "one patient on two sides", cases, found, cure)


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
        masks = len({item.label_digest for item in copies})
        found = "equal pixel by pixel"
        found += f", with {masks} different masks" if masks > 1 else ", and so are their masks"
        patients = len({item.group for item in copies})
        if patients > 1 and any(item.group != item.case for item in copies):
            found += f", and of {patients} patients, it is said"
        names = ", ".join(f"{item.case} ({item.split})" for item in copies[:6])
        found += f": {names}{' ...' if len(copies) > 6 else ''}"
        where = tuple(item.case for item in copies)
        shown = tuple((number, facts[number].slices // 2) for number in numbers[:4])
        if len({item.split for item in copies}) > 1:
            cure = "keep one of them: a score on what was trained on says nothing"
            yield Finding("error", "duplicates across splits", where, found, cure, shown)
        else:
            cure = "keep one of them, or accept that it counts twice"
            yield Finding("warning", "duplicates within a split", where, found, cure, shown)


def check_near_copies(
    facts: Facts, fingerprints: Mapping[str, Fingerprints], most: int = MOST_PAIRS
) -> Iterator[Finding]:
    """Report pairs of cases on two sides of the split whose pictures are copies, as it seems.

    Cases that are equal pixel by pixel are left to `check_same_pixels`.
    """
    warning: Callable[..., Finding] = partial(Finding, "warning", "near-duplicates across splits")
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
                found = (
                    f"{most} pairs or more between {split} and {other}; the search stopped there"
                )
                cure = (
                    "look at some of them; so many mean a wrong split, or images that show next to "
                    "nothing"
                )
                yield warning((split, other), found, cure)
                break
        for (one, two), pairs in sorted(alike.items()):
            first, second = facts[one], facts[two]
            best = max(pairs, key=lambda item: item.correlation)
            found = f"{best.bits} of {BITS} bits differ, detail correlates {best.correlation:.2f}"
            if max(first.slices, second.slices) > 1:
                number = len({pair.left for pair in pairs})
                found = f"{number} of {first.slices} slices have a copy; in the best, {found}"
            found = f"{first.case} ({first.split}) and {second.case} ({second.split}): {found}"
            cure = (
                "look at the pair (--page FILE.html); if both show one picture, or one patient, "
                "they belong on one side"
            )
            shown = (left.owners[best.left], right.owners[best.right])
            yield warning((first.case, second.case), found, cure, shown)
