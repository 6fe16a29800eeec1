"""Keeping what is written apart from the images that it is made from."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from harmoseg.errors import HarmosegError
from harmoseg.files import read_csv
from harmoseg.store.layout import CASES_FILE

_LOOKED_FOR = 20


def check_apart(out: Path, *inputs: Path) -> None:
    """Raise HarmosegError where an output and one of the inputs lie one in the other.

    A second call would take what the first one wrote for images.
    """
    outside = out.resolve()
    for source in inputs:
        inside = source.resolve()
        if outside.is_relative_to(inside) or inside.is_relative_to(outside):
            raise HarmosegError(
                f"{out}: the output and the input {source} lie one in the other, so that a second "
                "call would take what was written for images; choose an output beside the input"
            )


def check_apart_from_sources(out: Path, store: Path) -> None:
    """Raise HarmosegError where an output would lie among the images or masks of a store.

    A store does not know where its sources lie: they are looked for around the output, by the
    names that the store has of them.
    """
    if not (store / CASES_FILE).is_file():
        return  # no store: the command itself says so, in better words
    rows = read_csv(store / CASES_FILE, columns=("image", "mask"), what="the cases of a store")
    place = out.resolve()
    for column in ("image", "mask") if rows else ():
        names = [row[column] for row in rows]
        # As of absolute paths: a file in the root itself has no folder, and no path in common.
        shared = posixpath.commonpath([f"/{posixpath.dirname(name)}" for name in names])[1:]
        for above in (place, *place.parents):
            if place.is_relative_to(above / shared) and _holds_one(above, names[:_LOOKED_FOR]):
                check_apart(out, above / shared)


def _holds_one(folder: Path, names: Sequence[str]) -> bool:
    return any(name and (folder / name).is_file() for name in names)
