"""The paper's objective: BCE + (1 - Dice) + lambda (1 - SCC), in one sweep over the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.losses.modes import Mode, Pair, align, check_mode, one_hot, probabilities
from harmoseg.spectrum import Reduction, check_reduction, correlation_ratio

Pixel = Literal["auto", "bce"]


class Sums(NamedTuple):
    """What Dice and the full-spectrum correlation need of a batch, each (C,) or (B, C).

    `cross` = sum(p y), `pred` = sum(p), `pred_square` = sum(p^2), `truth` = sum(y),
    `truth_square` = sum(y^2), over the valid pixels.
    """

    cross: Tensor
    pred: Tensor
    pred_square: Tensor
    truth: Tensor
    truth_square: Tensor


class HarmonizedLoss(nn.Module):
    """Add the spectral correlation objective to BCE + Dice (eq. 1 and 2 of the paper).

    ``loss(logits, target)`` returns the scalar
    ``pixel + (1 - Dice) + spectral_weight * (1 - SCC)``; shapes are those of `Mode`. Eq. (2) is a
    similarity, 1 at identity, so its complement is what a loss can add. With the full spectrum
    the SCC equals the squared-denominator soft Dice exactly (Parseval), so no FFT is run.

    `spectral_weight` is the paper's lambda; 0 gives the spatial objective alone.
    `pixel` is ``"auto"``: BCE for binary, cross-entropy on softmax for multiclass; or ``"bce"``:
    the paper's literal BCE, on every one-hot channel with a sigmoid of its own.
    `ignore_index` marks pixels that touch neither value nor gradient.
    `class_weights` (C,) weighs the cross-entropy as PyTorch does, and the mean over classes of
    Dice and SCC; for ``"binary"`` there is nothing to weigh. `include_background=False` leaves
    class 0 out of Dice and SCC in multiclass mode (the pixel term always sees all classes).
    `reduction` is ``"batch"``: overlaps are summed over the batch first, as eq. (2) is printed; or
    ``"sample"``: one Dice and one SCC per sample, then their mean.

    A class that is absent from both truth and prediction has Dice and SCC 1 (their 0/0 is defined
    so, with zero gradient). The arithmetic is float32 at least, also under autocast.

    Raises ValueError for an unknown option or for shapes that do not fit.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        mode: Mode,
        *,
        spectral_weight: float = 0.2,
        pixel: Pixel = "auto",
        ignore_index: int | None = None,
        class_weights: Sequence[float] | Tensor | None = None,
        include_background: bool = True,
        reduction: Reduction = "batch",
    ) -> None:
        super().__init__()
        self.mode = check_mode(mode)
        if not spectral_weight >= 0:
            raise ValueError(f"spectral_weight must be 0 or more, got {spectral_weight}")
        if pixel not in get_args(Pixel):
            raise ValueError(f"pixel must be one of {', '.join(get_args(Pixel))}, got {pixel!r}")
        check_reduction(reduction)
        if class_weights is not None and mode == "binary":
            raise ValueError('class_weights has no meaning for mode "binary": there is one class')
        self.spectral_weight = spectral_weight
        self.pixel = pixel
        self.ignore_index = ignore_index
        self.include_background = include_background
        self.reduction = reduction
        weights = None if class_weights is None else torch.as_tensor(class_weights).float()
        # A buffer, so that the weights move with .to() and stay out of the parameters.
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss."""
        return self.terms(logits, target)["total"]

    def terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the scalars ``pixel``, ``dice``, ``spectral`` and ``total``.

        ``dice`` is 1 - Dice and ``spectral`` is 1 - SCC, both before weighting, so that
        ``total = pixel + dice + spectral_weight * spectral``.
        """
        pair = align(self.mode, logits, target, self.ignore_index)
        self._check_classes(pair.logits.shape[1])
        sums = self._sums(probabilities(self.mode, pair), one_hot(self.mode, pair), pair.valid)
        dice = self._over_classes(1 - correlation_ratio(sums.cross, sums.pred + sums.truth))
        spectral = self._over_classes(
            1 - correlation_ratio(sums.cross, sums.pred_square + sums.truth_square)
        )
        pixel = self._pixel_term(pair)
        total = pixel + dice + self.spectral_weight * spectral
        return {"pixel": pixel, "dice": dice, "spectral": spectral, "total": total}

    def extra_repr(self) -> str:
        """Show the options in the module's printed form."""
        return (
            f"mode={self.mode!r}, spectral_weight={self.spectral_weight}, pixel={self.pixel!r}, "
            f"reduction={self.reduction!r}"
        )

    def _check_classes(self, channels: int) -> None:
        if self.class_weights is not None and self.class_weights.shape != (channels,):
            raise ValueError(
                f"class_weights must have one value for each of the {channels} classes, got shape "
                f"{tuple(self.class_weights.shape)}"
            )

    def _sums(self, pred: Tensor, truth: Tensor, valid: Tensor | None) -> Sums:
        if valid is not None:
            pred = pred * valid
        first = 0 if self.reduction == "batch" else 2
        axes = (*range(first, 1), *range(2, pred.ndim))
        return Sums(
            cross=(pred * truth).sum(axes),
            pred=pred.sum(axes),
            pred_square=pred.square().sum(axes),
            truth=truth.sum(axes),
            truth_square=truth.square().sum(axes),
        )

    def _over_classes(self, values: Tensor) -> Tensor:
        """Average overlaps (C,) or (B, C) over the classes that count, then over samples."""
        weights = self.class_weights
        if self.mode == "multiclass" and not self.include_background:
            values = values[..., 1:]
            weights = None if weights is None else weights[1:]
        return _class_mean(values, weights)

    def _pixel_term(self, pair: Pair) -> Tensor:
        if self.mode == "multiclass" and self.pixel == "auto":
            return _cross_entropy(pair, self.class_weights)
        losses = F.binary_cross_entropy_with_logits(
            pair.logits, one_hot(self.mode, pair), reduction="none"
        )
        axes = (0, *range(2, losses.ndim))
        if pair.valid is None:
            return _class_mean(losses.mean(axes), self.class_weights)
        count = pair.valid.sum().clamp_min(1)
        return _class_mean((losses * pair.valid).sum(axes) / count, self.class_weights)


def _cross_entropy(pair: Pair, class_weights: Tensor | None) -> Tensor:
    weights = None if class_weights is None else class_weights.to(pair.logits.dtype)
    if pair.valid is None:
        return F.cross_entropy(pair.logits, pair.target, weights)
    valid = pair.valid.squeeze(1)
    losses = F.cross_entropy(pair.logits, pair.target, weights, reduction="none")
    shares = valid.to(losses.dtype) if weights is None else weights[pair.target] * valid
    total = shares.sum()
    # Every pixel ignored: nothing to learn from, so 0 rather than PyTorch's 0/0.
    return (losses * valid).sum() / torch.where(total > 0, total, torch.ones_like(total))


def _class_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return values.mean()
    weights = weights.to(values.dtype)
    return ((values * weights).sum(-1) / weights.sum()).mean()
