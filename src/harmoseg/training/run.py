"""Train one experiment into a run folder, and continue where an earlier attempt stopped.

A run is a folder::

    experiment.yaml       what determines it, resolved
    environment.json      what it was made with
    log.csv               one row per epoch
    checkpoints/          while it runs: the last two states to continue from, the best weights
    weights.safetensors   the weights selected
    last.safetensors      the last epoch's, where the best epoch is selected and is another one
    model.json            with the weights, a model; see `harmoseg.inference.saved_model`
    done.json             written last: the run is complete
"""

from __future__ import annotations

import gc
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader

from harmoseg.errors import HarmosegError, Terminated
from harmoseg.files import (
    check_schema,
    make_folder,
    read_json,
    sha256_of,
    write_bytes,
    write_json,
)
from harmoseg.inference.options import MODEL_FILE, WEIGHTS_FILE
from harmoseg.inference.planes import batched
from harmoseg.inference.predictor import Predictor, choose_device
from harmoseg.inference.saved_model import ModelInfo, SavedModel, load_model, save_model
from harmoseg.locks import locked
from harmoseg.messages import LOGGER
from harmoseg.metrics.calibration import fit_temperature
from harmoseg.models.activation_checkpointing import checkpoint_blocks
from harmoseg.store.training_view import Part, TrainingView, open_training_view
from harmoseg.training.batches import (
    Batch,
    TrainingLoader,
    training_loader,
    validation_loader,
)
from harmoseg.training.checkpoints import (
    Checkpoints,
    Choice,
    network_weights,
    newest_checkpoint,
)
from harmoseg.training.experiment import (
    EXPERIMENT_FILE,
    SCHEMA,
    Experiment,
    read_experiment,
    resolve_experiment,
    write_experiment,
)
from harmoseg.training.interrupts import (
    Stopped,
    Stopping,
    explaining_lack_of_memory,
    signals_as_before,
)
from harmoseg.training.logs import EpochLog, ProgressLines, make_loggers
from harmoseg.training.network import TrainedNetwork, build_network, check_method, model_info
from harmoseg.training.options import Execution, TrainingOptions
from harmoseg.training.ranks import process_number
from harmoseg.training.run_costs import Measurements, describe_environment
from harmoseg.training.trainer import (
    ValidationRhythm,
    check_devices,
    check_schedule,
    make_trainer,
    quiet_lightning,
)

ENVIRONMENT_FILE = "environment.json"
LOG_FILE = "log.csv"
CHECKPOINT_FOLDER = "checkpoints"
LAST_FILE = "last.safetensors"
DONE_FILE = "done.json"
_MOST_PIXELS = 2_000_000
"""Pixels that a temperature is fitted on, at even steps: more add no digit to one number."""


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
    store cannot be trained on, where the objective is unfit (see `check_method`), where training
    diverges, and where memory runs out.
    """
    execution = execution or Execution()
    view = open_training_view(store, validation_fraction=options.validation_fraction)
    begun = _begun_in(out)
    if options.precision == "auto" and begun is not None:
        # A run that is continued on another machine stays what it is.
        options = replace(options, precision=begun.options.precision)
    experiment = resolve_experiment(method, seed, options, view)
    differences = experiment.differences(begun) if begun is not None else []
    if differences:
        raise HarmosegError(
            f"{out}: holds a run with another configuration ({'; '.join(differences)}); choose "
            "another folder, or remove this one"
        )
    if (out / DONE_FILE).exists():
        return experiment
    check_devices(execution)
    loader, validation = _make_loaders(view, experiment, execution.devices * execution.nodes)
    remarks = check_method(experiment)
    if not process_number():
        for remark in remarks:
            print(f"warning: {remark}", file=sys.stderr)
    with _alone(out):
        _train(view, out, experiment, execution, loader, validation, remarks)
    return experiment


def _train(
    view: TrainingView,
    out: Path,
    experiment: Experiment,
    execution: Execution,
    loader: TrainingLoader,
    validation: DataLoader[Batch] | None,
    remarks: list[str],
) -> None:
    """Train to the end, and write what a finished run has."""
    options, seed = experiment.options, experiment.seed
    choose = Choice(view.validation.has_foreground) if validation else None
    loggers = make_loggers(execution.loggers, out)
    gc.collect()  # an earlier run lies in cycles of its optimiser: hundreds of megabytes
    started = time.monotonic()
    with signals_as_before(), quiet_lightning(), explaining_lack_of_memory(experiment):
        pl.seed_everything(seed, verbose=False)
        network = _make_network(out, experiment, view, execution)
        if network.loss.takes_maps:
            loader.prepare = network.prepare
        measurements = Measurements()
        checkpoints = Checkpoints(
            out / CHECKPOINT_FOLDER,
            loader,
            choose=choose,
            minutes=execution.checkpoint_minutes,
            patience=options.patience,
        )
        cases = [case.case for case in view.train.cases]
        trainer = make_trainer(
            out,
            experiment,
            execution,
            [
                measurements,
                EpochLog(out / LOG_FILE, show=not sys.stderr.isatty()),
                *([] if sys.stderr.isatty() else [ProgressLines()]),
                *([] if choose is None else [ValidationRhythm(options.validate_every)]),
                Stopping(out, cases, checkpoints),
                checkpoints,  # last, so that it holds what the others know
            ],
            loggers,
        )
        for logger in loggers:
            logger.log_hyperparams(_hyperparameters(experiment))
        _fit(trainer, network, loader, validation, out)
    if trainer.is_global_zero:
        measured = {
            "contract": remarks,
            "seconds": round(time.monotonic() - started, 1),
            **measurements.summary(),
        }
        _finish(out, network, view, checkpoints, choose, measured)
    if trainer.received_sigterm:
        raise Terminated  # too late for this run, and yet whoever asked wants an end


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other processes from training the same run, its own helpers excepted."""
    if process_number():
        yield
        return
    make_folder(out.parent)
    busy = f"{out}: another process is training this run; wait for it, or choose another folder"
    with locked(out.with_name(f".{out.name}.training"), busy=busy):
        yield


