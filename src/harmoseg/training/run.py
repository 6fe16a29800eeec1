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

import functools
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
import torch
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader

from harmoseg.diagnostics.training_guard import check_objective
from harmoseg.errors import HarmosegError, Terminated
from harmoseg.files import (
    check_schema,
    make_folder,
    read_json,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
)
from harmoseg.inference.options import MODEL_FILE, WEIGHTS_FILE
from harmoseg.inference.predictor import Predictor, choose_device
from harmoseg.inference.saved_model import ModelInfo, SavedModel, load_model, save_model
from harmoseg.locks import locked
from harmoseg.losses.method import parse_method
from harmoseg.losses.named import Moment
from harmoseg.messages import LOGGER
from harmoseg.models.activation_checkpointing import checkpoint_blocks
from harmoseg.store.training_view import TrainingView, open_training_view
from harmoseg.training.batches import (
    Batch,
    TrainingLoader,
    training_loader,
    validation_loader,
)
from harmoseg.training.checkpoints import (
    Checkpoints,
    network_weights,
    newest_checkpoint,
)
from harmoseg.training.epoch_log import EpochLog, ProgressLines
from harmoseg.training.experiment import (
    SCHEMA,
    Experiment,
    experiment_from_yaml,
    experiment_to_yaml,
    resolve_experiment,
)
from harmoseg.training.interrupts import Stopped, Stopping, signals_as_before
from harmoseg.training.loggers import make_loggers
from harmoseg.training.memory import explaining_lack_of_memory
from harmoseg.training.network import TrainedNetwork, build_network, model_info
from harmoseg.training.objective import Objective
from harmoseg.training.options import Execution, TrainingOptions
from harmoseg.training.ranks import process_number
from harmoseg.training.run_costs import Measurements, describe_environment
from harmoseg.training.schedule import Choice, check_schedule, schedule_callbacks
from harmoseg.training.temperature import temperature_on
from harmoseg.training.trainer import check_devices, make_trainer, quiet_lightning

EXPERIMENT_FILE = "experiment.yaml"
ENVIRONMENT_FILE = "environment.json"
LOG_FILE = "log.csv"
CHECKPOINT_FOLDER = "checkpoints"
LAST_FILE = "last.safetensors"
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
    store cannot be trained on, where the objective is unfit (see `check_contract`), where training
    diverges, and where memory runs out.
    """
    execution = execution or Execution()
    view = open_training_view(store, validation_fraction=options.validation_fraction)
    options = _with_precision_of(out, options)
    experiment = resolve_experiment(method, seed, options, view)
    _check_folder(out, experiment)
    if (out / DONE_FILE).exists():
        return experiment
    check_devices(execution)
    ranks = execution.devices * execution.nodes
    loader = training_loader(view.train, options.batch_size, seed, ranks=ranks)
    validation = None
    if len(view.validation):
        validation = validation_loader(view.validation, options.batch_size, ranks=ranks)
    check_schedule(options, batches=len(loader), validates=validation is not None)
    remarks = check_contract(experiment)
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
                *schedule_callbacks(options, choose),
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


def check_trainable(store: Path, experiment: Experiment) -> None:
    """Raise HarmosegError for whatever can be known to fail before `experiment` is trained.

    Opens the data, makes the network, sends one empty image through it, and tries its objective.
    """
    options = experiment.options
    view = open_training_view(store, validation_fraction=options.validation_fraction)
    loader = training_loader(view.train, options.batch_size, experiment.seed)
    check_schedule(options, batches=len(loader), validates=bool(len(view.validation)))
    network = build_network(experiment, model_info(experiment, view)).eval()
    with torch.inference_mode():
        network(torch.zeros(1, experiment.channels, experiment.height, experiment.width))
    check_contract(experiment)


def check_contract(experiment: Experiment) -> list[str]:
    """Return what to know of an experiment's objective; raise HarmosegError where it is unfit."""
    method, options = parse_method(experiment.method), experiment.options
    objective = Objective(method, experiment.mode)
    check = functools.partial(
        check_objective,
        objective,
        mode=experiment.mode,
        classes=len(experiment.classes),
        space=(experiment.height, experiment.width),
        refuse=not options.no_contract,
    )
    try:
        remarks = check(method.losses)
        if objective.is_scheduled:  # it was asked at the end of training; at the beginning too
            objective.set_moment(Moment(0, options.epochs, 0, options.epochs))
            remarks += [f"at the first step, {remark}" for remark in check(())]
        return remarks
    except HarmosegError as error:
        raise HarmosegError(f"method {experiment.method!r}: {error}") from error


def read_experiment(path: Path) -> Experiment:
    """Read what determines a run, finished or not; raise HarmosegError where there is none."""
    file = path / EXPERIMENT_FILE
    if not file.is_file():
        raise HarmosegError(
            f"{path}: not a run ({EXPERIMENT_FILE} is missing); make one with: "
            "harmoseg train --help"
        )
    return experiment_from_yaml(file.read_text(encoding="utf-8"), file)


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
    """Write what the run is and what it is made with."""
    make_folder(out)
    write_text(out / EXPERIMENT_FILE, experiment_to_yaml(experiment))
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
        remark = choose.remark(
            exchanged=view.exchanged, score=best.score, ties=best.ties, best=best.epoch
        )
        if remark:
            LOGGER.info("note: %s", remark)
    info = model_info(network.experiment, view)
    temperature = _fit_temperature(info, weights, view)
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


def _fit_temperature(
    info: ModelInfo, weights: Mapping[str, Tensor], view: TrainingView
) -> float | None:
    """Fit the temperature of the selected weights; None without validation cases."""
    network = info.build()
    network.load_state_dict(dict(weights))
    bf16 = info.trained["precision"] == "bf16"
    predictor = Predictor([network], info.mode, choose_device(), bf16=bf16)
    return temperature_on(predictor, view.validation)


def _hyperparameters(experiment: Experiment) -> dict[str, Any]:
    """Return what determines a run, flat, as loggers take it."""
    values = asdict(experiment)
    return {**values, **values.pop("options"), "classes": ", ".join(experiment.classes)}


def _with_precision_of(out: Path, options: TrainingOptions) -> TrainingOptions:
    """Take the precision that a run has begun with, where the options leave it open.

    A run that is continued on another machine stays what it is.
    """
    file = out / EXPERIMENT_FILE
    if options.precision != "auto" or not file.is_file():
        return options
    begun = experiment_from_yaml(file.read_text(encoding="utf-8"), file)
    return replace(options, precision=begun.options.precision)
