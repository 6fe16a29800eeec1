"""What a loss is given: the three modes, their shapes, and the ignored pixels."""

from __future__ import annotations

from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor

Mode = Literal["binary", "multiclass"]
"""``"binary"``: logits (B, 1, *S), target (B, 1, *S) or (B, *S) with values in [0, 1].

``"multiclass"``: logits (B, C, *S), C >= 2, target (B, *S) or (B, 1, *S) of class indices.

*S is any number of spatial axes, one at least.
"""


class Pair(NamedTuple):
    """Logits and truth of one batch, checked and aligned.

    `logits` is (B, C, *S) in float32 or float64. `target` is (B, 1, *S) in that dtype for
    ``"binary"`` and (B, *S) int64 for ``"multiclass"``. `valid` is None where every pixel counts,
    else a (B, 1, *S) mask; logits and target are 0 where it is False.
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
    """Check a batch against `mode` and bring it to one form. Raises ValueError naming both shapes.

    Ignored pixels are replaced before anything is computed, so that whatever stands there (NaN
    included) reaches neither the value nor the gradient.
    """
    _check_shapes(mode, logits, target)
    # float32 at least: a float16 sum over a full 512 x 512 mask overflows.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labels = target.reshape(logits.shape[0], 1, *logits.shape[2:])
    valid = None
    if ignore_index is not None:
        valid = labels != ignore_index
        labels = torch.where(valid, labels, torch.zeros_like(labels))
        logits = torch.where(valid, logits, torch.zeros_like(logits))
    if mode == "binary":
        return Pair(logits, labels.to(logits.dtype), valid)
    return Pair(logits, labels.squeeze(1).long(), valid)


def probabilities(mode: Mode, pair: Pair) -> Tensor:
    """Turn logits into probabilities (B, C, *S): sigmoid for binary, softmax over classes else."""
    if mode == "binary":
        return torch.sigmoid(pair.logits)
    return torch.softmax(pair.logits, dim=1)


def one_hot(mode: Mode, pair: Pair) -> Tensor:
    """Give the truth as (B, C, *S) in the dtype of the logits; all zero at ignored pixels."""
    if mode == "binary":
        truth = pair.target
    else:
        classes = torch.arange(pair.logits.shape[1], device=pair.target.device)
        classes = classes.reshape(1, -1, *[1] * (pair.target.ndim - 1))
        truth = (pair.target.unsqueeze(1) == classes).to(pair.logits.dtype)
    return truth if pair.valid is None else truth * pair.valid


def _check_shapes(mode: Mode, logits: Tensor, target: Tensor) -> None:
    if logits.ndim < 3:
        raise ValueError(
            f"logits must be (batch, channel, *space), got shape {tuple(logits.shape)}"
        )
    batch, channels, *space = logits.shape
    if mode == "binary" and channels != 1:
        raise ValueError(
            f'mode "binary" takes logits with 1 channel, got {channels}; '
            'use "multiclass" for one class per pixel'
        )
    if mode == "multiclass" and channels < 2:
        raise ValueError(
            f'mode "multiclass" takes logits with 2 or more channels, got {channels}; '
            'use "binary" for a single foreground'
        )
    if target.shape not in {(batch, *space), (batch, 1, *space)}:
        raise ValueError(
            f"target must be {(batch, *space)} or {(batch, 1, *space)} for logits of shape "
            f"{tuple(logits.shape)}, got {tuple(target.shape)}"
        )
    if mode == "multiclass" and target.dtype.is_floating_point:
        raise ValueError(
            f'mode "multiclass" takes integer class indices, got {target.dtype}; '
            "call target.long() or argmax over the channels of a one-hot mask"
        )
