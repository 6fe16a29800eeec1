"""The three modes of a loss: the shapes of logits and target, and the ignored pixels."""

from __future__ import annotations

from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor

Mode = Literal["binary", "multiclass", "multilabel"]
"""``"binary"``: logits (B, 1, *S), target (B, 1, *S) or (B, *S) with values in [0, 1].

``"multiclass"``: logits (B, C, *S), C >= 2, target (B, *S) or (B, 1, *S) of class indices.

``"multilabel"``: logits and target (B, C, *S), every channel a binary problem of its own.

*S is any number of spatial axes, one at least.
"""


class Pair(NamedTuple):
    """Logits and truth of one batch, checked and aligned.

    `logits` are (B, C, *S) in float32 or float64. `target` is (B, C, *S) in that dtype, or, for
    ``"multiclass"``, (B, 1, *S) class indices. `valid` is None where every pixel counts, else 1 and
    0 in the dtype of the logits and the shape of the target. Where it is 0, so are logits and
    target.
    """

    logits: Tensor
    target: Tensor
    valid: Tensor | None


def check_mode(mode: str) -> Mode:
    """Return `mode` or raise ValueError naming the modes there are."""
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    return cast(Mode, mode)


def align(mode: Mode, logits: Tensor, target: Tensor, ignore_index: int | None) -> Pair:
    """Check a batch against `mode` and bring it to one form.

    Raises ValueError naming both shapes.

    Ignored pixels are replaced before anything is computed, so that whatever stands there (NaN
    included) reaches neither the value nor the gradient.
    """
    # A target is a fact: no gradient goes into it, whichever way the sums are taken.
    logits, target = _plain(logits), _plain(target).detach()
    _check_shapes(mode, logits, target)
    if not target.dtype.is_floating_point:
        target = target.long()  # so that no ignore_index wraps around into a small integer type
    # float32 at least: a float16 sum over a full 512 x 512 mask overflows.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if mode != "multilabel":
        target = target.reshape(logits.shape[0], 1, *logits.shape[2:])
    valid = None
    if ignore_index is not None:
        kept = target != ignore_index
        valid = kept.to(logits.dtype)
        logits = torch.where(kept, logits, 0.0)
        target = torch.where(kept, target, 0)
    target = target.long() if mode == "multiclass" else target.to(logits.dtype)
    return Pair(logits, target, valid)


class TargetCheck:
    """Check the values of targets, as often as that costs nothing that can be measured.

    Values are looked at until a batch with foreground was right: masks of 0 and 255 are wrong in
    every batch. A compiled loss looks at none, nor does a loss of tensors without values.
    """

    def __init__(self) -> None:
        self._has_seen_foreground = False

    def __call__(self, mode: Mode, pair: Pair) -> None:
        """Raise ValueError where a value of the target is none of the mode's."""
        if self._has_seen_foreground or torch.compiler.is_compiling():
            return
        try:
            self._has_seen_foreground = check_values(mode, pair) > 0
        except RuntimeError:  # no values: fake tensors, the meta device, torch.func.vmap
            return


def check_values(mode: Mode, pair: Pair) -> float:
    """Return the largest value of a target; raise ValueError where some value cannot be meant."""
    low, high = (float(value) for value in torch.aminmax(pair.target))
    largest = pair.logits.shape[1] - 1 if mode == "multiclass" else 1
    if low < 0 or high > largest:
        if mode == "multiclass":
            cure = "set ignore_index to leave pixels out, or map the labels to class indices"
        else:
            cure = "pass mask > 0" if high > 1 and low >= 0 else "scale the mask to 0 to 1"
        raise ValueError(
            f"the target holds values from {low:g} to {high:g}, mode {mode!r} takes 0 to "
            f"{largest}; {cure}"
        )
    return high


def probabilities(mode: Mode, pair: Pair) -> Tensor:
    """Return the probabilities of logits, (B, C, *S), 0 at ignored pixels.

    A softmax over the classes for ``"multiclass"``, a sigmoid per channel else.
    """
    softmax = mode == "multiclass"
    pred = torch.softmax(pair.logits, dim=1) if softmax else torch.sigmoid(pair.logits)
    return pred if pair.valid is None else pred * pair.valid


def _plain(tensor: Tensor) -> Tensor:
    # Subclasses such as MONAI's MetaTensor carry metadata through every operation; a loss has no
    # use for it. Asked for only where there is one: torch.compile cannot trace the conversion.
    return tensor if type(tensor) is Tensor else tensor.as_subclass(Tensor)


def one_hot(mode: Mode, pair: Pair) -> Tensor:
    """Return the truth as (B, C, *S) in the dtype of the logits, 0 at ignored pixels."""
    if mode != "multiclass":
        return pair.target
    # A scatter, since it refuses an index that is no class.
    truth = torch.zeros_like(pair.logits).scatter_(1, pair.target, 1.0)
    return truth if pair.valid is None else truth * pair.valid


def _check_shapes(mode: Mode, logits: Tensor, target: Tensor) -> None:
    if logits.ndim < 3:
        raise ValueError(
            f"logits must be (batch, channel, *space), got shape {tuple(logits.shape)}"
        )
    batch, channels, *space = logits.shape
    if logits.numel() == 0:
        raise ValueError(f"logits hold nothing to learn from, shape {tuple(logits.shape)}")
    if mode == "binary" and channels != 1:
        raise ValueError(
            f'mode "binary" takes logits with 1 channel, got {channels}; use "multiclass" for one '
            'class per pixel, "multilabel" for channels that may overlap'
        )
    if mode == "multiclass" and channels < 2:
        raise ValueError(
            f'mode "multiclass" takes logits with 2 or more channels, got {channels}; '
            'use "binary" for a single foreground'
        )
    allowed: set[tuple[int, ...]] = {(batch, *space), (batch, 1, *space)}
    if mode == "multilabel":
        allowed = {tuple(logits.shape)}
    if tuple(target.shape) not in allowed:
        raise ValueError(
            f"target must be {' or '.join(str(shape) for shape in sorted(allowed))} for logits of "
            f"shape {tuple(logits.shape)} in mode {mode!r}, got {tuple(target.shape)}"
        )
    if mode == "multiclass" and target.dtype.is_floating_point:
        raise ValueError(
            f'mode "multiclass" takes integer class indices, got {target.dtype}; '
            "call target.long(), or argmax over the channels of a one-hot mask"
        )
