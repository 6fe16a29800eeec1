"""Graded predictions of masks: from noise through small mistakes to the truth, and its inverse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from harmoseg.losses.modes import Mode
from harmoseg.losses.shelf import signed_distances

Kind = Literal["noise", "near", "truth", "inverse"]
Array = NDArray[np.float64]
CONFIDENCES = (2.0, 4.0)
"""Logits of a prediction that is sure of itself: probabilities of 0.88 and 0.98."""
_NOISE = 0.5


class State(NamedTuple):
    """Predictions of some masks that all make one mistake: `logits` are (N, C, *S)."""

    name: str
    kind: Kind
    confidence: float
    logits: Tensor


def graded_predictions(truth: Tensor, mode: Mode, *, mistakes: bool = True) -> list[State]:
    """Return graded predictions of a truth (N, C, *S) of 0 and 1.

    Noise; at every confidence small `mistakes`, if wanted, the truth and its inverse. A confidence
    c is a logit of c and -c; for ``"multiclass"`` the true class stands c above the others.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(truth.shape, generator=generator) * _NOISE
    states = [State("noise", "noise", _NOISE, noise)]
    foreground = truth[:, first_foreground(mode) :]
    edited = {name: _edit(foreground, edit) for name, edit in _EDITS.items() if mistakes}
    for confidence in CONFIDENCES:
        for name, soft in edited.items():
            logits = to_logits(soft, mode, confidence)
            states.append(State(name, "near", confidence, logits))
        right = to_logits(foreground, mode, confidence)
        states.append(State("truth", "truth", confidence, right))
        states.append(State("inverse", "inverse", confidence, -right))
    return states


def first_foreground(mode: Mode) -> int:
    """Return the number of the first foreground channel."""
    return 1 if mode == "multiclass" else 0


def to_channels(masks: Tensor, mode: Mode, channels: int) -> Tensor:
    """Return masks as 0 and 1, (N, C, *S): see `Question` for their shape."""
    if mode == "multiclass":
        return F.one_hot(masks, channels).movedim(-1, 1).float()
    return (masks if mode == "multilabel" else masks[:, None]).float()


def to_logits(foreground: Tensor, mode: Mode, confidence: float) -> Tensor:
    """Return logits of soft foregrounds in [0, 1], (N, foregrounds, *S)."""
    if mode != "multiclass":
        return confidence * (2 * foreground - 1)
    background = 1 - foreground.amax(1, keepdim=True)
    return confidence * (torch.cat([background, foreground], 1) - 0.5)


def signed_distance(mask: NDArray[np.bool_]) -> Array:
    """Return the distance of every pixel to the outline: above 0 inside, below 0 outside.

    Pixels beside the outline have 0.5 and -0.5; a mask without an outline has +-infinity.
    """
    if mask.all() or not mask.any():
        return np.where(mask, np.inf, -np.inf)
    return np.asarray(0.5 - signed_distances(mask[None, None])[0, 0], dtype=np.float64)


def _edit(foreground: Tensor, edit: Callable[[NDArray[np.bool_], int], Array]) -> Tensor:
    """Make a mistake in every channel of every mask that shows something."""
    edited = foreground.clone()
    step = max(1, round(min(foreground.shape[2:]) / 64))
    for number, channel in np.ndindex(*foreground.shape[:2]):
        mask = foreground[number, channel].numpy() > 0.5
        if mask.any() and not mask.all():
            soft = np.asarray(edit(mask, step), dtype=np.float32)
            edited[number, channel] = torch.from_numpy(soft)
    return edited


def _blurred(mask: NDArray[np.bool_], step: int) -> Array:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(mask.astype(float), step))


def _shifted(mask: NDArray[np.bool_], step: int) -> Array:
    from scipy import ndimage

    return np.asarray(ndimage.shift(mask.astype(float), step, order=0))


def _too_large(mask: NDArray[np.bool_], step: int) -> Array:
    return np.asarray(signed_distance(mask) > -step, float)


def _too_small(mask: NDArray[np.bool_], step: int) -> Array:
    distance = signed_distance(mask)
    # What is thinner than the step is halved.
    return np.asarray(distance > min(step, distance.max() / 2), float)


def _without_object(mask: NDArray[np.bool_], _: int) -> Array:
    """Leave out the smallest of several objects, or half of the only one."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count > 1:
        sizes = np.bincount(labels.ravel())[1:]
        return np.asarray(mask & (labels != 1 + int(sizes.argmin())), float)
    rows = np.argwhere(mask)[:, -1]
    return np.asarray(mask & (np.arange(mask.shape[-1]) < np.median(rows)), float)


def _with_object(mask: NDArray[np.bool_], _: int) -> Array:
    """Add a ball where there is most room."""
    distance = signed_distance(mask)
    place = np.unravel_index(int(distance.argmin()), mask.shape)
    grid = np.indices(mask.shape).T - np.asarray(place)
    radius = max(2.0, min(mask.shape) / 16)
    return np.asarray(mask | (radius > np.linalg.norm(grid, axis=-1).T), float)


def _ragged(mask: NDArray[np.bool_], step: int) -> Array:
    from scipy import ndimage

    noise = np.random.default_rng(int(mask.sum())).normal(size=mask.shape)
    noise = ndimage.gaussian_filter(noise, step)
    return np.asarray(signed_distance(mask) + 1.5 * step * noise / noise.std() > 0, float)


_EDITS = {
    "blurred": _blurred,
    "shifted": _shifted,
    "too large": _too_large,
    "too small": _too_small,
    "missing object": _without_object,
    "false object": _with_object,
    "ragged outline": _ragged,
}
