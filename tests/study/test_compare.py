"""A study: what it leaves on disk, that it continues, and what it refuses."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harmoseg import HarmosegError
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.report.html import write_report
from harmoseg.store.reading import open_store
from harmoseg.study import compare as module
from harmoseg.study.compare import Study, StudyPlan, reference_of, run_study
from harmoseg.study.tables import make_tables, paired_differences, to_markdown
from harmoseg.training.experiment import TrainingOptions

TINY = TrainingOptions(encoder="resnet18", epochs=1, batch_size=4, validation_fraction=0.25)


def plan(
    *stores: Path, methods: tuple[str, ...] = ("unet", "unet+scc"), seeds: int = 2
) -> StudyPlan:
    return StudyPlan(methods, seeds, stores, TINY)


@pytest.fixture(scope="module")
def study(phantom_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run_study(plan(phantom_store), tmp_path_factory.mktemp("studies") / "study")


def test_results_hold_every_case_once(study, phantom_store) -> None:
    with (study.folder / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    tested = {case.case for case in open_store(phantom_store).cases if case.split == "test"}
    keys = {(row["method"], row["seed"], row["case"]) for row in rows}
    assert len(rows) == len(keys) == 2 * 2 * 8
    assert {key[2] for key in keys} == tested


def test_differences_pair_cases_and_seeds(study) -> None:
    with (study.folder / "results.csv").open(newline="") as stream:
        scores = {
            (row["method"], row["seed"], row["case"]): float(row["DSC"])
            for row in csv.DictReader(stream)
        }
    gaps = [
        scores["unet+scc", seed, case] - value
        for (method, seed, case), value in scores.items()
        if method == "unet"
    ]
    difference = next(item for item in paired_differences(study) if item.metric == "DSC")
    assert (difference.method, difference.reference) == ("unet+scc", "unet")
    assert difference.estimate.mean == pytest.approx(np.mean(gaps), abs=1e-3)


def test_tables_say_what_their_numbers_are(study) -> None:
    means, differences, aggregates = make_tables(study, paired_differences(study))
    assert len(means.rows) == 2 and len(differences.rows) == 1 and len(aggregates.rows) == 6
    assert "95 % bootstrap interval over seeds and patients" in means.caption
    assert "phantom: 8 cases" in means.caption
    assert to_markdown(means).count("|") > 20


def test_a_second_call_repeats_nothing(study, phantom_store, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("evaluated again")

    monkeypatch.setattr(module, "evaluate", refuse)
    monkeypatch.setattr("harmoseg.training.run.TrainedNetwork", refuse)
    again = run_study(plan(phantom_store), study.folder)
    assert np.array_equal(
        again.scores("unet", "phantom", "DSC"), study.scores("unet", "phantom", "DSC")
    )


def test_a_wider_study_keeps_the_runs_it_has(study, phantom_store, tmp_path) -> None:
    import shutil

    folder = Path(shutil.copytree(study.folder, tmp_path / "study"))
    before = {path.name for path in (folder / "runs").iterdir()}
    wider = run_study(plan(phantom_store, methods=("unet", "unet+scc", "unet@sample")), folder)
    after = {path.name for path in (folder / "runs").iterdir()}
    assert before < after and len(after) == 6
    assert wider.methods == ("unet", "unet+scc", "unet@sample")


def test_one_seed_has_no_intervals(phantom_store, tmp_path) -> None:
    single = run_study(plan(phantom_store, seeds=1), tmp_path / "study")
    means, differences, _ = write_report(single)
    assert "interval not available" in means.rows[0][2]
    assert "interval not available" in differences.rows[0][3]
    page = (tmp_path / "study" / "report.html").read_text()
    assert "Not known whether" in page or "not known whether" in page
    assert "One seed:" in page


def test_the_control_is_the_same_without_the_term() -> None:
    methods = ("unet", "unet@sample", "unet+scc@sample", "transunet+scc")
    assert reference_of("unet+scc@sample", methods) == "unet@sample"
    assert reference_of("transunet+scc", methods) == "unet"
    assert reference_of("unet@sample", methods) == "unet"
    assert reference_of("unet", methods) is None
    assert reference_of("unet+scc", ("unet+scc", "unet")) == "unet"
    assert reference_of("unet", ("unet+scc", "unet")) is None


def test_everything_is_checked_before_training(phantom_store, tmp_path) -> None:
    for broken, message in (
        (plan(phantom_store, methods=("unet", "unett")), "did you mean 'unet'"),
        (plan(phantom_store, seeds=0), "seeds must be 1 or more"),
        (plan(phantom_store, phantom_store), "two stores have the folder name 'phantom'"),
        (plan(tmp_path / "absent"), "no such store"),
    ):
        with pytest.raises(HarmosegError, match=message):
            run_study(broken, tmp_path / "study")
        assert not (tmp_path / "study").exists()


def test_what_would_fail_later_fails_first(
    phantom_store, binary_store, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(module, "train", None)  # would fail if it were reached
    good = plan(phantom_store)
    for broken, message in (
        (plan(phantom_store, binary_store), "mode is binary"),
        (plan(phantom_store, methods=()), "methods: none given"),
        (replace(good, options=replace(TINY, encoder="resnet_18")), "did you mean 'resnet18'"),
        (replace(good, options=replace(TINY, batch_size=100)), "batch_size 100 is larger"),
        (plan(odd_store(tmp_path), methods=("transunet",)), "nearest allowed size is 48 x 48"),
    ):
        with pytest.raises(HarmosegError, match=message):
            run_study(broken, tmp_path / "study")
        assert not (tmp_path / "study").exists()


def odd_store(folder: Path) -> Path:
    prepare_phantom(PhantomOptions(folder / "odd", count=20, size=50))
    return folder / "odd"


def test_folders_of_something_else_are_refused(study, binary_store, tmp_path) -> None:
    with pytest.raises(HarmosegError, match="holds a study of another store"):
        run_study(plan(binary_store), study.folder)
    (tmp_path / "x").touch()
    with pytest.raises(HarmosegError, match="exists and is not a study"):
        run_study(plan(binary_store), tmp_path)
