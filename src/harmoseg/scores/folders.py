"""Tables of one folder, one or more per method: what the names of folders and files say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.scores.naming import measure_in
from harmoseg.scores.table import IDENTITY, KEYS, Scores

FROM_FILE = "(file)"
"""Method of a table that names none, until its folder or file does."""
_SEED = re.compile(r"(?:seed|rep|run|repeat|trial)[_-]?(\d+)(?!\d)", re.IGNORECASE)
_DATASET = re.compile(r"(?:Task|Dataset)\d{3}_.+")


def join_files(folder: Path, tables: Mapping[Path, Scores], remarks: Sequence[str]) -> Scores:
    """Join the tables of a folder.

    Folders and files that differ name the method, ``seed_1`` or ``rep1`` in them the seed, and
    ``Task001_...`` the test set. Files of one method with different measures are laid side by side.
    Raises HarmosegError where two files hold the same scores.
    """
    labels = {file: _parts(folder, file) for file in tables}
    seeds = _seeds(labels)
    names = _methods(labels, folder)
    joined: dict[tuple[str, str, str], list[Scores]] = {}
    for file, scores in tables.items():
        frame = scores.frame.astype(dict.fromkeys(KEYS, object))
        if set(frame["method"]) == {FROM_FILE}:
            frame["method"] = names[file]
        if set(frame["seed"]) == {"0"}:
            frame["seed"] = seeds[file]
        dataset = next((part for part in labels[file] if _DATASET.fullmatch(part)), "")
        if dataset and set(frame["tested_on"]) == {""}:
            frame["tested_on"] = dataset
        key = ("|".join(sorted(set(frame["method"]))), seeds[file], dataset)
        joined.setdefault(key, []).append(replace(scores, frame=frame))
    parts = [reduce(_beside, found) for found in joined.values()]
    whole = Scores.concat(parts)
    return replace(whole, remarks=tuple(dict.fromkeys([*whole.remarks, *remarks])))


def _beside(left: Scores, right: Scores) -> Scores:
    """Lay two tables of one method side by side: a row has the measures of both."""
    if set(left.measures) & set(right.measures):
        return Scores.concat([left, right])
    keys = list(IDENTITY)
    if left.frame["class"].eq("").all() != right.frame["class"].eq("").all():
        raise HarmosegError("one table of the folder has classes and another has none; read one")
    values = [name for name in right.frame.columns if name not in KEYS]
    frame = pd.merge(
        left.frame.astype(dict.fromkeys(keys, object)),
        right.frame[[*keys, *values]].astype(dict.fromkeys(keys, object)),
        on=keys,
        how="outer",
    )
    for name in ("group", "subset"):
        frame[name] = frame[name].fillna("")
    remarks = (*left.remarks, *right.remarks)
    return Scores.of(frame, {**left.measures, **right.measures}, remarks=remarks)


def _parts(folder: Path, file: Path) -> tuple[str, ...]:
    """Return the folders of a file and its name without the measure."""
    *above, name = file.relative_to(folder).parts
    stem = name.removesuffix(".gz").rsplit(".", 1)[0]
    found = measure_in(re.sub(r"[_-]raw$", "", stem))
    return (*above, stem if found is None else found[1])


def _seeds(labels: Mapping[Path, Sequence[str]]) -> dict[Path, str]:
    """Return the seed that every file names; 0 where the files do not differ in it."""
    found = {file: _SEED.findall("/".join(parts)) for file, parts in labels.items()}
    length = min((len(seeds) for seeds in found.values()), default=0)
    varying = [i for i in range(length) if len({seeds[i] for seeds in found.values()}) > 1]
    return {file: "-".join(seeds[i] for i in varying) or "0" for file, seeds in found.items()}


def _methods(labels: Mapping[Path, tuple[str, ...]], folder: Path) -> dict[Path, str]:
    """Return the method of every file: what differs, without seed and test set."""
    bare = {
        file: [
            "" if _DATASET.fullmatch(part) else _SEED.sub("", part).strip("_- ") for part in parts
        ]
        for file, parts in labels.items()
    }
    depth = max(len(parts) for parts in bare.values())
    padded = {file: [*parts, *[""] * (depth - len(parts))] for file, parts in bare.items()}
    varying = [i for i in range(depth) if len({parts[i] for parts in padded.values()}) > 1]
    return {
        file: "/".join(parts[i] for i in varying if parts[i]) or folder.resolve().name
        for file, parts in padded.items()
    }
