"""Scores on disk: ``scores.csv`` with ring sums and calibration bins, and files of others."""

from __future__ import annotations

import gzip
import io
import logging
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.files import make_folder, write_bytes
from harmoseg.metrics.measures import Measure, declare_measure, known_measure
from harmoseg.scores.folders import FROM_FILE, join_files
from harmoseg.scores.foreign import Columns, Reading, to_long
from harmoseg.scores.nnunet import SUMMARY_FILE, is_summary, is_summary_of_means, read_summaries
from harmoseg.scores.sheets import ENDINGS, frame_of_json, read_bytes, read_json, read_sheet
from harmoseg.scores.suspicions import ScoresWarning, find_suspicions
from harmoseg.scores.table import COUNTS, KEYS, Scores

SCORES_FILE = "scores.csv"
RINGS_FILE = "rings.csv"
BINS_FILE = "bins.csv"
_LOG = logging.getLogger(__name__)
_PACKED = ".gz"
_UNDEFINED = ["", "nan", "NaN", "NAN", "NA", "None", "null"]
_OLD_RESULTS = ("trained_on", "method", "seed", "tested_on", "condition", "case", "class")
"""Header of ``results.csv`` of harmoseg 0.1.0, which has no groups and holds shares in points."""


def write_scores(scores: Scores, folder: Path, *, packed: bool = False) -> Path:
    """Write scores into a folder, every number with all of its digits; return the table's path.

    `packed` writes ``.csv.gz``. Raises HarmosegError where the folder cannot be written.
    """
    make_folder(folder)
    parts = {SCORES_FILE: scores.frame, RINGS_FILE: scores.rings, BINS_FILE: scores.bins}
    for name, frame in parts.items():
        if frame is not None:
            _write(folder / (name + _PACKED if packed else name), frame)
    return folder / (SCORES_FILE + _PACKED if packed else SCORES_FILE)


def read_scores(
    path: str | Path | Mapping[str, str | Path | Sequence[str | Path]],
    *,
    measures: Sequence[str | Measure] = (),
    groups: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    columns: Columns | None = None,
) -> Scores:
    """Read scores of harmoseg or of anybody; what the file holds is recognised by its content.

    Args:
        path: A folder with ``scores.csv``, a file of that form (``.csv`` or ``.csv.gz``), or a
            ``results.csv`` of harmoseg 0.1.0; ``summary.json`` of nnU-Net 1 or 2, or a folder with
            several; a long or wide table of others (``.csv``, ``.tsv``, ``.json``, ``.xlsx``), or a
            folder with one per method. A mapping names the methods: ``{"A": "a.csv", "B":
            ["b1.csv", "b2.csv"]}``, several files being one training each.
        measures: Columns that harmoseg does not know: `Measure` objects, or declarations such as
            ``"Dice:higher:percent"``.
        groups: Patient of every case, for tables without a column ``group``.
        names: Columns that are not found by their names: ``{"case": "Scan no."}``.
        columns: What further columns of a wide table are: ``methods`` or ``classes``.

    Shares in percent are divided by 100: where that is declared, in a ``results.csv``, and where
    the values show it. The folds of a cross-validation are one run, ``cv``. What was read and
    decided is logged and kept in `Scores.remarks`; what looks wrong is a `ScoresWarning`. Raises
    HarmosegError naming the file, the row and the column of what is wrong.
    """
    declared, percent = _declared(measures)
    options = _Options(declared, frozenset(percent), groups, dict(names or {}), columns)
    if isinstance(path, Mapping):
        scores = _read_named(path, options)
    else:
        scores = _read_path(Path(path), options)
    suspicions = find_suspicions(scores)
    scores = replace(scores, remarks=(*scores.remarks, *suspicions))
    shown = ", ".join(map(str, path)) if isinstance(path, Mapping) else str(path)
    for line in (f"{shown}: {scores.summary()}", *scores.remarks):
        _LOG.info(line)
    for text in suspicions:
        warnings.warn(text, ScoresWarning, stacklevel=2)
    return scores


def read_written_scores(folder: Path) -> Scores:
    """Read what `write_scores` wrote, without a word; raise HarmosegError as `read_scores` does."""
    options = _Options((), frozenset(), None, {}, None)
    return _read_own(folder, _scores_file(folder), options)


