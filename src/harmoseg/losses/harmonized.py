"""The paper's objective: BCE + (1 - Dice) + lambda (1 - SCC), and deep supervision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.losses.modes import Mode, Pair, align, one_hot
from harmoseg.losses.spectral import Bands, SpectralCorrelationLoss, check_classes
from harmoseg.losses.sums import Sums, class_mean, sweep
from harmoseg.spectrum import Reduction, correlation_ratio

Pixel = Literal["auto", "bce"]


class HarmonizedLoss(nn.Module):
    """Add the spectral correlation objective to BCE + Dice (eq. 1 and 2 of the paper).

    ``loss(logits, target)`` returns the scalar
    ``pixel + (1 - Dice) + spectral_weight * (1 - SCC)``; shapes are those of `Mode`. Eq. (2) is a
    similarity, 1 at identity, so its complement is what a loss can add.

    `spectral_weight` is the paper's lambda; 0 gives the spatial objective alone.
    `bands` and `spacing` say which frequencies the spectral term sees: see
    `SpectralCorrelationLoss`. By default all alike, which takes no transform.
    `pixel` is ``"auto"``: cross-entropy on softmax for multiclass, BCE per channel else; or
    ``"bce"``: the paper's literal BCE, in multiclass mode on every one-hot channel with a sigmoid
    of its own.
    `ignore_index` marks pixels that touch neither value nor gradient.
    `class_weights` (C,) weighs the pixel term as PyTorch does, and the mean over classes of Dice
    and SCC; for ``"binary"`` there is nothing to weigh. `include_background=False` leaves class 0
    out of Dice and SCC in multiclass mode (the pixel term always sees all classes).
    `reduction` is ``"batch"``: overlaps are summed over the batch first, as eq. (2) is printed; or
    ``"sample"``: one Dice and one SCC per sample, then their mean.
    `across_ranks`: in distributed training every process sees its own batch, and sums over the
    batch are sums over that, unless this is True: then they run over all processes, and the loss
    is that of the global batch. Only for ``reduction="batch"``.

    A class that is absent from both truth and prediction has Dice and SCC 1 (their 0/0 is defined
    so, with zero gradient). The arithmetic is float32 at least, also under autocast. The gradient
    is derived by hand and can be taken once, not twice.

    Raises ValueError for an unknown option, for shapes that do not fit, and for a target with
    values that cannot be meant, such as 255. Values are looked at until the first batch with
    foreground, and not in a compiled loss.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        spectral_weight: float = 0.2,
        bands: Bands = None,
        spacing: Sequence[float] | None = None,
        pixel: Pixel = "auto",
        ignore_index: int | None = None,
        class_weights: Sequence[float] | Tensor | None = None,
        include_background: bool = True,
        reduction: Reduction = "batch",
        across_ranks: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= spectral_weight < float("inf"):
            raise ValueError(f"spectral_weight must be 0 or more, got {spectral_weight}")
        if pixel not in get_args(Pixel):
            raise ValueError(f"pixel must be one of {', '.join(get_args(Pixel))}, got {pixel!r}")
        self.spectral = SpectralCorrelationLoss(
            mode,
            bands=bands,
            spacing=spacing,
            ignore_index=ignore_index,
            class_weights=class_weights,
            include_background=include_background,
            reduction=reduction,
            across_ranks=across_ranks,
        )
        self.mode: Mode = self.spectral.mode
        self.spectral_weight = spectral_weight
        self.pixel = pixel

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss."""
        return self.terms(logits, target)["total"]

    def terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the scalars ``pixel``, ``dice``, ``spectral`` and ``total``.

        ``dice`` is 1 - Dice and ``spectral`` is 1 - SCC, both before weighting, so that
        ``total = pixel + dice + spectral_weight * spectral``.
        """
        pair = align(self.mode, logits, target, self.spectral.ignore_index)
        check_classes(self.spectral.class_weights, pair.logits.shape[1])
        self.spectral.check_target(self.mode, pair)
        sums = sweep(self.mode, pair)
        pixel = self._pixel_term(pair, sums)
        dice, spectral = self._overlap_terms(sums)
        if self.spectral.bands is not None:
            spectral = self.spectral.of_bands(pair)
        total = pixel + dice + self.spectral_weight * spectral
        return {"pixel": pixel, "dice": dice, "spectral": spectral, "total": total}

    def extra_repr(self) -> str:
        """Show the options in the module's printed form."""
        return f"spectral_weight={self.spectral_weight}, pixel={self.pixel!r}"

    def _overlap_terms(self, sums: Sums) -> tuple[Tensor, Tensor]:
        """Return 1 - Dice and 1 - SCC: one numerator over two denominators."""
        averaging = self.spectral.averaging
        linear, square = sums.pred + sums.truth, sums.pred_square + sums.truth_square
        pooled = averaging.pool(sums.cross.unsqueeze(-1), torch.stack((linear, square), dim=-1))
        dice, spectral = (1 - correlation_ratio(*pooled)).unbind(-1)
        weights = self.spectral.class_weights
        return averaging.over_classes(dice, weights), averaging.over_classes(spectral, weights)

    def _pixel_term(self, pair: Pair, sums: Sums) -> Tensor:
        if self.mode != "multiclass":
            return self._mean_per_channel(sums.pixel.sum(0), pair)
        if self.pixel == "bce":
            losses = F.binary_cross_entropy_with_logits(
                pair.logits, one_hot(self.mode, pair), reduction="none"
            )
            losses = losses if pair.valid is None else losses * pair.valid
            return self._mean_per_channel(losses.sum((0, *range(2, losses.ndim))), pair)
        # PyTorch's weighted mean: each pixel counts as much as its class weighs.
        over_ranks = self.spectral.averaging.over_ranks
        losses, counts = over_ranks(sums.pixel.sum(0)), over_ranks(sums.truth.sum(0))
        if self.spectral.class_weights is not None:
            weights = self.spectral.class_weights.to(losses.dtype)
            # where: a class without weight counts for nothing even where its loss is infinite.
            losses = torch.where(weights > 0, losses * weights, torch.zeros_like(losses))
            counts = counts * weights
        return _mean(losses.sum(), counts.sum())

    def _mean_per_channel(self, losses: Tensor, pair: Pair) -> Tensor:
        """Average losses summed per channel (C,) over the pixels of each, then over channels."""
        averaging, shape = self.spectral.averaging, pair.logits.shape
        pixels = shape[0] * shape[2:].numel()
        if pair.valid is None and not averaging.across_ranks:
            return class_mean(losses / pixels, self.spectral.class_weights)
        if pair.valid is None:
            counts = losses.new_full((1,), pixels)
        else:
            counts = pair.valid.sum((0, *range(2, pair.valid.ndim)))
        means = _mean(averaging.over_ranks(losses), averaging.over_ranks(counts))
        return class_mean(means, self.spectral.class_weights)


