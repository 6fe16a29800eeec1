"""Rows and columns of other people's tables that hold no score of a case and a structure.

They are means and other summaries, which would count as a case or a class, and the background,
which would lift every method to almost 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.errors import listed
from harmoseg.scores.naming import plain

_MOST = 6
"""Names that a remark lists."""
STATISTICS = frozenset((
    *("mean", "average", "avg", "median", "std", "min", "max", "sd", "stdev", "notnans", "count"),
    *("90percentile", "ci", "ci_low", "ci_high", "average_sample_mean"),
))  # fmt: skip
"""Words that name a statistic: as columns they show that a table has no cases."""
_SUMMARIES = STATISTICS | {
    *("overall", "total", "all", "summary", "minimum", "maximum", "deviation", "variance", "var"),
    *("iqr", "percentile", "quartile", "confidence", "sem", "ci95", "95ci"),
}
"""Words that name a summary of cases or classes, as spreadsheets and pandas have it."""
_BESIDE = {
    *("standard", "dev", "error", "interval", "of", "and", "the", "cases", "classes", "low"),
    *("lower", "high", "upper", "bound", "sample", "n"),
}
"""Words that stand beside those of `_SUMMARIES` and name no summary alone."""
_BACKGROUNDS = {"background", "bg"}
_LABEL = r"(label[ _-]?)?\d+(\.0)?"
_LABEL_0 = r"(label[ _-]?)?0+(\.0)?"


def names_summary(name: str) -> bool:
    """Return whether a name holds words of summaries alone: ``Mean``, ``95% CI``, ``mean (n=12)``.

    ``mean_arterial_01`` and ``total3`` may be cases: a number counts as a part of a summary only in
    brackets, with a percent sign, or beside an interval or a spread.
    """
    text = re.sub(r"\(.*?\)|\[.*?\]", " ", str(name).lower())
    if re.fullmatch(r"\s*(25|50|75)\s*%\s*", text) or plain(text) in _SUMMARIES:
        return True
    words = set(plain(re.sub(r"\d+(\.\d+)?\s*%", " ", text)).split("_")) - {""}
    if words & {"ci", "confidence", "percentile"} or re.search("\u00b1|\\+/-", text):
        words = {word for word in words if not re.fullmatch(r"\d+(th)?", word)}
    if not (words & _SUMMARIES or words == {"standard", "dev"}):
        return False
    return words <= _SUMMARIES | _BESIDE


def drop_summaries(frame: pd.DataFrame, column: str, what: str, remarks: list[str]) -> pd.DataFrame:
    """Leave out the rows whose name in a column is that of a summary, and add a remark.

    `what` says what the column names: ``case`` or ``class``. Nothing is left out where every row is
    a summary.
    """
    places, names = _names(frame, column)
    names = [name.lower() for name in names]
    dropped = [names_summary(name) for name in names]
    return _drop(frame, places, names, dropped, f"no {what}", remarks)


def drop_background(frame: pd.DataFrame, column: str, remarks: list[str]) -> pd.DataFrame:
    """Leave out the rows whose class is the background, beside those of structures.

    The label 0 is the background where every label is a number.
    """
    places, names = _names(frame, column)
    dropped = _are_background(names)
    return _drop(frame, places, names, dropped, "the background", remarks)


def of_structures(parts: Mapping[str, str], remarks: list[str]) -> list[str]:
    """Return the columns of classes without the background: ``dice_0`` beside ``dice_1``.

    `parts` holds the class that the name of every column ends in.
    """
    columns = list(parts)
    dropped = _are_background(list(parts.values()))
    found = [name for name, is_background in zip(columns, dropped, strict=True) if is_background]
    kept = columns
    if found and len(found) < len(columns):
        remarks.append(f"columns left out that hold the background: {listed(found, _MOST)}")
        kept = [name for name in columns if name not in found]
    # MONAI numbers its classes from 0 with and without the background.
    if first := [name for name in kept if re.fullmatch(r"class[ _-]?0+", parts[name])]:
        remarks.append(
            f"{first[0]} counts as a structure; remove the column if it is the background"
        )
    return kept


def _are_background(names: Sequence[str]) -> list[bool]:
    named = [plain(name) in _BACKGROUNDS for name in names]
    others = [name for name, is_background in zip(names, named, strict=True) if not is_background]
    if not all(re.fullmatch(_LABEL, name) for name in others):
        return named
    return [plain(name) in _BACKGROUNDS or bool(re.fullmatch(_LABEL_0, name)) for name in names]


def _names(frame: pd.DataFrame, column: str) -> tuple[NDArray[np.intp], list[str]]:
    """Return the place of every row's name among the names: a table has each of them many times."""
    places, found = pd.factorize(frame[column], use_na_sentinel=False)
    return places, ["" if pd.isna(name) else str(name).strip() for name in found]


def _drop(
    frame: pd.DataFrame,
    places: NDArray[np.intp],
    names: Sequence[str],
    dropped: Sequence[bool],
    what: str,
    remarks: list[str],
) -> pd.DataFrame:
    """Leave out the rows of some names, beside others that have a name."""
    gone = dict.fromkeys(name for name, drop in zip(names, dropped, strict=True) if drop)
    if not gone or not set(names) - {*gone, ""}:
        return frame
    is_dropped = np.array(dropped)[places]
    remarks.append(f"{is_dropped.sum()} row(s) left out that hold {what}: {listed(gone, _MOST)}")
    return frame[~is_dropped].reset_index(drop=True)
