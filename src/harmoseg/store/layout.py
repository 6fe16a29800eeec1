"""The prepared store on disk: its files, and the records they hold.

A store is a folder::

    store.json    schema, card, size, counts, provenance, hashes; written last
    cases.csv     one row per case: patient, split, geometry of the source
    slices.csv    one row per slice, in the order of the arrays: which part of which case it shows
    images.npy    (N, H, W, C) uint8, at training resolution
    labels.npy    (N, H, W) uint8 class indices, at training resolution
    native/       class indices at the resolution of the source, for scoring: 000000.png for an
                  image, 000000.npz for a volume

A case is what is scored as a whole: an image, a tile of tissue, a volume. A slice is what the
network sees at once: the image, a square cut from the tile, one plane of the volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card

SCHEMA = 2
INFO_FILE = "store.json"
CASES_FILE = "cases.csv"
SLICES_FILE = "slices.csv"
IMAGES_FILE = "images.npy"
LABELS_FILE = "labels.npy"
NATIVE_FOLDER = "native"

Split = Literal["train", "val", "test"]
SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True)
class Case:
    """One row of cases.csv.

    `group` is the patient where that is known, else the case itself: no group is ever on two
    sides of a split. `subset` names a part whose results are also given apart (a hospital, a phase
    of the heart), empty where there is none. `slices` counts the slices shown to the network.
    `depth`, `height` and `width` are those of the source, in voxels; `spacing` is (depth, height,
    width) in mm and `affine` the upper three rows of the matrix from (width, height, depth) voxel
    indices to mm, both empty where the source has none. `image` and `mask` are paths relative to
    the source, for the record only, never opened again; `sha256` is a hash of all files that the
    case was read from.
    """

    case: str
    group: str
    split: Split
    subset: str
    slices: int
    depth: int
    height: int
    width: int
    spacing: tuple[float, ...] = ()
    affine: tuple[float, ...] = ()
    image: str = ""
    mask: str = ""
    sha256: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, str], path: Path) -> Case:
        """Read one row; raise HarmosegError naming the field that is wrong."""
        split = row["split"]
        if split not in SPLITS:
            raise HarmosegError(
                f"{path}: case {row['case']!r} has split {split!r}; expected one of "
                f"{', '.join(SPLITS)}"
            )
        values: dict[str, Any] = {name: row[name] for name in CASE_COLUMNS}
        try:
            for name in ("slices", "depth", "height", "width"):
                values[name] = int(row[name])
            for name, lengths in (("spacing", (0, 3)), ("affine", (0, 12))):
                values[name] = tuple(float(number) for number in row[name].split())
                if len(values[name]) not in lengths:
                    raise ValueError(f"{name} has {len(values[name])} numbers, expected {lengths}")
        except ValueError as error:
            raise HarmosegError(f"{path}: case {row['case']!r}: {error}") from error
        return cls(**values)

    def to_row(self) -> dict[str, Any]:
        """Return the row as it is written, numbers with all of their digits."""
        row = asdict(self)
        for name in ("spacing", "affine"):
            row[name] = " ".join(repr(number) for number in row[name])
        return row


CASE_COLUMNS: tuple[str, ...] = tuple(item.name for item in fields(Case))


@dataclass(frozen=True)
class Slice:
    """Part of a case that one row of the arrays shows, in voxels of the source.

    The rectangle from (`top`, `left`) of `height` x `width` in the plane number `plane`;
    `foreground` counts its voxels of any class but the background.
    """

    plane: int
    top: int
    left: int
    height: int
    width: int
    foreground: int


SLICE_FIELDS: tuple[str, ...] = tuple(item.name for item in fields(Slice))
SLICE_COLUMNS: tuple[str, ...] = ("case", *SLICE_FIELDS)


@dataclass(frozen=True)
class StoreInfo:
    """Content of store.json.

    `fingerprint` is a hash of everything that can change a result (pixels, labels, splits, card
    classes); two stores with one fingerprint are the same data wherever they lie. `hashes` are
    those of the parts: of the tables as files, of the arrays' own bytes, of all native labels.
    """

    card: Card
    height: int
    width: int
    channels: int
    counts: Mapping[str, int]
    fingerprint: str
    hashes: Mapping[str, str]
    provenance: Mapping[str, Any]

    def told_counts(self) -> str:
        """Return the number of cases of each split, in words."""
        return ", ".join(f"{count} {split}" for split, count in self.counts.items())


def native_name(index: int, *, depth: int) -> str:
    """Name the native label file of case number `index`.

    Numbered rather than named after the case: a name from a file never becomes a path.
    """
    return f"{index:06d}.{'png' if depth == 1 else 'npz'}"
