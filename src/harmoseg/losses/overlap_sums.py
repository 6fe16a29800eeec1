"""From sums to Dice, correlation and pixel term: reductions, classes, ranks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harmoseg.losses.distributed import sum_over_ranks
from harmoseg.losses.modes import Mode
from harmoseg.spectrum import Reduction


@dataclass(frozen=True)
class Averaging:
    """How values per sample and class become one number.

    `reduction` ``"batch"`` sums overlaps over the batch first, ``"sample"`` averages over samples
    last. `background` says whether class 0 of a multiclass problem counts. `across_ranks` sums over
    all processes of a distributed training too, so that the batch is the global one.
    """

    mode: Mode
    reduction: Reduction
    background: bool
    across_ranks: bool

    def pool(self, *sums: Tensor) -> tuple[Tensor, ...]:
        """Sum (B, C, ...) over the batch where the reduction says so."""
        if self.reduction == "sample":
            return sums
        return tuple(self.over_ranks(value.sum(0)) for value in sums)

    def over_ranks(self, value: Tensor) -> Tensor:
        """Sum over the processes of a distributed training, if asked to and if there are any."""
        return sum_over_ranks(value) if self.across_ranks else value

    def over_classes(self, values: Tensor, class_weights: Tensor | None) -> Tensor:
        """Average (C,) or (B, C) over the classes that count, weighted, then over samples."""
        if self.mode == "multiclass" and not self.background:
            values = values[..., 1:]
            class_weights = None if class_weights is None else class_weights[1:]
        return class_mean(values, class_weights)


def class_mean(values: Tensor, class_weights: Tensor | None) -> Tensor:
    """Average (..., C) over the classes, weighted where weights are given, then over the rest."""
    if class_weights is None:
        return values.mean()
    weights = class_weights.to(values.dtype)
    return ((values * weights).sum(-1) / weights.sum()).mean()
