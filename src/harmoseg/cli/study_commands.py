"""Commands on studies: carry one out, its status, its ensembles, its report; and the demo."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harmoseg.cli.parsing import print_tables, print_verdict
from harmoseg.errors import HarmosegError
from harmoseg.messages import LOGGER
from harmoseg.store.layout import INFO_FILE
from harmoseg.study.options import Resources
from harmoseg.study.status import study_status, tell_status

if TYPE_CHECKING:
    from harmoseg.study.results import Study


def study(
    recipe: Path,
    *,
    stores: Path = Path("stores"),
    out: Path | None = None,
    runs: Path | None = None,
    seeds: int | None = None,
    first_seed: int = 0,
    weights: str | None = None,
    no_contract: bool = False,
    explain: bool = False,
    jobs: int = 1,
    cluster: Literal["local", "slurm"] | None = None,
    resources: Resources,
) -> int:
    """Carry out a recipe, write its report, print its main table; return 1 where runs failed.

    Interrupted, the same command continues; what another recipe has run into the same folder of
    runs is not repeated. See also: harmoseg study status, harmoseg study ensembles, harmoseg study
    report.

    Args:
        recipe: The recipe, a YAML file.
        stores: Folder of the prepared stores.
        out: The study folder; studies/RECIPE if absent.
        runs: Folder of runs, which studies may share; runs beside the study folder if absent.
        seeds: How many seeds, instead of the recipe's.
        first_seed: Seed to count from: train seeds that another machine has not.
        weights: Encoder weights instead of the recipe's.
        no_contract: Train also with objectives that cannot lead to the truth; the report says so.
        explain: Add spectral maps and Grad-CAMs to the report: pictures, no evidence.
        jobs: Runs at a time, each with its share of the cores.
        cluster: Submit every run as a job: to SLURM, or on this machine by the same code.
        resources: The jobs of a cluster.
    """
    from harmoseg.study.recipe import read_recipe, with_options
    from harmoseg.study.runner import executor_for, run_study

    executor = executor_for(jobs)
    if cluster is None:
        asked = [f.name for f in fields(resources) if getattr(resources, f.name) != f.default]
        if asked:
            raise HarmosegError(
                f"--{asked[0]} is for the jobs of a cluster, and --cluster was not given; add "
                "--cluster slurm (or local), or leave it out"
            )
    else:
        from harmoseg.study.cluster import on_cluster

        executor = on_cluster(cluster, jobs, resources)
    plan = with_options(
        read_recipe(recipe, stores),
        seeds=seeds,
        first_seed=first_seed,
        weights=weights,
        no_contract=no_contract,
    )
    out = out or Path("studies") / recipe.stem
    found = run_study(plan, out, runs=runs or out.parent / "runs", executor=executor)
    return finish_study(found, explain, tables=1)


def finish_study(found: Study, explain: bool, *, tables: int) -> int:
    """Write the report of a study, print its first tables; return 1 where runs failed."""
    from harmoseg.paper.tables import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.study.results import describe_failures

    made, result = write_paper_report(found, explain=explain)
    print_verdict(made[:tables], result.sentences, found.folder / REPORT_FILE)
    for failure in describe_failures(found):
        print(f"failed: {failure}")
    return 1 if found.failures else 0


def status(study: Path) -> None:
    """Print the status of a study.

    Args:
        study: The study folder.
    """
    print(tell_status(study_status(study)))


def ensembles(study: Path) -> None:
    """Evaluate the ensembles of a study, write the report again, and print their table.

    Trains nothing; the study's report shows them from then on.

    Args:
        study: The study folder.
    """
    from harmoseg.paper.tables import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.statistics.ensemble_gains import ensemble_table
    from harmoseg.study.ensembles import make_ensembles
    from harmoseg.study.results import open_study

    found = open_study(study)
    scores = make_ensembles(found)
    write_paper_report(found)
    table = ensemble_table(found.compare(), scores)
    print_tables([] if table is None else [table])
    print(f"report: {study / REPORT_FILE}")


def report(study: Path, *, explain: bool = False) -> None:
    """Write tables, figures and report of what has finished.

    Trains nothing.

    Args:
        study: The study folder.
        explain: Add spectral maps and Grad-CAMs to the report: pictures, no evidence.
    """
    from harmoseg.paper.tables import write_paper_report
    from harmoseg.report.html import REPORT_FILE
    from harmoseg.study.results import open_study, write_study_scores

    found = open_study(study)
    write_study_scores(found)
    write_paper_report(found, explain=explain)
    print(f"report: {study / REPORT_FILE}")


def demo(*, out: Path = Path("demo"), open: bool = True) -> None:
    """Judge a study, train on made images, print the verdict and where the reports are.

    First it judges the scores of a finished study on polyps, which every installation has. Then it
    trains one network on made images. Both end in a report.

    Args:
        out: Folder for stores, runs and reports.
        open: Open the report of the polyps in a browser where there is one.
    """
    LOGGER.info("1 of 2: judging a finished study: 6 methods on polyps, 144 test images")
    page, verdict = _judge_polyps(out / "polyps")
    LOGGER.info("2 of 2: one short training on made images, to see what a training leaves")
    trained = _train_on_phantom(out)
    print(f"\nPolyps, networks trained out on Kvasir-SEG. {verdict[0]}")
    print(verdict[1])
    print(f"report of the short training, with every case to look at: {trained}")
    print(f"report: {page}")
    has_screen = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if open and has_screen and sys.stdout.isatty():
        webbrowser.open(page.resolve().as_uri())


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
    from harmoseg.api import prepare, run_study

    store = out / "phantom"
    if not (store / INFO_FILE).exists():
        prepare("phantom", out=store, count=100, size=64)
    study: Study = run_study(
        store,
        out=out / "study",
        methods=["unet+scc"],
        seeds=1,
        controls="none",
        encoder="resnet18",
        epochs=6,
        batch_size=4,
        learning_rate=0.03,
        validate_every=3,
    )
    return study.write_report()
