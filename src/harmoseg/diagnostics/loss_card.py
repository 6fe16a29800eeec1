"""Examine a loss without training: `xray`, and the card that it returns."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from harmoseg.diagnostics.contract import Check, check_contract
from harmoseg.diagnostics.gradients import (
    EDGES,
    Cost,
    Likeness,
    Pull,
    Spectrum,
    measure_cost,
    measure_likeness,
    measure_pull,
    measure_spectrum,
    octave_names,
)
from harmoseg.diagnostics.probe import Question, as_loss, ask, make_question
from harmoseg.diagnostics.training_guard import passing_spellings
from harmoseg.losses.method import parse_loss
from harmoseg.losses.modes import Mode

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1


@dataclass(frozen=True)
class LossCard:
    """The findings of `xray` about one loss.

    `checks` are those of the contract; `values` the mean loss of every graded prediction;
    `spectrum`, `likeness`, `pull` and `cost` are None where the loss cannot be called or has no
    gradient. `spellings` are ways to call the loss that pass where the one that was asked does not.
    """

    name: str
    mode: str
    masks: str
    checks: tuple[Check, ...]
    values: dict[str, float]
    spectrum: Spectrum | None = None
    likeness: Likeness | None = None
    pull: Pull | None = None
    cost: Cost | None = None
    spellings: tuple[str, ...] = ()

    @property
    def refusals(self) -> tuple[Check, ...]:
        """Return the failed checks for which an objective is not trained with."""
        return tuple(check for check in self.checks if check.refuses and check.status == "fail")

    @property
    def sentences(self) -> list[str]:
        """Return the findings in plain sentences."""
        from harmoseg.diagnostics.card_printing import describe

        return describe(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the card as plain values, as `to_json` writes them."""
        values = {"schema": SCHEMA, **asdict(self), "sentences": self.sentences}
        if self.spectrum is not None:
            values["spectrum"] |= {"edges": list(EDGES), "above": self.spectrum.above}
        return values

    def to_json(self) -> str:
        """Return the card as JSON; a number that is undefined is null."""
        return json.dumps(_without_nan(self.to_dict()), indent=2)

    def to_frame(self) -> pd.DataFrame:
        """Return the card as a table: section, quantity, value."""
        import pandas as pd

        found: dict[str, dict[str, Any]] = {
            "contract": {check.name: check.status for check in self.checks},
            "value": self.values,
        }
        if self.spectrum is not None:
            found["spectrum"] = dict(zip(octave_names(), self.spectrum.shares, strict=True))
        if self.likeness is not None:
            found["likeness"] = {"explained": self.likeness.explained}
            found["cosine"] = self.likeness.cosines
        if self.pull is not None:
            found["pull"] = {**self.pull.by_distance, "small object": self.pull.small_object}
        if self.cost is not None:
            found["cost"] = {"time": self.cost.time, "memory": self.cost.memory}
        rows = [(section, *pair) for section, values in found.items() for pair in values.items()]
        return pd.DataFrame(rows, columns=["section", "quantity", "value"])

    def __str__(self) -> str:
        """Return the card as the command prints it."""
        from harmoseg.diagnostics.card_printing import cards_to_text

        return cards_to_text([self])

    def _repr_html_(self) -> str:
        from harmoseg.diagnostics.card_printing import card_to_html

        return card_to_html(self)


def xray(
    loss: Any,
    *,
    mode: Mode = "binary",
    masks: Tensor | np.ndarray[Any, Any] | str | Path | None = None,
) -> LossCard:
    """Examine a loss without training, in seconds; return its card.

    `loss` is the name of a loss (``"rings"``, ``"tversky(alpha=0.3,beta=0.7)"``), the import path
    of one, or a Python object that is called as ``loss(logits, target)``: logits (B, C, *S) in
    float32; the target is a float mask (B, 1, *S) for ``"binary"``, class indices (B, *S) for
    ``"multiclass"``, floats (B, C, *S) for ``"multilabel"``.

    `masks` are class indices (N, *S), for ``"multilabel"`` 0 and 1, (N, C, *S); the folder of a
    prepared store; or None for the built-in phantom. The loss is asked for its value and its
    gradient on the logits at graded predictions of every mask: noise, small mistakes, the truth and
    its inverse, at two confidences.

    Raises HarmosegError for an unknown name, for a loss that cannot be imported or made, and for
    masks that do not fit `mode`. A loss that fails when it is called has a card that says so.
    """
    return examine(loss, make_question(mode, masks))


def examine(loss: Any, question: Question) -> LossCard:
    """Return the card of a loss; see `xray`."""
    if isinstance(loss, str):
        loss = parse_loss(loss)  # spelled once, for the ways that are tried below
    name, made = as_loss(loss, question.mode)
    shape = " x ".join(map(str, question.space))
    masks = f"{len(question.masks)} masks ({question.source}), {shape} px"
    try:
        answers = ask(made, question)
    except Exception as error:  # whatever a stranger's loss does, the card says it
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
        message = f"{message.rstrip('.')}."
        failed = Check("can be called", "fail", message, refuses=True)
        card = LossCard(name, question.mode, masks, (failed,), {})
        return replace(card, spellings=passing_spellings(loss, question))
    titles = [state.title for state in question.states]
    values = dict(zip(titles, answers.values.mean(1).tolist(), strict=True))
    card = LossCard(name, question.mode, masks, check_contract(made, question, answers), values)
    if card.refusals:
        card = replace(card, spellings=passing_spellings(loss, question))
    if any(check.name in ("one finite number", "has a gradient") for check in card.refusals):
        return card
    return replace(
        card,
        spectrum=measure_spectrum(question, answers),
        likeness=measure_likeness(question, answers),
        pull=measure_pull(made, question, answers),
        cost=measure_cost(made, question),
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
