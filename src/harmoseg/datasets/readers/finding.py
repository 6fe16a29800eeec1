"""Finding the files of datasets of volumes: whose names say the case, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from harmoseg.datasets.sources import list_files
from harmoseg.errors import HarmosegError

Key = TypeVar("Key")


def files_below(source: Path, title: str) -> list[Path]:
    """List all files below a source; raise HarmosegError where it is no folder."""
    if not source.is_dir():
        raise HarmosegError(f"{source}: no such folder; expected the folder of {title}")
    return list_files(source)


def by_id(found: Iterable[tuple[Key, Path]]) -> dict[Key, Path]:
    """Index files by what their names say they are; raise HarmosegError where two say the same."""
    files: dict[Key, Path] = {}
    for key, path in found:
        first = files.setdefault(key, path)
        if first != path:
            raise HarmosegError(
                f"two files with one id: {first} and {path}; keep the one that is meant"
            )
    return files


def check_slices(case: str, found: int, published: int | None, place: Path) -> None:
    """Raise HarmosegError where the number of slices of a case differs from the published one.

    `place` is the file or the folder that is named. Nothing is compared where no number is
    published.
    """
    if published is not None and found != published:
        raise HarmosegError(
            f"{place}: {found} slice(s) of {case}, the release has {published}; complete or "
            "replace the download, or remove the case"
        )


def in_order(parts: Mapping[int, Path], case: str, *, first: int) -> tuple[Path, ...]:
    """Order the slices of a case, numbered from `first` or below.

    Raises HarmosegError where numbers are missing between the first and the last that is there.
    """
    absent = sorted(set(range(min(first, *parts), max(parts) + 1)) - parts.keys())
    if absent:
        raise HarmosegError(
            f"{parts[max(parts)].parent}: slice(s) {absent[:5]} of {case} are missing; complete "
            "the download"
        )
    return tuple(parts[number] for number in sorted(parts))
