"""Named losses of frequencies: the focal frequency loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmoseg.losses.modes import Mode, Pair, one_hot, probabilities
from harmoseg.losses.shelf import ShelfLoss, check_option


class FocalFrequencyLoss(ShelfLoss):
    """The mean of w |P - Y|^2 over the frequencies of probabilities and truth.

    The transforms are orthonormal; w = |P - Y|^alpha over its largest value in the channel, and
    takes no part in the gradient. With alpha 0 this is the mean squared error, by Parseval's
    theorem.

    Source: Jiang et al., Focal Frequency Loss for Image Reconstruction and Synthesis, ICCV 2021,
    eq. 8 to 10, there on images, here on masks.
    """

    def __init__(self, mode: Mode, *, alpha: float = 1.0, **shared: Any) -> None:
        super().__init__(mode, **shared)
        check_option("alpha", alpha, fits=alpha >= 0, expected="0 or more")
        self.alpha = alpha

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        pred = self.counted(probabilities(self.mode, pair))
        truth = self.counted(one_hot(self.mode, pair))
        axes = tuple(range(2, pred.ndim))
        parts = torch.view_as_real(torch.fft.fftn(pred - truth, dim=axes, norm="ortho"))
        power = parts.square().sum(-1)
        weight = power.detach() ** (self.alpha / 2)
        largest = weight.amax(axes, keepdim=True)
        return (power * weight / torch.where(largest > 0, largest, 1.0)).mean()
