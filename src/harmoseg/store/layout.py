"""The prepared store on disk: its files, and the records they hold.

A store is a folder::

    store.json    schema, card, size, counts, provenance, hashes; written last
    cases.csv     one row per case, in the order of the arrays
    images.npy    (N, H, W, C) uint8, at training resolution
    labels.npy    (N, H, W) uint8 class indices, at training resolution
    native/       000000.png ...: class indices at the resolution of the source, for scoring
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card

SCHEMA = 1
INFO_FILE = "store.json"
CASES_FILE = "cases.csv"
IMAGES_FILE = "images.npy"
LABELS_FILE = "labels.npy"
NATIVE_FOLDER = "native"

Split = Literal["train", "val", "test"]
SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True)
class Case:
    """One row of cases.csv.

    `group` is the patient where that is known, else the case itself: no group is ever on two
    sides of a split. `height` and `width` are those of the source, in pixels. `image` and `mask`
    are paths relative to the source, for the record only; they are never opened again.
    """

    case: str
    group: str
    split: Split
    height: int
    width: int
    image: str
    mask: str
    image_sha256: str
    mask_sha256: str

    @classmethod
    def from_row(cls, row: Mapping[str, str], path: Path) -> Case:
        """Read one row; raise HarmosegError naming the field that is wrong."""
        split = row["split"]
        if split not in SPLITS:
            raise HarmosegError(
                f"{path}: case {row['case']!r} has split {split!r}; expected one of "
                f"{', '.join(SPLITS)}"
            )
        try:
            sizes = {"height": int(row["height"]), "width": int(row["width"])}
        except ValueError as error:
            raise HarmosegError(f"{path}: case {row['case']!r}: {error}") from error
        return cls(**{**row, **sizes})  # type: ignore[arg-type]  # the columns are the fields

    def to_row(self) -> dict[str, Any]:
        """Give the row as it is written."""
        return asdict(self)


CASE_COLUMNS: tuple[str, ...] = tuple(item.name for item in fields(Case))


@dataclass(frozen=True)
class StoreInfo:
    """What store.json says.

    `fingerprint` is a hash of everything that can change a result (pixels, labels, splits, card
    classes); two stores with one fingerprint are the same data wherever they lie.
    """

    card: Card
    height: int
    width: int
    channels: int
    counts: Mapping[str, int]
    fingerprint: str
    provenance: Mapping[str, Any]


def native_name(index: int) -> str:
    """Name the native label file of case number `index`.

    Numbered rather than named after the case: a name from a file never becomes a path.
    """
    return f"{index:06d}.png"
