"""From stored bytes to what a network takes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# ImageNet's mean and standard deviation, which pretrained encoders expect. Constants rather than
# statistics of a store: nothing of any split leaks, and a model means the same on every store.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def images_to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Turn (B, H, W, C) bytes into a (B, C, H, W) uint8 tensor, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def normalisation(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the deviation of every channel of images in [0, 1].

    Three channels have ImageNet's own values, any other number their mean over the channels.
    """
    if channels == 3:
        return _MEAN, _STD
    return (sum(_MEAN) / 3,) * channels, (sum(_STD) / 3,) * channels


def normalise(images: Tensor) -> Tensor:
    """Scale (B, C, H, W) images in [0, 255] to float32 by `normalisation`."""
    shape = (1, -1, 1, 1)
    mean, std = (
        torch.tensor(values, device=images.device).reshape(shape)
        for values in normalisation(images.shape[1])
    )
    return (images.float() / 255 - mean) / std
