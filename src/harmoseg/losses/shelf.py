"""Base classes of the named losses of other papers, and the maps of the truth that some take.

A map depends on the truth alone, so that it can be made beside the network: training makes it in
other threads while the network learns from the batch before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.losses.modes import Mode, Pair, TargetCheck, align, check_mode
from harmoseg.losses.sums import Averaging
from harmoseg.spectrum import Reduction, check_reduction

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


Channelled = TypeVar("Channelled", Tensor, Masks)


class ShelfLoss(nn.Module):
    """Base of the named losses: ``loss(logits, target)`` returns a scalar, float32 at least.

    Shapes are those of `Mode`. `reduction`, `include_background` and `across_ranks` are those of
    `HarmonizedLoss`, for the losses that are sums over a batch. Raises ValueError for shapes and
    target values that do not fit.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        reduction: Reduction = "batch",
        include_background: bool = True,
        across_ranks: bool = False,
    ) -> None:
        super().__init__()
        self.mode = check_mode(mode)
        self.check_target = TargetCheck()
        self.averaging = Averaging(
            self.mode, check_reduction(reduction), include_background, across_ranks
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss."""
        pair = align(self.mode, logits, target, ignore_index=None)
        self.check_target(self.mode, pair)
        with torch.autocast(logits.device.type, enabled=False):
            return self.compute(pair)

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        raise NotImplementedError

    def counted(self, values: Channelled) -> Channelled:
        """Return (B, C, ...) without the background where that does not count."""
        leave = self.mode == "multiclass" and not self.averaging.background
        return values[:, 1:] if leave else values


class MapLoss(ShelfLoss):
    """Base of the named losses that take a map of the truth: ``loss(logits, target, case_map)``.

    `make_map` makes the map in any thread; without one the loss makes it itself. By default the
    background of ``"multiclass"`` does not count.
    """

    takes_map = True

    def __init__(self, mode: Mode, *, include_background: bool = False, **shared: Any) -> None:
        super().__init__(mode, include_background=include_background, **shared)

    def forward(self, logits: Tensor, target: Tensor, case_map: Tensor | None = None) -> Tensor:
        """Return the scalar loss."""
        pair = align(self.mode, logits, target, ignore_index=None)
        self.check_target(self.mode, pair)
        if case_map is None:
            labels = pair.target if self.mode == "multilabel" else pair.target[:, 0]
            case_map = self.make_map(labels.cpu().numpy(), pair.logits.shape[1])
        with torch.autocast(logits.device.type, enabled=False):
            return self.compute_with_map(pair, case_map.to(pair.logits))

    def make_map(self, target: NDArray[Any], channels: int) -> Tensor:
        """Return the map (B, C, *S) of a target, of the channels that count; see `class_masks`."""
        masks = self.counted(class_masks(self.mode, target, channels))
        return to_tensor(self.map_of(masks), masks)

    def map_of(self, masks: Masks) -> Maps:
        """Return the map of masks (B, C, *S)."""
        raise NotImplementedError

    def compute_with_map(self, pair: Pair, case_map: Tensor) -> Tensor:
        """Return the loss of an aligned pair and the map of its truth."""
        raise NotImplementedError


def pixel_losses(mode: Mode, pair: Pair) -> Tensor:
    """Return the cross-entropy of every pixel: (B, *S) for multiclass, else (B, C, *S)."""
    if mode == "multiclass":
        return F.cross_entropy(pair.logits, pair.target[:, 0], reduction="none")
    return F.binary_cross_entropy_with_logits(pair.logits, pair.target, reduction="none")


def check_option(name: str, value: Any, *, fits: bool, expected: str) -> None:
    """Raise ValueError unless an option fits."""
    if not fits:
        raise ValueError(f"{name} must be {expected}, got {value!r}")
