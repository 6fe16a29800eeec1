"""Cases of a dataset's own files, with how each is read; finding, checking and hashing files."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from harmoseg.datasets.pictures import quiet_decoding
from harmoseg.errors import HarmosegError
from harmoseg.files import sha256_of
from harmoseg.parallel import ordered_map
from harmoseg.progress import Progress
from harmoseg.store.card import Card
from harmoseg.store.layout import Split
from harmoseg.store.tiling import Sample

READING = 2
"""The version of how files are read. It is raised with every change that makes other pixels, other
labels or other splits of the same files, so that stores made before it are made again."""

REMOVE = "remove what is no part of the dataset, or replace the download"
OR_PART = ", or, where only a part is wanted, prepare it with --allow-missing"
"""Cures of cases that should not be there, and of cases that are missing."""

_ENDING = re.compile(r"\.[A-Za-z]\w{0,5}$")
_SHORTEST_NAME = 3  # PH2

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SourceCase:
    """One case of a source: who it is, and how to read it.

    `group` is the patient where that is known, else the case. `image` and `mask` name its files
    relative to the dataset's root, `files` are all of them. `read` decodes them; it raises
    HarmosegError naming the file for whatever is wrong. `memory` is about what that takes, in
    bytes, where it is so much that few cases can be read at a time.
    """

    case: str
    group: str
    split: Split
    subset: str
    image: str
    mask: str
    files: tuple[Path, ...]
    read: Callable[[], Sample]
    memory: int = 0


@dataclass(frozen=True)
class Listing:
    """The cases of a source in order of their names, with the card that fits them.

    `determined_by` is what beside the files decides how they are read; `remarks` say what a
    person should know of this copy of the dataset, a missing part for example. With a `survey`
    the card is only known after it has read all files; until then `card` is a part of it, and the
    cases cannot be read.
    """

    card: Card
    cases: tuple[SourceCase, ...]
    determined_by: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    survey: Callable[[], Card] | None = None


@dataclass(frozen=True)
class SourceOptions:
    """Options of a reader.

    Args:
        split: Which of the dataset's splits to use; its usual one when absent. The card and the
            dataset's page name them.
        fold: The fold that is tested, from 1, for datasets whose split is in folds; the last when
            absent.
        allow_missing: Go on where cases of the dataset have no files.
    """

    split: str | None = None
    fold: int | None = None
    allow_missing: bool = False


def make_listing(
    card: Card,
    cases: Iterable[SourceCase],
    *,
    roots: Sequence[Path],
    determined_by: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
    survey: Callable[[], Card] | None = None,
) -> Listing:
    """Order the cases of a source, whose files lie below `roots`, by name.

    Raises HarmosegError where there are none, where two have one name, where a group is on two
    sides of the split, or where a symbolic link leaves the roots or leads to nothing.
    """
    ordered = tuple(sorted(cases, key=lambda item: item.case))
    if not ordered:
        raise HarmosegError(f"{card.title}: no case was found; expected {card.layout}")
    twice = [name for name, count in Counter(item.case for item in ordered).items() if count > 1]
    if twice:
        files = [str(item.image) for item in ordered if item.case == twice[0]]
        raise HarmosegError(
            f"{card.title}: case {twice[0]!r} is there more than once ({', '.join(files[:3])}); "
            "remove or rename all but one"
        )
    sides: dict[str, SourceCase] = {}
    for item in ordered:
        first = sides.setdefault(item.group, item)
        if first.split != item.split:
            raise HarmosegError(
                f"{card.title}: patient {item.group!r} is on two sides of the split: case "
                f"{first.case!r} in {first.split}, case {item.case!r} in {item.split}; all cases "
                "of one patient belong on one side"
            )
    check_inside([file for item in ordered for file in item.files], roots)
    return Listing(card, ordered, dict(determined_by or {}), tuple(remarks), survey)


def named_from_root(listing: Listing) -> Listing:
    """Name the files of a listing relative to the deepest folder that holds all of them.

    So it makes no difference whether a person passed that folder or one above it.
    """
    folders = {
        posixpath.dirname(name) for item in listing.cases for name in (item.image, item.mask)
    }
    # As of absolute paths: a file in the root itself has no folder, and no path in common.
    above = posixpath.commonpath([f"/{folder}" for folder in folders])[1:]
    if not above:
        return listing
    begin = len(above) + 1
    cases = tuple(
        replace(item, image=item.image[begin:], mask=item.mask[begin:]) for item in listing.cases
    )
    return replace(listing, cases=cases)


def find_gaps(
    card: Card, splits: Iterable[str], subsets: Iterable[str]
) -> Iterator[tuple[str, int, int]]:
    """Compare numbers of cases with the card, given the split and the subset of each case.

    Yields the name, the number found and the number expected of each split or subset that differs.
    What the card says nothing of is not compared.
    """
    for expected, names in ((card.counts, splits), (card.subset_counts, subsets)):
        found = Counter(names)
        for name in dict.fromkeys([*expected, *found]) if expected else ():
            if found[name] != expected.get(name, 0):
                yield name, found[name], expected.get(name, 0)


def check_complete(listing: Listing, options: SourceOptions) -> None:
    """Raise HarmosegError unless every split and subset has the number of cases on the card.

    A split that is absent as a whole is left out on purpose, and what is missing may be missing
    with `allow_missing`; too many cases are never right.
    """
    card, cases = listing.card, listing.cases
    gaps = find_gaps(card, (item.split for item in cases), (item.subset for item in cases))
    for name, found, expected in gaps:
        if found > expected:
            cure = REMOVE
        elif options.allow_missing or (found == 0 and name in card.counts):
            continue
        else:
            cure = f"complete the download{OR_PART}"
        raise HarmosegError(f"{card.title}: {found} {name} case(s), expected {expected}; {cure}")


def find_root(source: Path, *layouts: Sequence[str], dataset: str) -> Path:
    """Find the folder that holds all parts of a layout: the source, or one up to two levels below.

    People pass the folder that they unzipped into as often as the folder inside. Where several
    folders of one level fit, the only one that is named after the dataset is taken: archives of
    test sets hold a folder for each. Raises HarmosegError naming the folders that fit, or what was
    looked for.
    """
    if not source.is_dir():
        raise HarmosegError(f"{source}: no such folder; expected the folder of {dataset}")
    level = [source]
    for _ in range(3):
        fitting = [
            folder
            for folder in level
            if any(all((folder / part).is_dir() for part in parts) for parts in layouts)
        ]
        named = [folder for folder in fitting if _is_named_after(folder, dataset)]
        meant = fitting if len(fitting) == 1 else named
        if len(meant) == 1:
            return meant[0]
        if fitting:
            names = ", ".join(folder.relative_to(source).as_posix() for folder in fitting)
            raise HarmosegError(
                f"{source}: {len(fitting)} folders in it have the layout of {dataset}: {names}; "
                "pass the one that is meant"
            )
        level = [
            inner
            for folder in level
            for inner in sorted(folder.iterdir())
            if inner.is_dir() and not is_hidden(inner.name)
        ]
    found = ", ".join(sorted(path.name for path in source.iterdir())[:6]) or "nothing"
    expected = ", or ".join(" and ".join(parts) for parts in layouts)
    raise HarmosegError(
        f"{source}: not the layout of {dataset}: expected {expected} in it, found {found}"
    )


def _is_named_after(folder: Path, dataset: str) -> bool:
    """Return whether a folder's name begins as the title of a dataset, or the other way round."""
    names = (folder.name, dataset.partition(" (")[0])
    short, long = sorted(("".join(filter(str.isalnum, name.lower())) for name in names), key=len)
    return len(short) >= _SHORTEST_NAME and long.startswith(short)


