"""Is a dataset what it should be? Every check, over a dataset's own files or a prepared store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harmoseg.datasets.catalogue import load_card
from harmoseg.datasets.pictures import SUFFIXES
from harmoseg.datasets.readers import READERS, check_known, list_dataset
from harmoseg.datasets.sources import Listing, SourceOptions
from harmoseg.datasets.verification import checks
from harmoseg.datasets.verification.findings import SEVERITIES, Finding, Severity, finding_of_error
from harmoseg.datasets.verification.integrity import check_integrity
from harmoseg.datasets.verification.scan import CaseFacts, Gathered, gather
from harmoseg.datasets.verification.subjects import (
    Kind,
    Subject,
    subject_of_listing,
    subject_of_store,
)
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.layout import INFO_FILE
from harmoseg.store.reading import AGAIN, Store, open_store


@dataclass(frozen=True)
class Verification:
    """What was found of a store or a source, the worst findings first.

    `subject`, and with it the card, is None where not even its cases could be listed.
    """

    kind: Kind
    name: str
    card: Card | None
    subject: Subject | None
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
    listing: Listing, name: str, *, root: str = "", findings: tuple[Finding, ...] = ()
) -> Verification:
    """Verify the cases of a listing; `name` is what the source is called.

    Paths in what is found are shortened to begin below `root`; `findings` of listing it are added.
    """
    subject = subject_of_listing(listing, name)
    gathered = gather(subject)
    return _conclude(
        subject,
        gathered,
        (*findings, *_checks(subject, gathered, root), *_remarks(subject, gathered)),
    )


def verify_store(store: Store) -> Verification:
    """Verify an open store: the dataset in it, and that it is as it was written."""
    subject = subject_of_store(store)
    gathered = gather(subject)
    whole = all(not item.problem for item in gathered.facts)
    kept = (
        *check_integrity(store, gathered.labels_hash if whole else None),
        *checks.check_version(store.info),
    )
    root = str(store.path)
    return _conclude(
        subject, gathered, (*kept, *_checks(subject, gathered, root), *_remarks(subject, gathered))
    )


def recognise(path: Path, options: SourceOptions | None = None) -> str:
    """Name the dataset whose files a folder holds.

    Several datasets may be nothing more than `images/` and `masks/`; the one with the number of
    cases that its card expects is then taken. Raises HarmosegError where none or several remain.
    """
    listed, exact = [], []
    for name in READERS:
        try:
            listing = list_dataset(
                name, path, replace(options or SourceOptions(), allow_missing=True)
            )
        except HarmosegError:
            continue
        whole = not any(True for _ in checks.check_case_counts(listing.card, listing.cases))
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
    problems: tuple[Finding, ...] = ()
    try:
        listing = list_dataset(dataset, path, replace(options, allow_missing=False))
    except HarmosegError as error:
        problems = (finding_of_error(error, "listing", root=root),)
        try:
            # Where only some files are missing the others are still worth a look.
            listing = list_dataset(dataset, path, replace(options, allow_missing=True))
        except HarmosegError as worse:
            # A case may be wrong beside those that are missing.
            further = finding_of_error(worse, "listing", root=root)
            problems = tuple(dict.fromkeys((*problems, further)))
            return Verification("source", name, load_card(dataset), None, (), problems)
    return verify_listing(listing, name, root=root, findings=problems)


def _verify_folder_of_store(path: Path) -> Verification:
    try:
        store = open_store(path)
    except HarmosegError as error:
        problem = finding_of_error(error, "opening", root=str(path), cure=AGAIN)
        return Verification("store", path.resolve().name, None, None, (), (problem,))
    return verify_store(store)


def _remarks(subject: Subject, gathered: Gathered) -> Iterator[Finding]:
    for text in (*subject.remarks, *(item.remark for item in gathered.facts if item.remark)):
        yield Finding("note", "this copy", (), text, "")


def _checks(subject: Subject, gathered: Gathered, root: str) -> Iterator[Finding]:
    card, facts = subject.card, gathered.facts
    yield from checks.check_case_counts(card, facts)
    yield from checks.check_readable(facts, root)
    yield from checks.check_labels(card, facts)
    yield from checks.check_intensities(facts)
    yield from checks.check_spacing(facts)
    yield from checks.check_orientation(facts)
    yield from checks.check_groups(facts)
    yield from checks.check_same_pixels(facts)
    yield from checks.check_near_copies(facts, gathered.fingerprints)


def _conclude(subject: Subject, gathered: Gathered, findings: tuple[Finding, ...]) -> Verification:
    ordered = sorted(findings, key=lambda item: SEVERITIES.index(item.severity))
    return Verification(
        subject.kind, subject.name, subject.card, subject, gathered.facts, tuple(ordered)
    )
