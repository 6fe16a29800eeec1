"""Warn of losses: refuse what cannot lead to the truth, and name overlap losses in disguise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from torch import Tensor

from harmoseg.diagnostics.contract import Check, order_checks, reaches_truth, refusing_checks
from harmoseg.diagnostics.gradients import measure_likeness
from harmoseg.diagnostics.probe import Question, as_loss, ask, make_question, phantom_masks
from harmoseg.errors import HarmosegError
from harmoseg.losses.method import LossName, parse_method
from harmoseg.losses.modes import Mode
from harmoseg.losses.named import CALLING, ForeignLoss

_COUNT = 3  # one mask of each kind: large, small and thin objects
_ALONE = ("one finite number", "has a gradient", "not constant")
"""Checks that even a loss beside others must pass: a failure can only be a mistake."""
_MOSTLY = 0.9
"""Share of the gradient from which on a loss is called an overlap loss."""
_OVERLAP = ("dice", "bce")
"""Overlap losses by name."""


def check_objective(
    objective: Callable[[Tensor, Tensor], Tensor],
    losses: Sequence[LossName],
    *,
    mode: Mode,
    classes: int,
    space: tuple[int, int],
    refuse: bool = True,
) -> list[str]:
    """Return warnings about an objective; raise HarmosegError where it is unfit.

    Unfit is an objective that is not one finite number, has no gradient, is constant, or finds
    noise or the inverse of a mask at least as good as the mask; and one with a loss that has no
    finite gradient of its own. `losses` are those that it names. It is asked on masks of `space`.
    Without `refuse` an unfit objective is a warning too.
    """
    channels = 1 if mode == "binary" else classes
    masks = phantom_masks(classes, *space, count=_COUNT)
    question = Question(mode, channels, masks, "phantom", mistakes=False)
    failed = _failed(objective, question)
    found = [f"the objective: {check.meaning}" for check in failed[:1]]
    remarks = []
    for loss in losses:
        checks = _failed(as_loss(loss, mode)[1], question, order=True)
        unfit = [check for check in checks if check.refuses]
        if unfit and (found or unfit[0].name in _ALONE):
            spelled = passing_spellings(loss, question)
            cure = f" Spell it {spelled[0]}." if spelled else ""
            found.append(f"{loss}: {unfit[0].meaning}{cure}")
        elif checks:
            remarks.append(f"{loss}, asked alone: {checks[0].meaning}")
    if found and refuse:
        raise HarmosegError(
            f"{' '.join(found)} See harmoseg xray, or set no_contract (--no-contract) to train "
            "with it all the same"
        )
    return [*found, *remarks]


def _failed(
    loss: Callable[[Tensor, Tensor], Tensor], question: Question, *, order: bool = False
) -> list[Check]:
    answers = ask(loss, question)
    checks = [*refusing_checks(question, answers)]
    if order:
        checks += order_checks(question, answers)
    return [check for check in checks if check.status == "fail"]


def passing_spellings(loss: Any, question: Question) -> tuple[str, ...]:
    """Return spellings with which a loss that is not harmoseg's passes, if one is found."""
    if isinstance(loss, LossName) and not loss.is_imported:
        return ()
    few = replace(question, masks=question.masks[:2])
    found = (_passes(loss, few, options) for options in _ways(question.mode))
    return next(((spelled,) for spelled in found if spelled), ())  # the nearest to what was asked


def _passes(loss: Any, question: Question, options: dict[str, Any]) -> str | None:
    """Call a loss in another way; return how that is spelled where it passes."""
    try:
        if isinstance(loss, LossName):
            own = {key: value for key, value in loss.options if key not in CALLING}
            name = LossName(loss.name, tuple(sorted({**own, **options}.items())))
            spelled, made = as_loss(name, question.mode)
        else:
            spelled = "harmoseg.losses.named.ForeignLoss(loss, mode, "
            spelled += ", ".join(f"{key}={value!r}" for key, value in options.items()) + ")"
            made = ForeignLoss(loss, question.mode, **options)
        answers = ask(made, question)
    except Exception:  # whatever a stranger's loss does: this way does not work
        return None
    checks = [*refusing_checks(question, answers)]
    if all(check.status == "pass" for check in checks):
        # One that would teach something else is no cure.
        checks += [*order_checks(question, answers), reaches_truth(made, question)]
    return spelled if all(check.status == "pass" for check in checks) else None


def _ways(mode: str) -> Iterator[dict[str, Any]]:
    swaps: tuple[dict[str, Any], ...] = ({}, {"target_first": True})
    inputs: tuple[dict[str, Any], ...] = ({}, {"input": "probabilities"})
    targets = ({}, {"target": "channel"}, {"target": "onehot"}) if mode == "multiclass" else ({},)
    for swap, given, target in itertools.product(swaps, inputs, targets):
        yield {**given, **swap, **target}


def describe_disguises(methods: Iterable[str], mode: str) -> list[str]:
    """Return a sentence for every term of the methods that is mostly BCE, Dice or squared Dice.

    The share is that of `harmoseg.xray`, on the phantom's masks. Terms that cannot be asked are
    left out.
    """
    losses = dict.fromkeys(
        term.loss
        for method in methods
        for term in parse_method(method).terms
        if term.loss.name not in _OVERLAP
    )
    found = []
    for loss in losses:
        share = _share(loss, mode)
        if share >= _MOSTLY:
            found.append(
                f"{100 * share:.0f} % of the gradient of the term {loss} is explained by BCE, Dice "
                "and squared Dice together (harmoseg xray): an overlap term of the same weight "
                "would gain as much."
            )
    return found


@cache
def _share(loss: LossName, mode: str) -> float:
    question = _question(mode)
    try:
        return measure_likeness(question, ask(as_loss(loss, mode)[1], question)).explained
    except HarmosegError:  # training has refused it, or will
        return 0.0


_question = cache(make_question)
