"""What can be verified, a dataset's own files or a prepared store, seen in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.sources import Listing, SourceCase
from harmoseg.errors import HarmosegError
from harmoseg.store.card import Card
from harmoseg.store.layout import IMAGES_FILE, Slice
from harmoseg.store.reading import AGAIN, Store

Kind = Literal["source", "store"]


@dataclass(frozen=True)
class View:
    """One case in memory.

    `images` is (S, h, w, C) uint8, as in the source or at training resolution, and `label`
    (D, H, W) the class indices at the source's resolution. `windows` say which part of the label
    each image shows. `spacing` and `affine` are those of `Case`, `remark` is that of `Sample`.
    """

    images: NDArray[np.uint8]
    label: NDArray[np.uint8]
    windows: tuple[Slice, ...]
    spacing: tuple[float, ...]
    affine: tuple[float, ...]
    remark: str = ""


@dataclass(frozen=True)
class SubjectCase:
    """One case: who it is, and how to see it; `view` raises HarmosegError for what is wrong.

    `memory` is that of `SourceCase`.
    """

    case: str
    group: str
    split: str
    subset: str
    image: str
    view: Callable[[], View]
    memory: int = 0


@dataclass(frozen=True)
class Subject:
    """What is verified; `name` is that of its folder, `remarks` are what its reader says."""

    kind: Kind
    name: str
    card: Card
    cases: tuple[SubjectCase, ...]
    remarks: tuple[str, ...] = ()


def subject_of_listing(listing: Listing, name: str) -> Subject:
    """See the cases of a source as they are in its files."""
    card = listing.survey() if listing.survey is not None else listing.card
    cases = tuple(
        SubjectCase(
            item.case,
            item.group,
            item.split,
            item.subset,
            item.image,
            partial(_view_source, item),
            item.memory,
        )
        for item in listing.cases
    )
    return Subject("source", name, card, cases, listing.remarks)


def subject_of_store(store: Store) -> Subject:
    """See the cases of a store: images at training resolution, labels at that of the source."""
    cases = tuple(
        SubjectCase(
            item.case,
            item.group,
            item.split,
            item.subset,
            item.image,
            partial(_view_store, store, number),
        )
        for number, item in enumerate(store.cases)
    )
    remarks = tuple(map(str, store.info.provenance.get("remarks", ())))
    return Subject("store", store.path.resolve().name, store.info.card, cases, remarks)


def data_offset(array: NDArray[np.uint8]) -> int:
    """Return the offset of a memory-mapped array in its file."""
    if not isinstance(array, np.memmap):
        raise TypeError("not a memory map")
    return int(array.offset)


def _view_source(case: SourceCase) -> View:
    sample = case.read()
    if sample.image.shape[:3] != sample.label.shape:
        raise HarmosegError(
            f"{case.image}: image of shape {sample.image.shape[:3]}, mask {case.mask} of shape "
            f"{sample.label.shape}; both must cover the same pixels: export them from one frame"
        )
    depth, height, width = sample.label.shape
    windows = tuple(Slice(plane, 0, 0, height, width, 0) for plane in range(depth))
    return View(sample.image, sample.label, windows, sample.spacing, sample.affine, sample.remark)


def _view_store(store: Store, number: int) -> View:
    case = store.cases[number]
    rows = store.rows_of(number)
    shape = store.images.shape[1:]
    size = int(np.prod(shape))
    path = store.path / IMAGES_FILE
    try:
        # Read as a file: the pages of a memory map would stay in the process's memory.
        images = np.fromfile(
            path,
            dtype=np.uint8,
            count=len(rows) * size,
            offset=data_offset(store.images) + rows.start * size,
        )
    except OSError as error:
        raise HarmosegError(f"{path}: cannot be read ({error}); {AGAIN}") from error
    return View(
        images.reshape(len(rows), *shape),
        store.native_label(number),
        tuple(store.slice(row) for row in rows),
        case.spacing,
        case.affine,
    )
