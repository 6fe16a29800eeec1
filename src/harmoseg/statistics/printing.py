"""Tables as text: `Table`, numbers in words, and Markdown, LaTeX, HTML and CSV."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from harmoseg.files import make_folder, write_csv, write_text
from harmoseg.statistics.blocks import Block
from harmoseg.statistics.intervals import Estimate

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After the end of a line these two would be read as its options.
    "[": "{[}",
    "*": "{*}",
    "\N{MINUS SIGN}": "$-$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{GREEK SMALL LETTER LAMDA}": r"$\lambda$",
}
_ESCAPES = str.maketrans(_LATEX)
_NEGATIVE = re.compile(r"(?<![\w.)}])-(?=\d)")
NO_INTERVAL = "no interval"
NONE = "none"
FOR_THESE_NETWORKS = "for these networks"
"""End of every verdict from one training per method."""
_FEWEST_COLUMNS = 4
"""Columns of a table on a narrow terminal: where, what, against what, by how much."""


@dataclass(frozen=True, eq=False)
class Table:
    r"""A table ready to be printed: a title, a caption, numbers, and the cells made of them.

    `records` has one row per number, as written to CSV; `header` and `rows` are text. A cell may
    have several lines (``"78.4\n[76.0, 80.1]"``), which LaTeX sets below one another; `bold` has
    the places, (row, column), whose first line is bold. `levels` is the header once more in several
    lines, for print: neighbours with the same text share one heading.
    """

    name: str
    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    levels: tuple[tuple[str, ...], ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    records: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        caption: str,
        rows: Sequence[Mapping[str, str]],
        records: Sequence[Mapping[str, Any]],
        bold: Collection[tuple[int, int]] = (),
    ) -> Table:
        """Make a table of rows that are cells by heading; at least one row."""
        cells = tuple(tuple(row.values()) for row in rows)
        header = tuple(rows[0])
        return cls(name, title, caption, header, cells, (), frozenset(bold), tuple(records))


def format_number(value: float, decimals: int, *, signed: bool = True) -> str:
    """Write ``+0.4`` or ``0.4``."""
    # Adding 0 makes a 0 of the -0 that rounding may leave.
    return f"{round(value, decimals) + 0.0:{'+' if signed else ''}.{decimals}f}"


def format_interval(low: float, high: float, decimals: int, *, signed: bool = True) -> str:
    """Write ``[-0.4, +1.2]``."""
    ends = (format_number(end, decimals, signed=signed) for end in (low, high))
    return f"[{', '.join(ends)}]"


def format_estimate(estimate: Estimate, decimals: int, *, signed: bool = False) -> str:
    """Write ``78.4 [76.0, 80.1]``, or the mean alone where there is no interval.

    With `decimals`, or more where the estimate needs them.
    """
    if np.isnan(estimate.mean):
        return "undefined"
    decimals = max(estimate.decimals, decimals)
    mean = format_number(estimate.mean, decimals, signed=signed)
    if estimate.low is None or estimate.high is None:
        return f"{mean} ({NO_INTERVAL})"
    return f"{mean} {format_interval(estimate.low, estimate.high, decimals, signed=signed)}"


def format_p(p: float | None) -> str:
    """Write ``0.032``, ``<0.001``, or that there is none."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def format_count(count: int, noun: str) -> str:
    """Write ``1 seed`` or ``3 seeds``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_range(counts: Collection[int]) -> str:
    """Write ``3`` or ``2 to 5``."""
    fewest, most = min(counts), max(counts)
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def format_seed_range(blocks: Iterable[Block]) -> str:
    """Format the number of seeds, or its range, for a caption."""
    return format_range([len(seeds) for block in blocks for seeds in block.seeds.values()])


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Write ``NAME.md``, ``NAME.tex`` and ``NAME.csv`` of every table into a folder.

    Raises HarmosegError where it cannot be written.
    """
    make_folder(folder)
    for table in tables:
        write_text(folder / f"{table.name}.md", to_markdown(table))
        write_text(folder / f"{table.name}.tex", to_latex(table))
        records = table.records or [dict(zip(table.header, row, strict=True)) for row in table.rows]
        rows = ({key: _plain(value) for key, value in record.items()} for record in records)
        write_csv(folder / f"{table.name}.csv", list(records[0]) if records else table.header, rows)


