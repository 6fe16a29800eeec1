"""Ends of training before the last epoch: asked by a signal, diverged, or out of memory.

It has diverged where a loss is not finite, and where losses stay far above where they began: a
learning rate that is much too high mostly ends there, for normalisation keeps numbers finite.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from harmoseg.errors import HarmosegError
from harmoseg.files import write_json
from harmoseg.training.batches import Batch
from harmoseg.training.checkpoints import Checkpoints
from harmoseg.training.experiment import Experiment
from harmoseg.training.ranks import largest

DIVERGED_FILE = "diverged"
# SIGUSR1 is what jobs on clusters often ask to be warned with; Windows has none.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
]
_GO_ON, _STOP, _DIVERGED = range(3)
_BEGINNING = 5
"""Steps whose mean loss is where the loss begins."""
_FAR = 3.0
"""Times the loss at the beginning."""
_DECAY = 0.9
"""Decay of the exponential moving average of the loss (half-life: seven steps)."""


class Stopped(BaseException):
    """Training was asked to stop by a signal, and what it had is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_as_before() -> Iterator[None]:
    """Restore the handlers of signals at the end.

    Lightning and `Stopping` set theirs. One that stayed behind would swallow the signal after
    training, and keep the network in memory.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        with suppress(ValueError):  # only a process's main thread may
            for number, handler in before.items():
                signal.signal(number, handler)


class Stopping(pl.Callback):
    """Save and stop when a signal asks for it; stop where training has diverged.

    The first SIGINT, SIGTERM or SIGUSR1 is answered after the batch at work, the second at once.
    Put it before `checkpoints`: what has diverged must not be saved.
    """

    def __init__(self, folder: Path, cases: Sequence[str], checkpoints: Checkpoints) -> None:
        self._folder = folder
        self._cases = cases
        self._checkpoints = checkpoints
        self._asked = 0
        self._steps = 0
        self._first = 0.0
        self._recent = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Keep with the checkpoint where the loss began and where it is."""
        return {"steps": self._steps, "first": self._first, "recent": self._recent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self._steps = state_dict["steps"]
        self._first, self._recent = state_dict["first"], state_dict["recent"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to signals, in place of Lightning, which would stop without saving."""
        # Only a process's main thread may; elsewhere whoever started the thread decides.
        with suppress(ValueError):
            for number in _SIGNALS:
                signal.signal(number, self._ask)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, i: int
    ) -> None:
        """Stop where that is due. Raises HarmosegError where training has diverged."""
        loss = float(outputs["terms"]["total"])
        self._remember(loss)
        diverged = not math.isfinite(loss) or self._is_far()
        mine = _DIVERGED if diverged else _STOP if self._asked else _GO_ON
        state = largest(mine, pl_module.device)
        if state == _DIVERGED:
            raise self._diverged(trainer, outputs, batch, i, write=diverged)
        if state == _STOP and self._checkpoints.save_within_epoch(trainer, i):
            raise Stopped(self._asked or signal.SIGTERM)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop between two epochs: the checkpoint of the first is there."""
        if largest(_STOP if self._asked else _GO_ON, pl_module.device) == _STOP:
            raise Stopped(self._asked or signal.SIGTERM)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise Stopped(number)
        self._asked = number

    def _remember(self, loss: float) -> None:
        self._steps += 1
        if self._steps <= _BEGINNING:
            self._first += (loss - self._first) / self._steps
            self._recent = self._first
        else:
            self._recent = _DECAY * self._recent + (1 - _DECAY) * loss

    def _is_far(self) -> bool:
        return self._steps > _BEGINNING and self._recent > _FAR * max(self._first, 1.0)

    def _diverged(
        self, trainer: pl.Trainer, outputs: Any, batch: Batch, i: int, *, write: bool
    ) -> HarmosegError:
        images, labels, owners = batch
        names = [self._cases[owner] for owner in owners.tolist()]
        terms = {name: float(value) for name, value in outputs["terms"].items()}
        where = f"epoch {trainer.current_epoch + 1}, batch {i + 1}"
        file = self._folder / f"{DIVERGED_FILE}.npz"
        if write:
            with suppress(OSError):  # what matters is the message
                np.savez_compressed(file, images=images.cpu().numpy(), labels=labels.cpu().numpy())
            told = {name: repr(value) for name, value in terms.items()}  # JSON has no NaN
            write_json(file.with_suffix(".json"), {"where": where, "cases": names, "terms": told})
        said = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        what = f"the loss, {self._first:.3g} at first, has risen to {self._recent:.3g}"
        if not math.isfinite(terms["total"]):
            what = "the loss is not finite"
        return HarmosegError(
            f"training diverged in {where}: {what} ({said}). Cases of the batch: "
            f"{', '.join(names)}; its images and labels are in {file}. Mostly the learning rate is "
            f"too high ({trainer.optimizers[0].param_groups[0]['lr']:g} at this step): use a "
            "smaller learning_rate in a new folder, or look at these cases"
        )


@contextmanager
def explaining_lack_of_memory(experiment: Experiment) -> Iterator[None]:
    """Turn running out of memory, as PyTorch reports it, into HarmosegError that says what to do.

    A system that kills a process without a word cannot be caught.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        options = experiment.options
        half = max(2, options.batch_size // 2)
        fewer = ""
        if half < options.batch_size:
            fewer = f"--batch-size {half} with --accumulate {2 * options.accumulate}, "
        raise HarmosegError(
            f"out of memory with batch_size {options.batch_size} of {experiment.height} x "
            f"{experiment.width} and encoder {options.encoder}; in a new folder, use {fewer}a "
            f"smaller --size at harmoseg prepare, or an encoder smaller than {options.encoder}"
        ) from error


def _is_lack_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # What PyTorch's allocators of the CPU say on Linux and macOS, and on Windows.
    text = str(error).lower()
    return "can't allocate memory" in text or "not enough memory" in text