@dataclass(frozen=True)
class _Options:
    declared: Sequence[Measure]
    percent: frozenset[str]
    groups: Mapping[str, str] | None
    names: Mapping[str, str]
    columns: Columns | None


def _read_named(
    paths: Mapping[str, str | Path | Sequence[str | Path]], options: _Options
) -> Scores:
    """Read the tables of named methods; several tables of a method are its trainings."""
    parts = []
    for method, given in paths.items():
        files = [given] if isinstance(given, str | Path) else list(given)
        if not files:
            raise HarmosegError(f"method {method!r} has no file; name one or more")
        for seed, file in enumerate(map(Path, files)):
            found = _read_path(file, options, method)
            if len(files) > 1:
                found = replace(found, frame=found.frame.assign(seed=str(seed)))
            several = found.frame["method"].nunique() > 1
            if several:
                raise HarmosegError(
                    f"{file}: holds the methods {', '.join(found.values_of('method')[:4])}, "
                    f"expected the scores of {method!r} alone; read it without a name"
                )
            parts.append(replace(found, frame=found.frame.assign(method=method)))
    return Scores.concat(parts)


def _read_path(path: Path, options: _Options, method: str | None = None) -> Scores:
    if path.is_dir() and _find(path, SCORES_FILE) is None:
        return _read_folder(path, options, method)
    file = _scores_file(path) if path.is_dir() else path
    data = read_bytes(file)
    if file.suffix.lower() == ".json" or data.lstrip()[:1] in (b"{", b"["):
        content = read_json(file, data)
        remarks: list[str] = []
        if is_summary(content) or is_summary_of_means(content):
            return _finish(read_summaries([file], remarks), {}, file, options, remarks)
        return _read_foreign(file, frame_of_json(file, content), options, method, remarks)
    if data[:2] != b"PK" and _is_own(data, options):
        return _read_own(path, file, options)
    frame, remarks = read_sheet(file, data)
    return _read_foreign(file, frame, options, method, remarks)


def _read_folder(folder: Path, options: _Options, method: str | None) -> Scores:
    """Read a folder of nnU-Net results, or of tables, one or more per method."""
    remarks: list[str] = []
    if summaries := sorted(folder.rglob(SUMMARY_FILE)):
        return _finish(read_summaries(summaries, remarks), {}, folder, options, remarks)
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and file.name.lower().endswith(ENDINGS) and file.name[0] != "."
    )
    if not files:
        raise HarmosegError(
            f"{folder}: no {SCORES_FILE}, no {SUMMARY_FILE} and no table in it; expected a folder "
            "of scores"
        )
    tables: dict[Path, Scores] = {}
    refused: list[str] = []
    for file in files:
        try:
            tables[file] = _read_path(file, options, method or FROM_FILE)
        except HarmosegError as error:
            refused.append(str(error))
    if not tables:
        raise HarmosegError(f"{folder}: none of {len(files)} files holds scores: {refused[0]}")
    remarks += [f"not read: {text}" for text in refused]
    return join_files(folder, tables, remarks)


def _read_foreign(
    file: Path, frame: pd.DataFrame, options: _Options, method: str | None, remarks: list[str]
) -> Scores:
    reading = Reading(
        str(file),
        file.name.removesuffix(".gz").rsplit(".", 1)[0],
        {measure.name: measure for measure in options.declared},
        options.percent,
        options.names,
        options.columns,
        {} if method is None else {"method": method},
        remarks,
    )
    long, measures = to_long(frame, reading)
    return _finish(long, measures, file, options, remarks)


def _finish(
    frame: pd.DataFrame,
    measures: Mapping[str, Measure],
    source: Path,
    options: _Options,
    remarks: list[str],
) -> Scores:
    if options.groups is not None:
        frame = frame.assign(group=[options.groups.get(case, case) for case in frame["case"]])
    elif "group" not in frame.columns:
        remarks.append("no column names the patient, so every case counts as a patient")
    return Scores.of(frame, measures, source=str(source), remarks=remarks)


def _is_own(data: bytes, options: _Options) -> bool:
    """Return whether a table has harmoseg's columns alone, so that nothing must be recognised."""
    header = data.split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip("\r")
    if not header.strip():
        return True
    columns = {name.strip('"') for name in header.split(",")}
    declared = {measure.name for measure in options.declared}
    known = {*KEYS, *COUNTS, *declared}
    return {"method", "case"} <= columns and all(
        name in known or known_measure(name) for name in columns
    )


