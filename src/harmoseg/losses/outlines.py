"""Named losses of outlines and centre lines: boundary, Hausdorff, clDice, skeleton recall."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoseg.losses.modes import Mode, Pair, one_hot, probabilities
from harmoseg.losses.shelf import (
    MapLoss,
    Maps,
    Masks,
    ShelfLoss,
    centre_tubes,
    check_option,
    outline_distances,
    signed_distances,
)
from harmoseg.spectrum import correlation_ratio


class BoundaryLoss(MapLoss):
    """The mean of p times the signed distance to the truth's outline, below 0 inside, in pixels.

    An empty or full mask has no outline and no loss. Use it beside an overlap loss. The value can
    be below 0.

    Source: Kervadec et al., Boundary loss for highly unbalanced segmentation, MIDL 2019
    (arXiv 1812.07032), eq. 5. Needs SciPy.
    """

    def map_of(self, masks: Masks) -> Maps:
        """Return signed distances."""
        return signed_distances(masks)

    def compute_with_map(self, pair: Pair, case_map: Tensor) -> Tensor:
        """Return the loss of an aligned pair and the map of its truth."""
        return (self.counted(probabilities(self.mode, pair)) * case_map).mean()


class HausdorffLoss(MapLoss):
    """The mean of (p - y)^2 (D_p^alpha + D_y^alpha); D are distances to the outlines, in pixels.

    D_p is that of p > 1/2, and takes no part in the gradient.

    Source: Karimi and Salcudean, Reducing the Hausdorff distance in medical image segmentation with
    convolutional neural networks, IEEE TMI 39 (2020), eq. 8. Needs SciPy.
    """

    def __init__(self, mode: Mode, *, alpha: float = 2.0, **shared: Any) -> None:
        super().__init__(mode, **shared)
        check_option("alpha", alpha, fits=alpha > 0, expected="above 0")
        self.alpha = alpha

    def map_of(self, masks: Masks) -> Maps:
        """Return distances to the outline to the power of alpha."""
        return outline_distances(masks) ** self.alpha

    def compute_with_map(self, pair: Pair, case_map: Tensor) -> Tensor:
        """Return the loss of an aligned pair and the map of its truth."""
        pred = self.counted(probabilities(self.mode, pair))
        truth = self.counted(one_hot(self.mode, pair))
        predicted = self.map_of((pred > 0.5).cpu().numpy())
        far = case_map + torch.from_numpy(predicted).to(pred)
        return ((pred - truth).square() * far).mean()


class ClDiceLoss(ShelfLoss):
    """1 - the harmonic mean of precision and sensitivity of soft centre lines.

    For 2-D and 3-D masks of tubes. `iterations` is the number of erosions, the largest radius in
    pixels that a centre line is found in. Use it beside Dice: alone it cannot tell a mask from its
    inverse. By default the background of ``"multiclass"`` does not count.

    Source: Shit et al., clDice, CVPR 2021 (arXiv 2003.07311), algorithms 1 and 2.
    """

    def __init__(
        self, mode: Mode, *, iterations: int = 3, include_background: bool = False, **shared: Any
    ) -> None:
        super().__init__(mode, include_background=include_background, **shared)
        fits = isinstance(iterations, int) and iterations >= 0
        check_option("iterations", iterations, fits=fits, expected="a whole number, 0 or more")
        self.iterations = iterations

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        if pair.logits.ndim not in (4, 5):
            raise ValueError(
                f"cldice takes 2-D and 3-D masks, got logits of shape {tuple(pair.logits.shape)}"
            )
        pred = self.counted(probabilities(self.mode, pair))
        truth = self.counted(one_hot(self.mode, pair))
        line, true_line = (soft_centre_line(mask, self.iterations) for mask in (pred, truth))
        axes = tuple(range(2, pred.ndim))
        products = (line * truth, line, true_line * pred, true_line)
        sums = self.averaging.pool(*(product.sum(axes) for product in products))
        # The ones are the paper's: without a centre line precision and sensitivity are 1.
        precision, sensitivity = (sums[0] + 1) / (sums[1] + 1), (sums[2] + 1) / (sums[3] + 1)
        return (1 - correlation_ratio(precision * sensitivity, precision + sensitivity)).mean()


class SkeletonRecallLoss(MapLoss):
    """1 - the recall of the truth's centre lines, each widened within the truth: sum(p t) / sum(t).

    For 2-D and 3-D masks of tubes. `tube` is how many pixels a centre line is widened on every
    side. Where the truth is empty recall is 1. Recall alone does not see false positives: use it
    beside Dice.

    Source: Kirchhoff et al., Skeleton Recall Loss, ECCV 2024 (arXiv 2404.03010), eq. 2; as in the
    paper's code a centre line is widened by two pixels. Needs scikit-image.
    """

    def __init__(self, mode: Mode, *, tube: int = 2, **shared: Any) -> None:
        super().__init__(mode, **shared)
        fits = isinstance(tube, int) and tube >= 0
        check_option("tube", tube, fits=fits, expected="a whole number, 0 or more")
        self.tube = tube

    def map_of(self, masks: Masks) -> Maps:
        """Return widened centre lines."""
        return centre_tubes(masks, self.tube)

    def compute_with_map(self, pair: Pair, case_map: Tensor) -> Tensor:
        """Return the loss of an aligned pair and the map of its truth."""
        pred = self.counted(probabilities(self.mode, pair))
        axes = tuple(range(2, pred.ndim))
        hit, length = self.averaging.pool((pred * case_map).sum(axes), case_map.sum(axes))
        recall = torch.where(length > 0, hit / length.clamp(min=1), 1)
        return 1 - recall.mean()


def soft_centre_line(masks: Tensor, iterations: int) -> Tensor:
    """Return the soft centre lines of masks (B, C, *S) in [0, 1], by openings of its erosions."""
    line = F.relu(masks - _dilate(_erode(masks)))
    for _ in range(iterations):
        masks = _erode(masks)
        rest = F.relu(masks - _dilate(_erode(masks)))
        line = line + F.relu(rest - line * rest)
    return line


def _erode(masks: Tensor) -> Tensor:
    """Return the least value of every pixel and its neighbours along the axes."""
    eroded = masks
    dims = masks.ndim - 2
    pool: Any = F.max_pool2d if dims == 2 else F.max_pool3d
    for axis in range(dims):
        size = [3 if i == axis else 1 for i in range(dims)]
        least = -pool(-masks, size, 1, [length // 2 for length in size])
        eroded = torch.minimum(eroded, least)
    return eroded


def _dilate(masks: Tensor) -> Tensor:
    """Return the largest value of every pixel and all its neighbours."""
    pool: Any = F.max_pool2d if masks.ndim == 4 else F.max_pool3d
    dilated: Tensor = pool(masks, 3, 1, 1)
    return dilated
