"""Predict the cases of a store, brought back to the resolution of their source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.store.card import TaskMode
from harmoseg.store.reading import Store
from harmoseg.store.tensors import images_to_tensor, normalise

_BATCH = 16


def predict_cases(
    network: nn.Module, store: Store, rows: list[int], *, mode: TaskMode, bf16: bool
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield every row with its predicted label map (H', W') at the source's resolution.

    The network sees the store's resolution; probabilities are resized bilinearly to the source's
    and decided there, so that a coarse network is not also given a coarse outline.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device).eval()
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        images = images_to_tensor(store.images[batch]).to(device)
        prepared = normalise(images).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits = network(prepared)
        for row, scores in zip(batch, logits.float(), strict=True):
            case = store.cases[row]
            yield row, _decide(scores, case.height, case.width, mode)


def _decide(logits: Tensor, height: int, width: int, mode: TaskMode) -> NDArray[np.uint8]:
    probabilities = torch.sigmoid(logits) if mode == "binary" else torch.softmax(logits, 0)
    if probabilities.shape[1:] != (height, width):
        probabilities = F.interpolate(
            probabilities[None], size=(height, width), mode="bilinear", align_corners=False
        )[0]
    label = (probabilities[0] > 0.5) if mode == "binary" else probabilities.argmax(0)
    return label.to(torch.uint8).cpu().numpy()
