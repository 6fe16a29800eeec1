"""Train one experiment into a run folder, and continue where an earlier attempt stopped.

A run is a folder::

    experiment.yaml       what determines it, resolved
    environment.json      what it was made with
    log.csv               one row per epoch
    checkpoints/          while it runs: the last two states to continue from, the best weights
    weights.safetensors   the weights selected
    model.json            with the weights, a model to predict with; see `harmoseg.models.saved`
    done.json             written last: the run is complete
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor, nn

from harmoseg.errors import HarmosegError, Terminated
from harmoseg.models.saved import MODEL_FILE, WEIGHTS_FILE, load_model, save_model
from harmoseg.store.files import (
    check_schema,
    make_folder,
    read_json,
    sha256_of,
    write_csv,
    write_json,
    write_text,
)
from harmoseg.store.training_view import TrainingView, open_training_view
from harmoseg.training.batches import training_loader, validation_loader
from harmoseg.training.checkpoints import (
    Checkpoints,
    HashedFiles,
    network_weights,
    newest_checkpoint,
)
from harmoseg.training.execution import Execution
from harmoseg.training.experiment import (
    SCHEMA,
    Experiment,
    TrainingOptions,
    experiment_from_yaml,
    experiment_to_yaml,
    resolve_experiment,
)
from harmoseg.training.hardware import describe_environment
from harmoseg.training.network import TrainedNetwork, model_info
from harmoseg.training.ranks import process_number, summed, world_size
from harmoseg.training.stopping import Stopped, Stopping

EXPERIMENT_FILE = "experiment.yaml"
ENVIRONMENT_FILE = "environment.json"
LOG_FILE = "log.csv"
CHECKPOINT_FOLDER = "checkpoints"
DONE_FILE = "done.json"


def train(
    store: Path,
    out: Path,
    *,
    method: str,
    seed: int,
    options: TrainingOptions,
    execution: Execution | None = None,
) -> Experiment:
    """Train a method on a store's training part into the run folder `out`.

    A finished run of the same experiment is left as it is; an unfinished one continues from its
    last epoch and ends as if it had not been interrupted. The test split is never opened.

    Raises HarmosegError where `out` holds another experiment, naming what differs, where the
    store cannot be trained on, and where training diverges.
    """
    execution = execution or Execution()
    view = open_training_view(store, validation_fraction=options.validation_fraction)
    experiment = resolve_experiment(method, seed, options, view.info)
    if options.select == "best" and not len(view.validation):
        raise HarmosegError(
            "select best needs a validation part; set validation_fraction above 0, or select last"
        )
    _check_folder(out, experiment)
    if (out / DONE_FILE).exists():
        return experiment
    _check_devices(execution)
    ranks = execution.devices * execution.nodes
    loader = training_loader(view.train, options.batch_size, seed, ranks=ranks)
    validation = None
    if len(view.validation):
        validation = validation_loader(view.validation, options.batch_size, ranks=ranks)
    started = time.monotonic()
    with _quiet_lightning():
        pl.seed_everything(seed, verbose=False)
        network = TrainedNetwork(
            experiment,
            model_info(experiment, view.info.card),
            validation_cases=len(view.validation.cases),
        )
        # Only now: an option that cannot be must not leave a folder that refuses its correction.
        _claim_folder(out, experiment)
        checkpoints = Checkpoints(
            out / CHECKPOINT_FOLDER,
            loader,
            monitor="val_dsc" if validation else None,
            minutes=execution.checkpoint_minutes,
        )
        names = [case.case for case in view.train.cases]
        stopping = Stopping(out, names, checkpoints)
        trainer = _make_trainer(out, experiment, execution, [stopping], checkpoints)
        try:
            trainer.fit(
                network,
                loader,
                validation,
                ckpt_path=_continued_from(out),
                weights_only=True,
            )
        except Stopped as stop:
            if stop.number == signal.SIGTERM:
                raise Terminated from None
            raise KeyboardInterrupt from None
        except SystemExit:
            # Lightning answers a KeyboardInterrupt with an exit of its own.
            if trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
    if trainer.is_global_zero:
        _finish(out, experiment, view, network, checkpoints, seconds=time.monotonic() - started)
    return experiment


def check_trainable(store: Path, experiment: Experiment) -> None:
    """Raise HarmosegError for whatever can be known to fail before `experiment` is trained.

    Opens the data, makes the network, and sends one empty image through it.
    """
    options = experiment.options
    view = open_training_view(store, validation_fraction=options.validation_fraction)
    training_loader(view.train, options.batch_size, experiment.seed)
    network = model_info(experiment, view.info.card).build(weights=options.weights).eval()
    with torch.inference_mode():
        network(torch.zeros(1, experiment.channels, experiment.height, experiment.width))


def open_run(path: Path) -> tuple[Experiment, nn.Module]:
    """Open a finished run: its experiment, and its network with the selected weights, to evaluate.

    Raises HarmosegError where the folder is no run, is unfinished, or its weights do not fit.
    """
    file = path / EXPERIMENT_FILE
    if not file.is_file():
        raise HarmosegError(
            f"{path}: not a run ({EXPERIMENT_FILE} is missing); make one with: "
            "harmoseg train --help"
        )
    experiment = experiment_from_yaml(file.read_text(encoding="utf-8"), file)
    if not all((path / name).is_file() for name in (DONE_FILE, MODEL_FILE, WEIGHTS_FILE)):
        raise HarmosegError(
            f"{path}: the run is not finished ({DONE_FILE}, {MODEL_FILE} or {WEIGHTS_FILE} is "
            "missing); run the same training command again to continue it"
        )
    done = read_json(path / DONE_FILE, what="the end mark of a run")
    check_schema(done.get("schema"), SCHEMA, path / DONE_FILE, cure="train again")
    return experiment, load_model(path).network


class EpochLog(pl.Callback):
    """Write log.csv after every epoch: the means of the loss and its terms, and the validation."""

    def __init__(self, path: Path, *, show: bool) -> None:
        self._path = path
        self._show = show
        self._rows: list[dict[str, float]] = []
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def state_dict(self) -> dict[str, Any]:
        """Keep what was logged with the checkpoint, so that a continued log has no gap."""
        sums = {name: float(value) for name, value in self._sums.items()}
        return {"rows": self._rows, "sums": sums, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self._rows = list(state_dict["rows"])
        self._sums = {
            name: torch.tensor(value, dtype=torch.float64)
            for name, value in state_dict["sums"].items()
        }
        self._steps = state_dict["steps"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        """Add a step's terms to the epoch's sums."""
        for name, value in outputs["terms"].items():
            before = self._sums.get(name, 0.0)
            self._sums[name] = value.double() + (
                before.to(value.device) if isinstance(before, Tensor) else before
            )
        self._steps += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch that ended."""
        shares = world_size() * self._steps
        means = {
            f"train_{name}": float(summed(value.to(pl_module.device))) / shares
            for name, value in self._sums.items()
        }
        self._sums, self._steps = {}, 0
        validated = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val_")
        }
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        epoch = trainer.current_epoch + 1
        row = {"epoch": epoch, "learning_rate": rate, **means, **validated}
        self._rows.append(row)
        if not trainer.is_global_zero:
            return
        write_csv(self._path, list(row), self._rows)
        if self._show:
            shown = f"loss {row['train_total']:.3f}"
            if "val_dsc" in row:
                shown += f", validation DSC {100 * row['val_dsc']:.1f}"
            print(f"  epoch {epoch} of {trainer.max_epochs}: {shown}", file=sys.stderr)


