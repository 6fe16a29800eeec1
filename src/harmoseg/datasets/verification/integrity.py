"""Whether a store still is what was written: its hashes, its tables, its label values."""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.verification.findings import Finding
from harmoseg.datasets.verification.subjects import data_offset
from harmoseg.errors import HarmosegError
from harmoseg.files import sha256_of
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
_READ_AT_ONCE = 1 << 22
_PNG_HEAD = struct.Struct(">8sI17sI")
_PNG_CHUNK = struct.Struct(">4sIIBBBBB")
_PNG_END = b"IEND\xaeB`\x82"


def is_whole(path: Path) -> bool:
    """Return whether a store is as it was written, as far as can be seen in a second or two.

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
        with path.open("rb", buffering=0) as stream:
            head = stream.read(_PNG_HEAD.size)
            stream.seek(-len(_PNG_END), 2)
            return head == _png_head(case.width, case.height) and stream.read() == _PNG_END
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def _png_head(width: int, height: int) -> bytes:
    """Return the first bytes of a grey PNG of 8 bits, not interlaced: a store's labels are such."""
    # Compared as bytes: to let Pillow open thousands of files takes a third of a second.
    chunk = _PNG_CHUNK.pack(b"IHDR", width, height, 8, 0, 0, 0, 0)
    return _PNG_HEAD.pack(b"\x89PNG\r\n\x1a\n", 13, chunk, zlib.crc32(chunk))


def check_integrity(store: Store, native_hash: str | None) -> Iterator[Finding]:
    """Compare a store with what its store.json says was written.

    `native_hash` is the hash of all native labels in order, None where some cannot be read (which
    is then reported elsewhere).
    """
    classes = len(store.info.card.classes)
    beyond: set[int] = set()
    # Side by side: a hash leaves Python's lock alone.
    with ThreadPoolExecutor(2) as pool:
        images, labels = pool.map(
            _hash_array,
            (store.path / IMAGES_FILE, store.path / LABELS_FILE),
            (data_offset(store.images), data_offset(store.labels)),
            (None, lambda block: beyond.update(_at_least(classes, block))),
        )
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
    if beyond:
        yield Finding(
            "error",
            "label values",
            (LABELS_FILE,),
            f"value(s) {', '.join(map(str, sorted(beyond)[:5]))}; the card's {classes} classes are "
            f"0 to {classes - 1}",
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


def _hash_array(
    path: Path, offset: int, look: Callable[[NDArray[np.uint8]], None] | None = None
) -> str:
    """Hash the bytes of an array file after its header, and `look` at every block of them."""
    hashed = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            while block := stream.read(_READ_AT_ONCE):
                hashed.update(block)
                if look is not None:
                    look(np.frombuffer(block, np.uint8))
    except OSError as error:
        raise HarmosegError(f"{path}: cannot be read ({error}); {_AGAIN}") from error
    return hashed.hexdigest()


def _at_least(least: int, block: NDArray[np.uint8]) -> set[int]:
    """List the values from `least` up; the largest alone, quickly found, mostly says: none."""
    return set(np.unique(block[block >= least]).tolist()) if block.max() >= least else set()
