"""Writing a prepared store, case by case, in constant memory; stores that leave one centre out.

A store that leaves a centre out tests on its cases and trains on all others. Its arrays are those
of the store that it is made of, linked where the file system can; the splits alone differ, so that
training, evaluation and the key of a run need to know nothing of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmoseg.errors import HarmosegError
from harmoseg.files import folder_in_progress, read_csv, sha256_of, write_csv, write_json
from harmoseg.store.card import Card
from harmoseg.store.layout import (
    CASE_COLUMNS,
    CASES_FILE,
    IMAGES_FILE,
    INFO_FILE,
    LABELS_FILE,
    NATIVE_FOLDER,
    SCHEMA,
    SLICE_COLUMNS,
    SLICES_FILE,
    SPLITS,
    Case,
    Slice,
    Split,
    native_name,
)
from harmoseg.store.reading import Store, open_store, read_info
from harmoseg.store.tiling import CutSample

LEFT_OUT = "left_out"
"""Field of a store's provenance: the store it was made of, and the centre that is left out."""
_ARRAYS = (SLICES_FILE, IMAGES_FILE, LABELS_FILE, NATIVE_FOLDER)
"""The parts that stores of the same pictures share, whatever their splits."""
_NOT_CONTENT = {"image": "", "mask": "", "sha256": ""}
_LOOKED_FOR = 20


class StoreWriter:
    """Append cases to a store that is being made; use `writing_store` to get one."""

    def __init__(self, folder: Path, card: Card, shape: tuple[int, int, int]) -> None:
        self._folder = folder
        self._card = card
        self._shape = shape
        self._cases: list[Case] = []
        self._slices: list[tuple[str, Slice]] = []
        self._native_hash = hashlib.sha256()
        self._images = _GrowingArray(folder / IMAGES_FILE, shape)
        self._labels = _GrowingArray(folder / LABELS_FILE, shape[:2])
        (folder / NATIVE_FOLDER).mkdir()

    def add(self, case: Case, cut: CutSample, native: NDArray[np.uint8]) -> None:
        """Add the next case: its slices, and its `native` labels (D, H, W) as in the source."""
        name = native_name(len(self._cases), depth=case.depth)
        path = self._folder / NATIVE_FOLDER / name
        if case.depth == 1:
            Image.fromarray(native[0]).save(path, compress_level=1)
        else:
            np.savez_compressed(path, label=native)
        self._native_hash.update(native.tobytes())
        self._images.append(cut.images)
        self._labels.append(cut.labels)
        self._cases.append(case)
        self._slices.extend((case.case, item) for item in cut.slices)

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Write the tables and, last, store.json. Raises HarmosegError where no case was added."""
        if not self._cases:
            raise HarmosegError("no case was added: a store needs one or more")
        self._images.finish()
        self._labels.finish()
        rows = ({"case": name, **asdict(item)} for name, item in self._slices)
        write_csv(self._folder / SLICES_FILE, SLICE_COLUMNS, rows)
        hashes = {
            SLICES_FILE: sha256_of(self._folder / SLICES_FILE),
            IMAGES_FILE: self._images.hash.hexdigest(),
            LABELS_FILE: self._labels.hash.hexdigest(),
            NATIVE_FOLDER: self._native_hash.hexdigest(),
        }
        _describe(self._folder, self._cases, self._card, self._shape, hashes, provenance)

    def close(self) -> None:
        """Close the files."""
        self._images.stream.close()
        self._labels.stream.close()


@contextmanager
def writing_store(
    out: Path, card: Card, *, shape: tuple[int, int, int], overwrite: bool = False
) -> Iterator[StoreWriter]:
    """Make the store `out` with slices of `shape` (H, W, C).

    The folder appears under its name only after the block has ended well; the block must call
    `StoreWriter.finish`.
    """
    with folder_in_progress(out, mark=INFO_FILE, overwrite=overwrite) as folder:
        with closing(StoreWriter(folder, card, shape)) as writer:
            yield writer
        if not (folder / INFO_FILE).exists():
            raise RuntimeError("StoreWriter.finish was not called")


def _describe(
    folder: Path,
    cases: Sequence[Case],
    card: Card,
    shape: tuple[int, int, int],
    hashes: Mapping[str, str],
    provenance: Mapping[str, Any],
) -> None:
    """Write the table of cases and, last, store.json; `hashes` are those of the other parts."""
    write_csv(folder / CASES_FILE, CASE_COLUMNS, (case.to_row() for case in cases))
    counts: Counter[str] = Counter(case.split for case in cases)
    height, width, channels = shape
    write_json(
        folder / INFO_FILE,
        {
            "schema": SCHEMA,
            "card": asdict(card),
            "height": height,
            "width": width,
            "channels": channels,
            "counts": {split: counts[split] for split in SPLITS if counts[split]},
            "fingerprint": _fingerprint(cases, hashes, card),
            "hashes": {
                CASES_FILE: sha256_of(folder / CASES_FILE),
                **{name: hashes[name] for name in _ARRAYS},
            },
            "provenance": dict(provenance),
        },
    )


def _fingerprint(cases: Sequence[Case], hashes: Mapping[str, str], card: Card) -> str:
    """Return the hash of everything that can change a result; see `StoreInfo`."""
    # By content: the same pictures under other file names are the same data.
    contents = [{**row.to_row(), **_NOT_CONTENT} for row in cases]
    determining = [
        json.dumps(contents, sort_keys=True),
        *(hashes[name] for name in _ARRAYS),
        card.mode,
        *card.classes,
    ]
    return hashlib.sha256("\n".join(determining).encode()).hexdigest()


class _GrowingArray:
    """A .npy file of uint8 that grows along its first axis, hashed as it is written.

    Written as a plain stream rather than through a memory map, whose pages would stay in the
    process's memory until the system takes them back.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.hash = hashlib.sha256()
        self.stream = path.open("wb")
        self._shape = shape
        self._count = 0
        self._write_header()

    def append(self, rows: NDArray[np.uint8]) -> None:
        """Write rows (n, *shape)."""
        if rows.shape[1:] != self._shape or rows.dtype != np.uint8:
            raise HarmosegError(
                f"{rows.dtype} rows of shape {rows.shape[1:]}, expected uint8 {self._shape}"
            )
        data = np.ascontiguousarray(rows).data
        self.stream.write(data)
        self.hash.update(data)
        self._count += len(rows)

    def finish(self) -> None:
        """Write the header anew, now with the final number of rows."""
        self.stream.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        # NumPy pads headers so that the first axis can grow without a change of length.
        buffer = io.BytesIO()
        fields = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._shape)}
        np.lib.format.write_array_header_1_0(buffer, fields)
        self.stream.write(buffer.getvalue())


