"""Sums over the processes of a distributed training, with their gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum a tensor over all processes; unchanged where there is only one.

    Every process sees the same sum, so the gradient of one's own part is the sum of what all of
    them send back.
    """
    if not torch.distributed.is_initialized():
        return value
    total: Tensor = _SumOverRanks.apply(value)
    return total


class _SumOverRanks(torch.autograd.Function):
    # PyTorch's own differentiable form is deprecated without a public successor.
    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total
