"""From images to probabilities: one network, its mirror images if asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmoseg.metrics import top_label
from harmoseg.store.card import TaskMode
from harmoseg.store.tensors import images_to_tensor, normalise

BATCH = 16
_FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""Axes of (B, C, H, W) that test-time augmentation flips; the first is the image as it is."""

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network in evaluation mode on its device, and how it is asked.

    With `flips` probabilities are averaged over the image and its mirror images (test-time
    augmentation).
    """

    network: nn.Module
    mode: TaskMode
    device: str
    bf16: bool = False
    flips: bool = False

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Turn bytes (B, H, W, C) into what the network takes, on its device: (B, C, H, W)."""
        return normalise(images_to_tensor(images).to(self.device))

    def probabilities(self, prepared: Tensor) -> Tensor:
        """Predict (B, C, H, W): of the foreground alone for binary, else of every class."""
        total: Tensor | None = None
        views = _FLIPS if self.flips else _FLIPS[:1]
        for axes in views:
            view = prepared.flip(axes).contiguous(memory_format=torch.channels_last)
            with (
                torch.inference_mode(),
                torch.autocast(self.device, torch.bfloat16, enabled=self.bf16),
            ):
                logits = self.network(view)
            logits = logits.float()
            found: Tensor = logits.sigmoid() if self.mode == "binary" else logits.softmax(1)
            found = found.flip(axes)
            total = found if total is None else total + found
        if total is None:
            raise RuntimeError("no view to predict")
        # Resizing a slice takes half as long where its channels lie one after another.
        mean: Tensor = total / len(views)
        return mean.contiguous()


def choose_device(asked: str = "auto") -> str:
    """Give ``cuda`` where there is one, unless ``cpu`` is asked for."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked


def decide(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give every pixel of (C, H, W) its class: (H, W)."""
    if len(probabilities) == 1:
        return np.asarray(probabilities[0] > 0.5, np.uint8)
    return top_label(probabilities)[0]


def batched(items: Iterable[Item], size: int = BATCH) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`, the last of which may be shorter."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
