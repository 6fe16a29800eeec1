"""What the named losses of other papers share: options, checks, and pixel losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.losses.modes import Mode, Pair, TargetCheck, align, check_mode
from harmoseg.losses.overlap import Averaging
from harmoseg.spectrum import Reduction, check_reduction


class ShelfLoss(nn.Module):
    """Base of the named losses: ``loss(logits, target)`` returns a scalar, float32 at least.

    Shapes are those of `Mode`. `reduction`, `include_background` and `across_ranks` are those of
    `HarmonizedLoss`, for the losses that are sums over a batch. Raises ValueError for shapes and
    target values that do not fit.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        reduction: Reduction = "batch",
        include_background: bool = True,
        across_ranks: bool = False,
    ) -> None:
        super().__init__()
        self.mode = check_mode(mode)
        self.check_target = TargetCheck()
        self.averaging = Averaging(
            self.mode, check_reduction(reduction), include_background, across_ranks
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss."""
        pair = align(self.mode, logits, target, ignore_index=None)
        self.check_target(self.mode, pair)
        with torch.autocast(logits.device.type, enabled=False):
            return self.compute(pair)

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        raise NotImplementedError

    def counted(self, values: Tensor) -> Tensor:
        """Leave the background of (B, C, ...) out where it does not count."""
        leave = self.mode == "multiclass" and not self.averaging.background
        return values[:, 1:] if leave else values


def pixel_losses(mode: Mode, pair: Pair) -> Tensor:
    """Return the cross-entropy of every pixel: (B, *S) for multiclass, else (B, C, *S)."""
    if mode == "multiclass":
        return F.cross_entropy(pair.logits, pair.target[:, 0], reduction="none")
    return F.binary_cross_entropy_with_logits(pair.logits, pair.target, reduction="none")


def check_option(name: str, value: Any, *, fits: bool, expected: str) -> None:
    """Raise ValueError unless an option fits."""
    if not fits:
        raise ValueError(f"{name} must be {expected}, got {value!r}")
