"""Runs as jobs, by submitit's own executor on this machine: the same code as on SLURM."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from harmoseg import HarmosegError
from harmoseg.study import cluster
from harmoseg.study.cluster import on_cluster
from harmoseg.study.options import DatasetPlan, Resources, StudyPlan
from harmoseg.study.runner import run_study
from harmoseg.training.options import TrainingOptions

pytest.importorskip("submitit")
TINY = TrainingOptions(encoder="tu-test_resnet", epochs=1, batch_size=4, validation_fraction=0.25)


def plan(store: Path, *methods: str) -> StudyPlan:
    return StudyPlan((DatasetPlan(store, methods, TINY, controls="none"),), 1)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_SECONDS_BETWEEN_LOOKS", 0.2)


def test_jobs_end_as_runs_do(phantom_store, tmp_path, monkeypatch) -> None:
    # One loss fails as losses do, one takes its process with it.
    (tmp_path / "bad_losses_3.py").write_text(
        "import os\n"
        "def fails(logits, target):\n"
        "    if len(logits) == 4:\n"
        "        raise ValueError('no such thing')\n"
        "    return logits.mean()\n"
        "def dies(logits, target):\n"
        "    if len(logits) == 4:\n"
        "        os._exit(9)\n"
        "    return logits.mean()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "_ATTEMPTS", 1)
    methods = ("unet", "unet+bad_losses_3.fails", "unet+bad_losses_3.dies")
    executor = on_cluster("local", 3, Resources(time=5, cpus=1))
    found = run_study(plan(phantom_store, *methods), tmp_path / "study", executor=executor)
    (task,) = found.tasks
    assert task.methods == ("unet",)
    told = {work.method: found.failures[work.name] for work in found.failed}
    assert "ValueError: no such thing" in told["unet+bad_losses_3.fails"]
    assert "ended 1 times without a result" in told["unet+bad_losses_3.dies"]
    alone = run_study(plan(phantom_store, "unet"), tmp_path / "alone")
    scores = [item.scores.frame["DSC"].to_numpy() for item in (found, alone)]
    # To rounding: a job may have another number of threads.
    assert np.allclose(*scores, atol=0.01, equal_nan=True)


def test_a_job_that_was_stopped_is_submitted_again(phantom_store, tmp_path, monkeypatch) -> None:
    (tmp_path / "once_4.py").write_text(
        "import os\nfrom pathlib import Path\n"
        "def loss(logits, target):\n"
        "    if len(logits) == 4 and not Path('been').exists():\n"
        "        Path('been').touch()\n"
        "        os._exit(0)\n"
        "    return logits.mean()\n"
    )
    monkeypatch.chdir(tmp_path)
    executor = on_cluster("local", 1, Resources(time=5, cpus=1))
    study = plan(phantom_store, "unet+once_4.loss")
    found = run_study(study, tmp_path / "study", executor=executor)
    assert (tmp_path / "been").exists() and not found.failures
    assert found.tasks[0].methods == ("unet+once_4.loss",)


def test_jobs_of_a_killed_command_are_found_again(tmp_path, monkeypatch) -> None:
    told = "7|RUNNING|ours-seed0\n8|PENDING|ours-seed1\n9|COMPLETED|ours-seed2\n5|RUNNING|a|b\n"
    monkeypatch.setattr(cluster, "_call", lambda *_: told)
    for number in (7, 8, 9):
        (tmp_path / f"{number}_submission.sh").touch()
    assert cluster._jobs_left(tmp_path) == {"ours-seed0": "7", "ours-seed1": "8"}
    (tmp_path / "8_submission.sh").unlink()  # another study's, which shares the runs
    assert cluster._jobs_left(tmp_path) == {"ours-seed0": "7"}
    monkeypatch.setattr(cluster, "_call", lambda *_: None)
    assert cluster._jobs_left(tmp_path) == {}


@pytest.mark.skipif(shutil.which("srun") is not None, reason="this machine has SLURM")
def test_without_slurm_it_says_so(phantom_store, tmp_path) -> None:
    executor = on_cluster("slurm", 1, Resources())
    with pytest.raises(HarmosegError, match="--cluster slurm: .*srun.*start the study where"):
        run_study(plan(phantom_store, "unet"), tmp_path / "study", executor=executor)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"time": 0}, "time must be 1 minute or more, got 0"),
        ({"cpus": 0}, "cpus must be 1 or more"),
        ({"gpus": 2}, "gpus must be 0 or 1, got 2"),
        ({"memory": 0}, "memory must be 1 GB or more"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(values, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        Resources(**values)
    with pytest.raises(HarmosegError, match="jobs must be 1 or more, got 0"):
        on_cluster("local", 0, Resources())