def _make_trainer(
    out: Path,
    experiment: Experiment,
    execution: Execution,
    callbacks: list[pl.Callback],
    checkpoints: Checkpoints,
) -> pl.Trainer:
    is_terminal = sys.stderr.isatty()
    # A progress bar for a person, a line per epoch for a log file.
    bars: list[pl.Callback] = [TQDMProgressBar(leave=False)] if is_terminal else []
    log = EpochLog(out / LOG_FILE, show=not is_terminal)
    plugins: list[Any] = [HashedFiles()]
    if SLURMEnvironment.detect():
        # Our own answer to a signal saves, and the same command continues.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return pl.Trainer(
        accelerator="auto",
        devices=execution.devices,
        num_nodes=execution.nodes,
        strategy="ddp" if execution.devices * execution.nodes > 1 else "auto",
        precision="bf16-mixed" if experiment.options.precision == "bf16" else "32-true",
        max_epochs=experiment.options.epochs,
        # What is saved last holds what the others know of the epoch that it ends.
        callbacks=[log, *callbacks, *bars, checkpoints],
        plugins=plugins,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=is_terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=out,
    )


def _check_devices(execution: Execution) -> None:
    """Raise HarmosegError where more devices are asked for than there are."""
    if torch.cuda.is_available():
        there, kind = torch.cuda.device_count(), "GPU(s)"
    else:
        there, kind = os.cpu_count() or 1, "processor core(s), and no GPU"
    if execution.devices > there:
        raise HarmosegError(
            f"devices: {execution.devices} asked for, this machine has {there} {kind}; use "
            f"--devices {there} or less"
        )


