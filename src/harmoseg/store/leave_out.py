"""Stores that leave one centre out: its cases are tested, all others are trained on.

The arrays are those of the store they are made of, linked where the file system can; the splits
alone differ, so that training, evaluation and the key of a run need to know nothing of it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from harmoseg.errors import HarmosegError
from harmoseg.files import folder_in_progress, sha256_of, write_csv, write_json
from harmoseg.store.layout import (
    CASE_COLUMNS,
    CASES_FILE,
    IMAGES_FILE,
    INFO_FILE,
    LABELS_FILE,
    NATIVE_FOLDER,
    SCHEMA,
    SLICES_FILE,
    SPLITS,
    Case,
    Split,
)
from harmoseg.store.reading import Store, open_store, read_info
from harmoseg.store.writing import fingerprint_of

LEFT_OUT = "left_out"
"""Field of a store's provenance: the store it was made of, and the centre that is left out."""


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


def leave_centre_out(store: Store, centre: str, out: Path) -> Path:
    """Write the store that tests on one centre and trains on all others; return its path.

    Cases of other centres that validate go on validating. One that is there and the same is left
    as it is. Raises HarmosegError where `out` is something else.
    """
    cases = [replace(case, split=_split(case, centre)) for case in store.cases]
    hashes = dict(store.info.hashes)
    fingerprint = fingerprint_of(cases, hashes, store.info.card)
    if (out / INFO_FILE).exists() and read_info(out).fingerprint == fingerprint:
        return out
    with folder_in_progress(out, mark=INFO_FILE) as folder:
        for name in (IMAGES_FILE, LABELS_FILE, SLICES_FILE):
            _link(store.path / name, folder / name)
        shutil.copytree(store.path / NATIVE_FOLDER, folder / NATIVE_FOLDER, copy_function=_link)
        write_csv(folder / CASES_FILE, CASE_COLUMNS, (case.to_row() for case in cases))
        hashes[CASES_FILE] = sha256_of(folder / CASES_FILE)
        counts = Counter(case.split for case in cases)
        left_out = {"store": store.path.resolve().name, "centre": centre}
        write_json(
            folder / INFO_FILE,
            {
                "schema": SCHEMA,
                "card": asdict(store.info.card),
                "height": store.info.height,
                "width": store.info.width,
                "channels": store.info.channels,
                "counts": {split: counts[split] for split in SPLITS if counts[split]},  # type: ignore[index]
                "fingerprint": fingerprint,
                "hashes": hashes,
                "provenance": {**store.info.provenance, LEFT_OUT: left_out},
            },
        )
    return out


def leave_each_centre_out(path: Path, folder: Path) -> list[Path]:
    """Write a store for every centre of a store into a folder; return their paths."""
    store = open_store(path)
    name = path.resolve().name
    return [
        leave_centre_out(store, centre, folder / f"{name}-without-{_readable(centre, number)}")
        for number, centre in enumerate(centres_of(store), 1)
    ]


def _split(case: Case, centre: str) -> Split:
    if case.subset == centre:
        return "test"
    return "val" if case.split == "val" else "train"


def _readable(centre: str, number: int) -> str:
    """Name a centre by letters and digits, which alone reach the file system."""
    return re.sub(r"[^A-Za-z0-9]+", "-", centre).strip("-") or str(number)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
