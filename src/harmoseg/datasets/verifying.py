"""Verification of a dataset's own files or of a prepared store, in words and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harmoseg.datasets import checks
from harmoseg.datasets.catalogue import load_card
from harmoseg.datasets.checks import SEVERITIES, Finding, Severity, finding_of_error
from harmoseg.datasets.pictures import SUFFIXES
from harmoseg.datasets.readers import READERS, check_known, list_dataset
from harmoseg.datasets.scan import (
    CaseFacts,
    Gathered,
    VerifiedCase,
    cases_of_listing,
    cases_of_store,
    gather,
)
from harmoseg.datasets.sources import Listing, SourceOptions, name_some
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.inspecting import (
    UNEDITED,
    check_integrity,
    describe_shapes,
    describe_spacings,
    describe_subsets,
)
from harmoseg.store.layout import INFO_FILE, SPLITS
from harmoseg.store.reading import AGAIN, Store, open_store

SCHEMA = 1
_MOST_LINES = 10


@dataclass(frozen=True)
class Verification:
    """Findings of a store or a source, the worst first.

    `name` is that of its folder. There are neither cases nor facts where they could not be listed,
    and no card where a store could not be opened.
    """

    kind: Literal["source", "store"]
    name: str
    card: Card | None
    cases: tuple[VerifiedCase, ...]
    facts: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]

    def of(self, severity: Severity) -> list[Finding]:
        """List the findings of one severity."""
        return [item for item in self.findings if item.severity == severity]

    @property
    def status(self) -> int:
        """Return the command's exit status: 1 where there is an error, else 0."""
        return 1 if self.of("error") else 0


def verify(
    path: Path, dataset: str | None = None, options: SourceOptions | None = None
) -> Verification:
    """Verify a prepared store, or the files of one of the package's datasets.

    A folder with a store.json is a store. Any other is a source, read as `dataset`, or, without
    one, as the only dataset whose layout and number of cases it has; `options` say which of its
    splits, and what is missing is found whatever they allow.

    Raises HarmosegError where the folder is missing, `dataset` is unknown, it or the options
    contradict a store, or the dataset cannot be told.
    """
    options = options or SourceOptions()
    if not path.is_dir():
        found = "a file" if path.exists() else "no such folder"
        raise HarmosegError(f"{path}: {found}; expected the folder of a store or of a dataset")
    if dataset is not None:
        check_known(dataset)
    if (path / INFO_FILE).is_file():
        given = {"dataset": dataset, "split": options.split, "fold": options.fold}
        told = [f"--{name}" for name, value in given.items() if value is not None]
        if told:
            raise HarmosegError(
                f"{path} is a prepared store and says itself what it holds; leave "
                f"{' and '.join(told)} away"
            )
        return _verify_folder_of_store(path)
    return _verify_source(path, dataset or recognise(path, options), options)


def verify_listing(
    listing: Listing, name: str, *, root: str = "", findings: Iterable[Finding] = ()
) -> Verification:
    """Verify the cases of a listing; `name` is what the source is called.

    Paths in what is found are shortened to begin below `root`; `findings` of listing it are added.
    """
    card = listing.survey() if listing.survey is not None else listing.card
    cases = cases_of_listing(listing)
    gathered = gather(cases)
    every = _every_finding(card, gathered, root, findings, listing.remarks)
    return Verification("source", name, card, cases, gathered.facts, every)


def verify_store(store: Store) -> Verification:
    """Verify an open store: the dataset in it, and that it is as it was written."""
    card, name = store.info.card, store.path.resolve().name
    cases = cases_of_store(store)
    gathered = gather(cases)
    whole = all(not item.problem for item in gathered.facts)
    damage = check_integrity(store, gathered.labels_hash if whole else None)
    kept = [Finding("error", *item, UNEDITED) for item in damage]
    kept += checks.check_version(store.info)
    remarks = [str(text) for text in store.info.provenance.get("remarks", ())]
    every = _every_finding(card, gathered, str(store.path), kept, remarks)
    return Verification("store", name, card, cases, gathered.facts, every)


