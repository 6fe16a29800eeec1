"""Checkpoints that are whole or not there: hashed, written in one step, the one before kept."""

from __future__ import annotations

import hashlib
import io
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors.torch import load_file, save
from torch import Tensor

from harmoseg.errors import HarmosegError
from harmoseg.files import discard, make_folder, sha256_of, write_bytes
from harmoseg.training.batches import TrainingLoader
from harmoseg.training.ranks import largest

_KEPT = 2
"""The newest, and the one before it in case the newest is damaged."""
_DIGITS = 16
_CHECKPOINT = re.compile(rf"step(?P<step>\d{{8}})-(?P<hash>[0-9a-f]{{{_DIGITS}}})\.ckpt")


class Validated(NamedTuple):
    """Result of an epoch's validation; larger is better.

    By the score, then by the loss. Without the loss the first of several epochs with the same score
    would be kept: mostly the first of all, which marks nothing yet.
    """

    score: float
    negative_loss: float


class Best(NamedTuple):
    """The best epoch by validation, from 1, and where its weights lie in the folder.

    `ties` counts other epochs with the same score, the loss decided between them; `waited` counts
    validations after it.
    """

    epoch: int
    score: float
    file: str
    loss: float = math.inf  # of a checkpoint that knew none
    ties: int = 0
    waited: int = 0


@dataclass(frozen=True)
class Choice:
    """Choice of the best epoch: by DSC, or by loss where no validation case has foreground.

    The DSC of cases without foreground is undefined, or 0 wherever anything is marked.
    """

    has_foreground: bool

    @property
    def criterion(self) -> str:
        """Return the criterion for people."""
        return "validation DSC" if self.has_foreground else "validation loss"

    def read(self, metrics: Mapping[str, Any]) -> Validated | None:
        """Return what an epoch's validation found; None where the epoch was not validated."""
        loss = metrics.get("val_total")
        dsc = metrics.get("val_dsc")
        if not self.has_foreground:
            return None if loss is None else Validated(-float(loss), -float(loss))
        if dsc is None:
            return None
        return Validated(float(dsc), -math.inf if loss is None else -float(loss))

    def remark(self, best: Best, exchanged: str | None) -> str:
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
        if best.ties:
            parts.append(
                f"{best.ties + 1} epochs had the same validation DSC ({100 * best.score:.1f}), so "
                f"epoch {best.epoch} was chosen among them by validation loss"
            )
        return "; ".join(parts)


