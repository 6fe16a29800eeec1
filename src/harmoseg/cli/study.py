"""harmoseg study: carry out a recipe."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.parsing import Parser, columns
from harmoseg.errors import HarmosegError
from harmoseg.study.resources import Resources

SUMMARY = SUMMARIES["study"]


def make_parser() -> Parser:
    """Describe the command."""
    parser = Parser(
        prog="harmoseg study",
        description=f"{SUMMARY} Interrupted, the same command continues; what another recipe has "
        "run into the same folder of runs is not repeated. See also: harmoseg study status, "
        "harmoseg study ensembles, harmoseg study report.",
    )
    parser.add_argument("recipe", type=Path, help="The recipe, a YAML file.")
    parser.add_argument(
        "--stores", type=Path, default=Path("stores"), help="Folder of the prepared stores."
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="The study folder; studies/RECIPE if absent."
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=None,
        help="Folder of runs, which studies may share; runs beside the study folder if absent.",
    )
    parser.add_argument(
        "--seeds", type=int | None, default=None, help="How many seeds, instead of the recipe's."
    )
    parser.add_argument(
        "--first_seed",
        type=int,
        default=0,
        help="Seed to count from: train seeds that another machine has not.",
    )
    parser.add_argument(
        "--weights", type=str | None, default=None, help="Encoder weights instead of the recipe's."
    )
    parser.add_argument(
        "--no_contract",
        type=bool,
        default=False,
        help="Train also with objectives that cannot lead to the truth; the report says so.",
    )
    parser.add_argument(
        "--explain",
        type=bool,
        default=False,
        help="Add spectral maps and Grad-CAMs to the report: pictures, no evidence.",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="Runs at a time, each with its share of the cores."
    )
    parser.add_argument(
        "--cluster",
        type=Literal["local", "slurm"] | None,
        default=None,
        help="Submit every run as a job: to SLURM, or on this machine by the same code.",
    )
    parser.add_class_arguments(Resources, None)
    return parser


def run(arguments: Namespace) -> int:
    """Carry out the recipe, write its report, print its main table; 1 where runs failed."""
    from harmoseg.paper.tables import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.statistics.printing import to_terminal
    from harmoseg.study.executors import executor_for
    from harmoseg.study.recipe import read_recipe, with_options
    from harmoseg.study.results import describe_failures
    from harmoseg.study.runner import run_study

    values = arguments.as_dict()
    executor = executor_for(arguments.jobs)
    resources = Resources(**{name: values[name] for name in Resources.__dataclass_fields__})
    if arguments.cluster is None:
        asked = [f.name for f in fields(resources) if getattr(resources, f.name) != f.default]
        if asked:
            raise HarmosegError(
                f"--{asked[0]} is for the jobs of a cluster, and --cluster was not given; add "
                "--cluster slurm (or local), or leave it out"
            )
    else:
        from harmoseg.study.cluster import on_cluster

        executor = on_cluster(arguments.cluster, arguments.jobs, resources)

    plan = read_recipe(arguments.recipe, arguments.stores)
    plan = with_options(
        plan,
        seeds=arguments.seeds,
        first_seed=arguments.first_seed,
        weights=arguments.weights,
        no_contract=arguments.no_contract,
    )
    out = arguments.out or Path("studies") / arguments.recipe.stem
    runs = arguments.runs or out.parent / "runs"
    study = run_study(plan, out, runs=runs, executor=executor)
    tables, result = write_paper_report(study, explain=arguments.explain)
    print(to_terminal(tables[0], columns()))
    print("\n".join(result.sentences))
    print(f"report: {out / REPORT_FILE}")
    failures = describe_failures(study)
    print("\n".join(failures), end="\n" if failures else "")
    return 1 if failures else 0
