"""Within a job of SLURM, what srun has started trains together, and nothing waits for others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from harmoseg import HarmosegError
from harmoseg.training.options import Execution
from harmoseg.training.ranks import process_number
from harmoseg.training.trainer import check_tasks, cluster_environment, quiet_lightning

# As SLURM 22.05 sets them in a script of `sbatch --ntasks=2`, and in what is run there by `srun`.
JOB = {
    "SLURM_JOB_ID": "12",
    "SLURM_JOB_NAME": "mine",
    "SLURM_JOB_NODELIST": "one",
    "SLURM_NODELIST": "one",
    "SLURM_NNODES": "1",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
STEP = {
    **JOB,
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_NUM_TASKS": "2",
}


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_NTASKS_PER_NODE", *STEP):
        monkeypatch.delenv(name, raising=False)


def within(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    # First noted as absent, so that what the code under test sets is taken back too.
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_outside_of_a_job_lightning_decides() -> None:
    assert cluster_environment(Execution(devices=2)) is None


@pytest.mark.parametrize("name", ["mine", "bash"])
def test_what_srun_has_started_trains_together(monkeypatch, name) -> None:
    within(monkeypatch, {**STEP, "SLURM_JOB_NAME": name})
    found = cluster_environment(Execution(devices=2))
    assert isinstance(found, SLURMEnvironment) and not found.auto_requeue
    assert (found.world_size(), found.global_rank(), found.local_rank()) == (2, 1, 1)
    found.validate_settings(num_devices=2, num_nodes=1)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("step", [{}, {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"}])
def test_a_process_alone_in_a_job_starts_the_others_itself(monkeypatch, devices, step) -> None:
    within(monkeypatch, {**JOB, **step})
    found = cluster_environment(Execution(devices=devices))
    assert isinstance(found, LightningEnvironment)
    assert not found.creates_processes_externally


@pytest.mark.parametrize(
    ("variables", "execution", "there"),
    [
        (STEP, Execution(devices=1), r"one of 2 task\(s\) of srun on 1 machine"),
        (STEP, Execution(devices=4), r"one of 2 task\(s\) of srun on 1 machine"),
        (STEP, Execution(devices=1, nodes=2), r"one of 2 task\(s\) of srun on 1 machine"),
        (JOB, Execution(devices=2, nodes=2), r"one of 1 task\(s\) of srun on 1 machine"),
    ],
)
def test_other_tasks_than_asked_for_are_refused(monkeypatch, variables, execution, there) -> None:
    within(monkeypatch, variables)
    cure = f"--nodes={execution.nodes} --ntasks-per-node={execution.devices}, or set --devices"
    with pytest.raises(HarmosegError, match=f"{there}.*{cure}"):
        check_tasks(execution)


def test_a_process_that_lightning_starts_has_its_own_number(monkeypatch) -> None:
    within(monkeypatch, {**JOB, "LOCAL_RANK": "1"})
    assert process_number() == 1
    monkeypatch.delenv("LOCAL_RANK")
    assert process_number() == 0
    within(monkeypatch, STEP)
    assert process_number() == 1


def test_a_job_shell_without_srun_waits_for_nobody(binary_store, tmp_path) -> None:
    # As in `salloc --ntasks=2 --job-name=mine`: the command line, over two processes.
    options = ["--devices=2", "--encoder=tu-test_resnet", "--epochs=1", "--batch_size=4"]
    options += ["--validation_fraction=0.25"]
    done = subprocess.run(
        [sys.executable, "-m", "harmoseg", "train", str(binary_store), "--out", "run", *options],
        cwd=tmp_path,
        env={**os.environ, **JOB},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "done.json").exists()
    assert done.stdout.count("trained run") == 1
    assert "Traceback" not in done.stderr


def test_a_machine_of_a_cluster_outside_of_a_job_gets_no_advice(monkeypatch, tmp_path) -> None:
    # Lightning gives it wherever there is a command srun.
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.warns(UserWarning, match="srun"):
        SLURMEnvironment.detect()
    with quiet_lightning():  # where a warning is an error
        assert not SLURMEnvironment.detect()
