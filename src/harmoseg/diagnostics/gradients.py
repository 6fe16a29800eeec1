"""Analysis of a loss's gradient: its frequencies, its likeness to other losses, places and cost."""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harmoseg.diagnostics.probe import (
    LOW,
    REFERENCES,
    Answers,
    Array,
    Loss,
    Question,
    first_foreground,
    signed_distance,
    to_logits,
    value_and_gradient,
)
from harmoseg.losses.method import LossName
from harmoseg.losses.named import make_loss
from harmoseg.spectrum import power_spectrum, radial_frequency

EDGES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
"""Edges of the octaves in cycles per pixel; the first one holds all below, the last all above."""
BASIS = ("bce", "dice", "scc")
BESIDE = ("bce", "dice", "rings")
NAMES = {
    "bce": "BCE",
    "dice": "Dice",
    "scc": "squared Dice",
    "tversky": "Tversky",
    "focal": "focal",
    "rings": "rings",
}
DISTANCES = (-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0)
"""Edges of the bins of distance to the outline, in pixels; below 0 is outside."""
_OUTSIDE = (
    "outside, beyond 8 px",
    "outside, 4 to 8 px",
    "outside, 2 to 4 px",
    "outside, 0 to 2 px",
)
_BINS = (*_OUTSIDE, *(name.replace("outside", "inside") for name in reversed(_OUTSIDE)))
_REPEATS = 5
_LONGEST = 1.0
"""Seconds after which a loss is not timed again."""


@dataclass(frozen=True)
class Spectrum:
    """Shares of the gradient's power per octave, averaged over images and graded predictions.

    `shares` has one share per octave of `EDGES`; `by_state` the same for every state; `beside` that
    of BCE, Dice and rings, and of the masks themselves.
    """

    shares: tuple[float, ...]
    by_state: dict[str, tuple[float, ...]]
    beside: dict[str, tuple[float, ...]]

    @property
    def above(self) -> dict[str, float]:
        """Return the shares of power above three frequencies, in cycles per pixel."""
        return {f"1/{2 ** (7 - i)}": sum(self.shares[i:]) for i in (3, 4, 5)}


@dataclass(frozen=True)
class Likeness:
    """The share of a loss's gradient that other losses explain.

    `explained` is the share of the gradient's power that one combination of BCE, Dice and squared
    Dice explains over all graded predictions, every state counted alike, and `coefficients` are
    those of the combination. `by_state` fits every state apart. `cosines` are the mean cosines to
    other losses' gradients.
    """

    explained: float
    coefficients: dict[str, float]
    by_state: dict[str, float]
    cosines: dict[str, float]


@dataclass(frozen=True)
class Pull:
    """Shares of a gradient's size by distance to the outline.

    `small_object` is the mean gradient per pixel on a missed object of 1/16 of the area, relative
    to that on a missed large one in the same image.
    """

    by_distance: dict[str, float]
    small_object: float


@dataclass(frozen=True)
class Cost:
    """Time of a value and gradient of a batch, and memory kept for it, relative to BCE."""

    seconds: float
    time: float
    memory: float


def octave_names() -> list[str]:
    """Name the octaves of a spectrum by the size of the details in them."""
    sizes = [round(1 / edge) for edge in EDGES]
    between = [f"{large} to {small} px" for large, small in itertools.pairwise(sizes)]
    return [f"above {sizes[0]} px", *between, f"below {sizes[-1]} px"]


def measure_spectrum(question: Question, answers: Answers) -> Spectrum:
    """Measure the gradient's power per octave, over the foreground channels."""
    bins = _octaves(question.space)
    counted = slice(first_foreground(question.mode), None)

    def measure(gradients: Tensor) -> Tensor:
        return torch.stack([_power_shares(state[:, counted], bins) for state in gradients])

    shares = measure(answers.gradients)
    beside = {name: measure(question.references[name].gradients).nanmean((0, 1)) for name in BESIDE}
    beside["masks"] = _power_shares(question.truth[:, counted], bins).nanmean(0)
    return Spectrum(
        tuple(shares.nanmean((0, 1)).tolist()),
        {
            question.states[i].title: tuple(share.nanmean(0).tolist())
            for i, share in enumerate(shares)
        },
        {name: tuple(values.tolist()) for name, values in beside.items()},
    )


def measure_likeness(question: Question, answers: Answers) -> Likeness:
    """Fit the gradient by those of BCE, Dice and squared Dice."""
    gradients = answers.gradients.flatten(1).double().numpy()
    sizes = np.linalg.norm(gradients, axis=1)
    used = [i for i, size in enumerate(sizes) if np.isfinite(size) and size > 0]
    if not used:
        return Likeness(0.0, dict.fromkeys(BASIS, 0.0), {}, dict.fromkeys(REFERENCES, 0.0))
    others = {
        name: found.gradients.flatten(1).double().numpy()
        for name, found in question.references.items()
    }
    basis = np.stack([others[name] for name in BASIS], axis=-1)
    # Every state counts alike: near the truth gradients are small, and matter no less.
    scaled = np.concatenate([basis[i] / sizes[i] for i in used])
    wanted = np.concatenate([gradients[i] / sizes[i] for i in used])
    coefficients, explained = _fit(scaled, wanted)
    cosines = {}
    for name, other in others.items():
        norms = np.linalg.norm(other, axis=1)
        products = [
            float(gradients[i] @ other[i] / (sizes[i] * norms[i])) for i in used if norms[i]
        ]
        cosines[name] = float(np.mean(products))
    return Likeness(
        explained,
        dict(zip(BASIS, coefficients.tolist(), strict=True)),
        {question.states[i].title: _fit(basis[i], gradients[i])[1] for i in used},
        cosines,
    )


