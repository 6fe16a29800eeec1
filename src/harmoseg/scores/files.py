"""Scores on disk: ``scores.csv`` with what lies beside it, and files of others."""

from __future__ import annotations

import gzip
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError, listed
from harmoseg.files import make_folder, write_bytes
from harmoseg.metrics.measures import Measure, declare_measure, known_measure
from harmoseg.scores.foreign import (
    Columns,
    Reading,
    clean_cases,
    to_long,
)
from harmoseg.scores.naming import FROM_FILE, join_files, plain
from harmoseg.scores.nnunet import SUMMARY_FILE, is_summary, is_summary_of_means, read_summaries
from harmoseg.scores.sheets import (
    ENDINGS,
    frame_of_json,
    read_bytes,
    read_json,
    read_sheet,
    read_table,
    without_empty_rows,
)
from harmoseg.scores.summaries import drop_background, drop_summaries
from harmoseg.scores.table import BACKGROUND, COUNTS, KEYS, Scores, natural_order

SCORES_FILE = "scores.csv"
RINGS_FILE = "rings.csv"
BINS_FILE = "bins.csv"
EXAMPLE_FILE = Path(__file__).parent / "examples" / "polyps.csv.gz"
"""Networks trained out on Kvasir-SEG, tested there and on ETIS-Larib; from results/trained-out."""
Paths = str | Path | Sequence[str | Path]
Lookup = Mapping[str, str] | str | Path
_LOG = logging.getLogger(__name__)
_PACKED = ".gz"
_OLD_RESULTS = ("trained_on", "method", "seed", "tested_on", "condition", "case", "class")
"""Header of ``results.csv`` of harmoseg 0.1.0, which has no groups and holds shares in points."""
_OFTEN = 0.05
_LEAST = 8
_APART = 1.5
_FILE_NAME = re.compile(r"^[^()\[\]*+?^$|{}]+\.(csv|tsv|txt|xlsx|json)(\.gz)?$", re.IGNORECASE)
"""A name of a file, which no pattern for cases looks like."""
_DISTANCES = ("HD95", "HD", "ASSD")


class ScoresWarning(UserWarning):
    """Warn of scores that are possible and probably wrong; the message begins with a name."""


def write_scores(scores: Scores, folder: Path, *, packed: bool = False) -> Path:
    """Write scores into a folder, every number with all of its digits; return the table's path.

    `packed` writes ``.csv.gz``. Raises HarmosegError where the folder cannot be written.
    """
    make_folder(folder)
    parts = {SCORES_FILE: scores.frame, RINGS_FILE: scores.rings, BINS_FILE: scores.bins}
    ending = _PACKED if packed else ""
    for name, frame in parts.items():
        if frame is None:
            continue
        counts = {count: "Int64" for count in COUNTS if count in frame.columns}
        text = frame.astype(counts).to_csv(index=False, lineterminator="\n").encode("utf-8")
        # No time in the header: the same scores are the same bytes.
        write_bytes(folder / f"{name}{ending}", gzip.compress(text, mtime=0) if packed else text)
    return folder / f"{SCORES_FILE}{ending}"