def _continued_from(out: Path) -> Path | None:
    """Find what to continue from, and say what was damaged."""
    found, damaged = newest_checkpoint(out / CHECKPOINT_FOLDER)
    for file in damaged:
        instead = f"the one before it, {found.name}, is used" if found else "training starts anew"
        print(f"warning: {file}: damaged (its hash does not fit); {instead}", file=sys.stderr)
    return found


def _check_folder(out: Path, experiment: Experiment) -> None:
    """Raise HarmosegError unless the folder is this run, begun or finished, or free."""
    file = out / EXPERIMENT_FILE
    if not file.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise HarmosegError(f"{out}: exists and is not a run; choose another folder")
        return
    found = experiment_from_yaml(file.read_text(encoding="utf-8"), file)
    differences = experiment.differences(found)
    if differences:
        raise HarmosegError(
            f"{out}: holds a run with another configuration ({'; '.join(differences)}); choose "
            "another folder, or remove this one"
        )


def _claim_folder(out: Path, experiment: Experiment) -> None:
    """Write what the run is and what it is made with, once for all processes."""
    if process_number():
        return
    make_folder(out)
    write_text(out / EXPERIMENT_FILE, experiment_to_yaml(experiment))
    if not (out / ENVIRONMENT_FILE).exists():
        write_json(out / ENVIRONMENT_FILE, describe_environment())


def _finish(
    out: Path,
    experiment: Experiment,
    view: TrainingView,
    network: TrainedNetwork,
    checkpoints: Checkpoints,
    *,
    seconds: float,
) -> None:
    """Keep the selected weights and mark the run complete."""
    if experiment.options.select == "best":
        weights = checkpoints.best_weights()
    else:
        weights = network_weights(network.state_dict())
    save_model(out, model_info(experiment, view.info.card), weights)
    write_json(
        out / DONE_FILE,
        {
            "schema": SCHEMA,
            "weights_sha256": sha256_of(out / WEIGHTS_FILE),
            "seconds": round(seconds, 1),
            "train_cases": len(view.train.cases),
            "train_slices": len(view.train),
            "validation_cases": len(view.validation.cases),
        },
    )
    # The optimiser's state is of no more use, and a study of many runs would fill the disk.
    shutil.rmtree(out / CHECKPOINT_FOLDER)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's remarks on choices that were made on purpose off the screen."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # No worker processes: see training_loader.
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            # Lightning's own use of a name that newer versions of PyTorch deprecate.
            warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
            # A tiny dataset has few batches.
            warnings.filterwarnings("ignore", ".*number of training batches.*")
            # Training without a validation part is allowed.
            warnings.filterwarnings("ignore", ".*have no `val_dataloader`.*")
            # The folder is there because the run is being continued.
            warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists.*")
            yield
    finally:
        logger.setLevel(level)
