"""The report of a study: tables, figures, cases to look at, in one HTML file.

What it says in words is in `harmoseg.report.words`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from harmoseg.errors import HarmosegError
from harmoseg.files import write_text
from harmoseg.report.browser import BrowserCase, Shown, make_payload
from harmoseg.report.figures.of_exhibits import exhibited_figures, exhibited_predictions
from harmoseg.report.figures.of_study import NamedFigure, study_figures
from harmoseg.report.figures.style import save_figure
from harmoseg.report.page import Link, Page, PagePicture, PageTable, Section, render
from harmoseg.report.words import facts, sentences, warnings
from harmoseg.study.exhibits import exhibited_slices
from harmoseg.study.paper_tables import make_paper_tables
from harmoseg.study.results import Study, TaskResults
from harmoseg.study.rings import ring_table
from harmoseg.study.tables import (
    HEADLINE,
    Table,
    make_tables,
    paired_differences,
    places,
    write_tables,
)

REPORT_FILE = "report.html"
_MOST_SHOWN = 2400
"""Predictions in the browser of cases, about 10 MB of them at 128 px."""


def write_report(study: Study) -> list[Table]:
    """Write the tables, figures and ``report.html`` of a study; return the tables, main one first.

    Made of what has finished; it says what has not.
    """
    differences = paired_differences(study)
    headline = [item for item in differences if item.metric == HEADLINE]
    tables = [*_paper_tables(study), *make_tables(study, differences)]
    if headline:
        tables.append(ring_table(study, headline))
    figures = study_figures(study, differences, predictions=exhibited_predictions)
    for task in study.tasks:
        figures += exhibited_figures(task)
    browser = _browser(study)
    # Of an earlier plan, perhaps with other names; kept until nothing that may fail is left to do.
    for name in ("tables", "figures"):
        shutil.rmtree(study.folder / name, ignore_errors=True)
    write_tables(study, tables)
    page = Page(
        title=study.title,
        sentences=sentences(headline),
        warnings=warnings(study),
        sections=[
            Section("Tables", tables=[_page_table(table) for table in tables]),
            Section("Figures", pictures=[_page_picture(study, figure) for figure in figures]),
        ],
        browser=browser,
        facts=facts(study),
    )
    write_text(study.folder / REPORT_FILE, render(page))
    return tables


def _paper_tables(study: Study) -> list[Table]:
    if study.table is None:
        return []
    name = f"paper-{study.table}"
    return [table for table in make_paper_tables(study.tasks) if table.name == name]


def _page_table(table: Table) -> PageTable:
    rows = [
        [(cell, (r, c) in table.bold) for c, cell in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]
    links = [Link(kind, f"tables/{table.name}.{kind}") for kind in ("csv", "tex", "md")]
    return PageTable(table.title, table.caption, table.header, rows, links)


def _page_picture(study: Study, named: NamedFigure) -> PagePicture:
    png = save_figure(named.figure, study.folder / "figures" / named.name)
    return PagePicture(
        named.title, named.caption, png, links=[Link("svg", f"figures/{named.name}.svg")]
    )


def _browser(study: Study) -> dict[str, Any]:
    """Gather the cases to look at: of every store as many as fit, evenly, and every run of them."""
    methods = list(dict.fromkeys(method for task in study.tasks for method in task.methods))
    seeds = sorted({run.experiment.seed for task in study.tasks for run in task.runs})
    classes = list(
        dict.fromkeys(
            name
            for task in study.tasks
            for store in task.stores.values()
            for name in store.info.card.classes[1:]
        )
    )
    share = _share(study)
    cases: list[BrowserCase] = []
    shown: dict[tuple[int, str, int], Shown] = {}
    for task, store, place in places(study):
        _add_cases(task, store, place, share, classes, cases, shown)
    return make_payload(classes, cases, methods, seeds, shown)


def _share(study: Study) -> float:
    total = sum(
        len(exhibited_slices(task.stores[store], task.split_of(store))) * len(task.runs)
        for task, store, _ in places(study)
    )
    return min(1.0, _MOST_SHOWN / max(1, total))


def _add_cases(
    task: TaskResults,
    name: str,
    place: str,
    share: float,
    classes: Sequence[str],
    cases: list[BrowserCase],
    shown: dict[tuple[int, str, int], Shown],
) -> None:
    store = task.stores[name]
    slices = exhibited_slices(store, task.split_of(name))
    # A label of a dataset becomes the place of its class among those of all datasets.
    table = np.array([0, *(1 + classes.index(c) for c in store.info.card.classes[1:])], np.uint8)
    count = max(1, round(share * len(slices)))
    chosen = np.linspace(0, len(slices) - 1, count).round().astype(int)
    first = len(cases)
    for i in chosen:
        item = slices[i]
        note = f"plane {item.plane}" if item.plane else ""
        cases.append(BrowserCase(item.case, place, item.image, table[item.truth], note))
    positions = {store.cases[number].case: i for i, number in enumerate(task.cases(name))}
    for run in task.runs:
        exhibits = run.exhibits(name)
        if exhibits is None:
            continue
        if exhibits.cases != tuple(item.case for item in slices):
            raise HarmosegError(
                f"{run.folder}: its exhibits are of other cases than {name} has now; remove its "
                "folder exhibits and run the study again"
            )
        method, seed = run.experiment.method, run.experiment.seed
        scores = task.values(method, name, HEADLINE, seeds=[seed])[0]
        for offset, i in enumerate(chosen):
            score = float(scores[positions[slices[i].case]])
            shown[first + offset, method, seed] = Shown(
                table[exhibits.labels[i]], exhibits.cams[i], None if np.isnan(score) else score
            )
