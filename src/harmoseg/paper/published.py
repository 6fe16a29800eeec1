"""The numbers of the paper's Tables 1 to 6, from ``data/table1.csv`` to ``table6.csv``.

What in them is odd, and where the paper's text says something else, is on the page
``docs/explanation/published-numbers.md``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from harmoseg.errors import HarmosegError

TABLES = (1, 2, 3, 4, 5, 6)
_DATA = files("harmoseg.paper") / "data"


@dataclass(frozen=True)
class PublishedColumn:
    """Content of a column of a published table.

    `trained_on` and `tested_on` are names of cards, `condition` is ``clean`` or the spelling of a
    corruption, `label` names a class of the card and is empty for the mean over the foreground
    classes. `metric` is DSC, IoU, SE, SP, HD95, ECE or MCE.
    """

    trained_on: str
    tested_on: str
    condition: str
    label: str
    metric: str

    @property
    def lower_is_better(self) -> bool:
        """Return whether a smaller value is the better one."""
        return self.metric in ("HD95", "ECE", "MCE")


@dataclass(frozen=True)
class PublishedCell:
    """One cell: in which table, for which method (in harmoseg's spelling), in which column.

    `text` is the value as printed. It is in points (0 to 100) but for HD95, whose unit the paper
    does not name. `bold` says whether it was printed so: in Tables 1 to 5 that marks the better of
    a network without and with the paper's term, not the best of the column.
    """

    table: int
    method: str
    column: PublishedColumn
    text: str
    bold: bool

    @property
    def value(self) -> float:
        """Return the value as a number."""
        return float(self.text)


@cache
def read_published(table: int) -> tuple[PublishedCell, ...]:
    """Read a published table, cell by cell in the order printed: along a row, then the next row.

    Raises HarmosegError for a table that the paper does not have.
    """
    if table not in TABLES:
        raise HarmosegError(f"published table {table!r}: the paper has the tables 1 to 6")
    text = (_DATA / f"table{table}.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        PublishedCell(
            int(row["table"]),
            row["method"],
            PublishedColumn(
                row["trained_on"], row["tested_on"], row["condition"], row["class"], row["metric"]
            ),
            row["value"],
            row["bold"] == "true",
        )
        for row in rows
    )


def published_columns(table: int) -> tuple[PublishedColumn, ...]:
    """List the columns of a published table from left to right.

    Those of Table 2, which is printed in two parts, begin with the part for DSC.
    """
    return tuple(dict.fromkeys(cell.column for cell in read_published(table)))


def find_published(table: int, method: str, column: PublishedColumn) -> PublishedCell | None:
    """Find the cell of a method, None where the table has none."""
    return _by_place(table).get((method, column))


@cache
def _by_place(table: int) -> dict[tuple[str, PublishedColumn], PublishedCell]:
    return {(cell.method, cell.column): cell for cell in read_published(table)}
