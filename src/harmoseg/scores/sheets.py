"""Read a table from a file: CSV and its relatives, Excel, JSON."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.scores.naming import role_of
from harmoseg.scores.numbers import UNDEFINED
from harmoseg.scores.table import KEYS

ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".gz")
"""Endings of files that may hold a table."""
_MOST_COLUMNS = 1000
_WORDS = "|".join(re.escape(word) for word in (*UNDEFINED, "inf", "-inf"))
_DELIMITERS = (";", "\t", ",", "|")
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_WITH_COMMA = r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?"
_THOUSANDS = r"[+-]?[1-9]\d{0,2}(?:(?:,\d{3})+(?:\.\d+)?|(?:\.\d{3})+,\d+)"
_DECIMAL_COMMA = r"[+-]?[1-9]\d{0,2},\d{3}"
"""1,234, which is a decimal number only where the comma does not divide the columns."""


def read_bytes(file: Path) -> bytes:
    """Return the bytes of a file, unpacked where it is a gzip file.

    Raises HarmosegError where it is missing, a folder, or cannot be read.
    """
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except FileNotFoundError as error:
        raise HarmosegError(f"{file}: no such file; expected a table of scores") from error
    except IsADirectoryError as error:
        raise HarmosegError(f"{file}: a folder, expected a table of scores") from error
    except (OSError, EOFError) as error:
        raise HarmosegError(f"{file}: cannot be read as a CSV file in UTF-8 ({error})") from error


def read_json(file: Path, data: bytes) -> Any:
    """Return the content of a JSON file; a bare ``NaN``, as nnU-Net writes it, is allowed."""
    try:
        text = data.decode("utf-8-sig")
        lines = text.strip().splitlines()
        if len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines):
            return [json.loads(line) for line in lines]  # JSON lines: one record each
        return json.loads(text)
    except (UnicodeDecodeError, ValueError) as error:
        raise HarmosegError(f"{file}: not a JSON file ({error}); expected scores") from error


def read_sheet(file: Path, data: bytes) -> tuple[pd.DataFrame, list[str]]:
    """Read a CSV, TSV or Excel file; return its columns, as text where mixed, and remarks.

    Delimiter, decimal comma and percent sign are recognised (``85 %`` is 0.85). Raises
    HarmosegError where the file is empty, no table, has no header, a column twice, or more than
    1000 columns.
    """
    remarks: list[str] = []
    if data[:2] == b"PK":
        delimiter, frame = "", _read_excel(file, data, remarks)
    else:
        delimiter, frame = _read_text(file, data)
    if len(frame.columns) > _MOST_COLUMNS:
        raise HarmosegError(
            f"{file}: {len(frame.columns)} columns, expected at most {_MOST_COLUMNS}; one row is "
            "one case, so transpose the table or select the columns of measures"
        )
    names = list(frame.columns)
    # MONAI repeats the last column, mean, in its headers; the values stand in the first.
    first = [name != "mean" or place == names.index("mean") for place, name in enumerate(names)]
    frame = frame.loc[:, first]
    names = list(frame.columns)
    _check_names(file, names)
    if any(re.fullmatch(_NUMBER, name) for name in names):
        raise HarmosegError(
            f"{file}: the first row has numbers ({', '.join(names[:4])}), expected a header with "
            "the names of the columns; add one"
        )
    frame = frame.loc[:, [name != "" for name in names]].copy()
    commas = False
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            text = frame[name].dropna().astype(str).str.strip()
            signed = bool(len(text)) and bool(text.str.endswith("%").all())
            text = text.str.rstrip("% ")
            has_comma = bool(text.str.contains(",", regex=False).any())
            if has_comma:
                _refuse_thousands(file, str(name), text, delimiter)
            if not (has_comma or signed):
                continue
            if text.str.fullmatch(f"{_WITH_COMMA}|{_NUMBER}").all():
                commas |= has_comma
                values = pd.to_numeric(text.str.replace(",", ".")).reindex(frame.index)
                frame[name] = values / 100 if signed else values
    if commas:
        remarks.append(f"{file.name}: decimal commas")
    return frame, remarks


def _refuse_thousands(file: Path, column: str, text: pd.Series, delimiter: str) -> None:
    """Raise HarmosegError for a number with thousands divided, or that may be one.

    ``1,234`` would be read as 1.234. Only columns of numbers are looked at.
    """
    numbers = text.str.fullmatch(f"{_WITH_COMMA}|{_NUMBER}|{_THOUSANDS}|{_WORDS}", case=False)
    if not numbers.all():
        return
    wrong = text.str.fullmatch(_THOUSANDS)
    if delimiter not in ("", ","):
        wrong &= ~text.str.fullmatch(_DECIMAL_COMMA)
    if wrong.any():
        place = int(wrong.to_numpy().argmax())
        raise HarmosegError(
            f"{file}: row {text.index[place] + 2}, column {column!r}: {text.iloc[place]!r} has a "
            "separator of thousands, or a decimal comma; write numbers without the former, and "
            "decimals with a point"
        )


def read_table(file: Path) -> pd.DataFrame:
    """Read a CSV file of harmoseg; key columns stay text, so that 001 and NA stay what they are.

    Raises HarmosegError where it is missing, unreadable, empty, or no table.
    """
    text, header = _decode(file, read_bytes(file))
    names = next(csv.reader([header]))
    _check_names(file, names)
    return _parse(file, text, names, [i for i, name in enumerate(names) if name in KEYS])


def _decode(file: Path, data: bytes) -> tuple[str, str]:
    """Return the text of a CSV file and its first line."""
    try:
        # Excel writes "Unicode text" in UTF-16, which begins with a mark of its own.
        is_utf16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise HarmosegError(
            f"{file}: cannot be read as a CSV file in UTF-8 ({error}); save it as CSV UTF-8"
        ) from error
    header = text.split("\n", 1)[0].strip("\r")
    if not header.strip():
        raise HarmosegError(f"{file}: empty; expected a table of scores with a header")
    return text, header


def _check_names(file: Path, names: Sequence[str]) -> None:
    if doubled := sorted({name for name in names if name and names.count(name) > 1}):
        raise HarmosegError(f"{file}: column {doubled[0]!r} is there more than once; keep one")


def _parse(
    file: Path, text: str, names: Sequence[str], keys: Sequence[int], delimiter: str = ","
) -> pd.DataFrame:
    """Read CSV with a header; the columns at `keys` stay text."""
    undefined: dict[Any, list[str]] = {
        i: [*UNDEFINED, *map(str.upper, UNDEFINED), "NaN", "None"]
        for i in range(len(names))
        if i not in keys
    }
    try:
        with warnings.catch_warnings():
            # A row with a field too many would lose it.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                header=0,
                names=range(len(names)),
                dtype=dict.fromkeys(keys, str),
                keep_default_na=False,
                na_values=undefined,
                index_col=False,
                low_memory=False,
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise HarmosegError(
            f"{file}: not a table ({reason}); expected CSV with a header"
        ) from error
    return frame.set_axis(list(names), axis=1)


def without_empty_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out rows of delimiters alone, which spreadsheets leave below a table."""
    return frame[~(frame.isna() | (frame == "")).all(axis=1)]