def _make_network(
    out: Path, experiment: Experiment, view: TrainingView, execution: Execution
) -> TrainedNetwork:
    """Make the network, say what a batch of it takes, and claim the run's folder."""
    network = TrainedNetwork(
        experiment, model_info(experiment, view), validation_cases=len(view.validation.cases)
    )
    if execution.checkpointing:
        checkpoint_blocks(network.network)
    if not process_number():
        # Only now: an option that cannot be must not leave a folder that refuses its correction.
        _claim_folder(out, experiment)
    if execution.compile:
        network.network.compile()  # in place: the names of the weights stay
    return network


def _fit(
    trainer: pl.Trainer,
    network: TrainedNetwork,
    loader: TrainingLoader,
    validation: DataLoader[Batch] | None,
    out: Path,
) -> None:
    """Train to the end; raise Terminated or KeyboardInterrupt where a signal stopped it."""
    try:
        trainer.fit(network, loader, validation, ckpt_path=_continued_from(out), weights_only=True)
    except Stopped as stop:
        if stop.number == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise Terminated from None
    except SystemExit:
        # Lightning answers a KeyboardInterrupt with an exit of its own, and so it does a SIGTERM
        # that came before ours was listened to.
        if trainer.received_sigterm:
            raise Terminated from None
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise


def _make_loaders(
    view: TrainingView, experiment: Experiment, ranks: int = 1
) -> tuple[TrainingLoader, DataLoader[Batch] | None]:
    """Make the loaders of training and validation; raise HarmosegError where they do not fit."""
    options = experiment.options
    loader = training_loader(view.train, options.batch_size, experiment.seed, ranks=ranks)
    validation = validation_loader(view.validation, options.batch_size, ranks=ranks)
    check_schedule(options, batches=len(loader), validates=validation is not None)
    return loader, validation


def check_trainable(view: TrainingView, experiment: Experiment) -> None:
    """Raise HarmosegError for whatever can be known to fail before `experiment` is trained.

    Looks at the data, makes the network, sends one empty image through it, and tries its objective.
    """
    _make_loaders(view, experiment)
    network = build_network(experiment, model_info(experiment, view)).eval()
    with torch.inference_mode():
        network(torch.zeros(1, experiment.channels, experiment.height, experiment.width))
    check_method(experiment)


