"""Lightning's trainer as this project uses it, and who starts the processes that train together."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import Logger

from harmoseg.errors import HarmosegError
from harmoseg.training.checkpoints import HashedFiles
from harmoseg.training.experiment import Experiment
from harmoseg.training.options import Execution, TrainingOptions

_REMARKS = (
    "does not have many workers",  # no worker processes: see training_loader
    "LeafSpec",  # Lightning's own use of a name that newer versions of PyTorch deprecate
    "number of training batches",  # a tiny dataset has few
    "have no `val_dataloader`",  # training without a validation part is allowed
    "Experiment logs directory .* exists",  # because the run is being continued
    "`srun` command is available",  # the machine belongs to a cluster, and this process to no job
)
"""Lightning's remarks on choices that were made on purpose."""


def make_trainer(
    out: Path,
    experiment: Experiment,
    execution: Execution,
    callbacks: Sequence[pl.Callback],
    loggers: Sequence[Logger],
) -> pl.Trainer:
    """Make the trainer of an experiment, whose folder is `out`."""
    # A progress bar for a person; a log file has the line of each epoch instead.
    bars: list[pl.Callback] = [TQDMProgressBar(leave=False)] if sys.stderr.isatty() else []
    plugins: list[Any] = [HashedFiles()]
    if launcher := cluster_environment(execution):
        plugins.append(launcher)
    return pl.Trainer(
        accelerator="auto",
        devices=execution.devices,
        num_nodes=execution.nodes,
        strategy="ddp" if execution.devices * execution.nodes > 1 else "auto",
        precision="bf16-mixed" if experiment.options.precision == "bf16" else "32-true",
        max_epochs=experiment.options.epochs,
        callbacks=[*bars, *callbacks],
        plugins=plugins,
        logger=list(loggers) or False,
        enable_checkpointing=False,  # `Checkpoints` does it
        enable_progress_bar=bool(bars),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=out,
        check_val_every_n_epoch=experiment.options.validate_every,
        accumulate_grad_batches=experiment.options.accumulate,
    )


class ValidationRhythm(pl.Callback):
    """Validate every so many epochs, and the last epoch in any case."""

    def __init__(self, every: int) -> None:
        self._every = every

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Settle the epoch that a continued run is in."""
        self._settle(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Settle the epoch that begins, and forget what an earlier one's validation said."""
        self._settle(trainer)
        # Lightning keeps the values, and an epoch that was not validated would seem to be.
        for name in [name for name in trainer.callback_metrics if name.startswith("val_")]:
            del trainer.callback_metrics[name]

    def _settle(self, trainer: pl.Trainer) -> None:
        is_last = trainer.current_epoch + 1 == trainer.max_epochs
        trainer.check_val_every_n_epoch = 1 if is_last else self._every


def check_schedule(options: TrainingOptions, *, batches: int, validates: bool) -> None:
    """Raise HarmosegError where an epoch of `batches` cannot be trained as the options say."""
    if options.accumulate > batches:
        raise HarmosegError(
            f"accumulate {options.accumulate} is more than the {batches} batch(es) of "
            f"{options.batch_size} in an epoch; use --accumulate {batches} or less"
        )
    wanting = {"select best": options.select == "best", "patience": options.patience > 0}
    for name, needs_validation in wanting.items():
        if needs_validation and not validates:
            raise HarmosegError(
                f"{name} needs a validation part; set validation_fraction above 0, or "
                + ("select last" if name == "select best" else "patience to 0")
            )


def check_devices(execution: Execution) -> None:
    """Raise HarmosegError where more devices are asked for than there are, or tasks started."""
    check_tasks(execution)
    if torch.cuda.is_available():
        there, kind = torch.cuda.device_count(), "GPU(s)"
    else:
        there, kind = os.cpu_count() or 1, "processor core(s), and no GPU"
    if execution.devices > there:
        raise HarmosegError(
            f"devices: {execution.devices} asked for, this machine has {there} {kind}; use "
            f"--devices {there} or less"
        )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep `_REMARKS` off the screen."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for remark in _REMARKS:
                warnings.filterwarnings("ignore", f".*{remark}.*")
            yield
    finally:
        logger.setLevel(level)


def cluster_environment(execution: Execution) -> ClusterEnvironment | None:
    """Return the environment that starts the processes; None where Lightning finds it itself.

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
