"""The card of a dataset, and reading it from TOML."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from harmoseg.errors import HarmosegError

TaskMode = Literal["binary", "multiclass"]
EmptySlices = Literal["keep", "drop"]


@dataclass(frozen=True)
class Card:
    """One dataset: what it is, where it comes from, and what is to be expected of it.

    `classes` names the label values 0, 1, 2, ... with the background first, and `colours` may give
    each foreground class a ``#RRGGBB`` for pictures. `counts` gives the expected number of cases
    per split, empty where that is not known beforehand, and `subset_counts` per subset where the
    dataset comes in published parts. `channels` is 1 or 3; 0 leaves it to the
    images. `tile` is the side, in pixels of the source, of the squares that images are cut into
    for the network; 0 shows it every image whole. `window` gives the intensities of volumes that
    become black and white, absent their own 0.5 and 99.5 percentiles, and `axes` the orientation
    that volumes are turned to, absent the one they were acquired in. `empty_slices` says whether
    slices without any foreground are trained on; all are kept in the store, and all are scored.
    `metrics` are those that the field reports on this dataset, `partners` the datasets that show
    it other hospitals, devices or years. `notes` is what somebody who compares numbers has to know.
    `version` is raised where the same files are labelled otherwise than before.
    """

    name: str
    title: str
    modality: str
    mode: TaskMode
    classes: tuple[str, ...]
    colours: tuple[str, ...] = ()
    channels: int = 0
    tile: int = 0
    window: tuple[float, ...] = ()
    axes: str = ""
    empty_slices: EmptySlices = "keep"
    source: str = ""
    licence: str = ""
    citation: str = ""
    doi: str = ""
    layout: str = ""
    intensity: str = ""
    split_rule: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    subset_counts: Mapping[str, int] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("DSC", "IoU")
    partners: tuple[str, ...] = ()
    notes: str = ""
    version: int = 1

    def __post_init__(self) -> None:
        """Raise HarmosegError where the fields contradict each other."""
        for name, allowed in (("mode", TaskMode), ("empty_slices", EmptySlices)):
            if getattr(self, name) not in get_args(allowed):
                raise HarmosegError(
                    f"card {self.name!r}: unknown {name} {getattr(self, name)!r}; expected one of "
                    f"{', '.join(get_args(allowed))}"
                )
        check_class_names(f"card {self.name!r}", self.classes)
        if self.mode == "binary" and len(self.classes) != 2:
            raise HarmosegError(
                f"card {self.name!r}: mode binary needs 2 classes (background and foreground), "
                f"got {len(self.classes)}"
            )
        if self.window and not (len(self.window) == 2 and self.window[0] < self.window[1]):
            raise HarmosegError(
                f"card {self.name!r}: window {list(self.window)}; expected two intensities, the "
                "lower first"
            )
        if self.colours and len(self.colours) != len(self.classes) - 1:
            raise HarmosegError(
                f"card {self.name!r}: {len(self.colours)} colours for "
                f"{len(self.classes) - 1} foreground classes"
            )


def check_class_names(where: str, names: Sequence[str]) -> None:
    """Raise HarmosegError where two classes have one name, or one has none.

    Tables have a column per class: of two columns of one name, one is lost.
    """
    for name, count in Counter(str(name).strip() for name in names).items():
        if count > 1 or not name:
            raise HarmosegError(
                f"{where}: {count} class(es) named {name!r} in {list(names)}; give each class a "
                "name of its own (to merge two classes, write one value for both into the masks)"
            )


def card_from_mapping(values: Mapping[str, Any]) -> Card:
    """Build a card from parsed TOML or JSON; raise HarmosegError for keys it does not have."""
    known = {item.name for item in fields(Card)}
    unknown = sorted(set(values) - known)
    missing = sorted({"name", "title", "modality", "mode", "classes"} - set(values))
    if unknown or missing:
        raise HarmosegError(f"card: unknown keys {unknown}, missing keys {missing}")
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Card(**{**values, **lists})


def parse_card(text: str) -> Card:
    """Read a card from the text of a TOML file."""
    return card_from_mapping(tomllib.loads(text))
