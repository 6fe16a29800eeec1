"""The cards and split lists that the package carries."""

from __future__ import annotations

import csv
from importlib.resources import files

from harmoseg.store.card import Card, parse_card

_HERE = files("harmoseg.datasets")


def load_card(name: str) -> Card:
    """Read the card of one of the package's datasets."""
    return parse_card((_HERE / "cards" / f"{name}.toml").read_text(encoding="utf-8"))


def load_split(name: str) -> dict[str, str]:
    """Read a published split list: case to ``train``, ``val`` or ``test``."""
    text = (_HERE / "splits" / f"{name}.csv").read_text(encoding="utf-8")
    return {row["case"]: row["split"] for row in csv.DictReader(text.splitlines())}
