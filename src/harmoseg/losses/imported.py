"""A loss that is named by its import path, called as it wants to be called."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.errors import HarmosegError
from harmoseg.files import sha256_of
from harmoseg.losses.method import LossName, Option

Loss = Callable[[Tensor, Tensor], Tensor]
Input = Literal["logits", "probabilities"]
CALLING = ("input", "target", "target_first")
"""Options that say how a loss is called; all others go to its constructor."""


class ForeignLoss(nn.Module):
    """Call a loss of another library, or a function, as ``loss(logits, target)``.

    `mode` is ``"binary"`` or ``"multiclass"``. `input` is what the loss wants: ``"logits"`` or
    ``"probabilities"`` (a sigmoid, or a softmax over the classes). `target` is ``"usual"``: a float
    mask (B, 1, *S) for ``"binary"``, class indices (B, *S) for ``"multiclass"``; ``"channel"``:
    class indices (B, 1, *S); or ``"onehot"``: floats (B, C, *S). `target_first` swaps the two
    arguments. The arithmetic is float32, outside of autocast.

    ``forward`` takes logits (B, C, *S) and a target (B, *S) or (B, 1, *S) of class indices. It
    raises HarmosegError, which names the loss, where the loss fails or returns no tensor.
    """

    def __init__(
        self,
        loss: Loss,
        mode: str,
        *,
        name: str = "",
        input: Input = "logits",
        target: Literal["usual", "channel", "onehot"] = "usual",
        target_first: bool = False,
    ) -> None:
        super().__init__()
        self.loss, self.mode = loss, mode
        self.name = name or type(loss).__name__
        for option, value, choices in (
            ("input", input, ("logits", "probabilities")),
            ("target", target, ("usual", "channel", "onehot")),
            ("target_first", target_first, (False, True)),
        ):
            if value not in choices:
                expected = " or ".join(str(choice).lower() for choice in choices)
                raise HarmosegError(f"loss {self.name}: {option} must be {expected}, got {value!r}")
        self.input, self.target, self.target_first = input, target, target_first

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return what the loss returns."""
        pred, target = self._prepare(logits.float(), target)
        given = (target, pred) if self.target_first else (pred, target)
        try:
            with torch.autocast(logits.device.type, enabled=False):
                value = self.loss(*given)
        except Exception as error:  # whatever somebody's code does, the message names the code
            raise HarmosegError(
                f"loss {self.name}: failed on logits {tuple(logits.shape)} and target "
                f"{tuple(target.shape)} ({target.dtype}): {type(error).__name__}: {error}"
            ) from error
        if not isinstance(value, Tensor):
            raise HarmosegError(
                f"loss {self.name}: loss(logits, target) must return a tensor, got "
                f"{type(value).__name__}"
            )
        return value

    def _prepare(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        binary = self.mode == "binary"
        if self.input == "probabilities":
            logits = logits.sigmoid() if binary else logits.softmax(1)
        target = target.reshape(len(logits), 1, *logits.shape[2:])
        if binary:
            return logits, target.float()
        if self.target == "onehot":
            return logits, F.one_hot(target[:, 0].long(), logits.shape[1]).movedim(-1, 1).float()
        return logits, target if self.target == "channel" else target[:, 0].long()


def import_loss(loss: LossName, mode: str) -> ForeignLoss:
    """Import a loss and make it, with its options.

    A function is called as it is, with its options as keywords. A class is told that it is given
    logits, and of which mode, in the words of segmentation-models-pytorch and MONAI. Raises
    HarmosegError where the path cannot be imported, or the loss cannot be made.
    """
    path, short = loss.name, loss.name.rpartition(".")[2]
    calling: dict[str, Any] = {k: v for k, v in loss.options if k in CALLING}
    options = {k: v for k, v in loss.options if k not in CALLING}
    found = _import(path)
    if not callable(found):
        raise HarmosegError(f"loss {path}: is no loss but {type(found).__name__}")
    if not inspect.isclass(found):
        made = functools.partial(found, **options) if options else found
        return ForeignLoss(made, mode, name=path, **calling)
    known = _words(found, mode, calling.get("input", "logits"), calling.get("target", "usual"))
    options = {**known, **{name: _listed(value) for name, value in options.items()}}
    try:
        made = found(**options)
    except Exception as error:  # somebody's constructor may hold any mistake
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise HarmosegError(
            f"loss {path}: {short}({given}) cannot be made ({error}); write what it needs in "
            f"parentheses, such as {short}(alpha=0.3), or name a function loss(logits, target) in "
            "a file of yours"
        ) from error
    if not callable(made):
        raise HarmosegError(f"loss {path}: what it makes cannot be called as loss(logits, target)")
    if "target" not in calling and options.get("to_onehot_y"):
        calling["target"] = "channel"  # MONAI's one-hot conversion wants the channel
    return ForeignLoss(made, mode, name=path, **calling)


_HASHES: dict[str, str | None] = {}
"""By import path, of what this process has imported: an edit that comes later is not run by it."""


def source_hash(losses: Sequence[LossName]) -> str | None:
    """Hash the files of imported losses: those of the modules named, and those that define them.

    Part of what determines a run: a loss that was edited is another loss. None where no loss is
    imported, and where there is no file, as for compiled code.
    """
    hashes = [_hash_of(loss.name) for loss in losses if loss.is_imported]
    known = [found for found in hashes if found]
    if len(known) < 2:
        return known[0] if known else None
    return hashlib.sha256("".join(known).encode()).hexdigest()


def _hash_of(path: str) -> str | None:
    if path not in _HASHES:
        found = _import(path)
        files = {getattr(sys.modules[path.rpartition(".")[0]], "__file__", None)}
        with suppress(TypeError):  # an instance, or compiled code
            files.add(inspect.getfile(found))
        hashes = sorted(sha256_of(Path(file)) for file in files if file)
        _HASHES[path] = hashlib.sha256("".join(hashes).encode()).hexdigest() if hashes else None
    return _HASHES[path]


def _import(path: str) -> Any:
    """Import what a path names, from the installed packages or from the current folder."""
    module, _, name = path.rpartition(".")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # somebody's file may hold any mistake
        raise HarmosegError(
            f"loss {path}: cannot be imported ({type(error).__name__}: {error}); write "
            "package.module.Name, from an installed package or from a file in the current folder"
        ) from error
    finally:
        if added:
            sys.path.remove(here)


def _words(loss: type, mode: str, given: str, target: str) -> dict[str, Any]:
    """Return what the constructor of a loss knows of logits and of the mode.

    The names are those of segmentation-models-pytorch (mode, from_logits) and MONAI (the others).
    """
    multiclass, logits = mode == "multiclass", given == "logits"
    known: dict[str, Any] = {
        "mode": mode,
        "sigmoid": logits and not multiclass,
        "softmax": logits and multiclass,
        "use_softmax": logits and multiclass,
        "to_onehot_y": multiclass and target != "onehot",
    }
    if not logits:
        known["from_logits"] = False
    parameters = inspect.signature(loss).parameters
    return {name: value for name, value in known.items() if name in parameters}


def _listed(value: Option) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
