"""Maps of the truth that a loss takes beside it, such as distances to the outline.

A map depends on the truth alone, so that it can be made beside the network: training makes it in
other threads while the network learns from the batch before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harmoseg.losses.modes import Mode

Array = NDArray[Any]
Masks = NDArray[np.bool_]
Maps = NDArray[np.float32]
MakeMap = Callable[[Masks], Maps]
"""From masks (B, C, *S) to one map for each of them, of the same shape."""


def class_masks(mode: Mode, target: Array, channels: int) -> Masks:
    """Return the masks (B, C, *S) of all channels.

    `target` is (B, *S), for ``"multilabel"`` (B, C, *S); values above 1/2 are foreground.
    """
    if mode == "multiclass":
        classes = np.arange(channels).reshape(-1, *[1] * (target.ndim - 1))
        return np.asarray(target[:, None] == classes)
    return np.asarray((target if mode == "multilabel" else target[:, None]) > 0.5)


def signed_distances(masks: Masks) -> Maps:
    """Return the signed distance to the outline, in pixels, below 0 inside.

    Pixels beside the outline have 0 inside and 1 outside, as in the code of the boundary loss
    (Kervadec et al. 2019). A mask that is empty or full has 0 everywhere.
    """
    return _each(masks, lambda inside, outside: np.where(inside > 0, 1 - inside, outside))


def outline_distances(masks: Masks) -> Maps:
    """Return the distance to the nearest pixel on the other side of the outline, in pixels.

    A mask that is empty or full has 0 everywhere.
    """
    return _each(masks, np.add)


def centre_tubes(masks: Masks, width: int = 2) -> Maps:
    """Return the centre lines of masks, each widened by `width` within its mask: 0 and 1."""
    from scipy import ndimage  # not above: the losses that need torch alone must not need SciPy
    from skimage.morphology import skeletonize

    found = np.zeros(masks.shape, dtype=np.float32)
    for place in np.ndindex(*masks.shape[:2]):
        if masks[place].any():
            line = skeletonize(masks[place]).astype(bool)  # type: ignore[no-untyped-call]
            if width:
                line = ndimage.binary_dilation(line, iterations=width)
            found[place] = line & masks[place]
    return found


NAMED_MAPS: dict[str, MakeMap] = {"distances": signed_distances, "tubes": centre_tubes}
"""Maps by name, for losses that are named by their import path."""


def to_tensor(maps: Maps, masks: Masks) -> Tensor:
    """Return maps as a tensor; raise ValueError unless there is one for every mask."""
    found = np.asarray(maps, dtype=np.float32)
    if found.shape != masks.shape:
        raise ValueError(f"maps must have the masks' shape {masks.shape}, got {found.shape}")
    return torch.from_numpy(found)


def _each(masks: Masks, combine: Callable[[Array, Array], Array]) -> Maps:
    """Combine the distances inside and outside of every mask that has an outline."""
    from scipy import ndimage

    found = np.zeros(masks.shape, dtype=np.float32)
    for place in np.ndindex(*masks.shape[:2]):
        mask = masks[place]
        if mask.any() and not mask.all():
            inside, box = np.zeros(mask.shape), _around(mask)
            inside[box] = ndimage.distance_transform_edt(mask[box])
            found[place] = combine(inside, ndimage.distance_transform_edt(~mask))
    return found


def _around(mask: Masks) -> tuple[slice, ...]:
    """Return the box of a mask, one pixel wider: what is nearest outside lies in it."""
    box = []
    for axis in range(mask.ndim):
        shown = np.flatnonzero(mask.any(tuple(i for i in range(mask.ndim) if i != axis)))
        box.append(slice(max(0, int(shown[0]) - 1), int(shown[-1]) + 2))
    return tuple(box)