def measure_pull(loss: Loss, question: Question, answers: Answers) -> Pull:
    """Measure the gradient by distance to the outline, at small mistakes, and on a small object."""
    channel = first_foreground(question.mode)
    near = [i for i, state in enumerate(question.states) if state.kind == "near"]
    totals = np.zeros(len(DISTANCES) + 1)
    for number, mask in enumerate(question.truth[:, channel].numpy() > 0):
        if mask.any() and not mask.all():
            places = np.digitize(signed_distance(mask), DISTANCES).ravel()
            sizes = answers.gradients[near, number, channel].abs().flatten(1).double()
            sums = sizes.sum(1, keepdim=True)
            weights = torch.where(sums > 0, sizes / sums, 0.0).sum(0).numpy()
            totals += np.bincount(places, weights=weights, minlength=len(totals))
    shares = totals / totals.sum() if totals.sum() > 0 else totals
    return Pull(dict(zip(_BINS, shares.tolist(), strict=True)), _small_object(loss, question))


def _small_object(loss: Loss, question: Question) -> float:
    """Miss a large and a small ball in one image, and compare the gradients on them."""
    space, channel = question.space, first_foreground(question.mode)
    grid = np.indices(space).T / np.asarray(space)
    radius = 0.2
    large = radius * min(space) > np.linalg.norm((grid - 0.3) * np.asarray(space), axis=-1).T
    small = radius * (1 / 16) ** (1 / len(space)) * min(space)
    ball = small > np.linalg.norm((grid - 0.75) * np.asarray(space), axis=-1).T
    mask = torch.zeros_like(question.masks[:1])
    shown = mask[:, 0] if question.mode == "multilabel" else mask
    shown[:] = torch.from_numpy(large | ball)
    logits = to_logits(torch.zeros(1, question.channels - channel, *space), question.mode, LOW)
    _, gradient = value_and_gradient(loss, logits, mask)
    if gradient is None:
        return float("nan")
    sizes = gradient[0, channel].abs().numpy()
    on_large = float(sizes[large].mean())
    return float(sizes[ball].mean()) / on_large if on_large else float("nan")


def measure_cost(loss: Loss, question: Question) -> Cost:
    """Time a loss on all masks as one batch, beside BCE."""
    logits, masks = question.logits("blurred", LOW), question.masks
    bce = make_loss(LossName("bce"), question.mode)
    seconds, memory = _measure(loss, logits, masks)
    reference, kept = _measure(bce, logits, masks)
    return Cost(seconds, seconds / reference, memory / kept)


def _measure(loss: Loss, logits: Tensor, masks: Tensor) -> tuple[float, int]:
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    given = logits.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(given, masks)
    taken: list[float] = []
    while len(taken) < _REPEATS and sum(taken) < _LONGEST:
        start = time.perf_counter()
        value = loss(given, masks)
        if value.requires_grad:
            torch.autograd.grad(value.sum(), given, allow_unused=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), sum(sizes.values())


def _octaves(space: tuple[int, ...]) -> Tensor:
    edges = torch.tensor(EDGES, dtype=torch.float64) - 1e-9
    return torch.bucketize(radial_frequency(space), edges, right=True).flatten()


def _power_shares(images: Tensor, bins: Tensor) -> Tensor:
    """Return the shares of power per octave of (N, C, *S), (N, octaves); NaN without power."""
    dims = images.ndim - 2
    power = power_spectrum(images.double(), spatial_dims=dims).sum(1).flatten(1)
    sums = torch.zeros(len(power), len(EDGES) + 1, dtype=torch.float64)
    sums.index_add_(1, bins, power)
    return sums / sums.sum(1, keepdim=True)


def _fit(basis: Array, wanted: Array) -> tuple[Array, float]:
    """Fit by least squares; return the coefficients and the share of power explained."""
    # Normal equations of unit columns: there are three columns, and millions of rows.
    gram, product = basis.T @ basis, basis.T @ wanted
    sizes = np.sqrt(np.diag(gram))
    sizes[sizes == 0] = 1.0
    scaled = gram / np.outer(sizes, sizes)
    coefficients = np.linalg.lstsq(scaled, product / sizes, rcond=1e-10)[0] / sizes
    explained = float(coefficients @ product) / float(wanted @ wanted)
    return coefficients, min(1.0, max(0.0, explained))
