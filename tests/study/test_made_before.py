"""A study that harmoseg 0.1.0 made (without its weights) opens, and has the same numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from harmoseg import read_scores
from harmoseg.evaluation.evaluate import open_evaluation
from harmoseg.study import jobs
from harmoseg.study.report import write_study_report
from harmoseg.study.results import open_study, write_study_scores
from harmoseg.study.study_files import read_plan

KEPT = Path(__file__).parent / "made_by_0.1.0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(KEPT, tmp_path / "old"))


def test_its_runs_count_as_finished_and_its_report_is_made_again(folder) -> None:
    assert all(jobs.is_done(work) for work in read_plan(folder / "study").works)
    study = open_study(folder / "study")
    assert study.title == "Made by 0.1.0" and not study.unfinished
    names = [table.name for table in write_study_report(study)]
    assert names[:2] == ["means", "differences"] and "ring-gains" in names
    page = (folder / "study" / "report.html").read_text(encoding="utf-8")
    assert "without patients" not in page


def test_its_numbers_are_the_same(folder) -> None:
    study = open_study(folder / "study")
    comparison = study.compare()
    (block,) = comparison.blocks
    for table, found in (
        ("means", [item for item in comparison.means if item.where.is_whole]),
        ("differences", [x for x in comparison.differences if x.where.is_whole]),
    ):
        old = pd.read_csv(folder / "study" / "tables" / f"{table}.csv").set_index(
            ["method", "metric"]
        )
        by_key = {(item.method, item.measure.name): item.estimate for item in found}
        assert set(old.index) <= set(by_key)
        for key, row in old.iterrows():
            got = by_key[key]
            # The tables of an evaluation held seven digits.
            assert [got.mean, got.low, got.high] == pytest.approx(
                [row["mean"], row["low"], row["high"]], abs=2e-5
            )
            assert (got.seeds, got.cases, got.dropped) == (row.seeds, row.cases, row.left_out)
    assert len(block.cases) == 4 and block.conditions == ("clean", "gaussian:0.01")


def test_its_scores_become_one_table_with_patients_from_the_store(folder) -> None:
    study = open_study(folder / "study")
    write_study_scores(study)
    new = read_scores(folder / "study")
    store = study.tasks[0].stores["phantom"]
    groups = {case.case: case.group for case in store.cases}
    assert all(groups[row.case] == row.group for row in new.frame.itertuples())
    old = read_scores(folder / "study" / "results.csv")
    keys = ["method", "seed", "condition", "case", "class"]
    both = new.frame.astype(dict.fromkeys(keys, str)).merge(
        old.frame.astype(dict.fromkeys(keys, str)), on=keys, suffixes=("", "_old")
    )
    assert len(both) == len(old)
    for name in ("DSC", "HD95_pooled_px", "ECE", "log_magnitude_r"):
        pd.testing.assert_series_equal(
            both[name], both[f"{name}_old"], check_names=False, rtol=1e-5, atol=1e-7
        )


def test_without_its_store_every_case_is_a_patient(folder) -> None:
    (first, *_) = sorted((folder / "runs").iterdir())
    found = open_evaluation(first / "evaluations" / "phantom")
    assert (found.scores.frame["group"] == found.scores.frame["case"]).all()
    assert any("every case counts as one" in remark for remark in found.scores.remarks)
