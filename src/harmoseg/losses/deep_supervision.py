"""A loss on the outputs of several depths of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DeepSupervisionLoss(nn.Module):
    """Apply a loss to every output of a network with deep supervision.

    ``loss(outputs, target)``: `outputs` is a sequence of logits (B, C, *S_i), the finest first;
    `target` is one target of the finest size, which is shrunk to the others by nearest neighbour,
    or a sequence with one target per output. A single tensor of logits is a sequence of one.

    `loss` is one for all outputs, or a sequence with one per output, where they differ: the voxels
    of a coarser output are larger, say. `weights` gives the weight of every output; 1, 1/2, 1/4,
    ... if absent. They are normalised to add up to 1. Raises ValueError where the numbers of
    outputs, targets, weights and losses differ.
    """

    def __init__(
        self, loss: nn.Module | Sequence[nn.Module], *, weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if weights is not None and not (min(weights) >= 0 < sum(weights)):
            raise ValueError(f"weights must be 0 or more and not all 0, got {list(weights)}")
        self.loss = loss if isinstance(loss, nn.Module) else nn.ModuleList(loss)
        self.weights = None if weights is None else tuple(weights)

    def forward(
        self, outputs: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
    ) -> Tensor:
        """Return the weighted mean of the losses."""
        scales = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        targets = (
            [_resized(target, logits) for logits in scales]
            if isinstance(target, Tensor)
            else list(target)
        )
        weights = self.weights or tuple(0.5**depth for depth in range(len(scales)))
        if not len(scales) == len(targets) == len(weights):
            raise ValueError(
                f"{len(scales)} output(s), {len(targets)} target(s) and {len(weights)} weight(s); "
                "expected one target and one weight per output"
            )
        each = self.loss if isinstance(self.loss, nn.ModuleList) else [self.loss] * len(scales)
        if len(each) != len(scales):
            raise ValueError(
                f"{len(scales)} output(s) and {len(each)} loss(es); expected one loss per output, "
                "or one for all"
            )
        losses = [
            weight * loss(logits, truth)
            for weight, loss, logits, truth in zip(weights, each, scales, targets, strict=True)
            if weight > 0
        ]
        return torch.stack(losses).sum() / sum(weights)


def _resized(target: Tensor, logits: Tensor) -> Tensor:
    space = logits.shape[2:]
    if target.shape[-len(space) :] == space:
        return target
    channelled = target if target.ndim == logits.ndim else target.unsqueeze(1)
    # Through float64: indices up to 2^53 and soft targets both survive.
    shrunk = F.interpolate(channelled.double(), size=space, mode="nearest-exact").to(target.dtype)
    return shrunk if target.ndim == logits.ndim else shrunk.squeeze(1)