def _read_text(file: Path, data: bytes) -> tuple[str, pd.DataFrame]:
    """Return the delimiter and the table of a text file."""
    text, header = _decode(file, data)
    delimiter = max(_DELIMITERS, key=lambda d: (header.count(d), d == ";"))
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    if len(names) < 2:
        raise HarmosegError(
            f"{file}: not a table: one column, {header[:40]!r}; expected a header and columns "
            "divided by commas, semicolons or tabs"
        )
    # Names stay text, so that 001 and NA stay what they are.
    roles = [role_of(name) for name in names]
    keys = [i for i, role in enumerate(roles) if role not in (None, "value", "measure")]
    frame = _parse(file, text, names, keys, delimiter)
    frame = without_empty_rows(frame)
    if frame.empty:
        raise HarmosegError(f"{file}: a header and no rows; expected a row per case")
    return delimiter, frame


def _read_excel(file: Path, data: bytes, remarks: list[str]) -> pd.DataFrame:
    try:
        sheets = pd.read_excel(io.BytesIO(data), sheet_name=None, engine="openpyxl")
    except ImportError as error:
        raise HarmosegError(
            f"{file}: Excel files need openpyxl; install it with pip install 'harmoseg[excel]', or "
            "save the sheet as CSV"
        ) from error
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise HarmosegError(f"{file}: cannot be read as an Excel file ({error})") from error
    first, *others = map(str, sheets)
    frame = next(iter(sheets.values()))
    if others:
        remarks.append(
            f"{file.name}: only the first sheet, {first!r}, is read; not read: {', '.join(others)}"
        )
    frame = without_empty_rows(frame)
    if frame.empty:
        raise HarmosegError(f"{file}: the first sheet has no rows; expected a row per case")
    names = ["" if str(name).startswith("Unnamed: ") else str(name) for name in frame.columns]
    return frame.set_axis(names, axis=1)


def frame_of_json(file: Path, content: Any) -> pd.DataFrame:
    """Return the table that a JSON file holds.

    Accepts a list of records, columns of equal length, column -> row -> value as pandas writes it,
    method -> case -> value, or method -> case -> measure -> value. Raises HarmosegError naming what
    was found otherwise.
    """
    rows = content
    if _is_columns(content):  # `to_json` of pandas
        frame = pd.DataFrame({name: pd.Series(column) for name, column in content.items()})
        return frame.reset_index(drop=True)
    by_row = list(content.values()) if isinstance(content, dict) else []
    if _are_records(by_row) and any(role_of(name) == "case" for name in by_row[0]):
        rows = content = by_row
    if isinstance(content, dict) and all(isinstance(value, list) for value in content.values()):
        if len({len(value) for value in content.values()}) == 1:
            rows = [
                dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)
            ]
        else:
            rows = next((v for v in content.values() if _are_records(v)), None)
    elif isinstance(content, dict) and all(isinstance(v, dict) for v in content.values()):
        rows = [
            {"method": method, "case": case}
            | (value if isinstance(value, dict) else {"value": value})
            for method, cases in content.items()
            for case, value in cases.items()
        ]  # fmt: skip
    if not _are_records(rows):
        found = ", ".join(map(repr, list(content)[:6])) if isinstance(content, dict) else "a list"
        hint = (
            "it seems to be of detection; harmoseg judges segmentations"
            if re.search(r"m?AP\b|froc|boxes|bbox|_IoU_|categories", json.dumps(content)[:5000])
            else "expected nnU-Net's metric_per_case (v2) or results.all (v1), or a record per case"
        )
        raise HarmosegError(f"{file}: no scores of cases in it: found {found}; {hint}")
    frame = pd.DataFrame(rows)
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def _is_columns(content: Any) -> bool:
    """Return whether JSON holds columns whose rows are numbered, one of them the case."""
    return (
        isinstance(content, dict)
        and all(isinstance(column, dict) for column in content.values())
        and any(role_of(name) == "case" for name in content)
        and len({tuple(column) for column in content.values()}) == 1
    )


def _are_records(rows: Any) -> bool:
    return (
        isinstance(rows, Sequence)
        and bool(rows)
        and all(isinstance(row, dict) for row in rows)
        and not any(isinstance(value, dict | list) for row in rows for value in row.values())
    )
