"""The three files that every table of a study becomes: Markdown, LaTeX and CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from harmoseg.files import make_folder, write_csv, write_text
from harmoseg.statistics.tables import Table, to_latex, to_markdown

__all__ = ["Table", "to_latex", "to_markdown", "write_table_files"]


def write_table_files(tables: Sequence[Table], folder: Path) -> None:
    """Write ``NAME.md``, ``NAME.tex`` and ``NAME.csv`` of every table into a folder."""
    make_folder(folder)
    for table in tables:
        write_text(folder / f"{table.name}.md", to_markdown(table))
        write_text(folder / f"{table.name}.tex", to_latex(table))
        records = table.records or [dict(zip(table.header, row, strict=True)) for row in table.rows]
        rows = ({key: _plain(value) for key, value in record.items()} for record in records)
        write_csv(folder / f"{table.name}.csv", list(records[0]) if records else table.header, rows)


def _plain(value: object) -> object:
    """Give what a CSV file holds of a value: nothing where it is undefined."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if isinstance(value, float) and math.isnan(value) else value
