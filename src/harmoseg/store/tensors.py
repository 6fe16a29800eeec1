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


def normalise(images: Tensor) -> Tensor:
    """Scale (B, C, H, W) images in [0, 255] to float32 with ImageNet's mean and deviation.

    Three channels take the values per channel, any other number their mean over the channels.
    """
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    if images.shape[1] != 3:
        mean, std = mean.mean().reshape(1), std.mean().reshape(1)
    shape = (1, -1, 1, 1)
    scaled = images.float() / 255
    return (scaled - mean.to(images.device).reshape(shape)) / std.to(images.device).reshape(shape)
