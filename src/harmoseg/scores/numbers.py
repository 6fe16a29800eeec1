"""Fields of tables that are numbers, are empty, or are neither."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError

UNDEFINED = (
    *("", "nan", "na", "n/a", "none", "null", "<na>", "-", "--", "\u2013", "\u2014", "."),
    *("#n/a", "#na", "#div/0!", "#value!", "#num!", "#ref!", "#null!"),
)
"""Fields, in lower case, that hold no number; those with # are errors of spreadsheets."""
_MEAN_AND_SPREAD = r"[\d.,]+ ?%? *(?:±|\+/?-|\(|\[) *[\d.,]+.*"


def to_numbers(column: pd.Series, source: str) -> pd.Series:
    """Return a column in float64; an empty field is undefined.

    Raises HarmosegError, which begins with `source`, naming the row and column of other text.
    """
    if column.dtype == bool or not pd.api.types.is_numeric_dtype(column):
        text = column.astype("string").str.strip()
        blank = text.isna() | text.str.lower().isin(UNDEFINED)
        numbers = pd.to_numeric(text.mask(blank), errors="coerce")
        wrong = np.flatnonzero(numbers.isna() & ~blank)
        if wrong.size:
            refuse_spreads(column, source)
            raise HarmosegError(
                f"{source}: row {row_of(wrong[0])}, column {str(column.name)!r}: "
                f"{text.iloc[wrong[0]]!r} is no number; leave the field empty where a score is "
                "undefined"
            )
        column = numbers
    return column.astype("float64")


def refuse_spreads(column: pd.Series, source: str) -> None:
    """Raise HarmosegError where a column holds means with spreads, such as ``0.8 ± 0.01``."""
    text = column.dropna().astype(str).str.strip()
    found = text[text.str.fullmatch(_MEAN_AND_SPREAD)]
    if len(found):
        raise HarmosegError(
            f"{source}: row {row_of(found.index[0])}, column {str(column.name)!r}: "
            f"{found.iloc[0]!r} is a mean with its spread, which is no score of a case; "
            "statistics need one row per case"
        )


def row_of(position: Any) -> int:
    """Return the line of a file that a row of the table came from: the header is line 1."""
    return int(position) + 2
