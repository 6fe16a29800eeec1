"""Whether a store still is what was written: its hashes, its tables, its label values."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from harmoseg.datasets.verification.findings import Finding
from harmoseg.datasets.verification.subjects import data_offset
from harmoseg.errors import HarmosegError
from harmoseg.store.files import sha256_of
from harmoseg.store.layout import (
    CASES_FILE,
    IMAGES_FILE,
    LABELS_FILE,
    NATIVE_FOLDER,
    SLICE_FIELDS,
    SLICES_FILE,
    Case,
    native_name,
)
from harmoseg.store.reading import AGAIN, Store, open_store

_AGAIN = f"{AGAIN}; nothing in it is meant to be edited"
_READ_AT_ONCE = 1 << 24
_PNG_END = b"IEND\xaeB`\x82"


def is_whole(path: Path) -> bool:
    """Say whether a store is as it was written, as far as can be seen in a second or two.

    Tables and arrays are hashed. Of the native labels, which it would take long to decode, only
    size and form are looked at; `check_integrity` with their hash sees all.
    """
    try:
        store = open_store(path)
        if any(True for _ in check_integrity(store, None)):
            return False
    except HarmosegError:
        return False
    return all(
        is_native_label(path / NATIVE_FOLDER / native_name(number, depth=case.depth), case)
        for number, case in enumerate(store.cases)
    )


def is_native_label(path: Path, case: Case) -> bool:
    """Look at the beginning and the end of a label's file: is it one, of this size, not cut off?"""
    try:
        if case.depth > 1:
            with zipfile.ZipFile(path) as parts:  # its table of contents stands at the end
                size = parts.getinfo("label.npy").file_size
            return size > case.depth * case.height * case.width
        with path.open("rb") as stream, Image.open(stream) as picture:
            stream.seek(-len(_PNG_END), 2)
            return picture.size == (case.width, case.height) and stream.read() == _PNG_END
    except (OSError, UnidentifiedImageError, KeyError, zipfile.BadZipFile):
        return False


def check_integrity(store: Store, native_hash: str | None) -> Iterator[Finding]:
    """Compare a store with what its store.json says was written.

    `native_hash` is the hash of all native labels in order, None where some cannot be read (which
    is then reported elsewhere).
    """
    images = _hash_array(store.path / IMAGES_FILE, data_offset(store.images))
    present = np.zeros(256, dtype=bool)
    labels = _hash_array(store.path / LABELS_FILE, data_offset(store.labels), present)
    found = {
        CASES_FILE: sha256_of(store.path / CASES_FILE),
        SLICES_FILE: sha256_of(store.path / SLICES_FILE),
        IMAGES_FILE: images,
        LABELS_FILE: labels,
    }
    if native_hash is not None:
        found[NATIVE_FOLDER] = native_hash
    for part, digest in found.items():
        recorded = store.info.hashes.get(part)
        if recorded != digest:
            yield Finding(
                "error",
                "hashes",
                (part,),
                f"changed since it was written: sha256 {digest[:12]}, recorded "
                f"{str(recorded)[:12]}",
                _AGAIN,
            )
    classes = len(store.info.card.classes)
    beyond = np.flatnonzero(present[classes:]) + classes
    if len(beyond):
        yield Finding(
            "error",
            "label values",
            (LABELS_FILE,),
            f"value(s) {', '.join(map(str, beyond[:5]))}; the card's {classes} classes are 0 to "
            f"{classes - 1}",
            _AGAIN,
        )
    counts = Counter(case.split for case in store.cases)
    if dict(store.info.counts) != dict(counts):
        yield Finding(
            "error",
            "counts",
            (CASES_FILE,),
            f"{dict(counts)} in the table, store.json says {dict(store.info.counts)}",
            _AGAIN,
        )
    yield from _check_windows(store)


def _check_windows(store: Store) -> Iterator[Finding]:
    column = {name: store.slices[:, i] for i, name in enumerate(SLICE_FIELDS)}
    repeats = [case.slices for case in store.cases]
    limit = {
        name: np.repeat([getattr(case, name) for case in store.cases], repeats)
        for name in ("depth", "height", "width")
    }
    inside = (column["plane"] >= 0) & (column["plane"] < limit["depth"])
    for start, length in (("top", "height"), ("left", "width")):
        inside &= (column[start] >= 0) & (column[length] > 0)
        inside &= column[start] + column[length] <= limit[length]
    owners = np.repeat(np.arange(len(store.cases)), repeats)
    outside = [store.cases[number].case for number in np.unique(owners[~inside])]
    if outside:
        yield Finding(
            "error",
            "slices",
            tuple(outside),
            f"{int((~inside).sum())} row(s) of {SLICES_FILE} show a part that the case does not "
            "have",
            _AGAIN,
        )


def _hash_array(path: Path, offset: int, present: NDArray[np.bool_] | None = None) -> str:
    """Hash the bytes of an array file after its header, and mark the values `present` in it."""
    hashed = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            while block := stream.read(_READ_AT_ONCE):
                hashed.update(block)
                if present is not None:
                    # Indexing with the bytes marks them without the eight bytes each of a count.
                    present[np.frombuffer(block, np.uint8)] = True
    except OSError as error:
        raise HarmosegError(f"{path}: cannot be read ({error}); {_AGAIN}") from error
    return hashed.hexdigest()