def check_apart(out: Path, *inputs: Path) -> None:
    """Raise HarmosegError where an output and one of the inputs lie one in the other.

    A second call would take what the first one wrote for images.
    """
    outside = out.resolve()
    for source in inputs:
        inside = source.resolve()
        if outside.is_relative_to(inside) or inside.is_relative_to(outside):
            raise HarmosegError(
                f"{out}: the output and the input {source} lie one in the other, so that a second "
                "call would take what was written for images; choose an output beside the input"
            )


def check_apart_from_sources(out: Path, store: Path) -> None:
    """Raise HarmosegError where an output would lie among the images or masks of a store.

    A store does not know where its sources lie: they are looked for around the output, by the
    names that the store has of them.
    """
    if not (store / CASES_FILE).is_file():
        return  # no store: the command itself says so, in better words
    rows = read_csv(store / CASES_FILE, columns=("image", "mask"), what="the cases of a store")
    place = out.resolve()
    for column in ("image", "mask") if rows else ():
        names = [row[column] for row in rows]
        # As of absolute paths: a file in the root itself has no folder, and no path in common.
        shared = posixpath.commonpath([f"/{posixpath.dirname(name)}" for name in names])[1:]
        for above in (place, *place.parents):
            if place.is_relative_to(above / shared) and any(
                name and (above / name).is_file() for name in names[:_LOOKED_FOR]
            ):
                check_apart(out, above / shared)


def centres_of(store: Store) -> list[str]:
    """Return the centres (`subset`) of a store.

    Raises HarmosegError where fewer than two are named, where a case names none, and where a
    patient has cases in two centres.
    """
    centres = sorted({case.subset for case in store.cases if case.subset})
    if len(centres) < 2:
        found = f"only {centres[0]!r}" if centres else "none"
        raise HarmosegError(
            f"{store.path}: leaving one centre out needs two or more, and its cases name {found} "
            "(column subset of cases.csv); prepare it with a subset for every case"
        )
    unnamed = [case.case for case in store.cases if not case.subset]
    if unnamed:
        raise HarmosegError(
            f"{store.path}: {len(unnamed)} case(s) name no centre, {unnamed[0]!r} first; give "
            "every case a subset"
        )
    of_group: dict[str, str] = {}
    for case in store.cases:
        if of_group.setdefault(case.group, case.subset) != case.subset:
            raise HarmosegError(
                f"{store.path}: patient {case.group!r} has cases in the centres "
                f"{of_group[case.group]!r} and {case.subset!r}; a patient must be in one"
            )
    return centres


def leave_each_centre_out(path: Path, folder: Path) -> list[Path]:
    """Write a store for every centre of a store into a folder; return their paths."""
    store = open_store(path)
    made = []
    for number, centre in enumerate(centres_of(store), 1):
        # Letters and digits alone reach the file system.
        readable = re.sub(r"[^A-Za-z0-9]+", "-", centre).strip("-") or number
        out = folder / f"{path.resolve().name}-without-{readable}"
        made.append(leave_centre_out(store, centre, out))
    return made


def leave_centre_out(store: Store, centre: str, out: Path) -> Path:
    """Write the store that tests on one centre and trains on all others; return its path.

    Cases of other centres that validate go on validating. One that is there and the same is left
    as it is. Raises HarmosegError where `out` is something else.
    """
    info = store.info
    cases = [replace(case, split=_side(case, centre)) for case in store.cases]
    if (out / INFO_FILE).exists():
        there = read_info(out).fingerprint
        if there == _fingerprint(cases, info.hashes, info.card):
            return out
    with folder_in_progress(out, mark=INFO_FILE) as folder:
        for name in (IMAGES_FILE, LABELS_FILE, SLICES_FILE):
            _link(store.path / name, folder / name)
        shutil.copytree(store.path / NATIVE_FOLDER, folder / NATIVE_FOLDER, copy_function=_link)
        left_out = {"store": store.path.resolve().name, "centre": centre}
        shape = (info.height, info.width, info.channels)
        provenance = {**info.provenance, LEFT_OUT: left_out}
        _describe(folder, cases, info.card, shape, info.hashes, provenance)
    return out


def _side(case: Case, centre: str) -> Split:
    if case.subset == centre:
        return "test"
    return "val" if case.split == "val" else "train"


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
