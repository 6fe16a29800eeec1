"""Time and memory of a loss, relative to BCE."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from harmoseg.diagnostics.probe import Loss, Question
from harmoseg.losses.method import LossName
from harmoseg.losses.named import make_loss

_REPEATS = 5
_LONGEST = 1.0
"""Seconds after which a loss is not timed again."""


@dataclass(frozen=True)
class Cost:
    """Time of a value and gradient of a batch, and memory kept for it, relative to BCE."""

    seconds: float
    time: float
    memory: float


def measure_cost(loss: Loss, question: Question) -> Cost:
    """Time a loss on all masks as one batch, beside BCE."""
    logits, masks = question.logits("blurred", 2.0), question.masks
    bce = make_loss(LossName("bce"), question.mode)
    seconds, memory = _measure(loss, logits, masks)
    reference, kept = _measure(bce, logits, masks)
    return Cost(seconds, seconds / reference, memory / kept)


def _measure(loss: Loss, logits: Tensor, masks: Tensor) -> tuple[float, int]:
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    given = logits.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(given, masks)
    taken: list[float] = []
    while len(taken) < _REPEATS and sum(taken) < _LONGEST:
        start = time.perf_counter()
        value = loss(given, masks)
        if value.requires_grad:
            torch.autograd.grad(value.sum(), given, allow_unused=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), sum(sizes.values())
