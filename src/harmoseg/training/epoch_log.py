"""What every epoch had: log.csv, and a line on the screen where there is no progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from harmoseg.files import write_csv
from harmoseg.messages import LOGGER
from harmoseg.progress import Progress
from harmoseg.training.ranks import summed, world_size


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
        pl_module.log_dict(means, sync_dist=True)  # for the loggers
        if not trainer.is_global_zero:
            return
        # Not every epoch is validated, the first perhaps not.
        columns = dict.fromkeys(name for each in self._rows for name in each)
        write_csv(self._path, list(columns), self._rows)
        if self._show:
            shown = f"loss {row['train_total']:.3f}"
            if "val_dsc" in row:
                shown += f", validation DSC {100 * row['val_dsc']:.1f}"
            elif "val_total" in row:
                shown += f", validation loss {row['val_total']:.3f} (no foreground to score)"
            LOGGER.info("  epoch %d of %s: %s", epoch, trainer.max_epochs, shown)


class ProgressLines(pl.Callback):
    """Write a line every half minute of training, where no bar is drawn."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with what an earlier attempt has done."""
        if trainer.is_global_zero:
            batches = int(trainer.num_training_batches)
            epochs = trainer.max_epochs or 0
            done = trainer.current_epoch * batches
            self._progress = Progress(epochs * batches, "training", "batch", done=done)
            self._progress.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a batch."""
        if self._progress is not None:
            self._progress.update()

    def on_exception(self, *_: Any) -> None:
        """End where training was stopped."""
        self._end()

    def teardown(self, *_: Any, **__: Any) -> None:
        """End with training."""
        self._end()

    def _end(self) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None
