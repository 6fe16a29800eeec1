"""Named losses of outlines and centre lines: boundary, Hausdorff, clDice, skeleton recall."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from harmoseg.losses.modes import Mode, Pair, one_hot, probabilities
from harmoseg.losses.shelf import ShelfLoss, check_option
from harmoseg.spectrum import correlation_ratio


class BoundaryLoss(ShelfLoss):
    """The mean of p times the signed distance to the truth's outline, below 0 inside, in pixels.

    An empty or full mask has no outline and no loss. Use it beside an overlap loss. The value can
    be below 0. By default the background of ``"multiclass"`` does not count.

    Source: Kervadec et al., Boundary loss for highly unbalanced segmentation, MIDL 2019
    (arXiv 1812.07032), eq. 5. Needs SciPy.
    """

    def __init__(self, mode: Mode, *, include_background: bool = False, **shared: Any) -> None:
        super().__init__(mode, include_background=include_background, **shared)

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        pred = self.counted(probabilities(self.mode, pair))
        truth = self.counted(one_hot(self.mode, pair)) > 0.5
        inside, outside = distances(truth), distances(~truth)
        # Pixels beside the outline have 0 inside and 1 outside, as in the paper's code.
        return (pred * torch.where(truth, 1 - inside, outside)).mean()


class HausdorffLoss(ShelfLoss):
    """The mean of (p - y)^2 (D_p^alpha + D_y^alpha); D are distances to the outlines, in pixels.

    D_p is that of p > 1/2, and takes no part in the gradient. By default the background of
    ``"multiclass"`` does not count.

    Source: Karimi and Salcudean, Reducing the Hausdorff distance in medical image segmentation with
    convolutional neural networks, IEEE TMI 39 (2020), eq. 8. Needs SciPy.
    """

    def __init__(
        self, mode: Mode, *, alpha: float = 2.0, include_background: bool = False, **shared: Any
    ) -> None:
        super().__init__(mode, include_background=include_background, **shared)
        check_option("alpha", alpha, fits=alpha > 0, expected="above 0")
        self.alpha = alpha

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        pred = self.counted(probabilities(self.mode, pair))
        truth = self.counted(one_hot(self.mode, pair))
        far = sum(
            (distances(mask) + distances(~mask)) ** self.alpha for mask in (pred > 0.5, truth > 0.5)
        )
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


class SkeletonRecallLoss(ShelfLoss):
    """1 - the recall of the truth's centre lines, each widened within the truth: sum(p t) / sum(t).

    For 2-D and 3-D masks of tubes. `tube` is how many pixels a centre line is widened on every
    side. Where the truth is empty recall is 1. Recall alone does not see false positives: use it
    beside Dice. By default the background of ``"multiclass"`` does not count.

    Source: Kirchhoff et al., Skeleton Recall Loss, ECCV 2024 (arXiv 2404.03010), eq. 2; as in the
    paper's code a centre line is widened by two pixels. Needs scikit-image.
    """

    def __init__(
        self, mode: Mode, *, tube: int = 2, include_background: bool = False, **shared: Any
    ) -> None:
        super().__init__(mode, include_background=include_background, **shared)
        fits = isinstance(tube, int) and tube >= 0
        check_option("tube", tube, fits=fits, expected="a whole number, 0 or more")
        self.tube = tube

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        pred = self.counted(probabilities(self.mode, pair))
        tubes = centre_tubes(self.counted(one_hot(self.mode, pair)) > 0.5, self.tube).to(pred)
        axes = tuple(range(2, pred.ndim))
        hit, all_of_it = self.averaging.pool((pred * tubes).sum(axes), tubes.sum(axes))
        recall = torch.where(all_of_it > 0, hit / all_of_it.clamp(min=1), 1)
        return 1 - recall.mean()


def centre_tubes(masks: Tensor, width: int) -> Tensor:
    """Return the centre lines of masks (B, C, *S), each widened by `width` within its mask."""
    from skimage.morphology import dilation, skeletonize

    found = np.zeros(masks.shape, dtype=bool)
    given = masks.cpu().numpy()
    for place in np.ndindex(*masks.shape[:2]):
        if given[place].any():
            line = skeletonize(given[place]).astype(bool)  # type: ignore[no-untyped-call]
            for _ in range(width):
                line = dilation(line)
            found[place] = line & given[place]
    return torch.from_numpy(found).to(masks.device)


def distances(masks: Tensor) -> Tensor:
    """Return the distance of every pixel of masks (B, C, *S) to the nearest one outside, in pixels.

    0 outside of a mask, and everywhere where a mask is empty or full.
    """
    from scipy import ndimage  # not above: the losses that need torch alone must not need SciPy

    found = np.zeros(masks.shape, dtype=np.float32)
    given = masks.cpu().numpy()
    for place in np.ndindex(*masks.shape[:2]):
        if given[place].any() and not given[place].all():
            found[place] = ndimage.distance_transform_edt(given[place])
    return torch.from_numpy(found).to(masks.device)


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
