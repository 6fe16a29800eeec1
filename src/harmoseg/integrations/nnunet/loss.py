"""The loss of the trainers, made from what nnU-Net knows of a training; it needs no nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harmoseg.losses.harmonized import DeepSupervisionLoss, HarmonizedLoss
from harmoseg.losses.modes import Mode
from harmoseg.losses.spectral import Bands

_IGNORED = -1
"""What marks ignored voxels in regions, where nnU-Net has a channel that says which they are."""


@dataclass(frozen=True)
class NNUNetSettings:
    """Settings of a training from nnU-Net's plans and labels.

    `regions`: labels overlap, and targets have a channel for each (sigmoid); else one label per
    voxel (softmax). `ignore_label` is the label without annotation, if there is one. `batch_dice`
    is that of the configuration, and `spacing` its voxel size, in the order of the patch's axes.
    `scales` are the sizes of the outputs relative to the patch, axis by axis and the finest first;
    None without deep supervision. `distributed` says whether the batch is spread over processes.
    """

    regions: bool
    ignore_label: int | None
    batch_dice: bool
    spacing: tuple[float, ...]
    scales: tuple[tuple[float, ...], ...] | None
    distributed: bool = False


def make_loss(
    settings: NNUNetSettings,
    *,
    spectral_weight: float = 0.2,
    bands: Bands = None,
    last_weight: float = 0.0,
) -> nn.Module:
    """Make `HarmonizedLoss` take the place of nnU-Net's own loss.

    ``loss(outputs, targets)`` takes lists, the finest first, or two tensors without deep
    supervision. The weights are nnU-Net's: halved from one output to the next, `last_weight` for
    the last, then brought to a sum of 1.
    """
    if settings.scales is None:
        return _at(settings, None, spectral_weight, bands)
    losses = [_at(settings, scale, spectral_weight, bands) for scale in settings.scales]
    return DeepSupervisionLoss(losses, weights=supervision_weights(len(losses), last_weight))


def supervision_weights(count: int, last_weight: float = 0.0) -> tuple[float, ...]:
    """Return the weights of the outputs, summing to 1; a single output has all of it."""
    if count == 1:
        return (1.0,)
    weights = [*(0.5**depth for depth in range(count - 1)), last_weight]
    return tuple(weight / sum(weights) for weight in weights)


class RegionLoss(nn.Module):
    """Return targets of a multilabel loss whose last channel marks the ignored pixels."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, C, *S) and a target (B, C + 1, *S)."""
        regions, ignored = target[:, :-1].to(logits.dtype), target[:, -1:] > 0
        value: Tensor = self.loss(logits, torch.where(ignored, float(_IGNORED), regions))
        return value


def _at(
    settings: NNUNetSettings, scale: Sequence[float] | None, spectral_weight: float, bands: Bands
) -> nn.Module:
    """Make the loss of one output: where it is coarser, its voxels are larger."""
    shrunk = scale or (1.0,) * len(settings.spacing)
    mode: Mode = "multilabel" if settings.regions else "multiclass"
    marked = settings.ignore_label is not None
    loss = HarmonizedLoss(
        mode,
        spectral_weight=spectral_weight,
        bands=bands,
        spacing=[side / part for side, part in zip(settings.spacing, shrunk, strict=True)],
        ignore_index=_IGNORED if marked and settings.regions else settings.ignore_label,
        # As nnU-Net: every region counts, and of labels all but the background.
        include_background=settings.regions,
        reduction="batch" if settings.batch_dice else "sample",
        across_ranks=settings.distributed and settings.batch_dice,
    )
    return RegionLoss(loss) if marked and settings.regions else loss