def list_files(folder: Path) -> list[Path]:
    """List all files below a folder, sorted, but for those that systems hide there.

    A symbolic link that leads to nothing is listed as the file that its ending promises, so that
    whoever takes it names it. Raises HarmosegError where a link without an ending leads to nothing,
    and where a link leads out to a folder: links to folders are not entered, so their cases would
    be missing without a word.
    """
    found: list[Path] = []
    links: list[Path] = []
    for here in walk(folder):
        dangling = [path for path in here.files if _is_dangling(path)]
        found += [path for path in here.files if path.is_file()] + dangling
        # What has no ending may have been a folder of cases.
        links += [*here.links, *(path for path in dangling if not _ENDING.search(path.name))]
    check_inside(links, [folder])
    return sorted(found, key=lambda path: path.parts)


@dataclass(frozen=True)
class Folder:
    """Content of one folder: files, hidden files, and links to folders."""

    path: Path
    files: tuple[Path, ...]
    hidden: tuple[Path, ...]
    links: tuple[Path, ...]


def walk(folder: Path) -> Iterator[Folder]:
    """Walk over a folder and those below it, in order of their names, without following links.

    Hidden folders (such as ``.ipynb_checkpoints``) and the ``__MACOSX`` of archives hold copies and
    thumbnails, and are not entered. Raises HarmosegError where a folder cannot be read.
    """
    # For thousands of files os.walk takes a fraction of the time of Path.rglob.
    for above, inner, names in os.walk(folder, onerror=_raise_unreadable):
        place = Path(above)
        inner[:] = sorted(name for name in inner if not is_hidden(name))
        names.sort()
        yield Folder(
            place,
            tuple(place / name for name in names if not is_hidden(name)),
            tuple(place / name for name in names if is_hidden(name)),
            tuple(place / name for name in inner if (place / name).is_symlink()),
        )


