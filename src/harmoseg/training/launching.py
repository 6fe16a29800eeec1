"""Who starts the processes that train together: torchrun, SLURM's srun, or Lightning itself."""

from __future__ import annotations

import os
from collections.abc import Mapping

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from harmoseg.errors import HarmosegError
from harmoseg.training.execution import Execution


def cluster_environment(execution: Execution) -> ClusterEnvironment | None:
    """Say who starts the processes; None where Lightning finds out as well.

    Lightning takes every process within a job for one that srun has started, unless the job has
    one of two names, and then waits for others that nobody starts. What srun has started, and
    nothing else, knows the number of tasks of its step.

    Raises HarmosegError where srun has started other tasks than `execution` asks for.
    """
    if TorchElasticEnvironment.detect():  # also within a job
        return TorchElasticEnvironment()
    if "SLURM_JOB_ID" not in os.environ:
        return None
    check_tasks(execution)
    if _tasks(os.environ) == 1:
        return LightningEnvironment()
    # Lightning asks for this one, which srun sets where it was given by that name only. It is
    # what `check_tasks` has found.
    os.environ["SLURM_NTASKS_PER_NODE"] = str(execution.devices)
    # Our own answer to a signal saves, and the same command continues.
    return SLURMEnvironment(auto_requeue=False)


def check_tasks(execution: Execution) -> None:
    """Raise HarmosegError unless this process is alone, or srun has started as many as it takes."""
    if TorchElasticEnvironment.detect() or "SLURM_JOB_ID" not in os.environ:
        return
    tasks, nodes = _tasks(os.environ), int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
    if tasks == 1 and execution.nodes == 1:
        return
    if (tasks, nodes) == (execution.devices * execution.nodes, execution.nodes):
        return
    raise HarmosegError(
        f"this process is one of {tasks} task(s) of srun on {nodes} machine(s), but "
        f"{execution.devices} device(s) on {execution.nodes} machine(s) were asked for; start it "
        f"with srun --nodes={execution.nodes} --ntasks-per-node={execution.devices}, or set "
        "--devices and --nodes to what srun starts"
    )


def _tasks(variables: Mapping[str, str]) -> int:
    """Count the tasks that srun has started together; 1 where it has started none."""
    return int(variables.get("SLURM_STEP_NUM_TASKS", "1"))
