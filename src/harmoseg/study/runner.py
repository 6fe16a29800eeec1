"""Conduct a study: settle its plan, carry out what is not done yet, read what there is.

A study is a folder::

    study.json       what it is to do; see `harmoseg.study.plan`
    left-out/        stores that leave one centre out, if the recipe says so
    runs/            one folder per run, unless studies share a folder of runs
    failures/        a message for every run that failed
    logs/            what runs printed that had a process of their own
    scores.csv       every measure of every case, class and condition of every run, with
                     rings.csv and bins.csv; see `harmoseg.scores.table`
    tables/          as Markdown, LaTeX and CSV
    figures/         as PNG and SVG
    report.html      all of it, for people
"""

from __future__ import annotations

from pathlib import Path

from harmoseg.messages import LOGGER
from harmoseg.study.executors import Executor, in_turn, run_all
from harmoseg.study.jobs import all_work
from harmoseg.study.plan import StudyPlan, leave_centres_out, settle, tell_plan, write_plan
from harmoseg.study.results import Study, open_study, write_study_scores
from harmoseg.study.study_files import RUNS


def run_study(
    plan: StudyPlan, out: Path, *, runs: Path | None = None, executor: Executor = in_turn
) -> Study:
    """Run what is not there yet, and read what is; called again, it continues.

    Everything that can be checked is checked before the first training begins. `runs` is a folder
    of runs that several studies may share; what one of them has run, no other repeats.

    Raises HarmosegError for a plan that cannot be, and where no run has finished.
    """
    plan = leave_centres_out(plan, out)
    tasks = settle(plan)
    write_plan(out, runs or out / RUNS, plan, tasks)
    for line in tell_plan(plan, tasks):
        LOGGER.info("%s", line)
    run_all(out, all_work(out), executor)
    study = open_study(out)
    write_study_scores(study)
    return study
