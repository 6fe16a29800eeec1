"""The objective that a method names: BCE + Dice or another base, and terms beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from harmoseg.losses.harmonized import HarmonizedLoss
from harmoseg.losses.method import BANDS, Method
from harmoseg.losses.named import Moment, make_loss
from harmoseg.store.card import TaskMode


class Objective(nn.Module):
    """BCE + (1 - Dice), or another base, + the sum of weight x term.

    ``terms(logits, target)`` names every part. `across_ranks` is that of `HarmonizedLoss`. A loss
    named by its import path sees the batch of its own process only, in float32.

    Raises HarmosegError where a loss cannot be imported or made.
    """

    def __init__(self, method: Method, mode: TaskMode, *, across_ranks: bool = False) -> None:
        super().__init__()
        self.mode: TaskMode = mode
        self.method = method
        shared: Any = {"reduction": method.reduction, "across_ranks": across_ranks}
        # Dice and the first term of the spectrum are taken in one sweep with BCE. The correlation
        # is told for every method, and counts in none that does not name it.
        bare = [term for term in method.terms if not term.loss.options]
        swept = next((term for term in bare if term.loss.name in ("scc", *BANDS)), None)
        dice = next((term for term in bare if term.loss.name == "dice"), None)
        bands: Any = swept.loss.name if swept and swept.loss.name != "scc" else None
        self.harmonized = HarmonizedLoss(
            mode, spectral_weight=swept.weight if swept else 0.0, bands=bands, **shared
        )
        self.dice_weight = dice.weight if dice else 0.0
        self.base = None if method.base is None else make_loss(method.base, mode, **shared)
        others = [term for term in method.terms if term is not swept and term is not dice]
        self.weights = [term.weight for term in others]
        self.others = nn.ModuleList(make_loss(term.loss, mode, **shared) for term in others)
        self._mapped = [loss for loss in self._losses if getattr(loss, "takes_map", False)]
        self._scheduled = [loss for loss in self._losses if getattr(loss, "schedule", ())]

    @property
    def takes_maps(self) -> bool:
        """Return whether a loss takes a map of the truth."""
        return bool(self._mapped)

    @property
    def is_scheduled(self) -> bool:
        """Return whether a loss depends on the epoch or on the step."""
        return bool(self._scheduled)

    def make_maps(self, target: NDArray[Any], channels: int) -> tuple[Tensor, ...]:
        """Return the maps of class indices (B, *S) that ``terms`` takes; in any thread."""
        return tuple(loss.make_map(target, channels) for loss in self._mapped)

    def set_moment(self, moment: Moment) -> None:
        """Set the epoch and the step for the losses that depend on them."""
        for loss in self._scheduled:
            loss.moment = moment

    def forward(self, logits: Tensor, target: Tensor, maps: Sequence[Tensor] = ()) -> Tensor:
        """Return the scalar loss."""
        return self.terms(logits, target, maps)["total"]

    def terms(
        self, logits: Tensor, target: Tensor, maps: Sequence[Tensor] = ()
    ) -> dict[str, Tensor]:
        """Return the scalars ``pixel``, ``dice``, ``spectral`` and ``total``.

        Beside them ``base``, where it is another than BCE + Dice, and ``own``, ``own2`` and so on
        for the terms that these are not. Without `maps` the losses make their own.
        """
        given = dict(zip(self._mapped, maps, strict=True)) if maps else {}
        terms = self.harmonized.terms(logits, target)
        if self.base is not None:
            terms["base"] = _ask(self.base, logits, target, given)
            terms["total"] = terms["base"] + self.harmonized.spectral_weight * terms["spectral"]
        if self.dice_weight:
            terms["total"] = terms["total"] + self.dice_weight * terms["dice"]
        pairs = zip(self.others, self.weights, strict=True)
        for number, (loss, weight) in enumerate(pairs, 1):
            name = "own" if number == 1 else f"own{number}"
            terms[name] = _ask(loss, logits, target, given)
            terms["total"] = terms["total"] + weight * terms[name]
        return terms

    @property
    def _losses(self) -> list[Any]:
        return [*([] if self.base is None else [self.base]), *self.others]


def _ask(
    loss: nn.Module, logits: Tensor, target: Tensor, maps: Mapping[nn.Module, Tensor]
) -> Tensor:
    value: Tensor = loss(logits, target, *([maps[loss]] if loss in maps else []))
    return value
