"""A study: what it leaves on disk, that it continues, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmoseg import HarmosegError
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.evaluation import evaluate as evaluating
from harmoseg.inference.options import WEIGHTS_FILE
from harmoseg.losses.method import references_of, with_controls
from harmoseg.store.reading import open_store
from harmoseg.study import jobs
from harmoseg.study.options import DatasetPlan, StudyPlan
from harmoseg.study.results import Study, open_study
from harmoseg.study.runner import executor_for, run_study, side_by_side
from harmoseg.study.status import study_status, tell_status
from harmoseg.study.study_files import keep_failure, read_plan
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import DONE_FILE

TINY = TrainingOptions(encoder="tu-test_resnet", epochs=1, batch_size=4, validation_fraction=0.25)
METHODS = ("unet", "unet+scc")


def dataset(store: Path, *also: Path, methods: tuple[str, ...] = METHODS) -> DatasetPlan:
    return DatasetPlan(store, methods, TINY, also, controls="none")


def plan(store: Path, *also: Path, methods: tuple[str, ...] = METHODS, seeds: int = 2) -> StudyPlan:
    return StudyPlan((dataset(store, *also, methods=methods),), seeds)


@pytest.fixture(scope="module")
def study(phantom_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    conditions = replace(dataset(phantom_store), conditions=("gaussian",))
    out = tmp_path_factory.mktemp("studies") / "study"
    return run_study(StudyPlan((conditions,), 2), out)


def read(study: Study) -> list[dict[str, str]]:
    with (study.folder / "scores.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_results_hold_every_measure_of_every_case_once(study, phantom_store) -> None:
    rows = read(study)
    store = open_store(phantom_store)
    tested = {case.case for case in store.cases if case.split == "test"}
    names = ("method", "seed", "condition", "case", "class")
    keys = {tuple(row[name] for name in names) for row in rows}
    classes = len(store.info.card.classes) - 1
    assert len(rows) == len(keys) == 2 * 2 * 2 * 8 * (classes + 1)  # and the background
    assert {row["case"] for row in rows} == tested
    assert {row["condition"] for row in rows} == {"clean", "gaussian:0.01"}
    assert {"DSC", "HD95_pooled_px", "ECE", "log_magnitude_r"} < rows[0].keys()


def test_values_are_those_of_the_evaluation(study) -> None:
    task = study.tasks[0]
    run = next(run for run in task.runs if run.experiment.seed == 1)
    method, frame = run.experiment.method, run.evaluations["phantom"].scores.frame
    (block,) = study.compare().blocks
    first, measures = block.classes[0], block.measures
    mine = frame[(frame["class"] == first) & (frame["condition"] == "clean")]
    dice = 2 * mine["TP"] / (2 * mine["TP"] + mine["FP"] + mine["FN"])
    assert np.allclose(block.values(method, measures["DSC"], label=first)[1], 100 * dice)
    noisy = block.values(method, measures["ECE"], condition="gaussian:0.01")
    assert noisy.shape == (2, 8)
    rows = frame[(frame["class"] == first) & (frame["condition"] == "gaussian:0.01")]
    assert np.allclose(noisy[1], 100 * rows["ECE"])
    distances = block.values(method, measures["HD95_pooled_px"], label=first)[1]
    assert np.array_equal(distances, mine["HD95_pooled_px"], equal_nan=True)


def test_differences_pair_cases_and_seeds(study) -> None:
    comparison = study.compare()
    (difference,) = comparison.headline
    ours, theirs = difference.block.paired("unet+scc", "unet", comparison.primary)
    assert (difference.method, difference.reference) == ("unet+scc", "unet")
    assert difference.estimate.mean == pytest.approx(np.nanmean((ours - theirs).values), abs=1e-3)


def test_a_second_call_repeats_nothing(study, phantom_store, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("done again")

    monkeypatch.setattr(jobs, "evaluate", refuse)
    monkeypatch.setattr(jobs, "train", refuse)
    again = run_study(plan(phantom_store), study.folder)
    expected = study.scores.select(condition="clean").frame.astype({"condition": str})
    pd.testing.assert_frame_equal(again.scores.frame.astype({"condition": str}), expected)


def test_a_study_moved_with_its_stores_is_read_there(phantom_store, study, tmp_path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(phantom_store, old / "stores" / "phantom")
    shutil.copytree(study.folder / "runs", old / "runs")
    made = run_study(plan(old / "stores" / "phantom"), old / "study", runs=old / "runs")
    shutil.move(old, new)
    moved = open_study(new / "study")
    assert [run.folder for run in moved.tasks[0].runs] == [
        new / "runs" / run.folder.name for run in made.tasks[0].runs
    ]
    assert moved.tasks[0].stores["phantom"].path == new / "stores" / "phantom"
    assert study_status(new / "study").count("finished") == 4
    (new / "stores").rename(new / "data")
    with pytest.raises(HarmosegError, match=r"stores/phantom, which the study uses, is not there"):
        open_study(new / "study")
    shutil.move(new / "study", tmp_path / "alone")
    with pytest.raises(HarmosegError, match=r"runs, which the study uses, is not there"):
        open_study(tmp_path / "alone")


@pytest.mark.parametrize(
    "change", [{"flips": True}, {"corruption_seed": 7}, {"measuring": {"definition": "max"}}]
)
def test_an_evaluation_made_otherwise_is_made_again(study, change) -> None:
    work = read_plan(study.folder).works[0]
    assert jobs.finished_evaluation(work, "phantom") is not None
    summary = work.folder / "evaluations" / "phantom" / "summary.json"
    before = summary.read_text()
    try:
        summary.write_text(json.dumps({**json.loads(before), **change}))
        assert jobs.finished_evaluation(work, "phantom") is None
    finally:
        summary.write_text(before)


def test_a_damaged_run_does_not_stop_the_others(phantom_store, study, tmp_path) -> None:
    shutil.copytree(study.folder / "runs", tmp_path / "runs")
    damaged = read_plan(study.folder).works[0].name
    (tmp_path / "runs" / damaged / "experiment.yaml").write_text("method: [")
    found = run_study(plan(phantom_store), tmp_path / "study", runs=tmp_path / "runs")
    (message,) = found.failures.values()
    assert damaged in message and "experiment.yaml" in message
    assert len(found.tasks[0].runs) == 3


def test_studies_share_a_folder_of_runs(study, phantom_store, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "train", None)
    other = run_study(
        plan(phantom_store, methods=("unet",)), tmp_path / "other", runs=study.folder / "runs"
    )
    assert other.tasks[0].runs[0].folder == study.tasks[0].runs[0].folder
    # What the first study scored beside the clean images stays.
    assert "gaussian:0.01" in other.tasks[0].runs[0].evaluations["phantom"].conditions
    assert other.scores.values_of("condition") == ["clean"]


def test_a_wider_study_keeps_the_runs_it_has(study, phantom_store, tmp_path) -> None:
    folder = Path(shutil.copytree(study.folder, tmp_path / "study"))
    before = {path.name for path in (folder / "runs").iterdir()}
    wider = run_study(plan(phantom_store, methods=(*METHODS, "unet@sample"), seeds=1), folder)
    after = {path.name for path in (folder / "runs").iterdir()}
    assert before < after
    assert wider.tasks[0].methods == ("unet", "unet+scc", "unet@sample")


def test_a_failed_run_does_not_stop_the_others(phantom_store, tmp_path, monkeypatch) -> None:
    def broken(store: Path, out: Path, *, method: str, seed: int, **options: object) -> None:
        if method == "unet" and seed == 0:
            raise HarmosegError("training has diverged")
        if method == "unet+scc":
            raise ZeroDivisionError("a defect")
        return train(store, out, method=method, seed=seed, **options)

    train = jobs.train
    monkeypatch.setattr(jobs, "train", broken)
    found = run_study(plan(phantom_store), tmp_path / "study")
    (task,) = found.tasks
    assert task.methods == ("unet",)
    assert found.scores.values_of("seed") == ["1"]
    assert task.missing == {"unet": 1, "unet+scc": 0}
    assert sorted(found.failures.values()) == [
        "ZeroDivisionError: a defect",
        "ZeroDivisionError: a defect",
        "training has diverged",
    ]
    assert {(work.method, work.seed) for work in found.failed} == {
        ("unet", 0),
        ("unet+scc", 0),
        ("unet+scc", 1),
    }
    assert not found.compare().differences  # the first seed of unet alone: no pair
    kept = "".join(file.read_text() for file in (found.folder / "failures").iterdir())
    assert "Traceback" in kept  # of the defect, for whoever mends it
    status = study_status(found.folder)
    assert (status.count("finished"), status.count("failed")) == (1, 3)
    assert "training has diverged" in tell_status(status)
    monkeypatch.setattr(jobs, "train", train)
    mended = run_study(plan(phantom_store, methods=("unet",)), found.folder)
    assert not mended.failures and mended.scores.values_of("seed") == ["0", "1"]


def test_no_finished_run_is_told_with_its_reason(phantom_store, tmp_path, monkeypatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise HarmosegError("out of memory with batch_size 4")

    monkeypatch.setattr(jobs, "train", broken)
    message = r"no run has finished \(4 of 4 failed\); the first failure: out of memory"
    with pytest.raises(HarmosegError, match=message):
        run_study(plan(phantom_store), tmp_path / "study")


def test_jobs_side_by_side_end_in_the_same(study, phantom_store, tmp_path) -> None:
    found = run_study(
        plan(phantom_store, seeds=1), tmp_path / "study", executor=side_by_side(2, threads=1)
    )
    chosen = {"method": "unet", "seed": "0", "condition": "clean"}
    expected, given = (part.scores.select(**chosen).frame["DSC"] for part in (study, found))
    assert np.array_equal(given, expected, equal_nan=True)
    assert {file.suffix for file in (found.folder / "logs").iterdir()} == {".txt"}


def test_a_process_that_dies_is_a_failure_of_its_run(
    phantom_store, tmp_path, monkeypatch, capfd
) -> None:
    # Killed as a system without memory does it: while training, without a word.
    (tmp_path / "killed_9.py").write_text(
        "import os, signal\n"
        "def loss(logits, target):\n"
        "    if len(logits) == 4:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return logits.mean()\n"
    )
    monkeypatch.chdir(tmp_path)
    methods = ("unet", "unet+killed_9.loss")
    found = run_study(
        plan(phantom_store, methods=methods, seeds=1), tmp_path / "study", executor=side_by_side(2)
    )
    (message,) = found.failures.values()
    assert "its process ended by signal 9; out of memory?" in message
    # What another time went wrong is not told of this one.
    keep_failure(found.folder, next(iter(found.failures)), "training has diverged")
    again = run_study(
        plan(phantom_store, methods=methods, seeds=1), tmp_path / "study", executor=side_by_side(2)
    )
    (message,) = again.failures.values()
    assert "its process ended by signal 9; out of memory?" in message
    assert found.tasks[0].methods == ("unet",)
    assert "FAILED" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGKILL, "--jobs 1"),
        (signal.SIGTERM, "--jobs 2"),
        (signal.SIGTERM, "--jobs 2 --cluster local --cpus 1"),
    ],
)
def test_a_killed_study_repeats_no_finished_run(phantom_store, tmp_path, how, number) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        json.dumps(
            {
                "methods": [*METHODS, "unet+dice"],
                "controls": "none",
                "seeds": 1,
                "training": {
                    "encoder": "tu-test_resnet",
                    "epochs": 1,
                    "batch_size": 4,
                    "validation_fraction": 0.25,
                },
                "datasets": [{"store": phantom_store.name}],
            }
        )
    )
    out = tmp_path / "study"
    command = [sys.executable, "-m", "harmoseg", "study", str(recipe), *how.split()]
    command += ["--stores", str(phantom_store.parent), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while not list((tmp_path / "runs").glob("*/evaluations/*/summary.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=600)
    assert process.returncode != 0
    assert study_status(out).count("running") == 0
    # The end mark says that a run is finished; weights without it may be written once more.
    finished = {
        file: file.stat().st_mtime_ns
        for mark in (tmp_path / "runs").glob(f"*/{DONE_FILE}")
        for file in (mark, mark.with_name(WEIGHTS_FILE))
    }
    assert finished
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "finished earlier" in done.stderr
    assert all(file.stat().st_mtime_ns == made for file, made in finished.items())
    assert len(open_study(out).tasks[0].runs) == 3


def test_the_status_command_loads_no_engine(study) -> None:
    code = (
        "import sys\nfrom harmoseg.cli.main import main\n"
        f"assert main(['study', 'status', {str(study.folder)!r}]) == 0\n"
        "assert not {'torch', 'lightning', 'matplotlib'} & set(sys.modules), 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 runs: 4 finished" in done.stdout


def test_the_light_names_are_those_of_the_engine() -> None:
    from harmoseg.study import study_files as layout
    from harmoseg.training import run

    assert (layout.DONE_FILE, layout.LOG_FILE) == (run.DONE_FILE, run.LOG_FILE)
    assert layout.SUMMARY_FILE == evaluating.SUMMARY_FILE


def test_a_method_is_compared_with_its_controls() -> None:
    methods = ("unet", "unet@sample", "unet+scc@sample", "unet+dice@sample", "transunet+scc")

    def found(method: str, methods: tuple[str, ...]) -> list[tuple[str, str]]:
        return [(item.method, item.kind) for item in references_of(method, methods)]

    plain, overlap, other = "without the term", "overlap term instead", "no control"
    assert found("unet+scc@sample", methods) == [
        ("unet@sample", plain),
        ("unet+dice@sample", overlap),
    ]
    assert found("unet+dice@sample", methods) == [("unet@sample", plain)]
    assert found("transunet+scc", methods) == [("unet", other)]
    assert found("unet@sample", methods) == [("unet", other)]
    assert found("unet", methods) == []
    assert found("unet+scc", ("unet+scc", "unet")) == [("unet", plain)]
    assert found("unet", ("unet+scc", "unet")) == []
    bands = ("unet@sample", "unet+scc:1@sample", "unet+rings:1@sample")
    assert found("unet+rings:1@sample", bands) == [(bands[0], plain), (bands[1], overlap)]
    # The first method may be the control itself.
    assert found("unet+scc", ("unet+dice", "unet+scc")) == [("unet+dice", overlap)]
    assert found("unet+scc:1", ("unet+rings:1", "unet+scc:1")) == []
    # A gain over another reduction is no gain of the term.
    assert found("unet+rings:1@sample", ("unet", "unet+rings:1@sample")) == [("unet", other)]


def test_controls_are_added_before_what_needs_them() -> None:
    asked = ("unet", "unet+rings:1.0@sample")
    assert with_controls(asked, "none") == ("unet", "unet+rings:1@sample")
    assert with_controls(asked, "reduction") == ("unet", "unet@sample", "unet+rings:1@sample")
    assert with_controls(asked, "all") == (
        "unet",
        "unet@sample",
        "unet+scc:1@sample",
        "unet+rings:1@sample",
    )


def test_everything_is_checked_before_training(
    phantom_store, binary_store, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(jobs, "train", None)  # would fail if it were reached
    good = dataset(phantom_store)

    def one(**changes: object) -> StudyPlan:
        return StudyPlan((replace(good, **changes),), 2)  # type: ignore[arg-type]

    def options(**changes: object) -> StudyPlan:
        return one(options=replace(TINY, **changes))  # type: ignore[arg-type]

    for broken, message in (
        (plan(phantom_store, methods=("unet", "unett")), "did you mean 'unet'"),
        (plan(phantom_store, methods=("unet", "unet+no.such.Loss")), "cannot be imported"),
        (plan(phantom_store, seeds=0), "seeds must be 1 or more"),
        (StudyPlan((), 2), "datasets: none given"),
        (StudyPlan((good, good), 2), "two of them train on a store named 'phantom'"),
        (plan(phantom_store, phantom_store), "two stores have the folder name 'phantom'"),
        (plan(tmp_path / "absent"), "no such store"),
        (plan(phantom_store, binary_store), "mode is binary"),
        (plan(phantom_store, methods=()), "methods: none given"),
        (one(conditions=("fog",)), "fog"),
        (one(split="train"), "which the networks have learned"),
        (one(split="val"), "set select: last"),
        (options(encoder="resnet_18"), "did you mean 'resnet18'"),
        (options(batch_size=100), "batch_size 100 is larger"),
        (plan(odd_store(tmp_path), methods=("transunet",)), "nearest allowed size is 48 x 48"),
        (plan(other_classes(tmp_path), phantom_store), "classes are"),
    ):
        with pytest.raises(HarmosegError, match=message):
            run_study(broken, tmp_path / "study")
        assert not (tmp_path / "study").exists()
    with pytest.raises(HarmosegError, match="jobs must be 1 or more, got 0"):
        executor_for(0)


def odd_store(folder: Path) -> Path:
    if not (folder / "odd").exists():
        prepare_phantom(PhantomOptions(folder / "odd", count=20, size=50))
    return folder / "odd"


def other_classes(folder: Path) -> Path:
    """Make a store whose classes have other names."""
    path = folder / "renamed"
    if not path.exists():
        prepare_phantom(PhantomOptions(path, count=20, size=32))
        file = path / "store.json"
        values = json.loads(file.read_text())
        values["card"]["classes"] = [f"{name}x" for name in values["card"]["classes"]]
        file.write_text(json.dumps(values))
    return path


def test_folders_of_something_else_are_refused(study, binary_store, tmp_path) -> None:
    with pytest.raises(HarmosegError, match="holds a study of another store"):
        run_study(plan(binary_store), study.folder)
    (tmp_path / "x").touch()
    with pytest.raises(HarmosegError, match="exists and is not a study"):
        run_study(plan(binary_store), tmp_path)
    with pytest.raises(HarmosegError, match="not a study"):
        open_study(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "schema version 1, this version of harmoseg reads 2"),
        ({"schema": 99}, "schema version 99"),
        ({"seeds": None}, "damaged, seeds missing"),
        ({"datasets": None}, "damaged, datasets missing"),
        ({"datasets": [{"name": "phantom"}]}, "damaged .*runs.* is missing or wrong"),
    ],
)
def test_an_older_or_damaged_study_is_told(study, tmp_path, change, message) -> None:
    values = {**json.loads((study.folder / "study.json").read_text()), **change}
    values = {name: value for name, value in values.items() if value is not None or name == "table"}
    (tmp_path / "study.json").write_text(json.dumps(values))
    for look in (open_study, study_status):
        with pytest.raises(HarmosegError, match=message):
            look(tmp_path)


def test_a_plan_cut_off_is_written_anew(study, phantom_store, tmp_path, capfd) -> None:
    out = tmp_path / "study"
    out.mkdir()
    (out / "study.json").write_text('{"schema": 2, "ti')
    with pytest.raises(HarmosegError, match="cannot be read.*; run the study again to write it"):
        open_study(out)
    methods = ("unet+scc",)
    asked = replace(dataset(phantom_store, methods=methods), controls="reduction")
    found = run_study(StudyPlan((asked,), 2), out, runs=study.folder / "runs")
    assert len(found.tasks[0].runs) == 4
    assert "phantom: unet (control), unet+scc; 2 seed(s) each" in capfd.readouterr().err


def test_a_run_in_progress_is_waited_for(study, capfd) -> None:
    import threading

    from harmoseg.locks import take_lock

    (work, *_) = read_plan(study.folder).works
    lock = take_lock(work.lock / "lock", busy="this test")
    assert study_status(study.folder).count("finished") == 4  # whoever holds the lock
    threading.Timer(0.5, lock.release).start()
    jobs.carry_out(work)
    assert "waiting for another process" in capfd.readouterr().err


def test_an_evaluation_of_an_older_schema_is_made_anew(study, phantom_store, tmp_path) -> None:
    folder = Path(shutil.copytree(study.folder, tmp_path / "study"))
    old = next((folder / "runs").glob("*/evaluations/*/summary.json"))
    old.write_text(json.dumps({**json.loads(old.read_text()), "schema": 2}))
    found = run_study(plan(phantom_store), folder)
    assert not found.failures and found.unfinished == 0
    assert json.loads(old.read_text())["schema"] == evaluating.SCHEMA


def test_a_run_that_is_not_what_its_name_says_is_no_result(study, phantom_store, tmp_path) -> None:
    folder = Path(shutil.copytree(study.folder, tmp_path / "study"))
    first, second = sorted(path for path in (folder / "runs").iterdir() if path.name[0] != ".")[:2]
    shutil.rmtree(first)
    shutil.copytree(second, first)
    found = run_study(plan(phantom_store), folder)
    (message,) = found.failures.values()
    assert "what determines the run" in message and "has changed" in message
    assert len(found.tasks[0].runs) == 3


def test_a_failure_that_another_study_has_mended_is_none(study, phantom_store) -> None:
    name = study.tasks[0].runs[0].folder.name
    keep_failure(study.folder, name, "once")
    assert not open_study(study.folder).failures
    assert not study_status(study.folder).failures
    run_study(plan(phantom_store), study.folder)
    assert not (study.folder / "failures" / f"{name}.txt").exists()
