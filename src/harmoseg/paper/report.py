"""The report of a study, with the table of the paper that its recipe names."""

from __future__ import annotations

from harmoseg.paper.tables import make_paper_tables
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.printing import Table
from harmoseg.study.report import write_study_report
from harmoseg.study.results import Study


def write_paper_report(study: Study, *, explain: bool = False) -> tuple[list[Table], Comparison]:
    """Write the report of a study, the paper's table first where its recipe names one.

    `explain` is that of `harmoseg.study.report.write_study_report`.
    """
    comparison = study.compare()
    tables: list[Table] = []
    if study.table is not None:
        cards = {
            name: store.info.card for task in study.tasks for name, store in task.stores.items()
        }
        tables = make_paper_tables(comparison, cards, [int(study.table.removeprefix("table"))])
    return write_study_report(study, comparison, tables=tables, explain=explain), comparison
