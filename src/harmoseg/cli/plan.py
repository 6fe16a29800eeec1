"""harmoseg plan: how many seeds and cases a study needs."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser

SUMMARY = SUMMARIES["plan"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg plan",
        description=f"{SUMMARY} The variance is that of a pilot with two seeds or more.",
    )
    parser.add_argument("scores", type=Path, help="The pilot's scores: any table or folder.")
    parser.add_argument(
        "--detect", type=float, required=True, help="The difference to be seen, in points or mm."
    )
    parser.add_argument("--method", type=str, default=None, help="The method that is compared.")
    parser.add_argument("--reference", type=str, default=None, help="What it is compared with.")
    parser.add_argument("--primary", type=str, default=None, help="The measure; DSC if absent.")
    parser.add_argument(
        "--measure", type=str, nargs="*", default=[], help="Declared measures, as in compare."
    )
    parser.add_argument(
        "--hours_per_run",
        type=float | None,
        default=None,
        help="Hours of one training, for the cost; of a study folder its runs say it.",
    )
    parser.add_argument(
        "--out",
        type=Path | None,
        default=None,
        help="Folder for the table (plan.csv) and the figure (plan.png, plan.svg).",
    )
    return parser


def run(arguments: Namespace) -> None:
    """Print what is needed."""
    from harmoseg.cli.compare import read_table
    from harmoseg.files import make_folder, write_text
    from harmoseg.report.figures.curves import plan_figure
    from harmoseg.report.figures.style import save_figure
    from harmoseg.statistics.planning import plan
    from harmoseg.study.status import hours_per_run

    hours = arguments.hours_per_run
    found = plan(
        read_table(arguments.scores, arguments.measure),
        detect=arguments.detect,
        method=arguments.method,
        reference=arguments.reference,
        primary=arguments.primary,
        hours_per_run=hours_per_run(arguments.scores) if hours is None else hours,
    )
    print("\n".join(found.sentences))
    print(found.to_frame().to_string(index=False))
    if arguments.out is not None:
        make_folder(arguments.out)
        write_text(arguments.out / "plan.csv", found.to_frame().to_csv(index=False))
        save_figure(plan_figure(found), arguments.out / "plan")
        print(f"wrote {arguments.out}")
