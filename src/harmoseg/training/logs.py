"""Logs of a training: log.csv, lines on the screen, and further loggers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from harmoseg.errors import HarmosegError
from harmoseg.files import make_folder, read_csv, write_csv, write_text
from harmoseg.imports import import_object
from harmoseg.messages import LOGGER
from harmoseg.progress import Progress
from harmoseg.training.ranks import summed, world_size

_EXPECTED = (
    "expected tensorboard, csv, or the import path of a Lightning logger such as "
    "lightning.pytorch.loggers.MLFlowLogger"
)


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
        """Restore it."""
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


def make_loggers(names: Sequence[str], out: Path) -> list[Logger]:
    """Make loggers that write into the run folder `out`, each once.

    A name is ``tensorboard``, ``csv``, or the import path of a logger of Lightning or of one's own
    (``lightning.pytorch.loggers.MLFlowLogger``), which is made with `out` as its ``save_dir``.
    Raises HarmosegError where a name is none of these, and where its package is not installed.
    """
    return [_make_logger(name, out) for name in dict.fromkeys(names)]


class CsvLogger(Logger):
    """Write ``csv/metrics.csv``, one row per step that is logged, and ``csv/hparams.yaml``.

    A continued run goes on in the same file. Lightning's own logger deletes it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._earlier: dict[int, dict[str, Any]] | None = None
        self._rows: dict[int, dict[str, Any]] = {}

    @property
    def name(self) -> str:
        """Return the name that Lightning asks for."""
        return "csv"

    @property
    def version(self) -> str:
        """Return the version that Lightning asks for: a run has one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write what determines the run."""
        make_folder(self._folder)
        write_text(self._folder / "hparams.yaml", yaml.safe_dump(dict(params), sort_keys=True))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add values to the row of a step, and write the file."""
        step = len(self._rows) if step is None else step
        if self._earlier is None:
            self._earlier = self._read()
            # What was logged after the checkpoint that the run continues from is logged again.
            self._rows = {at: row for at, row in self._earlier.items() if at < step}
        self._rows.setdefault(step, {"step": step}).update(metrics)
        make_folder(self._folder)
        columns = dict.fromkeys(name for row in self._rows.values() for name in row)
        write_csv(self._folder / "metrics.csv", list(columns), self._rows.values())

    def _read(self) -> dict[int, dict[str, Any]]:
        file = self._folder / "metrics.csv"
        if not file.is_file():
            return {}
        rows = read_csv(file, columns=("step",), what="the metrics of a run")
        return {int(row["step"]): row for row in rows if row["step"].isdecimal()}


def _make_logger(name: str, out: Path) -> Logger:
    if "." not in name and name not in ("tensorboard", "csv"):
        raise HarmosegError(f"loggers: {name!r} is unknown; {_EXPECTED}")
    try:
        if name == "tensorboard":
            return TensorBoardLogger(out, name="tensorboard", version="")
        if name == "csv":
            return CsvLogger(out / "csv")
        made = import_object(name, "loggers:")
        if isinstance(made, type) and issubclass(made, Logger):
            return made(save_dir=out)  # type: ignore[call-arg]  # as Lightning's own take it
    except ModuleNotFoundError as error:
        package = "harmoseg[loggers]" if name == "tensorboard" else error.name or "its package"
        raise HarmosegError(
            f"loggers: {name} needs a package that is not installed ({_first_line(error)}); "
            f"install it with: pip install '{package}'"
        ) from error
    except HarmosegError:
        raise
    except Exception as error:  # what a logger of somebody else raises is not ours to know
        raise HarmosegError(
            f"loggers: {name} cannot be made with save_dir={str(out)!r} "
            f"({type(error).__name__}: {_first_line(error)})"
        ) from error
    raise HarmosegError(f"loggers: {name!r} is no Lightning logger; {_EXPECTED}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