def _read_own(path: Path, file: Path, options: _Options) -> Scores:
    """Read a table of harmoseg with what lies beside it."""
    frame = read_table(file)
    groups, declared, percent = options.groups, options.declared, set(options.percent)
    remarks = []
    is_old = tuple(frame.columns[: len(_OLD_RESULTS)]) == _OLD_RESULTS and "group" not in frame
    if is_old:
        shares = [name for name in frame.columns if (m := known_measure(name)) and m.is_share]
        percent |= set(shares)
        remarks.append(f"{file.name}: shares in points, as harmoseg 0.1.0 wrote them")
    if groups is not None:
        frame["group"] = [groups.get(case, case) for case in frame["case"]]
    elif "group" not in frame.columns:
        remarks.append(f"{file.name}: no column 'group', so every case counts as a patient")
    for name in percent & set(frame.columns):
        if pd.api.types.is_numeric_dtype(frame[name]):  # text is an error of `Scores.of`
            frame[name] = frame[name] / 100
    beside = (
        {}
        if not path.is_dir()
        else {
            part: read_table(found)
            for part, name in (("rings", RINGS_FILE), ("bins", BINS_FILE))
            if (found := _find(path, name)) is not None
        }
    )
    for part in beside.values():
        for name in part.columns:
            if name not in KEYS and name != "convention":
                part[name] = pd.to_numeric(part[name], errors="coerce")
    return Scores.of(frame, declared, source=str(file), remarks=remarks, **beside)


def read_table(file: Path) -> pd.DataFrame:
    """Read a CSV file; key columns stay text, so that 001 and NA stay what they are.

    Raises HarmosegError where it is missing, unreadable, empty, or no table.
    """
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HarmosegError(f"{file}: cannot be read as a CSV file in UTF-8 ({error})") from error
    header = text.split("\n", 1)[0].strip("\r")
    if not header.strip():
        raise HarmosegError(f"{file}: empty; expected a table of scores with a header")
    names = next(iter(pd.read_csv(io.StringIO(header), header=None, dtype=str).to_numpy().tolist()))
    doubled = sorted({str(name) for name in names if names.count(name) > 1})
    if doubled:  # pandas would rename the second one
        raise HarmosegError(f"{file}: column {doubled[0]!r} is there more than once; keep one")
    keys: dict[Hashable, type[str]] = dict.fromkeys(sorted(set(KEYS) & set(names)), str)
    undefined = {name: _UNDEFINED for name in names if name not in keys}
    try:
        with warnings.catch_warnings():
            # A row with a field too many would lose it.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.StringIO(text),
                dtype=keys,
                keep_default_na=False,
                na_values=undefined,
                index_col=False,
                low_memory=False,
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        reason = " ".join(str(error).split())
        raise HarmosegError(
            f"{file}: not a table ({reason}); expected CSV with a header"
        ) from error


def _write(file: Path, frame: pd.DataFrame) -> None:
    counts = {name: "Int64" for name in COUNTS if name in frame.columns}
    text = frame.astype(counts).to_csv(index=False, lineterminator="\n").encode("utf-8")
    # No time in the header: the same scores are the same bytes.
    write_bytes(file, gzip.compress(text, mtime=0) if file.suffix == _PACKED else text)


def _scores_file(folder: Path) -> Path:
    found = _find(folder, SCORES_FILE)
    if found is None:
        raise HarmosegError(f"{folder}: no {SCORES_FILE} in it; expected a folder of scores")
    return found


def _find(folder: Path, name: str) -> Path | None:
    """Return a file of a folder, packed or not; None where it is not there."""
    files = (folder / name, folder / (name + _PACKED))
    return next((file for file in files if file.is_file()), None)


def _declared(measures: Iterable[str | Measure]) -> tuple[list[Measure], set[str]]:
    declared: list[Measure] = []
    percent: set[str] = set()
    for item in measures:
        measure, is_percent = declare_measure(item) if isinstance(item, str) else (item, False)
        declared.append(measure)
        percent |= {measure.name} if is_percent else set()
    return declared, percent
