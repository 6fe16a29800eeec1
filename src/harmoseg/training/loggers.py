"""Where a training is written to, beside log.csv."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from harmoseg.errors import HarmosegError

_NAMES = ("tensorboard", "csv")


def make_loggers(names: Sequence[str], out: Path) -> list[Logger]:
    """Make loggers that write into the run folder `out`, each once.

    A name is ``tensorboard``, ``csv``, or the import path of a logger of Lightning or of one's own
    (``lightning.pytorch.loggers.MLFlowLogger``), which is made with `out` as its ``save_dir``.
    Raises HarmosegError where a name is none of these, and where its package is not installed.
    """
    return [_make_logger(name, out) for name in dict.fromkeys(names)]


def _make_logger(name: str, out: Path) -> Logger:
    try:
        if name == "tensorboard":
            return TensorBoardLogger(out, name="tensorboard", version="")
        if name == "csv":
            return CSVLogger(out, name="csv", version="")
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
