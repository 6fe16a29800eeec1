"""Base classes of the named losses of other papers, and the pixel losses they share."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.losses.modes import Mode, Pair, TargetCheck, align, check_mode
from harmoseg.losses.overlap_sums import Averaging
from harmoseg.losses.truth_maps import Maps, Masks, class_masks, to_tensor
from harmoseg.spectrum import Reduction, check_reduction

Channelled = TypeVar("Channelled", Tensor, Masks)


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

    def counted(self, values: Channelled) -> Channelled:
        """Return (B, C, ...) without the background where that does not count."""
        leave = self.mode == "multiclass" and not self.averaging.background
        return values[:, 1:] if leave else values


class MapLoss(ShelfLoss):
    """Base of the named losses that take a map of the truth: ``loss(logits, target, case_map)``.

    `make_map` makes the map in any thread; without one the loss makes it itself. By default the
    background of ``"multiclass"`` does not count.
    """

    takes_map = True

    def __init__(self, mode: Mode, *, include_background: bool = False, **shared: Any) -> None:
        super().__init__(mode, include_background=include_background, **shared)

    def forward(self, logits: Tensor, target: Tensor, case_map: Tensor | None = None) -> Tensor:
        """Return the scalar loss."""
        pair = align(self.mode, logits, target, ignore_index=None)
        self.check_target(self.mode, pair)
        if case_map is None:
            labels = pair.target if self.mode == "multilabel" else pair.target[:, 0]
            case_map = self.make_map(labels.cpu().numpy(), pair.logits.shape[1])
        with torch.autocast(logits.device.type, enabled=False):
            return self.compute_with_map(pair, case_map.to(pair.logits))

    def make_map(self, target: NDArray[Any], channels: int) -> Tensor:
        """Return the map (B, C, *S) of a target, of the channels that count; see `class_masks`."""
        masks = self.counted(class_masks(self.mode, target, channels))
        return to_tensor(self.map_of(masks), masks)

    def map_of(self, masks: Masks) -> Maps:
        """Return the map of masks (B, C, *S)."""
        raise NotImplementedError

    def compute_with_map(self, pair: Pair, case_map: Tensor) -> Tensor:
        """Return the loss of an aligned pair and the map of its truth."""
        raise NotImplementedError


def pixel_losses(mode: Mode, pair: Pair) -> Tensor:
    """Return the cross-entropy of every pixel: (B, *S) for multiclass, else (B, C, *S)."""
    if mode == "multiclass":
        return F.cross_entropy(pair.logits, pair.target[:, 0], reduction="none")
    return F.binary_cross_entropy_with_logits(pair.logits, pair.target, reduction="none")


def check_option(name: str, value: Any, *, fits: bool, expected: str) -> None:
    """Raise ValueError unless an option fits."""
    if not fits:
        raise ValueError(f"{name} must be {expected}, got {value!r}")
