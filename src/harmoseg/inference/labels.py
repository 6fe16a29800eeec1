"""From logits to probabilities, and from either to labels: written once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harmoseg.metrics import top_label
from harmoseg.store.card import TaskMode


def probabilities_of(logits: Tensor, mode: TaskMode) -> Tensor:
    """Return probabilities (B, C, H, W): of the foreground for binary, else of every class."""
    return logits.sigmoid() if mode == "binary" else logits.softmax(1)


def labels_of(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the class indices of probabilities (C, ...).

    One channel is foreground above 0.5; of several channels the most probable one counts.
    """
    if len(probabilities) == 1:
        return np.asarray(probabilities[0] > 0.5, np.uint8)
    return top_label(probabilities)[0]


def labels_of_logits(logits: Tensor, mode: TaskMode) -> Tensor:
    """Return the class indices (B, H, W) of logits (B, C, H, W)."""
    return (logits[:, 0] > 0).long() if mode == "binary" else logits.argmax(1)
