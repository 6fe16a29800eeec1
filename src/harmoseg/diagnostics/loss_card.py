"""See through a loss without training: `xray`, and the card that it returns."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from harmoseg.diagnostics.contract import Check, check_contract
from harmoseg.diagnostics.cost import Cost, measure_cost
from harmoseg.diagnostics.gradients import (
    EDGES,
    Likeness,
    Pull,
    Spectrum,
    measure_likeness,
    measure_pull,
    measure_spectrum,
)
from harmoseg.diagnostics.masks import COUNT, phantom_channels, phantom_masks, store_masks
from harmoseg.diagnostics.probe import Question, as_loss, ask
from harmoseg.diagnostics.training_guard import passing_spellings
from harmoseg.errors import HarmosegError
from harmoseg.losses.method import parse_loss
from harmoseg.losses.modes import Mode

if TYPE_CHECKING:
    import pandas as pd

_PHANTOM_CLASSES = 4
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
        from harmoseg.diagnostics.check_sentences import describe

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

        rows: list[tuple[str, str, Any]] = []
        rows += [("contract", check.name, check.status) for check in self.checks]
        rows += [("value", name, value) for name, value in self.values.items()]
        if self.spectrum is not None:
            names = octave_names()
            rows += [("spectrum", *pair) for pair in zip(names, self.spectrum.shares, strict=True)]
        if self.likeness is not None:
            rows.append(("likeness", "explained", self.likeness.explained))
            rows += [("cosine", *pair) for pair in self.likeness.cosines.items()]
        if self.pull is not None:
            rows += [("pull", *pair) for pair in self.pull.by_distance.items()]
            rows.append(("pull", "small object", self.pull.small_object))
        if self.cost is not None:
            rows += [("cost", "time", self.cost.time), ("cost", "memory", self.cost.memory)]
        return pd.DataFrame(rows, columns=["section", "quantity", "value"])

    def _repr_html_(self) -> str:
        from harmoseg.diagnostics.page import card_to_html

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


def make_question(
    mode: str, masks: Tensor | np.ndarray[Any, Any] | str | Path | None = None
) -> Question:
    """Return the masks and predictions that losses are asked on; make them once for several."""
    if mode not in get_args(Mode):
        raise HarmosegError(f"mode must be {' or '.join(get_args(Mode))}, got {mode!r}")
    classes = _PHANTOM_CLASSES
    if masks is None:
        source = "phantom"
        if mode == "multilabel":
            labels = phantom_channels()
        else:
            labels = phantom_masks(2 if mode == "binary" else classes)
    elif isinstance(masks, str | Path):
        labels, classes = store_masks(Path(masks), COUNT)
        source = Path(masks).resolve().name
        if mode == "binary":
            labels = (labels > 0).long()  # any foreground, where the store has several
        elif mode == "multilabel":
            labels = F.one_hot(labels, classes).movedim(-1, 1)[:, 1:]
    else:
        labels, source = torch.as_tensor(np.asarray(masks)).long(), "given"
        classes = int(labels.max()) + 1
    least, largest = (int(value) for value in torch.aminmax(labels))
    limit = None if mode == "multiclass" else 1
    dims = 4 if mode == "multilabel" else 3
    if labels.ndim < dims or least < 0 or (limit is not None and largest > limit):
        shape = "(images, channels, *space)" if mode == "multilabel" else "(images, *space)"
        raise HarmosegError(
            f"masks must be class indices {shape} from 0 to {'C - 1' if limit is None else 1}, "
            f"got shape {tuple(labels.shape)} and values from {least} to {largest}"
        )
    channels = {"binary": 1, "multilabel": labels.shape[1], "multiclass": max(2, classes)}[mode]
    return Question(cast(Mode, mode), channels, labels, source)


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
        failed = Check("can be called", "fail", _first_line(error), refuses=True)
        card = LossCard(name, question.mode, masks, (failed,), {})
        return replace(card, spellings=passing_spellings(loss, question))
    means = answers.values.mean(1)
    values = {
        state.name if state.kind == "noise" else f"{state.name}, logit {state.confidence:g}": float(
            v
        )
        for state, v in zip(question.states, means, strict=True)
    }
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


def octave_names() -> list[str]:
    """Name the octaves of a spectrum by the size of the details in them."""
    sizes = [round(1 / edge) for edge in EDGES]
    between = [f"{large} to {small} px" for large, small in itertools.pairwise(sizes)]
    return [f"above {sizes[0]} px", *between, f"below {sizes[-1]} px"]


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
