"""Reading a prepared store: everything in it, the test split included.

Training does not read stores through here but through `harmoseg.store.training_view`, which has
no way to the test split; the layer contract keeps it so.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmoseg.errors import HarmosegError
from harmoseg.files import check_schema, read_csv, read_json
from harmoseg.store.card import card_from_mapping
from harmoseg.store.layout import (
    CASE_COLUMNS,
    CASES_FILE,
    IMAGES_FILE,
    INFO_FILE,
    LABELS_FILE,
    NATIVE_FOLDER,
    SCHEMA,
    SLICE_COLUMNS,
    SLICE_FIELDS,
    SLICES_FILE,
    Case,
    Slice,
    Split,
    StoreInfo,
    native_name,
)

AGAIN = "prepare the store again with --overwrite"
"""The cure of every damage to a store: all of it comes from the dataset's own files."""


@dataclass(frozen=True)
class Store:
    """A prepared store, opened by memory map.

    `images` is (N, H, W, C) uint8, `labels` (N, H, W) uint8 and `slices` (N, 6) the fields of
    `Slice`, all in the order of `cases`: the rows of a case follow one another.
    """

    path: Path
    info: StoreInfo
    cases: tuple[Case, ...]
    slices: NDArray[np.int64]
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    _ends: tuple[int, ...]

    def cases_of(self, split: Split) -> list[int]:
        """List the numbers of the cases of a split."""
        return [number for number, case in enumerate(self.cases) if case.split == split]

    def rows_of(self, case: int) -> range:
        """Return the rows of the arrays that show case number `case`."""
        return range(self._ends[case] - self.cases[case].slices, self._ends[case])

    def slice(self, row: int) -> Slice:
        """Return the slice that a row of the arrays shows."""
        return Slice(*self.slices[row].tolist())

    def images_of(self, case: int) -> NDArray[np.uint8]:
        """Read the images of case number `case`, (S, h, w, C), from the file rather than the map.

        The pages of a memory map would stay in the process's memory.
        """
        rows, shape = self.rows_of(case), self.images.shape[1:]
        path = self.path / IMAGES_FILE
        size = int(np.prod(shape))
        start = data_offset(self.images) + rows.start * size
        try:
            values = np.fromfile(path, dtype=np.uint8, count=len(rows) * size, offset=start)
        except OSError as error:
            raise HarmosegError(f"{path}: cannot be read ({error}); {AGAIN}") from error
        return values.reshape(len(rows), *shape)

    def native_label(self, number: int) -> NDArray[np.uint8]:
        """Read the class indices of one case at the resolution of its source, (D, H, W)."""
        case = self.cases[number]
        path = self.path / NATIVE_FOLDER / native_name(number, depth=case.depth)
        try:
            if case.depth == 1:
                with Image.open(path) as picture:
                    label = np.asarray(picture)[None]
            else:
                with np.load(path, allow_pickle=False) as parts:
                    label = parts["label"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise HarmosegError(
                f"{path}: the label of case {case.case!r} cannot be read ({error}); {AGAIN}"
            ) from error
        expected = (case.depth, case.height, case.width)
        if label.shape != expected or label.dtype != np.uint8:
            raise HarmosegError(
                f"{path}: label of case {case.case!r} is {label.dtype} {label.shape}, expected "
                f"uint8 {expected}; {AGAIN}"
            )
        return label


def open_store(path: Path) -> Store:
    """Open a prepared store.

    Raises HarmosegError where the folder is missing, half-written, of another schema version, or
    where its parts do not fit each other.
    """
    info = read_info(path)
    table = path / CASES_FILE
    cases = tuple(
        Case.from_row(row, table)
        for row in read_csv(table, columns=CASE_COLUMNS, what="the table of cases of a store")
    )
    slices = _read_slices(path / SLICES_FILE, cases)
    shape = (len(slices), info.height, info.width)
    images = _map_array(path / IMAGES_FILE, (*shape, info.channels))
    labels = _map_array(path / LABELS_FILE, shape)
    ends = tuple(accumulate(case.slices for case in cases))
    return Store(path, info, cases, slices, images, labels, ends)


def _read_slices(path: Path, cases: tuple[Case, ...]) -> NDArray[np.int64]:
    rows = read_csv(path, columns=SLICE_COLUMNS, what="the table of slices of a store")
    named = [case.case for case in cases for _ in range(case.slices)]
    if [row["case"] for row in rows] != named:
        raise HarmosegError(
            f"{path}: {len(rows)} slices do not fit {CASES_FILE}, which has {len(named)} in its "
            f"order of cases; the store is damaged: {AGAIN}"
        )
    try:
        values = [[int(row[name]) for name in SLICE_FIELDS] for row in rows]
    except ValueError as error:
        raise HarmosegError(f"{path}: {error}; {AGAIN}") from error
    return np.asarray(values, dtype=np.int64).reshape(len(rows), len(SLICE_FIELDS))


def read_info(path: Path) -> StoreInfo:
    """Read what store.json says of a store; raise HarmosegError as `open_store` does."""
    if not path.is_dir():
        raise HarmosegError(f"{path}: no such store; make one with: harmoseg prepare --help")
    file = path / INFO_FILE
    if not file.exists():
        raise HarmosegError(
            f"{path}: not a prepared store, or one that was half written ({INFO_FILE} is "
            "missing); choose a prepared one, or remove it and prepare the store again"
        )
    values = read_json(file, what="the description of a store")
    check_schema(values.get("schema"), SCHEMA, file, cure=AGAIN)
    try:
        return StoreInfo(
            card=card_from_mapping(values["card"]),
            height=int(values["height"]),
            width=int(values["width"]),
            channels=int(values["channels"]),
            counts=dict(values["counts"]),
            fingerprint=str(values["fingerprint"]),
            hashes=dict(values["hashes"]),
            provenance=dict(values["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HarmosegError(f"{file}: field missing or wrong ({error}); {AGAIN}") from error


def data_offset(array: NDArray[np.uint8]) -> int:
    """Return the offset of a memory-mapped array in its file."""
    if not isinstance(array, np.memmap):
        raise TypeError("not a memory map")
    return int(array.offset)


def _map_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        array: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise HarmosegError(
            f"{path}: cannot be read ({error}); the store is damaged: {AGAIN}"
        ) from error
    if array.shape != shape or array.dtype != np.uint8:
        raise HarmosegError(
            f"{path}: {array.dtype} array of shape {array.shape}, expected uint8 {shape} as "
            f"store.json and slices.csv say; the store is damaged: {AGAIN}"
        )
    return array
