"""The seeds of a study combined: made once, in the report, and refused where there is one seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harmoseg import HarmosegError
from harmoseg.cli.main import main
from harmoseg.study import ensembles as module
from harmoseg.study.ensembles import make_ensembles, read_ensembles
from harmoseg.study.options import DatasetPlan, StudyPlan
from harmoseg.study.plan import settle
from harmoseg.study.results import open_study
from harmoseg.study.runner import run_study
from harmoseg.training.options import TrainingOptions

TINY = TrainingOptions(encoder="tu-test_resnet", epochs=1, batch_size=4, validation_fraction=0.25)


def plan(store: Path, seeds: int) -> StudyPlan:
    methods = ("unet", "unet+scc")
    data = DatasetPlan(store, methods, TINY, conditions=("gaussian",), controls="none")
    return StudyPlan((data,), seeds)


def test_seeds_are_counted_from_the_first(binary_store, tmp_path) -> None:
    planned = settle(replace(plan(binary_store, 2), first_seed=3), tmp_path)
    assert [work.seed for work in planned.works] == [3, 3, 4, 4]
    with pytest.raises(HarmosegError, match="first_seed must be 0 or more, got -1"):
        replace(plan(binary_store, 2), first_seed=-1)


def test_a_studys_ensembles_are_made_once_and_shown(
    binary_store, tmp_path, monkeypatch, capsys
) -> None:
    study = run_study(plan(binary_store, 1), tmp_path / "one", runs=tmp_path / "runs")
    with pytest.raises(HarmosegError, match="no method has two finished seeds"):
        make_ensembles(study)
    assert read_ensembles(study) is None
    run_study(plan(binary_store, 2), tmp_path / "two", runs=tmp_path / "runs")
    assert main(["study", "ensembles", str(tmp_path / "two")]) == 0
    printed = capsys.readouterr().out
    assert "unet, 2" in printed and "phantom-binary, gaussian" in printed
    study = open_study(tmp_path / "two")
    scores = read_ensembles(study)
    assert scores is not None
    assert scores.values_of("method") == ["unet (ensemble of 2)", "unet+scc (ensemble of 2)"]
    assert set(scores.values_of("condition")) == {"clean", "gaussian:0.01"}
    assert "Ensembles of the seeds" in (tmp_path / "two" / "report.html").read_text()
    assert (tmp_path / "two" / "tables" / "ensembles.csv").is_file()
    monkeypatch.setattr(module, "evaluate", lambda *_, **__: pytest.fail("made twice"))
    assert len(make_ensembles(study)) == len(scores)
