"""Ask a loss: masks, graded predictions of them, and its values and gradients there."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.datasets.phantom import phantom_image
from harmoseg.errors import HarmosegError
from harmoseg.losses.method import LossName, parse_loss
from harmoseg.losses.modes import Mode
from harmoseg.losses.named import ForeignLoss, make_loss
from harmoseg.losses.shelf import signed_distances
from harmoseg.store.reading import open_store

Loss = Callable[[Tensor, Tensor], Tensor]
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
REFERENCES = ("bce", "dice", "scc", "tversky", "focal", "rings")
"""Losses that every loss is compared with; `scc` is the squared Dice."""
COUNT = 8
"""Masks that a loss is asked on."""
SIZE = 128
_SHAPES = 3
"""Foreground classes of the phantom."""
LOW, HIGH = CONFIDENCES = (2.0, 4.0)
"""Logits of a prediction that is sure of itself: probabilities of 0.88 and 0.98."""
_NOISE = 0.5


@functools.lru_cache(maxsize=8)
def phantom_masks(
    classes: int, height: int = SIZE, width: int = SIZE, count: int = COUNT
) -> Tensor:
    """Return class indices (count, height, width) of the phantom's shapes.

    With two classes an image shows organs, lesions or vessels, in turn: large, small and thin
    objects. With more, every class is one of the shapes; more than three foregrounds stand side by
    side. `classes` counts the background.
    """
    masks = [_phantom(number, classes, height, width) for number in range(count)]
    return torch.from_numpy(np.stack(masks).astype(np.int64))


def _phantom(number: int, classes: int, height: int, width: int) -> NDArray[np.int_]:
    if classes == 2:
        label = _square(number, max(height, width))[:height, :width]
        wanted = (1, 3, 2)[number % 3]  # organ, lesion, vessel
        # The smaller shapes lie on the organ, which goes on below them.
        mask = label > 0 if wanted == 1 else label == wanted
        return mask.astype(int)
    cells = math.ceil((classes - 1) / _SHAPES)
    side = math.ceil(math.sqrt(cells))
    cell_height, cell_width = height // side, width // side
    masks = np.zeros((height, width), int)
    for cell in range(cells):
        top, left = cell // side * cell_height, cell % side * cell_width
        part = _square(number * cells + cell, max(cell_height, cell_width))
        part = part[:cell_height, :cell_width].astype(int)
        shown = np.where(part > 0, part + _SHAPES * cell, 0)
        masks[top : top + cell_height, left : left + cell_width] = np.minimum(shown, classes - 1)
    return masks


def _square(number: int, size: int) -> NDArray[np.uint8]:
    return phantom_image(number, size=size, domain="A", seed=0)[1]


def store_masks(path: Path, count: int = COUNT) -> tuple[Tensor, int]:
    """Return class indices (count, H, W) of a prepared store, and how many classes it has.

    At training resolution; spread from small to large foregrounds. Raises HarmosegError where the
    folder is no store, or none of its masks shows foreground.
    """
    store = open_store(path)
    foreground = np.array([np.count_nonzero(label) for label in store.labels])
    shown = np.flatnonzero(foreground)
    if not len(shown):
        raise HarmosegError(f"{path}: no mask shows foreground; nothing to ask a loss on")
    ordered = shown[np.argsort(foreground[shown], kind="stable")]
    places = (np.arange(count) + 0.5) / count * len(ordered)
    rows = ordered[np.unique(places.astype(int))]
    return torch.from_numpy(np.asarray(store.labels[rows], np.int64)), len(store.info.card.classes)


class State(NamedTuple):
    """Predictions of some masks that all make one mistake: `logits` are (N, C, *S)."""

    name: str
    kind: Literal["noise", "near", "truth", "inverse"]
    confidence: float
    logits: Tensor

    @property
    def title(self) -> str:
        """Return the name with the confidence; noise has one confidence alone."""
        return self.name if self.kind == "noise" else f"{self.name}, logit {self.confidence:g}"


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


def signed_distance(mask: Mask) -> Array:
    """Return the distance of every pixel to the outline: above 0 inside, below 0 outside.

    Pixels beside the outline have 0.5 and -0.5; a mask without an outline has +-infinity.
    """
    if mask.all() or not mask.any():
        return np.where(mask, np.inf, -np.inf)
    return np.asarray(0.5 - signed_distances(mask[None, None])[0, 0], dtype=np.float64)


def _edit(foreground: Tensor, edit: Callable[[Mask, int], NDArray[Any]]) -> Tensor:
    """Make a mistake in every channel of every mask that shows something."""
    edited = foreground.clone()
    step = max(1, round(min(foreground.shape[2:]) / 64))
    for number, channel in np.ndindex(*foreground.shape[:2]):
        mask = foreground[number, channel].numpy() > 0.5
        if mask.any() and not mask.all():
            soft = np.asarray(edit(mask, step), dtype=np.float32)
            edited[number, channel] = torch.from_numpy(soft)
    return edited


def _too_small(mask: Mask, step: int) -> Mask:
    distance = signed_distance(mask)
    # What is thinner than the step is halved.
    return np.asarray(distance > min(step, distance.max() / 2))


def _without_object(mask: Mask, _: int) -> Mask:
    """Leave out the smallest of several objects, or half of the only one."""
    labels, count = ndimage.label(mask)
    if count > 1:
        sizes = np.bincount(labels.ravel())[1:]
        return np.asarray(mask & (labels != 1 + int(sizes.argmin())))
    rows = np.argwhere(mask)[:, -1]
    return np.asarray(mask & (np.arange(mask.shape[-1]) < np.median(rows)))


def _with_object(mask: Mask, _: int) -> Mask:
    """Add a ball where there is most room."""
    place = np.unravel_index(int(signed_distance(mask).argmin()), mask.shape)
    grid = np.indices(mask.shape).T - np.asarray(place)
    radius = max(2.0, min(mask.shape) / 16)
    return np.asarray(mask | (radius > np.linalg.norm(grid, axis=-1).T))


def _ragged(mask: Mask, step: int) -> Mask:
    noise = np.random.default_rng(int(mask.sum())).normal(size=mask.shape)
    noise = ndimage.gaussian_filter(noise, step)
    return np.asarray(signed_distance(mask) + 1.5 * step * noise / noise.std() > 0)


_EDITS: dict[str, Callable[[Mask, int], NDArray[Any]]] = {
    "blurred": lambda mask, step: ndimage.gaussian_filter(mask.astype(float), step),
    "shifted": lambda mask, step: ndimage.shift(mask.astype(float), step, order=0),
    "too large": lambda mask, step: signed_distance(mask) > -step,
    "too small": _too_small,
    "missing object": _without_object,
    "false object": _with_object,
    "ragged outline": _ragged,
}


@dataclass(frozen=True)
class Answers:
    """The values and gradients of a loss for every state and image.

    `values` is (states, images); `gradients` (states, images, C, *S), on the logits. `of_two` is
    the value of two images together, NaN where it is no single number.
    """

    values: Array
    gradients: Tensor
    of_two: float


@dataclass(frozen=True)
class Question:
    """Masks, and graded predictions of them, with small `mistakes`.

    `masks` are class indices (N, *S), for ``"multilabel"`` 0 and 1, (N, C, *S).
    """

    mode: Mode
    channels: int
    masks: Tensor
    source: str
    mistakes: bool = True

    @property
    def space(self) -> tuple[int, ...]:
        """Return the size of a mask."""
        return tuple(self.masks.shape[2 if self.mode == "multilabel" else 1 :])

    @cached_property
    def truth(self) -> Tensor:
        """Return the masks of all channels as 0 and 1, (N, C, *S)."""
        return to_channels(self.masks, self.mode, self.channels)

    @cached_property
    def states(self) -> list[State]:
        """Return the graded predictions."""
        return graded_predictions(self.truth, self.mode, mistakes=self.mistakes)

    @cached_property
    def references(self) -> dict[str, Answers]:
        """Return the answers of the losses that every loss is compared with."""
        return {name: ask(make_loss(LossName(name), self.mode), self) for name in REFERENCES}

    def place(self, name: str, confidence: float) -> int:
        """Return the place of a state among all."""
        wanted = (confidence, _NOISE)
        return next(
            i
            for i, state in enumerate(self.states)
            if state.name == name and state.confidence in wanted
        )

    def logits(self, name: str, confidence: float) -> Tensor:
        """Return the predictions of one state."""
        return self.states[self.place(name, confidence)].logits


def make_question(
    mode: str, masks: Tensor | np.ndarray[Any, Any] | str | Path | None = None
) -> Question:
    """Return the masks and predictions that losses are asked on; make them once for several.

    `masks` are as in `harmoseg.xray`.
    """
    if mode not in get_args(Mode):
        raise HarmosegError(f"mode must be {' or '.join(get_args(Mode))}, got {mode!r}")
    classes = 1 + _SHAPES
    if masks is None:
        labels, source = phantom_masks(2 if mode == "binary" else classes), "phantom"
        if mode == "multilabel":
            # Organs, vessels and lesions overlap: the smaller shapes lie on the organ.
            labels = torch.stack([labels > 0, labels == 2, labels == 3], 1).long()
    elif isinstance(masks, str | Path):
        labels, classes = store_masks(Path(masks))
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


def ask(loss: Loss, question: Question) -> Answers:
    """Return the values and gradients of a loss, one image at a time.

    One at a time, since losses differ in how they sum over a batch. Where a loss has no gradient,
    that is 0. Raises whatever the loss raises.
    """
    values = np.zeros((len(question.states), len(question.masks)))
    gradients = torch.zeros(*values.shape, question.channels, *question.space)
    for i, state in enumerate(question.states):
        for j in range(len(question.masks)):
            values[i, j], gradient = value_and_gradient(
                loss, state.logits[j : j + 1], question.masks[j : j + 1]
            )
            if gradient is not None:
                gradients[i, j] = gradient[0]
    of_two, _ = value_and_gradient(loss, question.states[0].logits[:2], question.masks[:2])
    return Answers(values, gradients, of_two)


def value_and_gradient(loss: Loss, logits: Tensor, target: Tensor) -> tuple[float, Tensor | None]:
    """Return a loss's value, NaN where it is no single number, and its gradient on the logits."""
    given = logits.detach().clone().requires_grad_()
    value = loss(given, target)
    if not isinstance(value, Tensor) or value.numel() != 1:
        return float("nan"), None
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.reshape(()), given, allow_unused=True)
    return float(value.detach()), gradient


def as_loss(loss: Any, mode: str) -> tuple[str, nn.Module]:
    """Name a loss and make it: from a name, an import path or a Python object.

    An object is called as ``loss(logits, target)``, as an imported function is.
    """
    if isinstance(loss, str):
        loss = parse_loss(loss)
    if isinstance(loss, LossName):
        return str(loss), make_loss(loss, mode)
    name = str(getattr(loss, "__name__", type(loss).__name__))
    if isinstance(loss, nn.Module) and type(loss).__module__.startswith("harmoseg.losses"):
        return name, loss
    with_channel = bool(getattr(loss, "to_onehot_y", False))  # MONAI's conversion wants it
    return name, ForeignLoss(loss, mode, name=name, target="channel" if with_channel else "usual")
