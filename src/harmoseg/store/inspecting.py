"""Description of a prepared store in words, and checks that it is as it was written."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
    StoreInfo,
    native_name,
)
from harmoseg.store.reading import AGAIN, Store, data_offset, open_store

UNEDITED = f"{AGAIN}; nothing in it is meant to be edited"
"""The cure of a store that is not what was written."""
_READ_AT_ONCE = 1 << 22
_PNG_END = b"IEND\xaeB`\x82"


def describe_store(store: Store) -> str:
    """Describe a store: card, counts, sizes, share of the pixels of every class."""
    info, card = store.info, store.info.card
    pixels = _count_pixels(store)
    shares = ", ".join(
        f"{name} {100 * count / pixels.sum():.2f} %"
        for name, count in zip(card.classes, pixels, strict=True)
    )
    lines = {
        "dataset": f"{card.title} ({card.modality}, {card.mode})",
        "cases": info.told_counts(),
        "subsets": describe_subsets(case.subset for case in store.cases),
        "groups": _describe_groups(store),
        "slices": _describe_slices(store),
        "training size": f"{info.width} x {info.height} px, {info.channels} channel(s)",
        "native sizes": describe_shapes(
            (case.depth, case.height, case.width) for case in store.cases
        ),
        "spacing": describe_spacings([case.spacing for case in store.cases]),
        "pixel shares": shares,
        "licence": card.licence or "not stated",
        "notes": card.notes,
        "this copy": "; ".join(remarks_of(info)),
        "fingerprint": info.fingerprint,
    }
    return "\n".join(f"{name + ':':<15}{text}" for name, text in lines.items() if text)


def remarks_of(info: StoreInfo) -> list[str]:
    """Return remarks on this copy: missing cases, and what its reader found."""
    missing = [
        f"{info.counts.get(split, 0)} of {expected} {split}"
        for split, expected in info.card.counts.items()
        if info.counts.get(split, 0) < expected
    ]
    incomplete = [f"not all cases are in it: {', '.join(missing)}"] if missing else []
    return [*incomplete, *map(str, info.provenance.get("remarks", ()))]


def describe_subsets(names: Iterable[str]) -> str:
    """Count the cases of each subset, given the subset of each case."""
    counts = Counter(name for name in names if name)
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def describe_shapes(shapes: Iterable[tuple[int, ...]]) -> str:
    """Return the range of widths, heights and depths of shapes (depth, height, width)."""
    known = np.asarray(sorted(set(shapes)))[:, ::-1]
    axes = ("width", "height", "depth") if (known[:, 2] > 1).any() else ("width", "height")
    spans = [
        str(low) if low == high else f"{low}-{high}"
        for low, high in zip(known.min(0), known.max(0), strict=True)
    ][: len(axes)]
    unit = "voxels" if len(axes) == 3 else "px"
    return f"{' x '.join(spans)} {unit}" + ("" if len(known) == 1 else f" ({', '.join(axes)})")


def describe_spacings(spacings: Sequence[tuple[float, ...]]) -> str:
    """Return the range of spacings (depth, height, width); empty where none is known."""
    known = np.asarray([spacing[::-1] for spacing in spacings if spacing])
    if not len(known):
        return ""
    ranges = [
        f"{low:.2f}" if np.isclose(low, high) else f"{low:.2f}-{high:.2f}"
        for low, high in zip(known.min(0), known.max(0), strict=True)
    ]
    return f"{' x '.join(ranges)} mm (width, height, depth)"


def _count_pixels(store: Store) -> NDArray[np.int64]:
    """Count the pixels of every class over all slices, at training resolution."""
    classes = len(store.info.card.classes)
    # Slice by slice: all labels at once would be eight times their size.
    return sum(
        (np.bincount(label.ravel(), minlength=classes) for label in store.labels),
        start=np.zeros(classes, dtype=np.int64),
    )


def _describe_groups(store: Store) -> str:
    groups = {case.group for case in store.cases}
    if groups == {case.case for case in store.cases}:
        return "none known: every case is a group of its own"
    return f"{len(groups)}, none of them on two sides"


def _describe_slices(store: Store) -> str:
    if len(store.slices) == len(store.cases):
        return ""
    empty = int((store.slices[:, -1] == 0).sum())
    rule = "not trained on" if store.info.card.empty_slices == "drop" else "kept"
    return f"{len(store.slices)}, {empty} of them without foreground ({rule} in training)"


class Damage(NamedTuple):
    """One thing that is not as it was written: the check that found it, where, and what."""

    check: str
    where: tuple[str, ...]
    found: str


def is_whole(path: Path) -> bool:
    """Return whether a store is as it was written, as far as can be seen in a second or two.

    Tables and arrays are hashed. Of the native labels, which it would take long to decode, only
    size and form are looked at; `check_integrity` with their hash sees all.
    """
    try:
        store = open_store(path)
        if any(check_integrity(store, None)):
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
        with path.open("rb") as stream, Image.open(stream, formats=["PNG"]) as picture:
            stream.seek(-len(_PNG_END), 2)
            whole = stream.read() == _PNG_END
            return whole and (picture.mode, picture.size) == ("L", (case.width, case.height))
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def check_integrity(store: Store, native_hash: str | None) -> Iterator[Damage]:
    """Compare a store with what its store.json says was written.

    `native_hash` is the hash of all native labels in order, None where some cannot be read (which
    is then reported elsewhere).
    """
    classes = len(store.info.card.classes)
    # Side by side: a hash leaves Python's lock alone.
    with ThreadPoolExecutor(2) as pool:
        images, labels = pool.map(
            _hash_array,
            (store.path / IMAGES_FILE, store.path / LABELS_FILE),
            (store.images, store.labels),
            (256, classes),
        )
    found = {
        CASES_FILE: sha256_of(store.path / CASES_FILE),
        SLICES_FILE: sha256_of(store.path / SLICES_FILE),
        IMAGES_FILE: images[0],
        LABELS_FILE: labels[0],
        NATIVE_FOLDER: native_hash,
    }
    for part, digest in found.items():
        recorded = store.info.hashes.get(part)
        if digest is not None and recorded != digest:
            changed = f"sha256 {digest[:12]}, recorded {str(recorded)[:12]}"
            yield Damage("hashes", (part,), f"changed since it was written: {changed}")
    if beyond := sorted(labels[1]):
        listed = ", ".join(map(str, beyond[:5]))
        allowed = f"the card's {classes} classes are 0 to {classes - 1}"
        yield Damage("label values", (LABELS_FILE,), f"value(s) {listed}; {allowed}")
    counts = dict(Counter(case.split for case in store.cases))
    if dict(store.info.counts) != counts:
        told = f"{counts} in the table, store.json says {dict(store.info.counts)}"
        yield Damage("counts", (CASES_FILE,), told)
    yield from _check_windows(store)


def _check_windows(store: Store) -> Iterator[Damage]:
    """Find rows of slices.csv that show a part that the case does not have."""
    column = {name: store.slices[:, i] for i, name in enumerate(SLICE_FIELDS)}
    owners = np.repeat(np.arange(len(store.cases)), [case.slices for case in store.cases])
    sizes = [(case.depth, case.height, case.width) for case in store.cases]
    depth, height, width = np.asarray(sizes)[owners].T
    inside = (column["plane"] >= 0) & (column["plane"] < depth)
    for start, length, limit in (("top", "height", height), ("left", "width", width)):
        inside &= (column[start] >= 0) & (column[length] > 0)
        inside &= column[start] + column[length] <= limit
    if not inside.all():
        where = tuple(store.cases[number].case for number in np.unique(owners[~inside]))
        rows = f"{int((~inside).sum())} row(s) of {SLICES_FILE}"
        yield Damage("slices", where, f"{rows} show a part that the case does not have")


def _hash_array(path: Path, array: NDArray[np.uint8], limit: int) -> tuple[str, set[int]]:
    """Hash the bytes of an array's file after its header; list the values from `limit` up."""
    hashed = hashlib.sha256()
    beyond: set[int] = set()
    try:
        with path.open("rb") as stream:
            stream.seek(data_offset(array))
            while block := stream.read(_READ_AT_ONCE):
                hashed.update(block)
                values = np.frombuffer(block, np.uint8)
                if int(values.max()) >= limit:  # mostly not, which is quickly found
                    beyond.update(np.unique(values[values >= limit]).tolist())
    except OSError as error:
        raise HarmosegError(f"{path}: cannot be read ({error}); {UNEDITED}") from error
    return hashed.hexdigest(), beyond
