"""harmoseg study ensembles: combine the seeds of a study."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser, columns

SUMMARY = SUMMARIES["study_ensembles"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg study ensembles",
        description=f"{SUMMARY} Trains nothing; the study's report shows them from then on.",
    )
    parser.add_argument("study", type=Path, help="The study folder.")
    return parser


def run(arguments: Namespace) -> None:
    """Evaluate the ensembles, write the report again, and print their table."""
    from harmoseg.paper.tables import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.statistics.ensemble_gains import ensemble_table
    from harmoseg.statistics.printing import to_terminal
    from harmoseg.study.ensembles import make_ensembles
    from harmoseg.study.results import open_study

    study = open_study(arguments.study)
    scores = make_ensembles(study)
    write_paper_report(study)
    table = ensemble_table(study.compare(), scores)
    if table is not None:
        print(to_terminal(table, columns()))
    print(f"report: {arguments.study / REPORT_FILE}")
