"""The objective that a method names: BCE + Dice or another base, and terms beside it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from harmoseg.losses.harmonized import HarmonizedLoss
from harmoseg.losses.method import BANDS, Method
from harmoseg.losses.named import make_loss
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

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss."""
        return self.terms(logits, target)["total"]

    def terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the scalars ``pixel``, ``dice``, ``spectral`` and ``total``.

        Beside them ``base``, where it is another than BCE + Dice, and ``own``, ``own2`` and so on
        for the terms that these are not.
        """
        terms = self.harmonized.terms(logits, target)
        if self.base is not None:
            terms["base"] = self.base(logits, target)
            terms["total"] = terms["base"] + self.harmonized.spectral_weight * terms["spectral"]
        if self.dice_weight:
            terms["total"] = terms["total"] + self.dice_weight * terms["dice"]
        pairs = zip(self.others, self.weights, strict=True)
        for number, (loss, weight) in enumerate(pairs, 1):
            name = "own" if number == 1 else f"own{number}"
            terms[name] = loss(logits, target)
            terms["total"] = terms["total"] + weight * terms[name]
        return terms
