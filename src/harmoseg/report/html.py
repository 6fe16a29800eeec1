"""The report: tables, figures and cases to look at, in one HTML file."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.files import write_text
from harmoseg.report.browser import Shown, make_payload
from harmoseg.report.cautions import warnings as find_warnings
from harmoseg.report.figures.overview import (
    CASES,
    CENTRES,
    CONDITIONS,
    DIFFERENCES,
    RINGS,
    NamedFigure,
    comparison_figures,
    with_own_names,
)
from harmoseg.report.figures.style import place_dots, save_figure, to_png
from harmoseg.report.first_screen import make_opening
from harmoseg.report.gallery import Gallery, GalleryCase
from harmoseg.report.page import Link, Page, PagePicture, PageTable, Section, render
from harmoseg.scores.table import Scores
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.curves import ring_table
from harmoseg.statistics.degradation import degradation_table
from harmoseg.statistics.ensemble_gains import describe_gains, ensemble_gains, ensemble_table
from harmoseg.statistics.heterogeneity import (
    describe_centres,
    pool_all,
    spread_table,
    too_few_datasets,
)
from harmoseg.statistics.printing import Table, write_tables
from harmoseg.statistics.tables import centre_table, make_tables

REPORT_FILE = "report.html"
_MOST_SHOWN = 9600
"""Predictions, or planes of them, in the browser of cases: about 8 MB of them at 128 px."""
_MOST_MAPPED = 2400
"""The same where every prediction has an activation map."""
_STUBS = ("tested on", "method", "minus", "class", "centre", "condition", "aggregate")
FURTHER, RESULTS, CLASSES = "Further tables", "Results", "Classes"
ENSEMBLES = "Ensembles"
TABLE_SECTIONS = {
    "differences": DIFFERENCES,
    "differences-all-measures": DIFFERENCES,
    "pooled": DIFFERENCES,
    "ranking": DIFFERENCES,
    "means": RESULTS,
    "aggregates": RESULTS,
    "differences-by-class": CLASSES,
    "differences-by-centre": CENTRES,
    "differences-by-condition": CONDITIONS,
    "degradation": CONDITIONS,
    "centres": CENTRES,
    "means-by-centre": CENTRES,
    "ring-gains": RINGS,
    "ensembles": ENSEMBLES,
}
_PART_TABLES = (spread_table, centre_table, degradation_table, ring_table)
"""Tables that are None where the scores have no such part."""
_ORDER = (DIFFERENCES, FURTHER, RESULTS, ENSEMBLES, CENTRES, CONDITIONS, CLASSES, CASES, RINGS)


def write_report(
    result: Comparison,
    path: str | Path,
    gallery: Gallery | None = None,
    *,
    logs: pd.DataFrame | None = None,
    ensembles: Scores | None = None,
    warnings: Sequence[str] = (),
    remarks: Sequence[str] = (),
    facts: Sequence[tuple[str, str]] = (),
    made: str = "",
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
        ensembles: Scores of ensembles of the seeds; see `harmoseg.statistics.ensemble_gains`.
        warnings: What to be wary of before what the scores themselves show.
        remarks: The same, of less weight: it comes after that.
        facts: Names and values that say how the scores were made.
        made: One line on how they were made, for the first screen.
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
    found_tables = [make(result) for make in _PART_TABLES]
    if ensembles is not None:
        found_tables.append(ensemble_table(result, ensembles))
    all_tables = [*tables, *make_tables(result), *(table for table in found_tables if table)]
    all_figures = with_own_names([*comparison_figures(result, gallery, logs), *figures])
    browser = None if gallery is None else _browser(result, gallery)
    linked = _linked(browser)
    if files is not None:
        if replace_files:  # when nothing that may fail is left to do
            for name in ("tables", "figures"):
                shutil.rmtree(files / name, ignore_errors=True)
        write_tables(all_tables, files / "tables")
    found = [*warnings, *find_warnings(result), *remarks, *_missing(result, gallery, logs)]
    parts: dict[str, list[PageTable | PagePicture]] = {name: [] for name in _ORDER}
    for table in all_tables:
        section = TABLE_SECTIONS.get(table.name, FURTHER)
        parts.setdefault(section, []).append(_page_table(table, result, path, files))
    for figure in all_figures:
        picture = _page_picture(figure, path, files, linked)
        parts.setdefault(figure.section, []).append(picture)
    words = {
        DIFFERENCES: [
            *(text for text in result.sentences if text not in result.notes),
            *(item.sentence for item in pool_all(result)),
        ],
        CENTRES: describe_centres(result),
        ENSEMBLES: ([] if ensembles is None else describe_gains(ensemble_gains(result, ensembles))),
    }
    page = Page(
        title=result.title,
        opening=make_opening(result, gallery, found, made, linked),
        warnings=found,
        sections=[
            Section(
                name,
                words.get(name, ()),
                [item for item in items if isinstance(item, PageTable)],
                [item for item in items if isinstance(item, PagePicture)],
            )
            for name, items in parts.items()
            if items or name == DIFFERENCES
        ],
        browser=browser,
        facts=facts,
    )
    write_text(path, render(page))
    return all_tables


def _missing(result: Comparison, gallery: Gallery | None, logs: pd.DataFrame | None) -> list[str]:
    """Return what is missing on the page for want of data."""
    absent = {
        "cases to look at (no pictures)": gallery is None,
        "training curves (no logs)": logs is None,
        "agreement by spatial frequency (no ring sums)": result.scores.rings is None,
        "reliability diagrams (no calibration bins)": result.scores.bins is None,
        "pooled and macro aggregates (no counts)": not result.scores.has_counts,
    }
    names = [name for name, is_absent in absent.items() if is_absent]
    told = [f"Not in this report, for want of data: {'; '.join(names)}."] if names else []
    return [*told, *filter(None, [too_few_datasets(result)])]


def _page_table(table: Table, result: Comparison, path: Path, files: Path | None) -> PageTable:
    rows = [
        [(cell, (r, c) in table.bold) for c, cell in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]
    kinds = ("csv", "tex", "md")
    links = _links(path, files, {kind: f"tables/{table.name}.{kind}" for kind in kinds})
    primary = result.primary
    first = [
        i
        for i, name in enumerate(table.header)
        if name in _STUBS or name in (primary.heading, f"{primary.title} word")
    ]
    return PageTable(table.title, table.caption, table.header, rows, links, first or (0,))


def _page_picture(
    named: NamedFigure, path: Path, files: Path | None, linked: Collection[tuple[str, str]]
) -> PagePicture:
    links: list[Link] = []
    if files is None:
        png = to_png(named.figure)
    else:
        png = save_figure(named.figure, files / "figures" / named.name)
        links = _links(path, files, {"svg": f"figures/{named.name}.svg"})
    dots = None
    if named.dots:
        is_linked = any(place == named.place for place, _ in linked)
        dots = {**place_dots(named.figure, named.dots), "place": named.place, "linked": is_linked}
    return PagePicture(
        named.title, named.caption, png, links=links, dots=dots, is_photo=named.is_photo
    )


def _linked(browser: dict[str, Any] | None) -> set[tuple[str, str]]:
    """Return the cases of the browser, by test set and name."""
    if browser is None:
        return set()
    return {(browser["stores"][item["store"]], item["name"]) for item in browser["cases"]}


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
    total = sum(
        len(case.labels) * len(case.shown_planes) for _, part in parts for case in part.cases
    )
    has_maps = any(case.cams for _, part in parts for case in part.cases)
    share = min(1.0, (_MOST_MAPPED if has_maps else _MOST_SHOWN) / max(1, total))
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
                    [table[plane.labels[method, seed]] for plane in case.planes],
                )
            planes = tuple(replace(plane, truth=table[plane.truth]) for plane in case.planes)
            cases.append((block.place, replace(case, truth=table[case.truth], planes=planes)))
    measure, decimals = result.primary.title, result.primary.decimals
    return make_payload(classes, cases, methods, seeds, shown, measure=measure, decimals=decimals)
