"""Tables of scores that somebody else made: find what every column is, and make it long."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError, listed
from harmoseg.metrics.measures import Measure
from harmoseg.scores.naming import (
    CLASS_COLUMN,
    COUNT_NAMES,
    ROLES,
    foreign_measure,
    is_derived,
    measure_in,
    plain,
)
from harmoseg.scores.numbers import UNDEFINED, refuse_spreads, to_numbers
from harmoseg.scores.summaries import (
    STATISTICS,
    drop_background,
    drop_summaries,
    names_summary,
    of_structures,
)

Columns = Literal["methods", "classes"]
_SUFFIX = re.compile(
    r"\.(nii(\.gz)?|png|tiff?|jpe?g|bmp|mha|mhd|nrrd|npy|npz|h5|dcm|gz)$", re.IGNORECASE
)


@dataclass(frozen=True)
class Reading:
    """Facts about a table that is to be read, and the decisions of reading it.

    Args:
        declared: Measures that the user declared, by column.
        percent: Those of them in percent.
        groups: Patient of every case.
        names: The column of a role, where the user named it.
        columns: What columns with other names are; None where the table must show it.
        method: Method of a table that names none; that of the file where it is empty.
        source: The file, for errors.
        stem: Name of the file without its ending, which may name the measure.
        remarks: What was decided.
        seen: Columns of all tables that were read, in order.
    """

    declared: Mapping[str, Measure] = field(default_factory=dict)
    percent: frozenset[str] = frozenset()
    groups: Mapping[str, str] | str | Path | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    columns: Columns | None = None
    method: str = ""
    source: str = ""
    stem: str = ""
    remarks: list[str] = field(default_factory=list)
    seen: dict[str, None] = field(default_factory=dict)

    def error(self, text: str) -> HarmosegError:
        """Return an error that names the file."""
        return HarmosegError(f"{self.source}: {text}")


def to_long(frame: pd.DataFrame, reading: Reading) -> tuple[pd.DataFrame, dict[str, Measure]]:
    """Return a table with harmoseg's key columns and measures, and the measures.

    Raises HarmosegError where no column names the case, where the table holds means and no cases,
    and where a measure cannot be told.
    """
    reading.seen.update(dict.fromkeys(map(str, frame.columns)))
    roles = _find_roles(frame, reading)
    if "case" not in roles:
        raise _no_cases(frame, reading)
    known = len(reading.remarks)
    frame = drop_summaries(frame, roles["case"], "case", reading.remarks)
    if "class" in roles:
        frame = drop_summaries(frame, roles["class"], "class", reading.remarks)
        frame = drop_background(frame, roles["class"], reading.remarks)
    keys = pd.DataFrame(index=frame.index)
    for role, name in roles.items():
        if role not in ("value", "measure"):
            keys[role] = frame[name]
    values, measures = _find_values(frame, keys, roles, reading)
    if "fold" in keys:
        values = _folds(values, reading)
    if "method" not in values:
        values["method"] = reading.method or reading.stem
        if not reading.method:
            text = "no column names a method: the table counts as one method"
            reading.remarks.insert(known, text)
    values["case"] = clean_cases(values["case"])
    for measure in measures.values():
        if measure.is_share:
            _to_fractions(values, measure, reading)
        elif not measure.unit and measure.family in ("HD95", "HD", "ASSD"):
            reading.remarks.append(
                f"the unit of {measure.title} is not stated; declare {measure.title}:lower:mm"
            )
    return values, measures


def clean_cases(column: pd.Series) -> pd.Series:
    """Return names of cases without folders and endings of files, as far as they stay apart."""
    text = column.astype("string").fillna("").str.strip()
    whole = list(dict.fromkeys(text))
    paths = {name: name.replace("\\", "/") for name in whole}
    short = {name: _SUFFIX.sub("", PurePosixPath(path).name) for name, path in paths.items()}
    if len(set(short.values())) < len(short):
        parts = [PurePosixPath(path).parts for path in paths.values()]
        same = 0
        while all(len(p) > same + 1 and p[same] == parts[0][same] for p in parts):
            same += 1
        short = {
            name: _SUFFIX.sub("", "/".join(PurePosixPath(path).parts[same:]))
            for name, path in paths.items()
        }
        if len(set(short.values())) < len(short):
            return text
    return text.map(short)


def _find_roles(frame: pd.DataFrame, reading: Reading) -> dict[str, str]:
    """Return the column of every role that the table has."""
    taken: dict[str, str] = {}
    for role, name in reading.names.items():
        if role not in ROLES:
            raise reading.error(f"{role!r} is no role; expected one of {', '.join(ROLES)}")
        if name not in frame.columns:
            raise reading.error(f"no column {name!r}; found {listed(frame.columns)}")
        taken[role] = name
    by_word: dict[str, str] = {}
    for name in frame.columns:
        by_word.setdefault(plain(name), name)
    for role, words in ROLES.items():
        if role in taken:
            continue
        for word in words:
            name = by_word.get(word, "")
            if not name or name in taken.values() or name in reading.declared:
                continue
            numeric = pd.api.types.is_numeric_dtype(frame[name])
            if (role == "value" and not numeric) or (role == "measure" and numeric):
                continue
            if not (role == "class" and numeric and foreign_measure(name)):
                taken[role] = name
                break
    return taken


def _find_values(
    frame: pd.DataFrame, keys: pd.DataFrame, roles: Mapping[str, str], reading: Reading
) -> tuple[pd.DataFrame, dict[str, Measure]]:
    """Return the keys with one column per measure, long in classes and methods."""
    if "value" in roles:
        value = frame[roles["value"]]
        frame = frame.assign(**{roles["value"]: to_numbers(value, reading.source)})
        if "measure" in roles:
            return _by_measure(frame, keys, roles, reading)
    others = [name for name in frame.columns if name not in roles.values()]
    numeric = [n for n in others if _is_number(frame[n]) or n in reading.declared]
    if dropped := [name for name in others if name not in numeric]:
        for name in dropped:
            if measure_in(name):
                refuse_spreads(frame[name], reading.source)
        reading.remarks.append(f"columns left out: {listed(dropped)}")
    frame = frame.assign(**{name: to_numbers(frame[name], reading.source) for name in numeric})
    named = {name: _measure_of(name, reading) for name in numeric}
    if "value" in roles and not any(named.values()):
        measure = _single_measure(reading, roles["value"])
        return keys.assign(**{measure.name: frame[roles["value"]]}), {measure.name: measure}
    if any(named.values()):
        if "value" in roles:
            reading.remarks.append(
                f"columns left out: {roles['value']}; other columns are measures"
            )
        parts = {name: measure for name, measure in named.items() if measure is not None}
        for name in numeric:
            if plain(name) in COUNT_NAMES:
                keys[COUNT_NAMES[plain(name)]] = frame[name]
        unknown = [n for n in numeric if n not in parts and plain(n) not in COUNT_NAMES]
        if unknown:
            reading.remarks.append(
                f"columns left out: {listed(unknown)}; declare the measures among them"
            )
        kept = _one_column_each(frame, {n: (m.name, "") for n, m in parts.items()}, reading)
        parts = {name: parts[name] for name in kept}
        return keys.assign(**{m.name: frame[n] for n, m in parts.items()}), {
            m.name: m for m in parts.values()
        }
    return _wide_values(frame, keys, numeric, roles, reading)


def _wide_values(
    frame: pd.DataFrame,
    keys: pd.DataFrame,
    numeric: Sequence[str],
    roles: Mapping[str, str],
    reading: Reading,
) -> tuple[pd.DataFrame, dict[str, Measure]]:
    """Return a table whose columns are classes or methods, perhaps of several measures."""
    columns = list(numeric)
    parts_of = {name: pair[1] if (pair := measure_in(name)) else name for name in columns}
    if summaries := [name for name in columns if names_summary(parts_of[name])]:
        columns = [name for name in columns if name not in summaries]
        if not columns:
            raise reading.error(
                f"the columns {listed(summaries)} hold summaries and no classes or methods; if "
                f"{summaries[0]!r} is a score of every case, name it as the measure alone"
            )
        reading.remarks.append(f"columns left out that sum up others: {listed(summaries)}")
    derived = [name for name in columns if is_derived(name)]
    # Methods named by their loss: ce_loss beside dice_loss.
    others = [name for name in columns if name not in derived]
    if any("loss" in plain(name).split("_") and not measure_in(name) for name in others):
        derived = []
    if derived:
        columns = [name for name in columns if name not in derived]
        if not columns:
            raise reading.error(
                f"{derived[0]!r} is not the measure that its name holds; declare it, for example "
                f"--measure '{derived[0]}:lower:fraction' (NAME:DIRECTION:UNIT)"
            )
        reading.remarks.append(
            f"columns left out: {listed(derived)}; declare the measures among them"
        )
    if not columns:
        raise reading.error(f"no column holds numbers; found {listed(frame.columns)}")
    names_method = "method" in roles or bool(reading.method)
    are_classes = names_method or all(CLASS_COLUMN.fullmatch(parts_of[name]) for name in columns)
    what = reading.columns or ("classes" if are_classes else "methods")
    role = {"classes": "class", "methods": "method"}[what]
    found = {name: measure_in(name) for name in columns}
    if all(found.values()):  # dice_liver, hd95_liver
        pairs = {name: pair for name, pair in found.items() if pair is not None}
    else:
        measure = _single_measure(reading, f"columns {listed(columns)}")
        pairs = {name: (measure, name) for name in columns}
    if role == "class":
        parts_of = {name: part for name, (_, part) in pairs.items()}
        pairs = {name: pairs[name] for name in of_structures(parts_of, reading.remarks)}
    means = {name: (measure.name, part) for name, (measure, part) in pairs.items()}
    columns = _one_column_each(frame, means, reading)
    pairs = {name: pairs[name] for name in columns}
    reading.remarks.append(f"the columns {listed(columns)} are {what}")
    parts: dict[str, pd.DataFrame] = {}
    for name, (measure, part) in pairs.items():
        rows = parts.setdefault(part, keys.assign(**{role: part}))
        rows[measure.name] = frame[name]
    return pd.concat(parts.values(), ignore_index=True), {m.name: m for m, _ in pairs.values()}


def _one_column_each(
    frame: pd.DataFrame, means: Mapping[str, tuple[str, str]], reading: Reading
) -> list[str]:
    """Return the columns without those that repeat another.

    `means` holds the measure of every column, and its class or method. Raises HarmosegError where
    two columns mean the same and differ: the last would silently replace the first.
    """
    kept: dict[tuple[str, str], str] = {}
    for name, meaning in means.items():
        other = kept.setdefault(meaning, name)
        if other == name:
            continue
        measure, part = meaning
        of_part = f" of {part!r}" if part else ""
        if np.array_equal(frame[name], frame[other], equal_nan=True):
            why = f"it repeats {other!r}"
        elif not part and measure in (name, other):
            kept[meaning] = measure
            name = other if name == measure else name
            why = f"{measure!r} is there under its own name"
        else:
            cure = f", or declare one as a measure of its own: --measure '{name}:DIRECTION:UNIT'"
            raise reading.error(
                f"columns {other!r} and {name!r} both mean {measure}{of_part}, and their values "
                f"differ; remove one{'' if part else cure}"
            )
        reading.remarks.append(f"column {name!r} left out: {why}")
    return list(kept.values())


def _by_measure(
    frame: pd.DataFrame, keys: pd.DataFrame, roles: Mapping[str, str], reading: Reading
) -> tuple[pd.DataFrame, dict[str, Measure]]:
    """Return a long table of several measures with a column for each."""
    texts = frame[roles["measure"]].astype(str)
    measures = {text: _measure_of(text, reading) for text in dict.fromkeys(texts)}
    if unknown := [text for text, measure in measures.items() if measure is None]:
        raise reading.error(_declare(unknown[0], f"the measure {unknown[0]!r} is not known"))
    known = {text: measure for text, measure in measures.items() if measure is not None}
    first: dict[str, str] = {}
    for text, measure in known.items():
        if (other := first.setdefault(measure.name, text)) != text:
            raise reading.error(
                f"{other!r} and {text!r} in column {roles['measure']!r} both mean {measure.name}; "
                f"remove one, or declare one as a measure of its own, for example --measure "
                f"'{text}:DIRECTION:UNIT'"
            )
    table = keys.assign(_measure=texts.map({t: m.name for t, m in known.items()}))
    index = [name for name in table.columns if name != "_measure"]
    table["_value"] = frame[roles["value"]]
    doubled = np.flatnonzero(table.duplicated([*index, "_measure"]))
    if doubled.size:
        row = table.iloc[doubled[0]]
        raise reading.error(
            f"row {doubled[0] + 2} repeats case {row['case']!r} in {row['_measure']}; every case "
            "is there once for each method, class and measure"
        )
    filled = table.fillna(dict.fromkeys(index, ""))
    wide = filled.pivot(index=index, columns="_measure", values="_value").reset_index()
    return wide.rename_axis(columns=None), {m.name: m for m in known.values()}


def _measure_of(name: str, reading: Reading) -> Measure | None:
    return reading.declared.get(name) or foreign_measure(name)


def _single_measure(reading: Reading, what: str) -> Measure:
    """Return the measure of a table with a single one: declared, or named by the file."""
    free = list(reading.declared.values())
    if len(free) == 1:
        return free[0]
    stem = re.sub(r"_raw$", "", reading.stem)
    by_file = reading.declared.get(stem) or foreign_measure(stem)
    if by_file is None and (found := measure_in(stem)):
        by_file = found[0]
    if by_file is None and stem == "raw":  # of Auto3DSeg, which scores Dice alone
        by_file = foreign_measure("dice")
    if by_file is None:
        raise reading.error(_declare("Dice", f"{what}: neither column nor file names the measure"))
    reading.remarks.append(f"the name of the file says that the measure is {by_file.title}")
    return by_file


def _declare(name: str, problem: str) -> str:
    return (
        f"{problem}; declare it, for example --measure '{name}:higher:fraction' "
        "(NAME:DIRECTION:UNIT)"
    )


def _to_fractions(values: pd.DataFrame, measure: Measure, reading: Reading) -> None:
    """Divide percent by 100, where that is declared or the values show it."""
    column = values[measure.name]
    finite = column[np.isfinite(column)]
    if measure.name in reading.percent:
        is_percent = True
    elif measure.name in reading.declared or finite.empty or finite.max() <= 1 + 1e-6:
        is_percent = False
    else:
        low = finite[(finite > 0) & (finite <= 1)]
        is_percent = True
        largest = finite[finite > 0].groupby(values["method"]).max()
        if largest.min() <= 1:
            fraction, percent = largest.idxmin(), largest.idxmax()
            raise reading.error(
                f"{measure.title} of method {fraction!r} goes up to {largest[fraction]:g}, of "
                f"{percent!r} up to {largest[percent]:g}: fractions beside percent? bring both to "
                f"one scale, or declare {measure.name}:higher:percent"
            )
        if len(low) * 2 > (finite > 0).sum():
            row = int(np.flatnonzero(column > 1 + 1e-6)[0])
            raise reading.error(
                f"row {row + 2}, {measure.title}: {column.iloc[row]:g} among values up to 1; is it "
                f"percent among fractions? correct it, or declare {measure.name}:higher:percent"
            )
        if len(low):
            reading.remarks.append(
                f"percent among fractions? {len(low)} values of {measure.title} lie between 0 and "
                f"1, the largest is {finite.max():g}; read as percent"
            )
    how = "declared" if measure.name in reading.declared else "inferred"
    reading.remarks.append(f"{measure.title} as {'percent' if is_percent else 'fractions'} ({how})")
    if is_percent:
        values[measure.name] = column / 100
    elif not is_percent and measure.name not in reading.declared:
        # Rounding beyond 1, as float32 leaves it.
        inside = column.between(1, 1 + 1e-6)
        if inside.any():
            values.loc[inside, measure.name] = 1.0


def _folds(values: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """Turn folds into seeds: one run ``cv`` where every case was scored under one fold."""
    key = [name for name in ("method", "tested_on", "condition", "case", "class") if name in values]
    if "seed" in values or values.duplicated(key).any():
        if "seed" not in values:
            values = values.assign(seed="fold_" + values["fold"].astype(str))
            reading.remarks.append(
                "cases are scored under several folds: folds count as repeated trainings"
            )
    else:
        values = values.assign(seed="cv")
        reading.remarks.append("every case is scored under one fold: the folds are one run, cv")
    return values.drop(columns="fold")


def _is_number(column: pd.Series) -> bool:
    """Return whether most fields of a column are numbers; `Scores.of` names those that are not."""
    if column.dtype == bool:
        return False
    if pd.api.types.is_numeric_dtype(column):
        return True
    text = column.dropna()
    text = text[~text.astype(str).str.strip().str.lower().isin(UNDEFINED)]
    return bool(len(text)) and bool(pd.to_numeric(text, errors="coerce").notna().mean() > 0.5)


def _no_cases(frame: pd.DataFrame, reading: Reading) -> HarmosegError:
    words = {plain(name) for name in frame.columns}
    if words & STATISTICS or len(frame) < 2:
        return reading.error(
            f"a table of means: found the columns {listed(frame.columns)} and no case; statistics "
            "need the scores of every case, so give the file with a row per case"
        )
    return reading.error(
        f"no column names the case; found {listed(frame.columns)}; expected a column such as "
        "case, id, name or filename, or name it: names={'case': COLUMN} in Python, --column "
        "case=COLUMN in a shell"
    )
