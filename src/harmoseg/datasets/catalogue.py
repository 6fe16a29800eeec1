"""The cards and split lists that the package carries."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from importlib.resources import files
from typing import cast

from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card, parse_card
from harmoseg.store.layout import Split

_BEFORE = "the outlines were painted too, which makes nuclei about 10 % too large"
CHANGES: Mapping[str, tuple[tuple[int, Mapping[str, str], str], ...]] = {
    "monuseg": ((2, {"labels": "polygons"}, _BEFORE),)
}
"""Differences in labels between a version of a card and the one before, to verify old stores.

In order, by the name of the card: the version, what the stores that it concerns were determined by
(others are the same in both versions), and how labels were made before.
"""

_HERE = files("harmoseg.datasets")


def load_card(name: str) -> Card:
    """Read the card of one of the package's datasets."""
    return parse_card((_HERE / "cards" / f"{name}.toml").read_text(encoding="utf-8"))


def load_split(name: str) -> dict[str, Split]:
    """Read a published split list: case, or patient, to ``train``, ``val`` or ``test``."""
    return {row["case"]: cast(Split, row["split"]) for row in load_list(name)}


def load_slices(name: str) -> dict[str, int]:
    """Read the published number of slices of each case, or patient, that has one."""
    return {row["case"]: int(row["slices"]) for row in load_list(name) if row["slices"]}


def load_list(name: str) -> list[dict[str, str]]:
    """Read a published list with its own columns; lines that begin with ``#`` say its source."""
    text = (_HERE / "splits" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def check_listed(
    cases: Collection[str], listed: Collection[str], source: str, cure: str = ""
) -> None:
    """Raise HarmosegError unless the split list `source` names exactly these cases.

    `cure` says what to do.
    """
    problems = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''})"
        for names, what in (
            (set(listed) - set(cases), "listed case(s) have no files"),
            (set(cases) - set(listed), "case(s) with files are not listed"),
        )
        if names
    ]
    if problems:
        told = "; ".join([*problems, cure] if cure else problems)
        raise HarmosegError(f"the split list {source} does not fit the files: {told}")