def read_scores(
    path: Paths | Mapping[str, Paths],
    *,
    measures: str | Measure | Sequence[str | Measure] = (),
    groups: Lookup | None = None,
    names: Mapping[str, str] | None = None,
    columns: Columns | None = None,
) -> Scores:
    """Read scores of harmoseg or of anybody; what the file holds is recognised by its content.

    Args:
        path: A folder with ``scores.csv``, a file of that form (``.csv`` or ``.csv.gz``), or a
            ``results.csv`` of harmoseg 0.1.0; ``summary.json`` of nnU-Net 1 or 2, or a folder with
            several; a long or wide table of others (``.csv``, ``.tsv``, ``.json``, ``.xlsx``), or a
            folder with one per method. Several of them in a sequence are joined; a table that names
            no method is one of the name of its file. A mapping names the methods: ``{"A": "a.csv",
            "B": ["b1.csv", "b2.csv"]}``, several files being one training each.
        measures: Columns that harmoseg does not know: `Measure` objects, or declarations such as
            ``"Dice:higher:percent"``.
        groups: Patient of every case: a mapping; a CSV file with the columns ``case`` and
            ``group``; or a pattern whose first group, else its whole match, is the patient.
        names: Columns that are not found by their names: ``{"case": "Scan no."}``.
        columns: What further columns of a wide table are: ``methods`` or ``classes``.

    Shares in percent are divided by 100: where that is declared, in a ``results.csv``, and where
    the values show it. The folds of a cross-validation are one run, ``cv``. What was read and
    decided is logged and kept in `Scores.remarks`; what looks wrong is a `ScoresWarning`. Raises
    HarmosegError naming the file, the row and the column of what is wrong.
    """
    measures = [measures] if isinstance(measures, str | Measure) else measures
    declared = [declare_measure(m) if isinstance(m, str) else (m, False) for m in measures]
    how = Reading(
        declared={measure.name: measure for measure, _ in declared},
        percent=frozenset(measure.name for measure, is_percent in declared if is_percent),
        groups=groups,
        names=dict(names or {}),
        columns=columns,
    )
    if isinstance(path, str | Path):
        shown, scores = str(path), _read_path(Path(path), how)
    elif isinstance(path, Mapping):
        shown, scores = ", ".join(path), _read_named(path, how)
    else:
        shown = ", ".join(map(str, path))
        tables = [_read_path(table, replace(how, method=_stem(table))) for table in map(Path, path)]
        scores = Scores.concat(tables)
    if unused := [name for name in how.declared if name not in scores.measures]:
        raise HarmosegError(
            f"{shown}: there is no column {unused[0]!r}, which was declared as a measure; found "
            f"{listed(how.seen or scores.measures, 12)}"
        )
    suspicions = find_suspicions(scores)
    scores = replace(scores, remarks=tuple(dict.fromkeys((*scores.remarks, *suspicions))))
    for line in (f"{shown}: {scores.summary()}", *scores.remarks):
        _LOG.info(line)
    for text in suspicions:
        warnings.warn(text, ScoresWarning, stacklevel=2)
    return scores


def read_written_scores(folder: Path) -> Scores:
    """Read what `write_scores` wrote, without a word; raise HarmosegError as `read_scores` does."""
    return _read_own(folder, _scores_file(folder), Reading())


def example_scores() -> Scores:
    """Return the scores of six methods on polyps: 144 images, one training per method."""
    return read_scores(EXAMPLE_FILE)


def _read_named(paths: Mapping[str, Paths], how: Reading) -> Scores:
    """Read the tables of named methods; several tables of a method are its trainings."""
    parts = []
    for method, given in paths.items():
        files = [given] if isinstance(given, str | Path) else list(given)
        if not files:
            raise HarmosegError(f"method {method!r} has no file; name one or more")
        for seed, file in enumerate(map(Path, files)):
            found = _read_path(file, replace(how, method=method))
            if len(files) > 1:
                found = replace(found, frame=found.frame.assign(seed=str(seed)))
            if found.frame["method"].nunique() > 1:
                raise HarmosegError(
                    f"{file}: holds the methods {', '.join(found.values_of('method')[:4])}, "
                    f"expected the scores of {method!r} alone; read it without a name"
                )
            parts.append(replace(found, frame=found.frame.assign(method=method)))
    return Scores.concat(parts)


def _read_path(path: Path, how: Reading) -> Scores:
    if path.is_dir() and _find(path, SCORES_FILE) is None:
        return _read_folder(path, how)
    file = _scores_file(path) if path.is_dir() else path
    data = read_bytes(file)
    how = replace(how, source=str(file), stem=_stem(file), remarks=[])
    if file.suffix.lower() in (".json", ".jsonl") or data.lstrip()[:1] in (b"{", b"["):
        content = read_json(file, data)
        if is_summary(content) or is_summary_of_means(content):
            return _finish(read_summaries([file], how.remarks), {}, how)
        frame = frame_of_json(file, content)
    elif data[:2] != b"PK" and _is_own(data, how):
        return _read_own(path, file, how)
    else:
        frame, remarks = read_sheet(file, data)
        how.remarks.extend(remarks)
    return _finish(*to_long(frame, how), how)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def _read_folder(folder: Path, how: Reading) -> Scores:
    """Read a folder of nnU-Net results, or of tables, one or more per method."""
    remarks: list[str] = []
    if summaries := sorted(folder.rglob(SUMMARY_FILE)):
        how = replace(how, source=str(folder), remarks=remarks)
        return _finish(read_summaries(summaries, remarks), {}, how)
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and file.name.lower().endswith(ENDINGS) and file.name[0] != "."
    )
    if not files:
        raise HarmosegError(
            f"{folder}: no {SCORES_FILE}, no {SUMMARY_FILE} and no table in it; expected a folder "
            "of scores; of masks, name the folder of true masks with --truth"
        )
    tables: dict[Path, Scores] = {}
    refused: list[str] = []
    for file in files:
        try:
            tables[file] = _read_path(file, replace(how, method=how.method or FROM_FILE))
        except HarmosegError as error:
            refused.append(str(error))
    if not tables:
        raise HarmosegError(f"{folder}: none of {len(files)} files holds scores: {refused[0]}")
    return join_files(folder, tables, [f"not read: {text}" for text in refused])


