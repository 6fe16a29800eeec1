"""harmoseg demo: the whole product on made images, in a few minutes."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.store.layout import INFO_FILE
from harmoseg.training.options import TrainingOptions

SUMMARY = SUMMARIES["demo"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(prog="harmoseg demo", description=f"{SUMMARY} Ends with a table and a report.")
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="Folder for stores, runs and report."
    )
    return parser


def run(arguments: Namespace) -> None:
    """Make two domains of the phantom, compare two methods on them, print table and report."""
    from harmoseg.paper.report import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.statistics.printing import to_markdown
    from harmoseg.study.plan import DatasetPlan, StudyPlan
    from harmoseg.study.runner import run_study

    stores = (arguments.out / "phantom-A", arguments.out / "phantom-B")
    for options in (
        PhantomOptions(stores[0], domain="A", count=200),
        PhantomOptions(stores[1], domain="B", count=80),
    ):
        if not (options.out / INFO_FILE).exists():
            prepare_phantom(options)
    dataset = DatasetPlan(
        store=stores[0],
        methods=("unet", "unet+scc"),
        options=TrainingOptions(encoder="resnet18", epochs=14),
        also=stores[1:],
        controls="reduction",
    )
    plan = StudyPlan((dataset,), seeds=2)
    out = arguments.out / "study"
    for table in write_paper_report(run_study(plan, out))[:2]:
        print(to_markdown(table))
    print(f"report: {out / REPORT_FILE}")
