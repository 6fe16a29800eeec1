"""Named losses of pixels and regions: focal, top-k, Tversky, generalised Dice, Lovasz."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmoseg.losses.modes import Mode, Pair, one_hot, probabilities
from harmoseg.losses.shelf import ShelfLoss, check_option, pixel_losses
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
