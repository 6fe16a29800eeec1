"""What a card says of a dataset, and reading one from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from harmoseg.errors import HarmosegError

TaskMode = Literal["binary", "multiclass"]


@dataclass(frozen=True)
class Card:
    """One dataset: what it is, where it comes from, and what is to be expected of it.

    `classes` names the label values 0, 1, 2, ... with the background first. `counts` gives the
    expected number of cases per split, empty where that is not known beforehand. `channels` is 1
    or 3; 0 leaves it to the images.
    """

    name: str
    title: str
    modality: str
    mode: TaskMode
    classes: tuple[str, ...]
    channels: int = 0
    source: str = ""
    licence: str = ""
    citation: str = ""
    doi: str = ""
    layout: str = ""
    split_rule: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise HarmosegError where the fields contradict each other."""
        if self.mode not in get_args(TaskMode):
            raise HarmosegError(f"card {self.name!r}: unknown mode {self.mode!r}")
        if self.mode == "binary" and len(self.classes) != 2:
            raise HarmosegError(
                f"card {self.name!r}: mode binary needs 2 classes (background and foreground), "
                f"got {len(self.classes)}"
            )


def card_from_mapping(values: Mapping[str, Any]) -> Card:
    """Build a card from parsed TOML or JSON; raise HarmosegError for keys it does not have."""
    known = {item.name for item in fields(Card)}
    unknown = sorted(set(values) - known)
    missing = sorted({"name", "title", "modality", "mode", "classes"} - set(values))
    if unknown or missing:
        raise HarmosegError(f"card: unknown keys {unknown}, missing keys {missing}")
    return Card(**{**values, "classes": tuple(values["classes"])})


def parse_card(text: str) -> Card:
    """Read a card from the text of a TOML file."""
    return card_from_mapping(tomllib.loads(text))
