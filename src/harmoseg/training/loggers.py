"""Where a training is written to, beside log.csv."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from harmoseg.errors import HarmosegError
from harmoseg.files import make_folder, read_csv, write_csv, write_text

_NAMES = ("tensorboard", "csv")


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
    try:
        if name == "tensorboard":
            return TensorBoardLogger(out, name="tensorboard", version="")
        if name == "csv":
            return CsvLogger(out / "csv")
        made: Logger = _import_logger(name)(save_dir=out)
        return made
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


def _import_logger(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    expected = (
        f"expected {', '.join(_NAMES)}, or the import path of a Lightning logger such as "
        "lightning.pytorch.loggers.MLFlowLogger"
    )
    if not module:
        raise HarmosegError(f"loggers: {path!r} is unknown; {expected}")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or module.startswith(error.name):
            top = module.partition(".")[0]
            raise HarmosegError(
                f"loggers: there is no module {error.name!r} for {path!r}; install it with: "
                f"pip install {top}, or correct the name: {expected}"
            ) from error
        raise
    if not (isinstance(found, type) and issubclass(found, Logger)):
        raise HarmosegError(f"loggers: {path!r} is no Lightning logger; {expected}")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
