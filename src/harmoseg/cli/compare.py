"""harmoseg compare: does a term help on this store?"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from harmoseg.cli.parsing import Parser
from harmoseg.losses.controls import Controls
from harmoseg.training.experiment import TrainingOptions

SUMMARY = "Compare methods on a store over several seeds, with statistics and a report."


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg compare", description=f"{SUMMARY} Interrupted, the same command continues."
    )
    parser.add_argument("store", type=Path, help="The prepared store to train and test on.")
    parser.add_argument(
        "--out", type=Path, default=None, help="The study folder; compare-STORE here if absent."
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    parser.add_argument(
        "--methods",
        type=str,
        nargs="+",
        default=["unet", "unet+scc"],
        help="Methods as model[+term[:weight]][@reduction], the reference first. A term is scc, "
        "rings, low, mid, high, dice, or the import path of a loss.",
    )
    parser.add_argument(
        "--controls",
        type=Controls,
        default="reduction",
        help="Methods added where they are missing: reduction, the same without the term; all, "
        "also the same with an overlap term of equal weight in its place; none.",
    )
    parser.add_argument("--seeds", type=int, default=3, help="Number of seeds per method.")
    parser.add_argument(
        "--also",
        type=Path,
        nargs="*",
        default=[],
        help="Further stores whose test splits are scored: other centres, other scanners.",
    )
    parser.add_argument(
        "--conditions",
        type=str,
        nargs="*",
        default=[],
        help="Corruptions scored beside the clean images, as in harmoseg evaluate --condition.",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="Runs at a time, each with its share of the cores."
    )
    parser.add_class_arguments(TrainingOptions, None)
    return parser


def run(arguments: Namespace) -> int:
    """Run the study, write its report, print its main tables; 1 where runs failed."""
    from harmoseg.paper.report import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.statistics.tables import to_markdown
    from harmoseg.study.conducting import run_study
    from harmoseg.study.plan import DatasetPlan, StudyPlan
    from harmoseg.study.results import tell_failures
    from harmoseg.study.running import executor_for

    values = arguments.as_dict()
    options = {name: values[name] for name in TrainingOptions.__dataclass_fields__}
    out = values["out"] or Path(f"compare-{values['store'].resolve().name}")
    dataset = DatasetPlan(
        store=values["store"],
        methods=tuple(values["methods"]),
        options=TrainingOptions(**options),
        also=tuple(values["also"]),
        conditions=tuple(values["conditions"]),
        controls=values["controls"],
    )
    plan = StudyPlan((dataset,), values["seeds"])
    study = run_study(plan, out, executor=executor_for(values["jobs"]))
    for table in write_paper_report(study)[:2]:
        print(to_markdown(table))
    print(f"report: {out / REPORT_FILE}")
    return tell_failures(study)
