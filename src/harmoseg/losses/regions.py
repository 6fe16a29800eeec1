"""Named losses of pixels, regions, outlines and centre lines."""

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
    pixel_losses,
    signed_distances,
)
from harmoseg.spectrum import correlation_ratio


class FocalLoss(ShelfLoss):
    """Cross-entropy times (1 - p_t)^gamma, averaged over the pixels.

    p_t is the probability of the truth. `alpha` weighs foreground, and 1 - alpha background, of a
    binary channel; None weighs nothing.
    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 4 and 5.
    """

    def __init__(
        self, mode: Mode, *, gamma: float = 2.0, alpha: float | None = None, **shared: Any
    ) -> None:
        super().__init__(mode, **shared)
        check_option("gamma", gamma, fits=gamma >= 0, expected="0 or more")
        fits = alpha is None or (0 < alpha < 1 and mode != "multiclass")
        check_option("alpha", alpha, fits=fits, expected="none, or in (0, 1) and not multiclass")
        self.gamma, self.alpha = gamma, alpha

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        losses = pixel_losses(self.mode, pair)
        # 1 - exp(-loss), exact where the loss is small; its power has no gradient of its own at 0.
        missing = -torch.expm1(-losses)
        focal = losses * missing.clamp_min(torch.finfo(losses.dtype).tiny) ** self.gamma
        if self.alpha is not None:
            focal = focal * (1 - self.alpha + (2 * self.alpha - 1) * pair.target)
        return focal.mean()


class TopKLoss(ShelfLoss):
    """Cross-entropy averaged over the `percent` of the batch's pixels where it is largest.

    Source: Wu, Shen and van den Hengel, Bridging Category-level and Instance-level Semantic Image
    Segmentation, 2016 (arXiv 1605.06885).
    """

    def __init__(self, mode: Mode, *, percent: float = 10.0, **shared: Any) -> None:
        super().__init__(mode, **shared)
        fits = 0 < percent <= 100
        check_option("percent", percent, fits=fits, expected="above 0 and at most 100")
        self.percent = percent

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        losses = pixel_losses(self.mode, pair).flatten()
        count = max(1, round(losses.numel() * self.percent / 100))
        return losses.topk(count, sorted=False).values.mean()


class TverskyLoss(ShelfLoss):
    """1 - TP / (TP + alpha FP + beta FN), from soft counts, averaged over the classes.

    With alpha = beta = 0.5 this is 1 - Dice; an absent class that is not predicted has 0. With
    `gamma` above 1 every class's value v counts as v^(1 / gamma): the focal Tversky loss.

    Sources: Salehi, Erdogmus and Gholipour, MLMI 2017 (alpha 0.3, beta 0.7); Abraham and Khan,
    ISBI 2019 (arXiv 1810.07842), eq. 4, gamma 4/3, with the weight of the false negatives 0.7.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 1.0,
        **shared: Any,
    ) -> None:
        super().__init__(mode, **shared)
        check_option("alpha", alpha, fits=alpha >= 0, expected="0 or more")
        check_option("beta", beta, fits=beta >= 0, expected="0 or more")
        check_option("gamma", gamma, fits=gamma >= 1, expected="1 or more")
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        hit, pred, truth = _sums(self.mode, pair)
        hit, pred, truth = self.averaging.pool(hit, pred, truth)
        below = hit + self.alpha * (pred - hit) + self.beta * (truth - hit)
        values = 1 - correlation_ratio(hit, 2 * below)
        if self.gamma > 1:
            # The root's gradient is infinite at 0: below rounding there is none.
            values = values.clamp_min(1e-6) ** (1 / self.gamma)
        return self.averaging.over_classes(values, None)


class GeneralisedDiceLoss(ShelfLoss):
    """1 - 2 sum_c w_c TP_c / sum_c w_c (|p_c| + |y_c|), where w_c = 1 / |y_c|^2.

    For ``"binary"`` and ``"multilabel"`` foreground and background are the classes of a channel. An
    absent class has the largest weight of the present ones, as in MONAI.

    Source: Sudre et al., Generalised Dice overlap as a deep learning loss function for highly
    unbalanced segmentations, DLMIA 2017.
    """

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        sums = [self.counted(values) for values in _sums(self.mode, pair)]
        if self.mode == "multiclass":
            sums = [values[:, None] for values in sums]
        else:
            hit, pred, truth = sums
            count = float(pair.target[0, 0].numel())
            others = (count - pred - truth + hit, count - pred, count - truth)
            sums = [torch.stack(both, -1) for both in zip(sums, others, strict=True)]
        # (B, channels, classes), pooled to (channels, classes) where the reduction says so.
        hit, pred, truth = self.averaging.pool(*sums)
        present = truth > 0
        weights = torch.where(present, 1 / torch.where(present, truth, 1.0).square(), 0.0)
        weights = torch.where(present, weights, weights.amax(-1, keepdim=True))
        cross, power = (weights * hit).sum(-1), (weights * (pred + truth)).sum(-1)
        return (1 - correlation_ratio(cross, power)).mean()


class LovaszLoss(ShelfLoss):
    """The Lovasz extension of 1 - IoU: the hinge of the logits for binary, softmax for multiclass.

    Classes that are absent from the truth are left out for ``"multiclass"``.

    Source: Berman, Triki and Blaschko, The Lovasz-Softmax loss, CVPR 2018, algorithm 1.
    """

    def compute(self, pair: Pair) -> Tensor:
        """Return the loss of an aligned pair."""
        truth = one_hot(self.mode, pair)
        if self.mode == "multiclass":
            errors = (truth - probabilities(self.mode, pair)).abs()
        else:
            errors = (1 - pair.logits * (2 * truth - 1)).clamp_min(0)
        errors, truth = self.counted(errors), self.counted(truth)
        if self.averaging.reduction == "batch":
            errors, truth = (x.transpose(0, 1).flatten(1)[None] for x in (errors, truth))
        errors, order = errors.flatten(2).sort(-1, descending=True)
        sorted_truth = truth.flatten(2).gather(-1, order)
        values = (errors * _lovasz_weights(sorted_truth)).sum(-1)
        if self.mode != "multiclass":
            return values.mean()
        present = sorted_truth.sum(-1) > 0
        return ((values * present).sum(-1) / present.sum(-1).clamp_min(1)).mean()


def _lovasz_weights(truth: Tensor) -> Tensor:
    """Return what each sorted error adds to 1 - IoU of the errors up to it, (..., N)."""
    total = truth.sum(-1, keepdim=True)
    intersection = total - truth.cumsum(-1)
    union = total + (1 - truth).cumsum(-1)
    jaccard = 1 - intersection / union
    return torch.cat([jaccard[..., :1], jaccard[..., 1:] - jaccard[..., :-1]], dim=-1)


def _sums(mode: Mode, pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
    """Sum p y, p and y over the pixels, each (B, C)."""
    pred, truth = probabilities(mode, pair), one_hot(mode, pair)
    axes = tuple(range(2, pred.ndim))
    return (pred * truth).sum(axes), pred.sum(axes), truth.sum(axes)


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