def _every_finding(
    card: Card,
    gathered: Gathered,
    root: str,
    findings: Iterable[Finding],
    remarks: Sequence[str],
) -> tuple[Finding, ...]:
    """Add what the checks find and what the reader remarks to `findings`, the worst first."""
    facts = gathered.facts
    told = [*remarks, *(item.remark for item in facts if item.remark)]
    every = [
        *findings,
        *checks.check_case_counts(card, facts),
        *checks.check_readable(facts, root),
        *checks.check_labels(card, facts),
        *checks.check_foreground(card, facts),
        *checks.check_intensities(facts),
        *checks.check_spacing(facts),
        *checks.check_orientation(facts),
        *checks.check_groups(facts),
        *checks.check_same_pixels(facts),
        *checks.check_near_copies(facts, gathered.fingerprints),
        *(Finding("note", "this copy", (), text, "") for text in told),
    ]
    return tuple(sorted(every, key=lambda item: SEVERITIES.index(item.severity)))


def recognise(path: Path, options: SourceOptions | None = None) -> str:
    """Name the dataset whose files a folder holds.

    Several datasets may be nothing more than `images/` and `masks/`; the one with the number of
    cases that its card expects is then taken. Raises HarmosegError where none or several remain.
    """
    options = replace(options or SourceOptions(), allow_missing=True)
    listed, exact = [], []
    for name in READERS:
        try:
            listing = list_dataset(name, path, options)
        except HarmosegError:
            continue
        whole = not list(checks.check_case_counts(listing.card, listing.cases))
        if whole or not _is_anybodys(listing):
            listed.append(name)
        if whole:
            exact.append(name)
    for candidates in (listed, exact):
        if len(candidates) == 1:
            return candidates[0]
    if not listed:
        raise HarmosegError(
            f"{path}: not recognised as any of {', '.join(READERS)}; pass --dataset NAME to be "
            "told what is wrong, or, for your own data, prepare it and verify the store"
        )
    raise HarmosegError(
        f"{path}: could be {' or '.join(listed)}; pass --dataset with one of these names"
    )


def _is_anybodys(listing: Listing) -> bool:
    """Return whether case names tell nothing: pictures that have bare numbers for names."""
    return all(
        item.case.isdigit() and Path(item.image).suffix.lower() in SUFFIXES
        for item in listing.cases
    )


def _verify_source(path: Path, dataset: str, options: SourceOptions) -> Verification:
    root, name = str(path), path.resolve().name
    problems: list[Finding] = []
    # Where only some files are missing, the others are still worth a look; where a case is wrong
    # beside those that are missing, both are told.
    for allow_missing in (False, True):
        try:
            listing = list_dataset(dataset, path, replace(options, allow_missing=allow_missing))
        except HarmosegError as error:
            problem = finding_of_error(error, "listing", root=root)
            problems += [problem] if problem not in problems else []
        else:
            return verify_listing(listing, name, root=root, findings=problems)
    return Verification("source", name, load_card(dataset), (), (), tuple(problems))


def _verify_folder_of_store(path: Path) -> Verification:
    try:
        store = open_store(path)
    except HarmosegError as error:
        problem = finding_of_error(error, "opening", root=str(path), cure=AGAIN)
        return Verification("store", path.resolve().name, None, (), (), (problem,))
    return verify_store(store)


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
    title = f"{verification.name}: {card.title} ({card.modality}, {card.mode})"
    lines: list[tuple[str, str]] = [(verification.kind, title)]
    if facts:
        shapes = {item.shape for item in facts if item.shape}
        expected = ", ".join(
            f"{card.counts[split]} {split}" for split in SPLITS if split in card.counts
        )
        counts = Counter(item.split for item in facts)
        found = ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])
        lines += [
            ("cases", found + (f" (the card expects {expected})" if expected else "")),
            ("subsets", describe_subsets(item.subset for item in facts)),
            ("patients", _patients(facts)),
            ("sizes", describe_shapes(shapes) if shapes else ""),
            ("spacing", describe_spacings([item.spacing for item in facts])),
            ("orientation", _orientations(facts)),
            ("intensities", _intensities(facts)),
            ("compared", _compared(facts)),
        ]
        for split, shares in class_shares(verification).items():
            text = ", ".join(f"{name} {100 * share:.2f} %" for name, share in shares.items())
            lines.append((f"pixels, {split}", text))
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
        for split, pixels in checks.class_pixels(verification.card, verification.facts).items()
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


def _patients(facts: Sequence[CaseFacts]) -> str:
    if all(item.group == item.case for item in facts):
        return "not known: every case stands for itself"
    counts = {split: len({item.group for item in facts if item.split == split}) for split in SPLITS}
    return ", ".join(f"{count} {split}" for split, count in counts.items() if count)


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
