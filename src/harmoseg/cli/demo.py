"""harmoseg demo: a real study judged, then a short training on made images, in a minute."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.messages import LOGGER
from harmoseg.store.layout import INFO_FILE
from harmoseg.training.options import TrainingOptions

SUMMARY = SUMMARIES["demo"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg demo",
        description=f"{SUMMARY} First it judges the scores of a finished study on polyps, which "
        "every installation has. Then it trains one network on made images. Both end in a report.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="Folder for stores, runs and reports."
    )
    parser.add_argument(
        "--open",
        type=bool,
        default=True,
        help="Open the report of the polyps in a browser where there is one.",
    )
    return parser


def run(arguments: Namespace) -> None:
    """Judge the study, train on the phantom, print the verdict and where the reports are."""
    LOGGER.info("1 of 2: judging a finished study: 6 methods on polyps, 144 test images")
    report, verdict = _judge_polyps(arguments.out / "polyps")
    LOGGER.info("2 of 2: one short training on made images, to see what a training leaves")
    trained = _train_on_phantom(arguments.out)
    print(f"\nPolyps, networks trained out on Kvasir-SEG. {verdict[0]}")
    print(verdict[1])
    print(f"report of the short training, with every case to look at: {trained}")
    print(f"report: {report}")
    has_screen = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if arguments.open and has_screen and sys.stdout.isatty():
        webbrowser.open(report.resolve().as_uri())


def _judge_polyps(out: Path) -> tuple[Path, Sequence[str]]:
    from harmoseg.files import make_folder
    from harmoseg.report.html import REPORT_FILE, write_report
    from harmoseg.scores.files import example_scores
    from harmoseg.statistics.comparison import compare

    result = compare(example_scores(), reference="unet", margin=1.0)
    make_folder(out)
    write_report(result, out / REPORT_FILE, files=out, replace_files=True)
    return out / REPORT_FILE, result.sentences


def _train_on_phantom(out: Path) -> Path:
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.study.plan import DatasetPlan, StudyPlan
    from harmoseg.study.report import write_study_report
    from harmoseg.study.runner import run_study

    store = out / "phantom"
    if not (store / INFO_FILE).exists():
        prepare_phantom(PhantomOptions(store, count=100, size=64))
    options = TrainingOptions(
        encoder="resnet18", epochs=6, batch_size=4, learning_rate=0.03, validate_every=3
    )
    dataset = DatasetPlan(store=store, methods=("unet+scc",), options=options, controls="none")
    study = run_study(StudyPlan((dataset,), seeds=1), out / "study")
    write_study_report(study, study.compare())
    return out / "study" / REPORT_FILE
