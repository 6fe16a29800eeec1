"""When a training validates, steps and stops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl

from harmoseg.errors import HarmosegError
from harmoseg.training.options import TrainingOptions


@dataclass(frozen=True)
class Validated:
    """What an epoch's validation said: the score, larger is better, and the loss."""

    score: float
    loss: float

    def is_better_than(self, other: Validated) -> bool:
        """Return whether the score is larger, or as large with a smaller loss.

        Without the loss the first of several epochs with the same score would be kept: mostly the
        first of all, which marks nothing yet.
        """
        return (self.score, -self.loss) > (other.score, -other.loss)


@dataclass(frozen=True)
class Choice:
    """How the best epoch is chosen: by DSC, or by loss where no validation case has foreground.

    The DSC of cases without foreground is undefined, or 0 wherever anything is marked.
    """

    has_foreground: bool

    @property
    def criterion(self) -> str:
        """Return the criterion for people."""
        return "validation DSC" if self.has_foreground else "validation loss"

    def read(self, metrics: Mapping[str, Any]) -> Validated | None:
        """Return what an epoch's validation said; None where the epoch was not validated."""
        loss = metrics.get("val_total")
        dsc = metrics.get("val_dsc")
        if not self.has_foreground:
            return None if loss is None else Validated(-float(loss), float(loss))
        if dsc is None:
            return None
        return Validated(float(dsc), math.inf if loss is None else float(loss))

    def remark(self, *, exchanged: str | None, score: float, ties: int, best: int) -> str:
        """Return what a reader of the result has to know of the choice; empty where nothing."""
        if not self.has_foreground:
            return (
                "no validation case shows foreground, so the best epoch was chosen by validation "
                "loss"
            )
        parts = []
        if exchanged is not None:
            parts.append(
                f"the validation cases drawn showed no foreground, so {exchanged} validates instead"
            )
        if ties:
            parts.append(
                f"{ties + 1} epochs had the same validation DSC ({100 * score:.1f}), so epoch "
                f"{best} was chosen among them by validation loss"
            )
        return "; ".join(parts)


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
    """Return how often a training validates and steps, as options of Lightning's trainer."""
    return {
        "check_val_every_n_epoch": options.validate_every,
        "accumulate_grad_batches": options.accumulate,
    }


def schedule_callbacks(options: TrainingOptions, choose: Choice | None) -> list[pl.Callback]:
    """Make what validates the last epoch, and what stops early where that is asked for."""
    callbacks: list[pl.Callback] = []
    if choose is not None:
        callbacks.append(ValidationRhythm(options.validate_every))
        if options.patience:
            callbacks.append(Patience(options.patience, choose))
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


class Patience(pl.Callback):
    """Stop after so many validations in a row that were not the best yet.

    Not Lightning's, which knows one number: here equal scores are told apart by the loss.
    """

    def __init__(self, validations: int, choose: Choice) -> None:
        self._validations = validations
        self._choose = choose
        self._best: Validated | None = None
        self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        """Keep the best and the wait with the checkpoint."""
        best = None if self._best is None else [self._best.score, self._best.loss]
        return {"best": best, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        found = state_dict["best"]
        self._best = None if found is None else Validated(*found)
        self._waited = state_dict["waited"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train no further where the run that is continued had stopped."""
        self._stop_if_due(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count a validation that is not the best."""
        found = self._choose.read(trainer.callback_metrics)
        if found is None:
            return
        if self._best is None or found.is_better_than(self._best):
            self._best, self._waited = found, 0
        else:
            self._waited += 1
        self._stop_if_due(trainer)

    def _stop_if_due(self, trainer: pl.Trainer) -> None:
        if self._waited >= self._validations:
            trainer.should_stop = True
