"""Masks that losses are asked on: of the phantom or of a prepared store."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harmoseg.datasets.phantom import phantom_image
from harmoseg.errors import HarmosegError
from harmoseg.store.reading import open_store

COUNT = 8
"""Masks that a loss is asked on."""
SIZE = 128
_PHANTOM_CLASSES = 3


@functools.lru_cache(maxsize=8)
def phantom_masks(
    classes: int, height: int = SIZE, width: int = SIZE, count: int = COUNT
) -> Tensor:
    """Return class indices (count, height, width) of the phantom's shapes.

    With two classes an image shows organs, lesions or vessels, in turn: large, small and thin
    objects. With more, every class is one of the shapes; more than three foregrounds stand side by
    side. `classes` counts the background.
    """
    masks = [_phantom(number, classes, height, width) for number in range(count)]
    return torch.from_numpy(np.stack(masks).astype(np.int64))


def phantom_channels() -> Tensor:
    """Return 0 and 1, (`COUNT`, 3, `SIZE`, `SIZE`): organs, vessels and lesions, which overlap."""
    labels = phantom_masks(1 + _PHANTOM_CLASSES)
    # The smaller shapes lie on the organ, which goes on below them.
    return torch.stack([labels > 0, labels == 2, labels == 3], 1).long()


def store_masks(path: Path, count: int = COUNT) -> tuple[Tensor, int]:
    """Return class indices (count, H, W) of a prepared store, and how many classes it has.

    At training resolution; spread from small to large foregrounds. Raises HarmosegError where the
    folder is no store, or none of its masks shows foreground.
    """
    store = open_store(path)
    foreground = np.array([np.count_nonzero(label) for label in store.labels])
    shown = np.flatnonzero(foreground)
    if not len(shown):
        raise HarmosegError(f"{path}: no mask shows foreground; nothing to ask a loss on")
    ordered = shown[np.argsort(foreground[shown], kind="stable")]
    places = (np.arange(count) + 0.5) / count * len(ordered)
    rows = ordered[np.unique(places.astype(int))]
    return torch.from_numpy(np.asarray(store.labels[rows], np.int64)), len(store.info.card.classes)


def _phantom(number: int, classes: int, height: int, width: int) -> NDArray[np.int_]:
    if classes == 2:
        label = _square(number, max(height, width))[:height, :width]
        order = (1, 3, 2)  # organ, lesion, vessel
        wanted = order[number % 3]
        # The smaller shapes lie on the organ, which goes on below them.
        mask = label > 0 if wanted == 1 else label == wanted
        return mask.astype(int)
    cells = math.ceil((classes - 1) / _PHANTOM_CLASSES)
    side = math.ceil(math.sqrt(cells))
    cell_height, cell_width = height // side, width // side
    masks = np.zeros((height, width), int)
    for cell in range(cells):
        top, left = cell // side * cell_height, cell % side * cell_width
        part = _square(number * cells + cell, max(cell_height, cell_width))
        part = part[:cell_height, :cell_width].astype(int)
        shown = np.where(part > 0, part + _PHANTOM_CLASSES * cell, 0)
        masks[top : top + cell_height, left : left + cell_width] = np.minimum(shown, classes - 1)
    return masks


def _square(number: int, size: int) -> NDArray[np.uint8]:
    return phantom_image(number, size=size, domain="A", seed=0)[1]
