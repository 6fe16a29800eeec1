"""The contract of a loss: what it must do to be trained with, and what may surprise."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from harmoseg.diagnostics.probe import (
    CONFIDENCES,
    HIGH,
    LOW,
    Answers,
    Loss,
    Question,
    first_foreground,
    to_channels,
    to_logits,
    value_and_gradient,
)
from harmoseg.losses.named import ForeignLoss

Status = Literal["pass", "fail", "not applicable"]
_STEPS = 100
_STEP = 0.4
_REACHED = 0.95
_SAME = 0.01
"""Relative difference up to which two values are the same."""
_TARGETS = ("target", "targets", "y_true", "true", "truth", "label", "labels", "gt", "mask", "y")
"""Names that others give to the argument of the truth."""
ORDER = (
    "truth better than small mistakes",
    "small mistakes better than noise",
    "noise better than the inverse",
    "descent reaches the truth",
)
"""Checks that a loss must pass to be used alone."""


@dataclass(frozen=True)
class Check:
    """A check: its name, its status, and its meaning for training.

    `refuses` says whether an objective that fails the check is not trained with.
    """

    name: str
    status: Status
    meaning: str
    refuses: bool = False


def check_contract(loss: Loss, question: Question, answers: Answers) -> tuple[Check, ...]:
    """Check a loss on graded predictions."""
    found = list(refusing_checks(question, answers))
    if found[0].status == "pass" and found[1].status == "pass":
        found += order_checks(question, answers)
        found += [reaches_truth(loss, question), _logits(question, answers), _arguments(loss)]
        found += _odd_masks(loss, question)
        for check in (_confident, _half, _batch, _size, _classes):
            found.append(check(loss, question))
    return tuple(found)


def refusing_checks(question: Question, answers: Answers) -> Iterator[Check]:
    """Yield the checks for which an objective is refused."""
    value = _values(question, answers)
    finite = bool(np.isfinite(answers.values).all())
    fault = "The loss is not one finite number for some predictions: training stops or diverges."
    if finite and not math.isfinite(answers.of_two):
        fault = "The loss of two images is not one number: return the mean over the images."
        finite = False
    yield _check("one finite number", finite, "Every prediction has a loss.", fault, refuses=True)
    # At the truth a loss may be flat; away from it a flat loss teaches nothing.
    away = [i for i, state in enumerate(question.states) if state.kind != "truth"]
    sound = bool(torch.isfinite(answers.gradients).all())
    sound = sound and bool(answers.gradients[away].abs().amax() > 0)
    yield _check(
        "has a gradient",
        sound,
        "The loss moves the network.",
        "The loss has no finite gradient on the logits: the network learns nothing from it. A "
        "threshold, detach or a step outside PyTorch takes the gradient away.",
        refuses=True,
    )
    if not finite:
        return
    spread = float(np.ptp(answers.values))
    yield _check(
        "not constant",
        spread > 1e-6 * max(1.0, float(np.abs(answers.values).max())),
        "Predictions have different losses.",
        "Every prediction has the same loss: the network learns nothing from it.",
        refuses=True,
    )
    for other, named in (("inverse", "its inverse"), ("noise", "noise")):
        truth, against = value("truth", HIGH), value(other, HIGH)
        words = f"The truth has {truth:.3g}, {other} {against:.3g}"
        fault = "does not tell them apart"
        if not _same(truth, against):
            fault = "leads away from the truth; of a score, such as Dice, the loss is 1 minus it"
        yield _check(
            f"truth better than {named}",
            truth < against - 1e-6 * max(1.0, abs(against)),
            f"{words}.",
            f"{words}: the loss {fault}.",
            refuses=True,
        )


def order_checks(question: Question, answers: Answers) -> Iterator[Check]:
    """Yield the checks that worse predictions have a higher loss."""
    value = _values(question, answers)
    near = list(dict.fromkeys(x.name for x in question.states if x.kind == "near"))
    worse = [
        name for name in near for c in CONFIDENCES if not value(name, c) > value("truth", c) - 1e-7
    ]
    yield _check(
        ORDER[0],
        not worse,
        "No small mistake has a lower loss than the truth.",
        f"{_listed(worse)}: a lower loss than the truth. The loss rewards such a mistake.",
    )
    noise = value("noise", LOW)
    # A missing object is no small mistake where it is the only one.
    small = [name for name in near if "object" not in name]
    worse = [name for name in small if not value(name, LOW) < noise]
    yield _check(
        ORDER[1],
        not worse,
        "Every small mistake has a lower loss than noise.",
        f"{_listed(worse)}: no lower loss than noise. Far from the truth the loss shows no way.",
    )
    yield _check(
        ORDER[2],
        noise < value("inverse", HIGH),
        "The inverse has the highest loss.",
        "The inverse of the truth scores no worse than noise: the loss cannot tell a mask from its "
        "inverse; use it beside Dice or cross-entropy.",
    )


def reaches_truth(loss: Loss, question: Question) -> Check:
    """Descend on the logits alone, as a network without limits could."""
    target, logits = question.masks[:2], question.logits("noise", LOW)[:2].clone()
    mean, square = torch.zeros_like(logits), torch.zeros_like(logits)
    # Adam in four lines: PyTorch's own imports the compiler, seconds of work.
    for step in range(1, _STEPS + 1):
        value, gradient = value_and_gradient(loss, logits, target)
        if gradient is None or not math.isfinite(value):
            break
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient.square()
        size = (square / (1 - 0.999**step)).sqrt() + 1e-12
        logits -= _STEP * mean / (1 - 0.9**step) / size
    dice = _dice(logits, question)
    return _check(
        ORDER[3],
        dice >= _REACHED,
        f"{_STEPS} steps from noise reach a DSC of {dice:.3f}.",
        f"{_STEPS} steps on the logits alone reach a DSC of {dice:.3f} only.",
    )


def _logits(question: Question, answers: Answers) -> Check:
    """Check that a surer truth is no worse: a loss of probabilities is worse on large logits."""
    value = _values(question, answers)
    sure, unsure = value("truth", HIGH), value("truth", LOW)
    return _check(
        "takes logits",
        sure <= unsure + _SAME * abs(unsure) + 1e-6,
        "A truth that is surer has no higher loss.",
        f"A truth that is surer has a higher loss ({sure:.3g} instead of {unsure:.3g}): "
        "the loss probably wants probabilities, the option input=probabilities.",
    )


def _arguments(loss: Loss) -> Check:
    """Check by the names of its arguments that a loss of others takes the prediction first."""
    name = "argument order"
    if not isinstance(loss, ForeignLoss):
        return Check(name, "pass", "The loss takes the prediction first.")
    call = loss.loss.forward if isinstance(loss.loss, nn.Module) else loss.loss
    try:
        first, second = list(inspect.signature(call).parameters)[:2]
    except (TypeError, ValueError):  # no signature, or fewer arguments
        first = second = ""
    if (first in _TARGETS) == (second in _TARGETS):
        return Check(name, "not applicable", "The names of the arguments do not show the order.")
    given, other = ("target", "prediction") if loss.target_first else ("prediction", "target")
    return _check(
        name,
        (first in _TARGETS) == loss.target_first,
        f"Its first argument, {first}, is given the {given}.",
        f"Its first argument, {first}, is given the {given} and not the {other}: set the option "
        f"target_first={str(not loss.target_first).lower()}.",
    )


def _odd_masks(loss: Loss, question: Question) -> Iterator[Check]:
    """Check empty, full and one-pixel masks."""
    pixel = torch.zeros_like(question.masks[:1])
    middle: tuple[Any, ...] = (..., *(length // 2 for length in question.space))
    pixel[middle] = 1
    masks = {
        "an empty": torch.zeros_like(pixel),
        "a full": torch.ones_like(pixel),
        "a one-pixel": pixel,
    }
    noise = question.logits("noise", LOW)[:1]
    for name, mask in masks.items():
        right = to_channels(mask, question.mode, question.channels)
        logits = to_logits(right[:, first_foreground(question.mode) :], question.mode, HIGH)
        sound = _sound(loss, noise, mask)
        what = "the loss or its gradient is not finite: one such case ends the training."
        if sound:
            what = (
                "the truth scores no better than its inverse: such cases teach nothing, or worse."
            )
        yield _check(
            f"{name.partition(' ')[2]} mask",
            sound and _value(loss, logits, mask) < _value(loss, -logits, mask),
            f"The loss is finite on {name} mask, and lowest at the truth.",
            f"On {name} mask {what}",
        )


def _confident(loss: Loss, question: Question) -> Check:
    inverse = question.logits("inverse", HIGH)[:1] * (100 / HIGH)
    return _check(
        "finite when sure and wrong",
        _sound(loss, inverse, question.masks[:1]),
        "Logits of 100 have a finite loss and gradient.",
        "Logits of 100 on the wrong side have no finite loss or gradient: training may diverge.",
    )


def _half(loss: Loss, question: Question) -> Check:
    logits, mask = question.logits("blurred", LOW)[:1], question.masks[:1]
    name = "half precision"
    try:
        full = _value(loss, logits, mask)
        half = _value(loss, logits.bfloat16(), mask)
    except Exception as error:  # whatever a stranger's loss does with half precision
        return Check(
            name, "fail", f"bfloat16 logits raise {type(error).__name__}: cast to float32."
        )
    return _check(
        name,
        math.isclose(full, half, rel_tol=0.02, abs_tol=1e-3),
        "bfloat16 logits have the same loss within 2 %.",
        f"bfloat16 logits have the loss {half:.3g} instead of {full:.3g}: cast first.",
    )


def _batch(loss: Loss, question: Question) -> Check:
    logits, masks = question.logits("blurred", LOW)[:2], question.masks[:2]
    single = [_value(loss, logits[i : i + 1], masks[i : i + 1]) for i in range(len(masks))]
    twice = _value(loss, logits[:1].repeat_interleave(2, 0), masks[:1].repeat_interleave(2, 0))
    name = "same for any batch size"
    if not _same(twice, single[0]):
        ratio = twice / single[0] if single[0] else math.inf
        told = f"Twice the batch has {ratio:.2g} times the loss: its weight depends on batch size."
        return Check(name, "fail", told)
    if not _same(_value(loss, logits, masks), float(np.mean(single))):
        meaning = "The loss of a batch is not the mean over its images: small objects count less."
        return Check(name, "fail", meaning)
    return Check(name, "pass", "The loss of a batch is the mean over its images.")


def _size(loss: Loss, question: Question) -> Check:
    def enlarge(tensor: Tensor) -> Tensor:
        for axis in range(-len(question.space), 0):
            tensor = tensor.repeat_interleave(2, axis)
        return tensor

    name = "same for any image size"
    logits, mask = question.logits("too large", LOW)[:1], question.masks[:1]
    before = _value(loss, logits, mask)
    try:
        after = _value(loss, enlarge(logits), enlarge(mask))
    except Exception as error:  # a loss may be made for one size
        return Check(name, "fail", f"Another size raises {type(error).__name__}.")
    return _check(
        name,
        _same(before, after),
        "The loss does not depend on the number of pixels.",
        f"At twice the resolution the loss is {after:.3g} instead of {before:.3g}: its "
        "weight depends on image size.",
    )


def _classes(loss: Loss, question: Question) -> Check:
    name = "same for any class order"
    if question.channels < 2 + first_foreground(question.mode):
        return Check(name, "not applicable", "There is one foreground class.")
    logits, mask = question.logits("blurred", LOW)[:1], question.masks[:1]
    order = [*range(1, question.channels), 0]
    if question.mode == "multilabel":
        moved = mask[:, order]
    else:
        moved = torch.tensor(np.argsort(order))[mask]
    swapped = _value(loss, logits[:, order], moved)
    return _check(
        name,
        _same(_value(loss, logits, mask), swapped),
        "All classes count alike, the background too.",
        "The order of the classes matters: the background, or a class, counts differently.",
    )


def _values(question: Question, answers: Answers) -> Callable[[str, float], float]:
    """Return a function that looks up the mean loss of a state."""
    means = answers.values.mean(1)
    return lambda name, confidence: float(means[question.place(name, confidence)])


def _value(loss: Loss, logits: Tensor, target: Tensor) -> float:
    with torch.no_grad():
        return float(loss(logits, target))


def _sound(loss: Loss, logits: Tensor, target: Tensor) -> bool:
    try:
        value, gradient = value_and_gradient(loss, logits, target)
    except Exception:  # a loss that fails on a mask is not sound on it
        return False
    return math.isfinite(value) and (gradient is None or bool(torch.isfinite(gradient).all()))


def _dice(logits: Tensor, question: Question) -> float:
    """Return the mean DSC over the first images and the foregrounds that are present."""
    truth = question.truth[: len(logits)] > 0
    if question.mode == "multiclass":
        found = to_channels(logits.argmax(1), question.mode, question.channels) > 0
    else:
        found = logits > 0
    axes = tuple(range(2, truth.ndim))
    sizes = truth.sum(axes)
    scores = 2 * (found & truth).sum(axes) / (found.sum(axes) + sizes)
    first = first_foreground(question.mode)
    return float(scores[:, first:][sizes[:, first:] > 0].mean())


def _same(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=_SAME, abs_tol=1e-6)


def _check(name: str, passed: bool, good: str, bad: str, *, refuses: bool = False) -> Check:
    return Check(name, "pass" if passed else "fail", good if passed else bad, refuses)


def _listed(names: list[str]) -> str:
    *most, last = dict.fromkeys(names or [""])
    return (f"{', '.join(most)} and {last}" if most else last).capitalize()
