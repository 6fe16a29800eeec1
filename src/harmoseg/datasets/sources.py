"""What a reader finds in a dataset's own files: its cases, and how each is read."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from harmoseg.datasets.pictures import quiet_decoding
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.cutting import Sample
from harmoseg.store.files import sha256_of
from harmoseg.store.layout import Split

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SourceCase:
    """One case of a source: who it is, and how to read it.

    `group` is the patient where that is known, else the case. `image` and `mask` name its files
    relative to the source, `files` are all of them. `read` decodes them; it raises HarmosegError
    naming the file for whatever is wrong.
    """

    case: str
    group: str
    split: Split
    subset: str
    image: str
    mask: str
    files: tuple[Path, ...]
    read: Callable[[], Sample]


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
    """What a reader may be told.

    Args:
        split: Which of the dataset's splits to use; its usual one when absent. The card and the
            dataset's page name them.
        fold: The fold that is tested, for datasets whose split is in folds, from 1.
        allow_missing: Go on where a split list names cases that have no files.
    """

    split: str | None = None
    fold: int = 5
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
    sides of the split, or where a symbolic link leaves the roots.
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
    check_inside((file for item in ordered for file in item.files), roots)
    return Listing(card, ordered, dict(determined_by or {}), tuple(remarks), survey)


def find_root(source: Path, *parts: str, dataset: str) -> Path:
    """Find the folder that holds all `parts`: the source itself, or one up to two levels below it.

    People pass the folder that they unzipped into as often as the folder inside. Raises
    HarmosegError naming what was looked for.
    """
    if not source.is_dir():
        raise HarmosegError(f"{source}: no such folder; expected the folder of {dataset}")
    below = sorted(path for path in source.iterdir() if path.is_dir())
    deeper = sorted(path for folder in below for path in folder.iterdir() if path.is_dir())
    for folder in (source, *below, *deeper):
        if all((folder / part).exists() for part in parts):
            return folder
    found = ", ".join(sorted(path.name for path in source.iterdir())[:6]) or "nothing"
    raise HarmosegError(
        f"{source}: not the layout of {dataset}: expected {' and '.join(parts)} in it, found "
        f"{found}"
    )


def check_inside(files: Iterable[Path], roots: Sequence[Path]) -> None:
    """Raise HarmosegError for a file that a symbolic link leads out of the source to."""
    resolved = [root.resolve() for root in roots]
    for file in files:
        target = file.resolve()
        if not any(target.is_relative_to(root) for root in resolved):
            raise HarmosegError(
                f"{file}: a symbolic link that leaves the source (to {target}); put the "
                "file itself there, or prepare from the folder that it lies in"
            )


def relative_name(file: Path, source: Path) -> str:
    """Name a file relative to the source, with composed letters."""
    return unicodedata.normalize("NFC", file.relative_to(source).as_posix())


def hash_files(files: Sequence[Path]) -> str:
    """Hash the contents of files, in order."""
    try:
        digests = "\n".join(sha256_of(file) for file in files)
    except OSError as error:
        raise HarmosegError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return hashlib.sha256(digests.encode()).hexdigest()


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], what: str
) -> Iterator[Result]:
    """Work on all items with threads and give the results in order, with a progress bar.

    Only a few items are worked on ahead of the reader, so that memory does not grow with their
    number. Decoding and resizing leave Python's lock alone, so threads are enough.
    """
    threads = min(8, max(2, os.cpu_count() or 1))
    pool = ThreadPoolExecutor(threads)
    waiting: list[Future[Result]] = []
    rest = iter(items)
    try:
        with (
            quiet_decoding(),
            tqdm(total=len(items), desc=what, unit="case", disable=None) as progress,
        ):
            waiting.extend(pool.submit(work, item) for item in islice(rest, threads + 2))
            while waiting:
                result = waiting.pop(0).result()
                waiting.extend(pool.submit(work, item) for item in islice(rest, 1))
                yield result
                progress.update()
    finally:
        # On an error or an interruption, what was not begun is dropped.
        pool.shutdown(cancel_futures=True)
