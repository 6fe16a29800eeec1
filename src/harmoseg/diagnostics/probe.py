"""Values and gradients of a loss at graded predictions, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmoseg.diagnostics.predictions import State, graded_predictions, to_channels
from harmoseg.losses.method import LossName, parse_loss
from harmoseg.losses.modes import Mode
from harmoseg.losses.named import ForeignLoss, make_loss

Loss = Callable[[Tensor, Tensor], Tensor]
REFERENCES = ("bce", "dice", "scc", "tversky", "focal", "rings")
"""Losses that every loss is compared with; `scc` is the squared Dice."""


@dataclass(frozen=True)
class Answers:
    """The values and gradients of a loss for every state and image.

    `values` is (states, images); `gradients` (states, images, C, *S), on the logits.
    """

    values: NDArray[np.float64]
    gradients: Tensor


@dataclass(frozen=True)
class Question:
    """Masks, and graded predictions of them, with small `mistakes`.

    `masks` are class indices (N, *S), for ``"multilabel"`` 0 and 1, (N, C, *S).
    """

    mode: Mode
    channels: int
    masks: Tensor
    source: str
    mistakes: bool = True

    @property
    def space(self) -> tuple[int, ...]:
        """Return the size of a mask."""
        return tuple(self.masks.shape[2 if self.mode == "multilabel" else 1 :])

    @cached_property
    def truth(self) -> Tensor:
        """Return the masks of all channels as 0 and 1, (N, C, *S)."""
        return to_channels(self.masks, self.mode, self.channels)

    @cached_property
    def states(self) -> list[State]:
        """Return the graded predictions."""
        return graded_predictions(self.truth, self.mode, mistakes=self.mistakes)

    @cached_property
    def references(self) -> dict[str, Answers]:
        """Return the answers of the losses that every loss is compared with."""
        return {name: ask(make_loss(LossName(name), self.mode), self) for name in REFERENCES}

    def logits(self, name: str, confidence: float) -> Tensor:
        """Return the predictions of one state."""
        return next(
            state.logits
            for state in self.states
            if state.name == name and state.confidence in (confidence, 0.5)
        )


def ask(loss: Loss, question: Question) -> Answers:
    """Return the values and gradients of a loss, one image at a time.

    One at a time, since losses differ in how they sum over a batch. Where a loss has no gradient,
    that is 0. Raises whatever the loss raises.
    """
    values = np.zeros((len(question.states), len(question.masks)))
    gradients = torch.zeros(*values.shape, question.channels, *question.space)
    for i, state in enumerate(question.states):
        for j in range(len(question.masks)):
            values[i, j], gradient = value_and_gradient(
                loss, state.logits[j : j + 1], question.masks[j : j + 1]
            )
            if gradient is not None:
                gradients[i, j] = gradient[0]
    return Answers(values, gradients)


def value_and_gradient(loss: Loss, logits: Tensor, target: Tensor) -> tuple[float, Tensor | None]:
    """Return a loss's value, NaN where it is no single number, and its gradient on the logits."""
    given = logits.detach().clone().requires_grad_()
    value = loss(given, target)
    if not isinstance(value, Tensor) or value.numel() != 1:
        return float("nan"), None
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.reshape(()), given, allow_unused=True)
    return float(value.detach()), gradient


def as_loss(loss: Any, mode: str) -> tuple[str, nn.Module]:
    """Name a loss and make it: from a name, an import path or a Python object.

    An object is called as ``loss(logits, target)``, as an imported function is.
    """
    if isinstance(loss, str):
        loss = parse_loss(loss)
    if isinstance(loss, LossName):
        return str(loss), make_loss(loss, mode)
    name = str(getattr(loss, "__name__", type(loss).__name__))
    if isinstance(loss, nn.Module) and type(loss).__module__.startswith("harmoseg.losses"):
        return name, loss
    with_channel = bool(getattr(loss, "to_onehot_y", False))  # MONAI's conversion wants it
    return name, ForeignLoss(loss, mode, name=name, target="channel" if with_channel else "usual")
