"""Cases to verify, of a dataset's files or of a store, and the facts of each.

Facts are gathered in one pass over the data and in constant memory.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from harmoseg.datasets.similarity import Fingerprint, Fingerprints, fingerprint
from harmoseg.datasets.sources import Listing, SourceCase, in_parallel
from harmoseg.errors import HarmosegError
from harmoseg.store.layout import Case, Slice
from harmoseg.store.reading import Store

_COUNTED_AT_ONCE = 1 << 20


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
class VerifiedCase:
    """One case and how to see it; `view` raises HarmosegError for what is wrong.

    `memory` is that of `SourceCase`.
    """

    item: SourceCase | Case
    view: Callable[[], View]
    memory: int = 0


def cases_of_listing(listing: Listing) -> tuple[VerifiedCase, ...]:
    """See the cases of a source as they are in its files."""
    return tuple(
        VerifiedCase(item, partial(_view_source, item), item.memory) for item in listing.cases
    )


def cases_of_store(store: Store) -> tuple[VerifiedCase, ...]:
    """See the cases of a store: images at training resolution, labels at that of the source."""
    return tuple(
        VerifiedCase(item, partial(_view_store, store, number))
        for number, item in enumerate(store.cases)
    )


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
    windows = tuple(store.slice(row) for row in store.rows_of(number))
    images, label = store.images_of(number), store.native_label(number)
    return View(images, label, windows, case.spacing, case.affine)


@dataclass(frozen=True)
class CaseFacts:
    """Facts of one case.

    `problem` says why the case cannot be read, and all that follows it is then empty. `remark` is
    that of `Sample`. `shape` is (D, H, W) of the label and `image_size` (h, w) of the images;
    `orientation` is where the voxel axes (width, height, depth) point, such as ``LPS``, empty
    without an affine. `pixels` counts the pixels of each label value at the source's resolution,
    from 0 to the highest there is. `low` and `high` are the extremes of the 8-bit intensities.
    `digest` and `label_digest` are hashes of the decoded pixels. `slices` counts the images,
    `featureless` those that show too little to be compared with others.
    """

    case: str
    group: str
    split: str
    subset: str
    image: str
    problem: str = ""
    remark: str = ""
    shape: tuple[int, ...] = ()
    image_size: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    orientation: str = ""
    pixels: tuple[int, ...] = ()
    low: int = 0
    high: int = 0
    digest: str = ""
    label_digest: str = ""
    slices: int = 0
    featureless: int = 0


@dataclass(frozen=True)
class Gathered:
    """The facts of all cases in order, and the fingerprints of their slices by split.

    `labels_hash` is that of the bytes of all labels, in the order of the cases.
    """

    facts: tuple[CaseFacts, ...]
    fingerprints: Mapping[str, Fingerprints] = field(default_factory=dict)
    labels_hash: str = ""


def gather(cases: Sequence[VerifiedCase]) -> Gathered:
    """Look at every case once; one that cannot be read becomes a fact, not an exception.

    Of a case only its facts and the fingerprints of its slices are kept, 800 bytes each.
    """
    facts: list[CaseFacts] = []
    prints: dict[str, Fingerprints] = defaultdict(Fingerprints)
    labels = hashlib.sha256()
    looked = in_parallel(_look_at, cases, "verifying", memory=lambda item: item.memory)
    for number, (found, marks, label) in enumerate(looked):
        facts.append(found)
        for place, mark in enumerate(marks):
            if mark is not None:
                prints[found.split].add((number, place), mark)
        if label is not None:
            labels.update(np.ascontiguousarray(label).data)
    return Gathered(tuple(facts), prints, labels.hexdigest())


def _look_at(
    verified: VerifiedCase,
) -> tuple[CaseFacts, list[Fingerprint | None], NDArray[np.uint8] | None]:
    item = verified.item
    known = (item.case, item.group, item.split, item.subset, item.image)
    try:
        view = verified.view()
    except HarmosegError as error:
        return CaseFacts(*known, problem=str(error)), [], None
    marks = [fingerprint(image) for image in view.images]
    facts = CaseFacts(
        *known,
        remark=view.remark,
        shape=view.label.shape,
        image_size=view.images.shape[1:3],
        spacing=view.spacing,
        orientation=_orientation(view),
        pixels=_count(view.label),
        low=int(view.images.min()),
        high=int(view.images.max()),
        digest=_digest(view.images),
        label_digest=_digest(view.label),
        slices=len(view.images),
        featureless=sum(mark is None for mark in marks),
    )
    return facts, marks, view.label


def _orientation(view: View) -> str:
    if not view.affine:
        return ""
    rows = np.asarray(view.affine).reshape(3, 4)
    if not np.isfinite(rows).all():
        return "???"
    return "".join(str(code or "?") for code in aff2axcodes(np.vstack([rows, [0, 0, 0, 1]])))


def _count(label: NDArray[np.uint8]) -> tuple[int, ...]:
    flat = label.reshape(-1)
    counts = np.zeros(256, dtype=np.int64)
    # In parts: bincount makes eight bytes of every one.
    for start in range(0, len(flat), _COUNTED_AT_ONCE):
        counts += np.bincount(flat[start : start + _COUNTED_AT_ONCE], minlength=256)
    return tuple(counts[: int(np.flatnonzero(counts).max(initial=0)) + 1].tolist())


def _digest(pixels: NDArray[np.uint8]) -> str:
    """Hash pixels and their shape; the same picture in two file formats has one digest."""
    hashed = hashlib.sha256(repr(pixels.shape).encode())
    hashed.update(np.ascontiguousarray(pixels).data)
    return hashed.hexdigest()