def _is_dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _raise_unreadable(error: OSError) -> NoReturn:
    raise HarmosegError(f"{error.filename}: cannot be read ({error.strerror})") from error


def is_hidden(name: str) -> bool:
    """Return whether a name is one that systems, not people, give."""
    return name.startswith(".") or name == "__MACOSX"


def check_inside(files: Collection[Path], roots: Sequence[Path]) -> None:
    """Raise HarmosegError for links to nothing, and for a file that a link leads out to."""
    lost = [file for file in files if _is_dangling(file)]
    if lost:
        raise HarmosegError(
            f"{len(lost)} symbolic link(s) to what is not there: {name_some(lost, 10)} (the first "
            f"to {lost[0].readlink()}); fetch the files (git annex get, dvc pull, or mount their "
            "disk), or remove the links"
        )
    resolved = [root.resolve() for root in roots]

    @cache
    def is_inside(path: Path) -> bool:
        return any(path.resolve().is_relative_to(root) for root in resolved)

    for file in files:
        # What is no link itself lies where its folder does; folders are few, each followed once.
        if not is_inside(file if file.is_symlink() else file.parent):
            raise HarmosegError(
                f"{file}: a symbolic link that leaves the source (to {file.resolve()}); put the "
                "file itself there, or prepare from the folder that it lies in"
            )


def name_some(names: Iterable[object], most: int = 5) -> str:
    """Name the first few of many."""
    every = [str(name) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def relative_name(file: Path, source: Path) -> str:
    """Name a file relative to the source, with composed letters."""
    return unicodedata.normalize("NFC", file.relative_to(source).as_posix())


def hash_files(files: Sequence[Path]) -> str:
    """Hash the contents of some files together; raise HarmosegError where one cannot be read."""
    try:
        digests = "\n".join(sha256_of(file) for file in files)
    except OSError as error:
        _raise_unreadable(error)
    return hashlib.sha256(digests.encode()).hexdigest()


def in_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    *,
    memory: Callable[[Item], int] | None = None,
) -> Iterator[Result]:
    """Work on all items with threads and give the results in order, with a progress bar.

    `memory` as for `ordered_map`.
    """
    with quiet_decoding(), Progress(len(items), what) as progress:
        for result in ordered_map(work, items, memory=memory):
            yield result
            progress.update()