def _plain(value: object) -> object:
    """Return what a CSV file holds of a value: nothing where it is undefined."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if isinstance(value, float) and math.isnan(value) else value


def to_markdown(table: Table) -> str:
    """Write a table in Markdown, its columns aligned so that it reads as plain text too."""
    lines = [[_markdown(cell) for cell in table.header]]
    for r, row in enumerate(table.rows):
        lines.append([_markdown(cell, bold=(r, c) in table.bold) for c, cell in enumerate(row)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]
    padded = ([cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines)
    body = [f"| {' | '.join(line)} |" for line in padded]
    body.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join([f"**{table.title}**", "", *body, "", table.caption, ""])


def to_terminal(table: Table, width: int) -> str:
    """Write a table in Markdown within so many characters, as far as its first columns allow.

    The primary measure and its verdict come first, the others from the left; what is left out is
    named.
    """
    text = to_markdown(table)
    body = text.split("\n")[2 : 4 + len(table.rows)]
    columns = range(len(table.header))
    verdicts = [name for name in table.header if name.endswith(" word")]
    first = {*verdicts, *(name.removesuffix(" word") for name in verdicts)}
    room = width - 1
    kept: set[int] = set()
    for i in sorted(columns, key=lambda i: table.header[i] not in first):
        wide = 3 + max(len(line.split("|")[i + 1].strip()) for line in body)
        if wide <= room or len(kept) <= _FEWEST_COLUMNS:
            kept.add(i)
            room -= wide
    left = [table.header[i] for i in columns if i not in kept]
    places = sorted(kept)
    chosen = replace(
        table,
        header=tuple(table.header[i] for i in places),
        rows=tuple(tuple(row[i] for i in places) for row in table.rows),
        bold=frozenset((r, places.index(c)) for r, c in table.bold if c in kept),
        caption="",
    )
    more = f" Not shown here, but in the report: {', '.join(left)}." if left else ""
    return to_markdown(chosen).rstrip() + "\n\n" + fill(table.caption + more, width) + "\n"


def to_latex(table: Table) -> str:
    """Write a table in LaTeX, shrunk to the width of the text where it is wider."""
    rows = [
        _latex_line([_latex(cell, bold=(r, c) in table.bold) for c, cell in enumerate(row)])
        for r, row in enumerate(table.rows)
    ]
    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}",
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{\textbf{{{_latex(table.title)}.}} {_latex(table.caption)}}}",
            rf"\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', table.name)}}}",
            r"\sbox{0}{%",
            rf"\begin{{tabular}}{{{'l' * len(table.header)}}}",
            r"\toprule",
            *_latex_header(table.levels or (table.header,)),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}%",
            r"\ifdim\wd0>\textwidth\resizebox{\textwidth}{!}{\usebox{0}}\else\usebox{0}\fi",
            r"\end{table}",
            "",
        ]
    )


def _markdown(cell: str, *, bold: bool = False) -> str:
    first, *rest = cell.replace("|", r"\|").split("\n")
    return " ".join([f"**{first}**" if bold else first, *rest])


def _latex(cell: str, *, bold: bool = False) -> str:
    """Escape a cell; every character of it is text, whatever it means to LaTeX."""
    lines = [_NEGATIVE.sub("\N{MINUS SIGN}", line).translate(_ESCAPES) for line in cell.split("\n")]
    if bold:
        lines[0] = rf"\textbf{{{lines[0]}}}"
    return lines[0] if len(lines) == 1 else r"\shortstack[l]{" + r"\\".join(lines) + "}"


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_header(levels: Sequence[Sequence[str]]) -> list[str]:
    """Write the lines of a header; a heading stands once over all neighbours that share it."""
    lines = []
    for depth, level in enumerate(levels[:-1]):
        cells, rules = [], []
        # What is below different headings is not the same, though it may be called so.
        paths = list(zip(*levels[: depth + 1], strict=True))
        start = 0
        for _, group in itertools.groupby(paths):
            width = len(list(group))
            text = _latex(level[start])
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{text}}}" if text else "& " * (width - 1))
            if text:
                rules.append(rf"\cmidrule(lr){{{start + 1}-{start + width}}}")
            start += width
        lines.append(_latex_line(cells))
        lines += ["".join(rules)] if rules else []  # an empty line would begin a row
    return [*lines, _latex_line([_latex(cell) for cell in levels[-1]])]


def to_html(table: Table) -> str:
    """Write a table in HTML, for notebooks."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    caption = f"<caption>{escape(table.caption)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
