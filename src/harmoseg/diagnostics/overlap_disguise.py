"""Terms that are an overlap loss in disguise."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from harmoseg.diagnostics.gradients import measure_likeness
from harmoseg.diagnostics.loss_card import make_question
from harmoseg.diagnostics.probe import Question, as_loss, ask
from harmoseg.errors import HarmosegError
from harmoseg.losses.method import LossName, parse_method

MOSTLY = 0.9
"""Share of the gradient from which on a loss is called an overlap loss."""
_PLAIN = ("dice", "bce")
"""Overlap losses by name."""


def describe_disguises(methods: Iterable[str], mode: str) -> list[str]:
    """Return a sentence for every term of the methods that is mostly BCE, Dice or squared Dice.

    The share is that of `harmoseg.xray`, on the phantom's masks. Terms that cannot be asked are
    left out.
    """
    losses = dict.fromkeys(
        term.loss
        for method in methods
        for term in parse_method(method).terms
        if term.loss.name not in _PLAIN
    )
    found = []
    for loss in losses:
        share = _share(loss, mode)
        if share is not None and share >= MOSTLY:
            found.append(
                f"{100 * share:.0f} % of the gradient of the term {loss} is explained by BCE, Dice "
                "and squared Dice together (harmoseg xray): an overlap term of the same weight "
                "would gain as much."
            )
    return found


@cache
def _share(loss: LossName, mode: str) -> float | None:
    question = _question(mode)
    try:
        return measure_likeness(question, ask(as_loss(loss, mode)[1], question)).explained
    except HarmosegError:  # training has refused it, or will
        return None


@cache
def _question(mode: str) -> Question:
    return make_question(mode)
