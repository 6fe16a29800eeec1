"""Scores on disk: ``scores.csv`` with ring sums and calibration bins, and older files."""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.files import make_folder, write_bytes
from harmoseg.metrics.measures import Measure, declare_measure, known_measure
from harmoseg.scores.table import COUNTS, KEYS, Scores

SCORES_FILE = "scores.csv"
RINGS_FILE = "rings.csv"
BINS_FILE = "bins.csv"
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
    path: str | Path,
    *,
    measures: Sequence[str | Measure] = (),
    groups: Mapping[str, str] | None = None,
) -> Scores:
    """Read a table of scores.

    Args:
        path: A folder with ``scores.csv``, a file of that form (``.csv`` or ``.csv.gz``), or a
            ``results.csv`` of harmoseg 0.1.0.
        measures: Columns that harmoseg does not know: `Measure` objects, or declarations such as
            ``"Dice:higher:percent"``.
        groups: Patient of every case, for tables without a column ``group``.

    Shares in percent are divided by 100: where that is declared, and in a ``results.csv``. Raises
    HarmosegError naming the file, the row and the column of what is wrong.
    """
    path = Path(path)
    file = _scores_file(path) if path.is_dir() else path
    frame = read_table(file)
    declared, percent = _declared(measures)
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
        data = file.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise HarmosegError(f"{file}: no such file; expected a table of scores") from error
    except IsADirectoryError as error:
        raise HarmosegError(f"{file}: a folder, expected a table of scores") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
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
        raise HarmosegError(f"{file}: not a table ({error}); expected CSV with a header") from error


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
