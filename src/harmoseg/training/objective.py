"""The objective that a method names: BCE + Dice, and its term beside them."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harmoseg.errors import HarmosegError
from harmoseg.files import sha256_of
from harmoseg.losses.harmonized import HarmonizedLoss
from harmoseg.losses.method import Method
from harmoseg.losses.spectral import Bands
from harmoseg.store.card import TaskMode

Loss = Callable[[Tensor, Tensor], Tensor]


class Objective(nn.Module):
    """BCE + (1 - Dice) + weight x term; ``terms(logits, target)`` names every part.

    `across_ranks` is that of `HarmonizedLoss`. A loss named by its import path sees the batch of
    its own process only, in float32.

    Raises HarmosegError where such a loss cannot be imported or made.
    """

    def __init__(self, method: Method, mode: TaskMode, *, across_ranks: bool = False) -> None:
        super().__init__()
        self.mode: TaskMode = mode
        self.method = method
        bands: Bands = None
        if method.term in ("rings", "low", "mid", "high"):
            bands = method.term  # type: ignore[assignment]  # narrowed by the line above
        # The correlation is told for every method, and counts in none that does not name it.
        own = method.term == "dice" or method.is_imported
        self.harmonized = HarmonizedLoss(
            mode,
            spectral_weight=0.0 if own else method.weight,
            bands=bands,
            reduction=method.reduction,
            across_ranks=across_ranks,
        )
        self.imported: Loss | None = None
        if method.is_imported:
            self.imported, self._with_channel = _make_loss(method, mode)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss."""
        return self.terms(logits, target)["total"]

    def terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the scalars ``pixel``, ``dice``, ``spectral``, ``total``, and any ``own`` term."""
        terms = self.harmonized.terms(logits, target)
        if self.method.term == "dice":
            terms["total"] = terms["total"] + self.method.weight * terms["dice"]
        if self.imported is not None:
            terms["own"] = self._imported_term(self.imported, logits, target)
            terms["total"] = terms["total"] + self.method.weight * terms["own"]
        return terms

    def check(self, classes: int, height: int, width: int) -> None:
        """Raise HarmosegError unless the term is a finite scalar with a gradient, on noise."""
        if self.imported is None:
            return
        random = torch.Generator().manual_seed(0)
        channels = 1 if self.mode == "binary" else classes
        logits = torch.randn(2, channels, height, width, generator=random)
        target = torch.randint(classes, (2, height, width), generator=random)
        value = self._imported_term(self.imported, logits.requires_grad_(), target)
        if value.ndim or not bool(torch.isfinite(value)) or not value.requires_grad:
            raise HarmosegError(
                f"loss {self.method.term}: loss(logits, target) must give one finite number that "
                f"has a gradient, got {value!r}"
            )

    def _imported_term(self, loss: Loss, logits: Tensor, target: Tensor) -> Tensor:
        target = target.reshape(len(logits), 1, *logits.shape[2:])
        # What is usual: a mask like the logits, an index map without a channel. MONAI's one-hot
        # conversion wants the channel.
        if self.mode == "binary":
            target = target.float()
        elif not self._with_channel:
            target = target[:, 0].long()
        try:
            with torch.autocast(logits.device.type, enabled=False):
                value = loss(logits.float(), target)
        except Exception as error:  # whatever somebody's code does, the message names the code
            raise HarmosegError(
                f"loss {self.method.term}: failed on logits {tuple(logits.shape)} and target "
                f"{tuple(target.shape)} ({target.dtype}): {type(error).__name__}: {error}"
            ) from error
        if not isinstance(value, Tensor):
            raise HarmosegError(
                f"loss {self.method.term}: loss(logits, target) must give a tensor, got "
                f"{type(value).__name__}"
            )
        return value


_HASHES: dict[str, str | None] = {}
"""By import path, of what this process has imported: an edit that comes later is not run by it."""


def source_hash(method: Method) -> str | None:
    """Hash the files of an imported loss: that of the module named, and that which defines it.

    Part of what determines a run: a loss that was edited is another loss. None for any other term,
    and where there is no file, as for compiled code.
    """
    if not method.is_imported:
        return None
    path = str(method.term)
    if path not in _HASHES:
        found = _import(path)
        files = {getattr(sys.modules[path.rpartition(".")[0]], "__file__", None)}
        with suppress(TypeError):  # an instance, or compiled code
            files.add(inspect.getfile(found))
        hashes = sorted(sha256_of(Path(file)) for file in files if file)
        _HASHES[path] = hashlib.sha256("".join(hashes).encode()).hexdigest() if hashes else None
    return _HASHES[path]


def _import(path: str) -> Any:
    """Import what a path names, from the installed packages or from the folder one stands in."""
    module, _, name = path.rpartition(".")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # as above; somebody's file may hold any mistake
        raise HarmosegError(
            f"loss {path}: cannot be imported ({type(error).__name__}: {error}); write "
            "package.module.Name, from an installed package or from a file in the current folder"
        ) from error
    finally:
        if added:
            sys.path.remove(here)


def _make_loss(method: Method, mode: TaskMode) -> tuple[Loss, bool]:
    """Make the loss, and say whether it wants an index map with a channel."""
    path = str(method.term)
    found = _import(path)
    if not callable(found):
        raise HarmosegError(f"loss {path}: is no loss but {type(found).__name__}")
    if not inspect.isclass(found):
        return found, False
    options = _options(found, mode)
    try:
        made: Any = found(**options)
    except Exception as error:  # as above
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise HarmosegError(
            f"loss {path}: {path.rpartition('.')[2]}({given}) cannot be made ({error}); name a "
            "function loss(logits, target), or a class that needs nothing else, in a file of yours"
        ) from error
    if not callable(made):
        raise HarmosegError(f"loss {path}: what it makes cannot be called as loss(logits, target)")
    return made, bool(options.get("to_onehot_y"))


def _options(loss: type, mode: TaskMode) -> dict[str, Any]:
    """Say in a loss class's own words that it is given logits, and of which mode.

    The names are those of segmentation-models-pytorch (mode) and MONAI (the others); a class that
    has none of them is made without arguments.
    """
    multiclass = mode == "multiclass"
    known: dict[str, Any] = {
        "mode": mode,
        "sigmoid": not multiclass,
        "softmax": multiclass,
        "use_softmax": multiclass,
        "to_onehot_y": multiclass,
    }
    parameters = inspect.signature(loss).parameters
    return {name: value for name, value in known.items() if name in parameters}
