"""Reading a prepared store: everything in it, the test split included.

Training does not read stores through here but through `harmoseg.store.training_view`, which has
no way to the test split; the layer contract keeps it so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from harmoseg.errors import HarmosegError
from harmoseg.store.card import card_from_mapping
from harmoseg.store.files import check_schema, read_csv, read_json
from harmoseg.store.layout import (
    CASE_COLUMNS,
    CASES_FILE,
    IMAGES_FILE,
    INFO_FILE,
    LABELS_FILE,
    NATIVE_FOLDER,
    SCHEMA,
    Case,
    Split,
    StoreInfo,
    native_name,
)


@dataclass(frozen=True)
class Store:
    """A prepared store, opened by memory map.

    `images` is (N, H, W, C) uint8 and `labels` (N, H, W) uint8, in the order of `cases`.
    """

    path: Path
    info: StoreInfo
    cases: tuple[Case, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def rows(self, split: Split) -> list[int]:
        """List the row numbers of a split."""
        return [row for row, case in enumerate(self.cases) if case.split == split]

    def native_label(self, row: int) -> NDArray[np.uint8]:
        """Read the class indices of one case at the resolution of its source, (H', W')."""
        path = self.path / NATIVE_FOLDER / native_name(row)
        case = self.cases[row]
        try:
            with Image.open(path) as picture:
                label = np.asarray(picture)
        except (OSError, UnidentifiedImageError) as error:
            raise HarmosegError(
                f"{path}: the label of case {case.case!r} cannot be read ({error}); "
                "prepare the store again"
            ) from error
        if label.shape != (case.height, case.width):
            raise HarmosegError(
                f"{path}: label of case {case.case!r} is {label.shape}, expected "
                f"{(case.height, case.width)}; prepare the store again"
            )
        return label


def open_store(path: Path) -> Store:
    """Open a prepared store.

    Raises HarmosegError where the folder is missing, half-written, of another schema version, or
    where its parts do not fit each other.
    """
    info = _read_info(path)
    table = path / CASES_FILE
    cases = tuple(
        Case.from_row(row, table)
        for row in read_csv(table, columns=CASE_COLUMNS, what="the table of cases of a store")
    )
    shape = (len(cases), info.height, info.width)
    images = _map_array(path / IMAGES_FILE, (*shape, info.channels))
    labels = _map_array(path / LABELS_FILE, shape)
    return Store(path, info, cases, images, labels)


def _describe_groups(store: Store) -> str:
    groups = {case.group for case in store.cases}
    if groups == {case.case for case in store.cases}:
        return "none known: every case is a group of its own"
    return f"{len(groups)}, none of them on two sides"


def _read_info(path: Path) -> StoreInfo:
    again = "prepare the store again"
    if not path.is_dir():
        raise HarmosegError(f"{path}: no such store; make one with: harmoseg prepare --help")
    file = path / INFO_FILE
    if not file.exists():
        raise HarmosegError(
            f"{path}: not a prepared store, or one that was half written ({INFO_FILE} is "
            f"missing); {again}"
        )
    values = read_json(file, what="the description of a store")
    check_schema(values.get("schema"), SCHEMA, file, cure=again)
    try:
        return StoreInfo(
            card=card_from_mapping(values["card"]),
            height=int(values["height"]),
            width=int(values["width"]),
            channels=int(values["channels"]),
            counts=dict(values["counts"]),
            fingerprint=str(values["fingerprint"]),
            provenance=dict(values["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HarmosegError(f"{file}: field missing or wrong ({error}); {again}") from error


def _map_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        array: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise HarmosegError(
            f"{path}: cannot be read ({error}); the store is damaged, prepare it again"
        ) from error
    if array.shape != shape or array.dtype != np.uint8:
        raise HarmosegError(
            f"{path}: {array.dtype} array of shape {array.shape}, expected uint8 {shape} as "
            "store.json and cases.csv say; the store is damaged, prepare it again"
        )
    return array


def describe_store(store: Store) -> str:
    """Say what a store holds: card, counts, sizes, share of the pixels of every class."""
    info, card = store.info, store.info.card
    sizes = {(case.width, case.height) for case in store.cases}
    smallest, largest = min(sizes), max(sizes)
    # Case by case: all labels at once would be eight times their size.
    pixels = sum(
        (np.bincount(label.ravel(), minlength=len(card.classes)) for label in store.labels),
        start=np.zeros(len(card.classes), dtype=np.int64),
    )
    shares = ", ".join(
        f"{name} {100 * count / pixels.sum():.2f} %"
        for name, count in zip(card.classes, pixels, strict=True)
    )
    lines = {
        "dataset": f"{card.title} ({card.modality}, {card.mode})",
        "cases": ", ".join(f"{count} {split}" for split, count in info.counts.items()),
        "groups": _describe_groups(store),
        "training size": f"{info.width} x {info.height} px, {info.channels} channel(s)",
        "native sizes": f"{smallest[0]} x {smallest[1]} to {largest[0]} x {largest[1]} px",
        "pixel shares": shares,
        "licence": card.licence or "not stated",
        "fingerprint": info.fingerprint,
    }
    return "\n".join(f"{name + ':':<15}{text}" for name, text in lines.items())