class Checkpoints(pl.Callback):
    """Write what training continues from: after every epoch, and within one from time to time.

    Weights are kept apart for the epoch that is best by `choose`; training stops after `patience`
    validations in a row that were not better, unless that is 0. Lightning's own stopping knows one
    number, while here equal scores are told apart by the loss. All that this callback knows is in
    the checkpoints, so that a folder can be moved half way. Put it last among the callbacks: a
    checkpoint then holds what the others know.
    """

    def __init__(
        self,
        folder: Path,
        loader: TrainingLoader,
        *,
        choose: Choice | None,
        minutes: float,
        patience: int,
    ) -> None:
        self._folder = folder
        self._loader = loader
        self._choose = choose
        self._seconds = 60 * minutes
        self._patience = patience
        self._saved = time.monotonic()
        self.best: Best | None = None

    def state_dict(self) -> dict[str, Any]:
        """Keep with the checkpoint what is best, and where in the epoch it lies."""
        best = None if self.best is None else list(self.best)
        return {"best": best, "loader": self._loader.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        found = state_dict["best"]
        self.best = None if found is None else Best(*found)
        # Lightning does it too, but not where the number of steps was asked for before.
        self._loader.load_state_dict(state_dict["loader"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; train no further where the run that is continued had stopped."""
        self._saved = time.monotonic()
        self._stop_if_due(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        """Save within the epoch where the last time is long ago."""
        due = time.monotonic() - self._saved >= self._seconds
        # All at once: the clocks of several processes differ.
        if largest(int(due), pl_module.device):
            self.save_within_epoch(trainer, i)

    def save_within_epoch(self, trainer: pl.Trainer, batch_index: int) -> bool:
        """Save after a batch; False where that is not possible, but will be a few batches later."""
        done = batch_index + 1
        # Gradients that are half accumulated are in no checkpoint, and after an epoch's last batch
        # come its validation and the checkpoint of its end.
        if done % trainer.accumulate_grad_batches or done >= trainer.num_training_batches:
            return False
        self._save(trainer, done=done)
        return True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights where the epoch is the best so far, then save."""
        found = self._choose.read(trainer.callback_metrics) if self._choose else None
        if found is not None:
            self._take_validated(trainer, pl_module, found)
        self._save(trainer)
        self._stop_if_due(trainer)

    def _take_validated(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, found: Validated
    ) -> None:
        before, ties = self.best, 0
        if before is not None:
            ties = before.ties + 1 if found.score == before.score else 0
            if not found > Validated(before.score, -before.loss):
                ties = max(ties, before.ties)
                self.best = before._replace(ties=ties, waited=before.waited + 1)
                return
        epoch = trainer.current_epoch + 1
        name = ""
        if trainer.is_global_zero:
            data = save(network_weights(pl_module.state_dict()))
            name = f"best-epoch{epoch:05d}-{_digest(data)}.safetensors"
            make_folder(self._folder)
            _write(self._folder / name, data)
        file = trainer.strategy.broadcast(name)
        self.best = Best(epoch, found.score, file, -found.negative_loss, ties)

    def _stop_if_due(self, trainer: pl.Trainer) -> None:
        if self._patience and self.best is not None and self.best.waited >= self._patience:
            trainer.should_stop = True

    def best_weights(self) -> dict[str, Tensor]:
        """Read the weights of the best epoch; raise HarmosegError where they are damaged."""
        if self.best is None:
            raise RuntimeError("nothing was validated")
        file = self._folder / self.best.file
        digest = file.stem.rpartition("-")[2]
        if not file.is_file() or sha256_of(file)[:_DIGITS] != digest:
            raise HarmosegError(
                f"{file}: the weights of the best epoch ({self.best.epoch}) are missing or "
                "damaged; remove the run's folder and train again"
            )
        return load_file(file)

    def _save(self, trainer: pl.Trainer, *, done: int = 0) -> None:
        self._loader.done = done
        step = trainer.global_step
        trainer.save_checkpoint(self._folder / f"step{step:08d}.ckpt")
        self._saved = time.monotonic()
        if trainer.is_global_zero:
            self._remove_old()

    def _remove_old(self) -> None:
        for file in _checkpoints(self._folder)[_KEPT:]:
            discard(file)
        bests = sorted(self._folder.glob("best-epoch*.safetensors"), reverse=True)
        # A checkpoint that is continued from may name the best of before.
        for file in bests[_KEPT + 1 :]:
            if self.best is None or file.name != self.best.file:
                discard(file)


class HashedFiles(TorchCheckpointIO):
    """Write checkpoints under their hash, in one step, and read them without pickled code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write `path` with the hash in its name. Raises HarmosegError where the disk is full."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        data = buffer.getbuffer()
        target = Path(path)
        make_folder(target.parent)
        _write(target.with_name(f"{target.stem}-{_digest(data)}{target.suffix}"), data)


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[Path]]:
    """Find the newest checkpoint that is whole, and list the newer ones that are damaged."""
    damaged: list[Path] = []
    for file in _checkpoints(folder):
        match = _CHECKPOINT.fullmatch(file.name)
        if match and sha256_of(file)[:_DIGITS] == match["hash"]:
            return file, damaged
        damaged.append(file)
    return None, damaged


def network_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's weights of a training module's state, under the network's names."""
    prefix = "network."
    return {
        name.removeprefix(prefix): value.detach().cpu().contiguous()
        for name, value in state.items()
        if name.startswith(prefix)
    }


def _checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints, the newest first."""
    found = [path for path in folder.glob("step*.ckpt") if _CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.name[:12], path.stat().st_mtime_ns), reverse=True)


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def _write(path: Path, data: bytes | memoryview) -> None:
    try:
        write_bytes(path, data)
    except HarmosegError as error:
        raise HarmosegError(
            f"{error}; make room and run the same command again: it continues from the checkpoint "
            "before"
        ) from error