def _mean(total: Tensor, count: Tensor) -> Tensor:
    # Every pixel ignored: nothing to learn from, so 0 rather than 0/0.
    return total / torch.where(count > 0, count, torch.ones_like(count))


class DeepSupervisionLoss(nn.Module):
    """Apply a loss to every output of a network with deep supervision.

    ``loss(outputs, target)``: `outputs` is a sequence of logits (B, C, *S_i), the finest first;
    `target` is one target of the finest size, which is shrunk to the others by nearest neighbour,
    or a sequence with one target per output. A single tensor of logits is a sequence of one.

    `loss` is one for all outputs, or a sequence with one per output, where they differ: the voxels
    of a coarser output are larger, say. `weights` gives the weight of every output; 1, 1/2, 1/4,
    ... if absent. They are normalised to add up to 1. Raises ValueError where the numbers of
    outputs, targets, weights and losses differ.
    """

    def __init__(
        self, loss: nn.Module | Sequence[nn.Module], *, weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if weights is not None and not (min(weights) >= 0 < sum(weights)):
            raise ValueError(f"weights must be 0 or more and not all 0, got {list(weights)}")
        self.loss = loss if isinstance(loss, nn.Module) else nn.ModuleList(loss)
        self.weights = None if weights is None else tuple(weights)

    def forward(
        self, outputs: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
    ) -> Tensor:
        """Return the weighted mean of the losses."""
        scales = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        targets = (
            [_resized(target, logits) for logits in scales]
            if isinstance(target, Tensor)
            else list(target)
        )
        weights = self.weights or tuple(0.5**depth for depth in range(len(scales)))
        if not len(scales) == len(targets) == len(weights):
            raise ValueError(
                f"{len(scales)} output(s), {len(targets)} target(s) and {len(weights)} weight(s); "
                "expected one target and one weight per output"
            )
        each = self.loss if isinstance(self.loss, nn.ModuleList) else [self.loss] * len(scales)
        if len(each) != len(scales):
            raise ValueError(
                f"{len(scales)} output(s) and {len(each)} loss(es); expected one loss per output, "
                "or one for all"
            )
        losses = [
            weight * loss(logits, truth)
            for weight, loss, logits, truth in zip(weights, each, scales, targets, strict=True)
            if weight > 0
        ]
        return torch.stack(losses).sum() / sum(weights)


def _resized(target: Tensor, logits: Tensor) -> Tensor:
    space = logits.shape[2:]
    if target.shape[-len(space) :] == space:
        return target
    channelled = target if target.ndim == logits.ndim else target.unsqueeze(1)
    # Through float64: indices up to 2^53 and soft targets both survive.
    shrunk = F.interpolate(channelled.double(), size=space, mode="nearest-exact").to(target.dtype)
    return shrunk if target.ndim == logits.ndim else shrunk.squeeze(1)
