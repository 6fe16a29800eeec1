"""The report: tables, figures and cases to look at, in one HTML file."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.files import write_text
from harmoseg.report.browser import Shown, make_payload
from harmoseg.report.figures.overview import NamedFigure, comparison_figures, with_own_names
from harmoseg.report.figures.style import save_figure, to_png
from harmoseg.report.findings import warnings as find_warnings
from harmoseg.report.gallery import Gallery, GalleryCase
from harmoseg.report.page import Link, Page, PagePicture, PageTable, Section, render
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.pooling import pool_all
from harmoseg.statistics.printing import Table, write_tables
from harmoseg.statistics.rings import ring_table
from harmoseg.statistics.tables import make_tables

REPORT_FILE = "report.html"
_MOST_SHOWN = 2400
"""Predictions in the browser of cases, about 10 MB of them at 128 px."""


def write_report(
    result: Comparison,
    path: str | Path,
    gallery: Gallery | None = None,
    *,
    logs: pd.DataFrame | None = None,
    warnings: Sequence[str] = (),
    facts: Sequence[tuple[str, str]] = (),
    tables: Sequence[Table] = (),
    figures: Sequence[NamedFigure] = (),
    files: Path | None = None,
    replace_files: bool = False,
) -> list[Table]:
    """Write a comparison as one HTML page; return its tables, the main one first.

    Args:
        result: The comparison.
        path: The page to write.
        gallery: Pictures of cases; without them the page has numbers alone, and says so.
        logs: Training logs, for the figure of training; see `harmoseg.report.figures.curves`.
        warnings: What to be wary of beside what the scores themselves show.
        facts: Names and values that say how the scores were made.
        tables: Further tables, which come first.
        figures: Further figures, which come last.
        files: A folder for every table as CSV, Markdown and LaTeX (``tables/``) and every figure
            as PNG and SVG (``figures/``), to which the page links; the page's own folder must be
            the same or above it. Without it the page stands alone.
        replace_files: Remove the two folders first, with what an earlier report left there.

    Raises HarmosegError where a file cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise HarmosegError(f"{path}: a folder; name the page to write, such as {path}/report.html")
    rings = ring_table(result)
    all_tables = [*tables, *make_tables(result), *([rings] if rings else [])]
    all_figures = with_own_names([*comparison_figures(result, gallery, logs), *figures])
    browser = None if gallery is None else _browser(result, gallery)
    if files is not None:
        if replace_files:  # when nothing that may fail is left to do
            for name in ("tables", "figures"):
                shutil.rmtree(files / name, ignore_errors=True)
        write_tables(all_tables, files / "tables")
    found = [*warnings, *find_warnings(result), *_missing(result, gallery, logs)]
    page = Page(
        title=result.title,
        sentences=[
            *(text for text in result.sentences if text not in result.notes),
            *(item.sentence for item in pool_all(result)),
        ],
        warnings=found,
        sections=[
            Section("Tables", tables=[_page_table(table, path, files) for table in all_tables]),
            Section("Figures", pictures=[_page_picture(x, path, files) for x in all_figures]),
        ],
        browser=browser,
        facts=facts,
    )
    write_text(path, render(page))
    return all_tables


def _missing(result: Comparison, gallery: Gallery | None, logs: pd.DataFrame | None) -> list[str]:
    """Say what the page could not be made of."""
    absent = {
        "cases to look at (no pictures)": gallery is None,
        "training curves (no logs)": logs is None,
        "agreement by spatial frequency (no ring sums)": result.scores.rings is None,
        "reliability diagrams (no calibration bins)": result.scores.bins is None,
        "pooled and macro aggregates (no counts)": not result.scores.has_counts,
    }
    names = [name for name, is_absent in absent.items() if is_absent]
    return [f"Not in this report, for want of data: {'; '.join(names)}."] if names else []


def _page_table(table: Table, path: Path, files: Path | None) -> PageTable:
    rows = [
        [(cell, (r, c) in table.bold) for c, cell in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]
    kinds = ("csv", "tex", "md")
    links = _links(path, files, {kind: f"tables/{table.name}.{kind}" for kind in kinds})
    return PageTable(table.title, table.caption, table.header, rows, links)


def _page_picture(named: NamedFigure, path: Path, files: Path | None) -> PagePicture:
    if files is None:
        return PagePicture(named.title, named.caption, to_png(named.figure))
    png = save_figure(named.figure, files / "figures" / named.name)
    links = _links(path, files, {"svg": f"figures/{named.name}.svg"})
    return PagePicture(named.title, named.caption, png, links=links)


def _links(path: Path, files: Path | None, names: dict[str, str]) -> list[Link]:
    """Link to files beside the page; none where they are not beside or below it."""
    if files is None:
        return []
    folder, below = path.resolve().parent, files.resolve()
    if not below.is_relative_to(folder):
        return []
    start = below.relative_to(folder)
    return [Link(kind, (start / name).as_posix()) for kind, name in names.items()]


def _browser(result: Comparison, gallery: Gallery) -> dict[str, Any] | None:
    """Gather the cases to look at: of every test set as many as fit, evenly, and every run."""
    parts = [
        (block, part)
        for block in result.blocks
        if (part := gallery.part(block.trained_on, block.tested_on)) is not None
    ]
    if not parts:
        return None
    methods = list(result.methods)
    seeds = result.scores.values_of("seed")
    classes = gallery.classes
    total = sum(len(case.labels) for _, part in parts for case in part.cases)
    share = min(1.0, _MOST_SHOWN / max(1, total))
    cases: list[tuple[str, GalleryCase]] = []
    shown: dict[tuple[int, str, str], Shown] = {}
    for block, part in parts:
        # A label of a dataset becomes the place of its class among those of all datasets.
        table = np.array([0, *(1 + classes.index(name) for name in part.classes)], np.uint8)
        count = max(1, round(share * len(part.cases)))
        chosen = np.linspace(0, len(part.cases) - 1, count).round().astype(int)
        position = {name: i for i, name in enumerate(block.cases)}
        values = {method: block.values(method, result.primary) for method in block.methods}
        for i in chosen:
            case = part.cases[i]
            for (method, seed), label in case.labels.items():
                if seed not in block.seeds.get(method, ()) or case.name not in position:
                    continue
                row = block.seeds[method].index(seed)
                score = float(values[method][row, position[case.name]])
                shown[len(cases), method, seed] = Shown(
                    table[label],
                    case.cams.get((method, seed)),
                    score if np.isfinite(score) else None,
                )
            cases.append((block.place, replace(case, truth=table[case.truth])))
    return make_payload(classes, cases, methods, seeds, shown)
