"""The report: tables, figures and cases to look at, in one HTML file."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.files import write_text
from harmoseg.losses.method import Method, parse_method
from harmoseg.report.browser import gather_cases
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
from harmoseg.report.gallery import Gallery
from harmoseg.report.page import Link, Page, PagePicture, PageTable, Section, render
from harmoseg.scores.table import Scores
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.curves import explained_by_temperature, ring_table
from harmoseg.statistics.degradation import degradation_table
from harmoseg.statistics.ensemble_gains import describe_gains, ensemble_gains, ensemble_table
from harmoseg.statistics.heterogeneity import (
    describe_centres,
    describe_spread,
    measure_spread,
    pool_all,
    spread_table,
    too_few_datasets,
)
from harmoseg.statistics.printing import Table, write_tables
from harmoseg.statistics.tables import centre_table, make_tables

REPORT_FILE = "report.html"
_FEW_SEEDS = 5
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
    browser = None if gallery is None else gather_cases(result, gallery)
    linked: set[tuple[str, str]] = set()  # the cases that the browser has, by test set and name
    if browser is not None:
        linked = {(browser["stores"][x["store"]], x["name"]) for x in browser["cases"]}
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


def _links(path: Path, files: Path | None, names: dict[str, str]) -> list[Link]:
    """Link to files beside the page; none where they are not beside or below it."""
    if files is None:
        return []
    folder, below = path.resolve().parent, files.resolve()
    if not below.is_relative_to(folder):
        return []
    start = below.relative_to(folder)
    return [Link(kind, (start / name).as_posix()) for kind, name in names.items()]


def find_warnings(comparison: Comparison) -> list[str]:
    """Return what a reader should be wary of, the weightiest first; first sentences are short."""
    return [
        *_of_seeds(comparison),
        *_of_controls(comparison),
        *_of_centres(comparison),
        *_of_patients(comparison),
        *comparison.notes,
        *comparison.scores.remarks,
        *_of_undefined(comparison),
        *explained_by_temperature(comparison),
    ]


def _of_seeds(comparison: Comparison) -> list[str]:
    counts = [len(seeds) for block in comparison.blocks for seeds in block.seeds.values()]
    fewest, most = min(counts), max(counts)
    if fewest < 2 <= most:
        return [
            f"Seeds: {fewest} to {most}, where some runs are missing. With one "
            "seed an interval is over patients alone, for these networks."
        ]
    if most < 2:
        return [
            "One training per method: every verdict is for these networks, not for the methods. "
            "How much training varies is not known, and intervals are over patients alone."
        ]
    if fewest < _FEW_SEEDS:
        found = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        return [
            f"{found} seeds: how much training varies is known only roughly. The intervals "
            "allow for that and are wide for it; more seeds make them narrower."
        ]
    return []


def _of_controls(comparison: Comparison) -> list[str]:
    """Name the methods whose gain could be that of any overlap term, for want of the control."""
    bare: dict[str, list[str]] = {}
    lacking: dict[str, list[str]] = {}
    for block in comparison.blocks:
        if block.trained_on not in ("", block.tested_on):
            continue
        for method in filter(None, map(_parsed, block.methods)):
            if method.term is None:
                continue
            if str(method.plain) not in block.methods:
                bare.setdefault(str(method), []).append(block.tested_on)
            control = method.overlap_control
            if control is not None and str(control) not in block.methods:
                lacking.setdefault(str(method), []).append(block.tested_on)
    found = []
    if bare:
        found.append(
            f"The same network and reduction without the term was not run for {_by_method(bare)}: "
            "what the term does there is not known."
        )
    if lacking:
        found.append(
            "No control with an overlap term of the same weight was run for "
            f"{_by_method(lacking)}: a gain of theirs over the plain network could be that of any "
            "overlap term."
        )
    return found


def _parsed(name: str) -> Method | None:
    try:
        method = parse_method(name)
    except HarmosegError:
        return None
    return method if str(method) == name else None


def _by_method(found: dict[str, list[str]]) -> str:
    """List methods, each with its datasets."""
    return "; ".join(
        f"{method} on {', '.join(names)}" if any(names) else method
        for method, names in found.items()
    )


def _of_centres(comparison: Comparison) -> list[str]:
    """Name the differences that are better on the whole and worse in some centre."""
    return [
        f"{item.whole.method} is better than {item.whole.reference} on the whole"
        f"{f' of {item.whole.block.place}' if item.whole.block.place else ''}, and worse in "
        f"{item.worst.where.subset}. {describe_spread(item)}"
        for item in measure_spread(comparison)
        if item.whole.word == "better" and item.worst is not None and item.worst.word == "worse"
    ]


def _of_patients(comparison: Comparison) -> list[str]:
    """Name the test sets whose cases may be several of one patient, and nobody can tell."""
    unnamed = [
        block.tested_on or "the unnamed set"
        for block in comparison.blocks
        if not block.names_patients
    ]
    if not unnamed:
        return []
    several = len(comparison.blocks) > 1 or unnamed != ["the unnamed set"]
    named = f" on {', '.join(dict.fromkeys(unnamed))}" if several else ""
    return [
        f"No patients are named{named}: every case counts as one. Where "
        "several are of one patient, the intervals are too narrow."
    ]


def _of_undefined(comparison: Comparison) -> list[str]:
    primary = comparison.primary
    some = any(
        np.isnan(block.values(method, primary)).any()
        for block in comparison.blocks
        for method in block.methods
    )
    if not some:
        return []
    definition = f" ({primary.definition})" if primary.definition else ""
    return [
        f"Some cases have no defined value of {primary.title}{definition}. A mean leaves out what "
        "is undefined under some run of its method, a paired difference what is undefined under "
        "some run of either method: also a case where one rightly marks nothing and the other "
        "marks something. The tables count the cases left out; the scores have every case."
    ]