def _finish(
    frame: pd.DataFrame,
    measures: Mapping[str, Measure],
    how: Reading,
    **beside: pd.DataFrame,
) -> Scores:
    """Make scores of a long table; without a column for patients every case counts as one."""
    if (groups := how.groups) is not None:
        frame = frame.assign(group=look_up(groups, frame["case"], "group"))
    elif "group" not in frame.columns:
        how.remarks.append("no column names the patient, so every case counts as a patient")
    return Scores.of(frame, measures, source=how.source, remarks=how.remarks, **beside)


def _is_own(data: bytes, how: Reading) -> bool:
    """Return whether a table has harmoseg's columns alone, so that nothing must be recognised."""
    header = data.split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip("\r")
    if not header.strip():
        return True
    columns = {name.strip('"') for name in header.split(",")}
    known = {*KEYS, *COUNTS, *how.declared}
    return {"method", "case"} <= columns and all(
        name in known or known_measure(name) for name in columns
    )


def _read_own(path: Path, file: Path, how: Reading) -> Scores:
    """Read a table of harmoseg with what lies beside it."""
    frame = read_table(file)
    percent = set(how.percent)
    how = replace(how, source=str(file), remarks=[])
    if "case" in frame and not any(name in frame for name in COUNTS):  # not written by harmoseg
        frame = drop_summaries(without_empty_rows(frame), "case", "case", how.remarks)
        if "class" in frame:
            frame = drop_summaries(frame, "class", "class", how.remarks)
            if not frame["class"].eq(BACKGROUND).any():
                frame = drop_background(frame, "class", how.remarks)
    if tuple(frame.columns[: len(_OLD_RESULTS)]) == _OLD_RESULTS and "group" not in frame:
        percent |= {name for name in frame.columns if (m := known_measure(name)) and m.is_share}
        how.remarks.append(f"{file.name}: shares in points, as harmoseg 0.1.0 wrote them")
    for name in percent & set(frame.columns):
        if pd.api.types.is_numeric_dtype(frame[name]):  # text is an error of `Scores.of`
            frame[name] = frame[name] / 100
    beside = {}
    for part, name in (("rings", RINGS_FILE), ("bins", BINS_FILE)):
        if path.is_dir() and (found := _find(path, name)) is not None:
            sums = read_table(found)
            numbers = [c for c in sums.columns if c not in KEYS and c != "convention"]
            sums[numbers] = sums[numbers].apply(pd.to_numeric, errors="coerce")
            beside[part] = sums
    return _finish(frame, how.declared, how, **beside)


def _scores_file(folder: Path) -> Path:
    found = _find(folder, SCORES_FILE)
    if found is None:
        raise HarmosegError(f"{folder}: no {SCORES_FILE} in it; expected a folder of scores")
    return found


def _find(folder: Path, name: str) -> Path | None:
    """Return a file of a folder, packed or not; None where it is not there."""
    files = (folder / name, folder / (name + _PACKED))
    return next((file for file in files if file.is_file()), None)


def look_up(given: Lookup, cases: pd.Series, name: str) -> list[str]:
    """Return the group or subset of every case, from a mapping, a table, or a pattern.

    Raises HarmosegError where a case has none, and for a pattern that is none.
    """
    if isinstance(given, str | Path) and Path(given).is_file():
        given = _read_lookup(Path(given), cases, name)
    elif isinstance(given, Path) or (isinstance(given, str) and _FILE_NAME.search(given)):
        raise HarmosegError(
            f"{given}: no such file; expected a table with the columns case and {name}, or a "
            "pattern such as '(.*)_slice'"
        )
    if isinstance(given, Mapping):
        if missing := natural_order(set(cases) - given.keys()):
            raise HarmosegError(f"no {name} is given for {len(missing)} cases: {listed(missing)}")
        return [given[case] for case in cases]
    try:
        pattern = re.compile(str(given))
    except re.error as error:
        raise HarmosegError(f"{name} pattern {given!r}: {error}") from error
    found = {case: pattern.search(case) for case in cases.unique()}
    if missing := natural_order(case for case, match in found.items() if match is None):
        raise HarmosegError(f"{name} pattern {given!r} does not fit {listed(missing)}")
    return [m[1] if m.re.groups else m[0] for case in cases if (m := found[case]) is not None]


