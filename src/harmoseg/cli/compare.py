"""harmoseg compare: which method is better, on a store that trains or on a table of scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from harmoseg.cli.parsing import Parser
from harmoseg.errors import HarmosegError
from harmoseg.losses.controls import DEFAULT_CONTROLS, Controls
from harmoseg.store.layout import INFO_FILE
from harmoseg.training.experiment import TrainingOptions

SUMMARY = "Compare methods: train them on a store, or judge a table of scores."


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg compare",
        description=f"{SUMMARY} A prepared store trains every method over several seeds and judges "
        "them; interrupted, the same command continues. A table (scores.csv, or a folder that has "
        "one) is judged as it is.",
    )
    parser.add_argument(
        "path", type=Path, help="A prepared store, a table of scores, or a folder with scores.csv."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="The folder of tables, figures and report; compare-NAME here if absent.",
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    parser.add_argument(
        "--margin",
        type=float | None,
        default=None,
        help="Largest difference in the primary measure, in printed units such as points, that "
        "counts as none. Without it nothing is called equivalent.",
    )
    parser.add_argument(
        "--overwrite",
        type=bool,
        default=False,
        help="Replace the report of another table in the folder.",
    )
    table = parser.add_argument_group("For a table of scores")
    table.add_argument(
        "--reference",
        type=str | None,
        default=None,
        help="The method that the others are compared with, where methods have no control.",
    )
    table.add_argument(
        "--primary",
        type=str | None,
        default=None,
        help="The measure declared primary beforehand; DSC if absent.",
    )
    table.add_argument(
        "--measure",
        type=str,
        nargs="*",
        default=[],
        help="A column that harmoseg does not know: NAME:DIRECTION:UNIT, as Dice:higher:percent.",
    )
    store = parser.add_argument_group("For a store")
    store.add_argument(
        "--methods",
        type=str,
        nargs="+",
        default=["unet", "unet+scc"],
        help="Methods as model[+term[:weight]][@reduction], the reference first. A term is scc, "
        "rings, low, mid, high, dice, or the import path of a loss.",
    )
    store.add_argument(
        "--controls",
        type=Controls,
        default=DEFAULT_CONTROLS,
        help="Methods added where they are missing: reduction, the same without the term; all, "
        "also the same with an overlap term of equal weight in its place; none.",
    )
    store.add_argument("--seeds", type=int, default=3, help="Number of seeds per method.")
    store.add_argument(
        "--also",
        type=Path,
        nargs="*",
        default=[],
        help="Further stores whose test splits are scored: other centres, other scanners.",
    )
    store.add_argument(
        "--conditions",
        type=str,
        nargs="*",
        default=[],
        help="Corruptions scored beside the clean images, as in harmoseg evaluate --condition.",
    )
    store.add_argument(
        "--jobs", type=int, default=1, help="Runs at a time, each with its share of the cores."
    )
    parser.add_class_arguments(TrainingOptions, None)
    return parser


def run(arguments: Namespace) -> int:
    """Compare, write the report, print its main tables; 1 where runs failed."""
    values = arguments.as_dict()
    path = values["path"]
    name = path.resolve().name.removesuffix(".gz").removesuffix(".csv")
    out = values["out"] or Path(f"compare-{name}")
    if (path / INFO_FILE).exists():
        return _train_and_judge(path, out, values)
    if not path.exists():
        raise HarmosegError(f"{path}: no such file or folder; give a store or a table of scores")
    _judge(path, out, values)
    return 0


def _judge(path: Path, out: Path, values: dict[str, Any]) -> None:
    from harmoseg.files import check_replaceable, make_folder
    from harmoseg.report.html import REPORT_FILE, write_report
    from harmoseg.scores.files import read_scores
    from harmoseg.statistics.comparison import compare
    from harmoseg.statistics.tables import to_markdown

    if (out / REPORT_FILE).exists() and not values["overwrite"]:
        raise HarmosegError(
            f"{out}: holds a report already; name another folder with --out, or replace it with "
            "--overwrite"
        )
    check_replaceable(out, mark=REPORT_FILE, overwrite=True)
    scores = read_scores(path, measures=values["measure"])
    print(f"read {scores.summary()}")
    result = compare(
        scores,
        reference=values["reference"],
        primary=values["primary"],
        margin=values["margin"],
    )
    make_folder(out)
    tables = write_report(result, out / REPORT_FILE, files=out, replace_files=True)
    for table in tables[:2]:
        print(to_markdown(table))
    print("\n".join(result.sentences))
    print(f"report: {out / REPORT_FILE}")


def _train_and_judge(path: Path, out: Path, values: dict[str, Any]) -> int:
    from harmoseg.paper.report import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.statistics.tables import to_markdown
    from harmoseg.study.conducting import run_study
    from harmoseg.study.plan import DatasetPlan, StudyPlan
    from harmoseg.study.results import describe_failures
    from harmoseg.study.running import executor_for

    for name in ("reference", "primary", "measure"):
        if values[name]:
            raise HarmosegError(
                f"--{name} is for tables, and {path} is a store; leave it out (the first of "
                "--methods is the reference, and DSC is primary)"
            )
    options = {name: values[name] for name in TrainingOptions.__dataclass_fields__}
    dataset = DatasetPlan(
        store=path,
        methods=tuple(values["methods"]),
        options=TrainingOptions(**options),
        also=tuple(values["also"]),
        conditions=tuple(values["conditions"]),
        controls=values["controls"],
    )
    plan = StudyPlan((dataset,), values["seeds"], margin=values["margin"])
    study = run_study(plan, out, executor=executor_for(values["jobs"]))
    for table in write_paper_report(study)[:2]:
        print(to_markdown(table))
    print(f"report: {out / REPORT_FILE}")
    failures = describe_failures(study)
    print("\n".join(failures), end="\n" if failures else "")
    return 1 if failures else 0
