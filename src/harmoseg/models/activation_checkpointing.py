"""Gradient checkpointing: keep the input of every block, compute its inside again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def checkpoint_blocks(network: nn.Module) -> None:
    """Apply activation checkpointing to every block: less memory, and more time, in training.

    A block is what an encoder, a transformer or a decoder is a row of: a residual unit, an
    attention block, a decoder stage. Loss, gradients and running statistics stay as they were.
    Names of parameters, and so weights, are those of the network without.
    """
    for block in _blocks(network):
        # On the instance: a wrapper module would rename every parameter.
        block.forward = _Checkpointed(block)


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    parts = dict(network.named_children())
    # timm's networks lie one level deeper.
    parts["encoder"] = getattr(parts["encoder"], "model", parts["encoder"])
    for name in ("encoder", "bottleneck", "decoder"):
        if name in parts:
            yield from _rows(parts[name])


def _rows(module: nn.Module) -> Iterator[nn.Module]:
    """Find the blocks of a part, in whatever containers they lie; single layers are none."""
    for child in module.children():
        inner = list(child.children())
        if isinstance(child, _CONTAINERS) and any(any(part.children()) for part in inner):
            yield from _rows(child)
        elif inner and any(True for _ in child.parameters()):
            yield child


class _Checkpointed:
    """The forward of a block, checkpointed. A class, so that networks can be copied and pickled."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        # A dense block goes on adding to the list of features that its layers were given.
        kept = [list(value) if isinstance(value, list) else value for value in args]
        return checkpoint(
            self._forward,
            *kept,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _OnCopiesOfBuffers(self.block)),
            **kwargs,
        )

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.block).forward(self.block, *args, **kwargs)


class _OnCopiesOfBuffers:
    """Context in which a block that is computed again writes to copies of its buffers.

    Batch normalisation would otherwise count every batch twice in its running statistics. Entered
    once per backward pass, so again where a graph is kept for several.
    """

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        self._kept: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        self._kept = [
            (module, name, buffer)
            for module in self._block.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        for module, name, buffer in self._kept:
            setattr(module, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for module, name, buffer in self._kept:
            setattr(module, name, buffer)
        self._kept = []
