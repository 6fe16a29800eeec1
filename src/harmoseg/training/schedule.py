"""When a training validates, steps and stops."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from harmoseg.errors import HarmosegError
from harmoseg.training.experiment import TrainingOptions

MONITOR = "val_dsc"
"""What says which of two epochs is the better one, the larger the better."""


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


def trainer_options(options: TrainingOptions) -> dict[str, Any]:
    """Say in Lightning's words how often a training validates and steps."""
    return {
        "check_val_every_n_epoch": options.validate_every,
        "accumulate_grad_batches": options.accumulate,
    }


def schedule_callbacks(options: TrainingOptions, *, validates: bool) -> list[pl.Callback]:
    """Make what validates the last epoch, and what stops early where that is asked for."""
    callbacks: list[pl.Callback] = []
    if validates:
        callbacks.append(ValidationRhythm(options.validate_every))
    if options.patience:
        callbacks.append(Patience(options.patience))
    return callbacks


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


class Patience(EarlyStopping):
    """Stop after so many validations in a row that were not the best yet."""

    def __init__(self, validations: int) -> None:
        super().__init__(MONITOR, mode="max", patience=validations, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train no further where the run that is continued had stopped."""
        if self.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            trainer.should_stop = True