def _read_lookup(file: Path, cases: pd.Series, name: str) -> dict[str, str]:
    """Return the group or subset of the cases that a table names, with or without endings.

    Raises HarmosegError where a case has none, or two that differ.
    """
    table, _ = read_sheet(file, read_bytes(file))
    by_word = {plain(column): column for column in table.columns}
    if missing := [column for column in ("case", name) if column not in by_word]:
        raise HarmosegError(f"{file}: no column {missing[0]!r}; found {list(table.columns)}")
    # As text: a number that Excel or JSON made of a name is a name.
    texts = table[by_word["case"]].astype("string").fillna("").str.strip()
    found = table[by_word[name]].astype("string").fillna("").str.strip()
    if (empty := texts[(found == "") & (texts != "")]).size:
        raise HarmosegError(f"{file}: no {name} beside {listed(empty)}; fill it in")
    given: dict[str, str] = {}
    for names in (texts, clean_cases(texts)):
        for case, value in zip(names, found, strict=True):
            if (other := given.setdefault(case, value)) != value:
                raise HarmosegError(
                    f"{file}: case {case!r} has the {name}s {other!r} and {value!r}; keep one"
                )
    whole = dict(zip(cases, clean_cases(cases), strict=True))
    return {
        c: given[c] if c in given else given[s]
        for c, s in whole.items()
        if c in given or s in given
    }


def find_suspicions(scores: Scores) -> list[str]:
    """Return one sentence for everything that looks wrong, with the name of the problem first.

    ``zero distance``: a distance of 0 where the structure was missed. ``empty scored 1``: Dice 1
    where neither truth nor prediction has anything. ``repeated number``: one value for many cases,
    such as a penalty or a default. ``percent among fractions`` and
    ``infinite values`` come from reading.
    """
    frame = scores.frame[scores.frame["class"] != BACKGROUND]
    named = ("percent among fractions?", "infinite values:")
    found = [text for text in scores.remarks if text.startswith(named)]
    return [*found, *_zero_distances(scores, frame), *_empties(scores, frame),
            *_repeated(scores, frame)]  # fmt: skip


def _of_family(scores: Scores, *families: str) -> list[str]:
    return [name for name, measure in scores.measures.items() if measure.family in families]


def _zero_distances(scores: Scores, frame: pd.DataFrame) -> Iterator[str]:
    overlaps = _of_family(scores, "DSC", "IoU")
    if not overlaps:
        return
    missed = (frame[overlaps] == 0).any(axis=1)
    for name in _of_family(scores, *_DISTANCES):
        if count := int((missed & (frame[name] == 0)).sum()):
            yield (
                f"zero distance: {name} is 0, its best value, in {count} rows where the structure "
                f"was missed ({overlaps[0]} is 0); a distance is undefined there"
            )


def _empties(scores: Scores, frame: pd.DataFrame) -> Iterator[str]:
    if all(name in frame.columns for name in COUNTS):
        empty = (frame[["TP", "FP", "FN"]] == 0).all(axis=1)
    elif distances := _of_family(scores, *_DISTANCES):
        empty = frame[distances].isna().all(axis=1)
    else:
        return
    for name in _of_family(scores, "DSC", "IoU"):
        if count := int((empty & (frame[name] == 1)).sum()):
            yield (
                f"empty scored 1: {name} is 1 in {count} rows where truth and prediction seem to "
                "be empty; overlap is undefined there, and 1 rewards cases without the structure"
            )


def _repeated(scores: Scores, frame: pd.DataFrame) -> Iterator[str]:
    for name, measure in scores.measures.items():
        if measure.per == "case":
            continue
        defined = frame[name].to_numpy()
        defined = defined[np.isfinite(defined)]
        numbers, counts = np.unique(defined, return_counts=True)
        if measure.family in _DISTANCES:
            # Distances between voxels repeat by nature; a penalty stands apart from all of them.
            stands_out = len(numbers) > 1 and numbers[-1] > _APART * numbers[-2]
            at = len(numbers) - 1
        else:
            counts = np.where((numbers == 0) | (numbers == 1), 0, counts)
            # Values that were rounded repeat too, each about as often as its neighbours.
            at = int(counts.argmax()) if len(counts) else 0
            stands_out = len(counts) > 0 and counts[at] > _APART * np.sort(counts)[-2:-1].sum()
        if not stands_out:
            continue
        often, value = int(counts[at]), float(numbers[at])
        if often >= _LEAST and often > _OFTEN * len(defined):
            yield (
                f"repeated number: {name} is {value * measure.scale:g} in {often} of "
                f"{len(defined)} rows; is it a penalty or a default value?"
            )
