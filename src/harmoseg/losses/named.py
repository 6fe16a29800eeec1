"""Make a loss from its name: one of harmoseg's, or any loss by its import path."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_args

from torch import Tensor, nn

from harmoseg.errors import HarmosegError
from harmoseg.losses.frequencies import FocalFrequencyLoss, WaveletInformationLoss
from harmoseg.losses.harmonized import HarmonizedLoss
from harmoseg.losses.imported import import_loss
from harmoseg.losses.method import LossName
from harmoseg.losses.modes import Mode
from harmoseg.losses.outlines import BoundaryLoss, ClDiceLoss, HausdorffLoss, SkeletonRecallLoss
from harmoseg.losses.regions import (
    FocalLoss,
    GeneralisedDiceLoss,
    LovaszLoss,
    TopKLoss,
    TverskyLoss,
)
from harmoseg.losses.spectral import BandName, SpectralCorrelationLoss
from harmoseg.spectrum import Reduction


class PartLoss(nn.Module):
    """One part of `HarmonizedLoss`: ``"pixel"`` (BCE or cross-entropy) or ``"dice"`` (1 - Dice).

    ``loss(logits, target)`` returns a scalar; shapes are those of `Mode`.
    """

    def __init__(self, part: str, mode: Mode, **shared: Any) -> None:
        super().__init__()
        self.part = part
        self.harmonized = HarmonizedLoss(mode, spectral_weight=0.0, **shared)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the part."""
        return self.harmonized.terms(logits, target)[self.part]


_MAKERS: dict[str, Callable[..., nn.Module]] = {
    "bce": functools.partial(PartLoss, "pixel"),
    "dice": functools.partial(PartLoss, "dice"),
    "scc": SpectralCorrelationLoss,
    **{name: functools.partial(SpectralCorrelationLoss, bands=name) for name in get_args(BandName)},
    "focal": FocalLoss,
    "topk": TopKLoss,
    "tversky": TverskyLoss,
    "focal-tversky": functools.partial(TverskyLoss, gamma=4 / 3),
    "generalised-dice": GeneralisedDiceLoss,
    "lovasz": LovaszLoss,
    "boundary": BoundaryLoss,
    "hausdorff-dt": HausdorffLoss,
    "cldice": ClDiceLoss,
    "skeleton-recall": SkeletonRecallLoss,
    "focal-frequency": FocalFrequencyLoss,
    "cwmi": WaveletInformationLoss,
}
"""By name: a function of the mode, with `reduction`, `across_ranks` and the loss's own options."""


def make_loss(
    loss: LossName, mode: str, *, reduction: Reduction = "batch", across_ranks: bool = False
) -> nn.Module:
    """Make a loss, called as ``loss(logits, target)``, that returns a scalar.

    Shapes are those of `Mode`. `across_ranks` is that of `HarmonizedLoss`; an imported loss sees
    the batch of its own process. Raises HarmosegError for an unknown option, and where a loss
    cannot be imported or made.
    """
    if loss.is_imported:
        return import_loss(loss, mode)
    maker = _MAKERS[loss.name]
    parameters = inspect.signature(maker).parameters
    known = [name for name in parameters if name not in _NO_OPTIONS]
    if "shared" in parameters and "include_background" not in known:
        known.append("include_background")
    unknown = [name for name, _ in loss.options if name not in known]
    if unknown:
        raise HarmosegError(
            f"loss {loss.name}: unknown option {unknown[0]!r}; it has {', '.join(known) or 'none'}"
        )
    try:
        return maker(mode, reduction=reduction, across_ranks=across_ranks, **dict(loss.options))
    except (TypeError, ValueError) as error:
        raise HarmosegError(f"loss {loss}: {error}") from error


_NO_OPTIONS = ("mode", "reduction", "across_ranks", "shared", "bands", "ignore_index")
"""Arguments of the makers that a method does not spell as options."""