def open_run(path: Path) -> SavedModel:
    """Open a finished run with its selected weights, or the model folder that was taken from one.

    Raises HarmosegError where the folder is neither, the run is unfinished, or weights do not fit.
    """
    if not (path / EXPERIMENT_FILE).is_file():
        return load_model(path)
    experiment = read_experiment(path)
    if not all((path / name).is_file() for name in (DONE_FILE, MODEL_FILE, WEIGHTS_FILE)):
        raise HarmosegError(
            f"{path}: the run is not finished ({DONE_FILE}, {MODEL_FILE} or {WEIGHTS_FILE} is "
            "missing); run the same training command again to continue it"
        )
    done = read_json(path / DONE_FILE, what="the end mark of a run")
    check_schema(done.get("schema"), SCHEMA, path / DONE_FILE, cure="train again")
    model = load_model(path)
    # Runs of 0.1.0 say their precision in the experiment alone.
    trained = {**model.info.trained, "precision": experiment.options.precision}
    return replace(model, info=replace(model.info, trained=trained))


def _continued_from(out: Path) -> Path | None:
    """Find what to continue from, and say what was damaged."""
    found, damaged = newest_checkpoint(out / CHECKPOINT_FOLDER)
    for file in damaged:
        instead = f"the one before it, {found.name}, is used" if found else "training starts anew"
        LOGGER.warning("%s: damaged (its hash does not fit); %s", file, instead)
    return found


def _begun_in(out: Path) -> Experiment | None:
    """Return the run that a folder holds, begun or finished; None where it is free.

    Raises HarmosegError where it holds something else.
    """
    if (out / EXPERIMENT_FILE).exists():
        return read_experiment(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HarmosegError(f"{out}: exists and is not a run; choose another folder")
    return None


def _claim_folder(out: Path, experiment: Experiment) -> None:
    """Write what the run is and what it is made with."""
    make_folder(out)
    write_experiment(out, experiment)
    if not (out / ENVIRONMENT_FILE).exists():
        write_json(out / ENVIRONMENT_FILE, describe_environment())


def _finish(
    out: Path,
    network: TrainedNetwork,
    view: TrainingView,
    checkpoints: Checkpoints,
    choose: Choice | None,
    measured: Mapping[str, Any],
) -> None:
    """Keep the selected weights, and the last ones where they differ; mark the run complete."""
    weights = network_weights(network.state_dict())
    last_epoch, best = network.trainer.current_epoch, checkpoints.best
    if network.experiment.options.select == "best" and best and best.epoch != last_epoch:
        write_bytes(out / LAST_FILE, save(weights))
        weights = checkpoints.best_weights()
    by_choice = network.experiment.options.select == "best" and choose is not None
    remark = ""
    if best and choose and (by_choice or network.experiment.options.patience):
        remark = choose.remark(best, view.exchanged)
        if remark:
            LOGGER.info("note: %s", remark)
    info = model_info(network.experiment, view)
    temperature = _fit_temperature(info, weights, view.validation)
    if temperature is not None:
        info = replace(info, trained={**info.trained, "temperature": temperature})
    save_model(out, info, weights)
    write_json(
        out / DONE_FILE,
        {
            "schema": SCHEMA,
            "weights_sha256": sha256_of(out / WEIGHTS_FILE),
            "best_epoch": best.epoch if best else None,
            "last_epoch": last_epoch,
            "selected_by": choose.criterion if choose and by_choice else "last epoch",
            "selection_remark": remark,
            **measured,
            "train_cases": len(view.train.cases),
            "train_slices": len(view.train),
            "validation_cases": len(view.validation.cases),
        },
    )
    # The optimiser's state is of no more use, and a study of many runs would fill the disk.
    shutil.rmtree(out / CHECKPOINT_FOLDER)


def _fit_temperature(info: ModelInfo, weights: Mapping[str, Tensor], part: Part) -> float | None:
    """Fit the temperature of the selected weights at training resolution; None without a case."""
    if not len(part):
        return None
    network = info.build()
    network.load_state_dict(dict(weights))
    bf16 = info.trained["precision"] == "bf16"
    predictor = Predictor([network], info.mode, choose_device(), bf16=bf16)
    probabilities, truth = [], []
    pixels = len(part) * part.batch([0])[1].size
    step = -(-pixels // _MOST_PIXELS)
    for positions in batched(range(len(part))):
        images, labels = part.batch(positions)
        found = predictor.probabilities(predictor.prepare(images)).cpu().numpy()
        probabilities.append(found.swapaxes(0, 1).reshape(found.shape[1], -1)[:, ::step])
        truth.append(labels.reshape(-1)[::step])
    return fit_temperature(np.concatenate(probabilities, axis=1), np.concatenate(truth))


def _hyperparameters(experiment: Experiment) -> dict[str, Any]:
    """Return what determines a run, flat, as loggers take it."""
    values = asdict(experiment)
    return {**values, **values.pop("options"), "classes": ", ".join(experiment.classes)}
