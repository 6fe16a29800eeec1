"""harmoseg study report: tables, figures and report of what has finished."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser

SUMMARY = SUMMARIES["study_report"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(prog="harmoseg study report", description=f"{SUMMARY} Trains nothing.")
    parser.add_argument("study", type=Path, help="The study folder.")
    parser.add_argument(
        "--explain",
        type=bool,
        default=False,
        help="Add spectral maps and Grad-CAMs to the report: pictures, no evidence.",
    )
    return parser


def run(arguments: Namespace) -> None:
    """Write them and say where."""
    from harmoseg.paper.tables import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.study.results import open_study, write_study_scores

    study = open_study(arguments.study)
    write_study_scores(study)
    write_paper_report(study, explain=arguments.explain)
    print(f"report: {arguments.study / REPORT_FILE}")
