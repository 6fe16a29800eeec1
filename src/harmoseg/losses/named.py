"""Losses by name: one of harmoseg's, or of another library or a user's file by its import path."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NoReturn, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harmoseg.errors import HarmosegError
from harmoseg.imports import hash_object, import_object
from harmoseg.losses.frequencies import FocalFrequencyLoss, WaveletInformationLoss
from harmoseg.losses.harmonized import HarmonizedLoss
from harmoseg.losses.method import LossName, Option
from harmoseg.losses.modes import Mode, check_mode
from harmoseg.losses.regions import (
    BoundaryLoss,
    ClDiceLoss,
    FocalLoss,
    GeneralisedDiceLoss,
    HausdorffLoss,
    LovaszLoss,
    SkeletonRecallLoss,
    TopKLoss,
    TverskyLoss,
)
from harmoseg.losses.shelf import NAMED_MAPS, MakeMap, class_masks, to_tensor
from harmoseg.losses.spectral import BandName, SpectralCorrelationLoss
from harmoseg.spectrum import Reduction

Loss = Callable[..., Tensor]
_CHOICES: dict[str, tuple[Any, ...]] = {
    "input": ("logits", "probabilities"),
    "target": ("usual", "channel", "onehot", "map"),
    "target_first": (False, True),
}
CALLING = (*_CHOICES, "map", "schedule")
"""Options that say how a loss is called; all others go to its constructor."""


@dataclass(frozen=True)
class Moment:
    """A moment of training, counted from 0: `epoch` of `epochs`, and `step` of `steps` in all."""

    epoch: int
    epochs: int
    step: int
    steps: int


_LATE = Moment(99, 100, 999, 1000)
"""The moment of a loss that is asked without a training: most schedules end at the whole loss."""
_MOMENTS = tuple(field.name for field in fields(Moment))


class ForeignLoss(nn.Module):
    """Call a loss of another library, or a function, as ``loss(logits, target)``.

    Args:
        loss: The loss.
        mode: ``"binary"``, ``"multiclass"`` or ``"multilabel"``.
        name: What messages call it.
        input: What it takes: ``"logits"``, or ``"probabilities"`` (sigmoid, or softmax over the
            classes).
        target: ``"usual"``: floats (B, C, *S) with C 1 for ``"binary"``, class indices (B, *S) for
            ``"multiclass"``; ``"channel"``: class indices (B, 1, *S); ``"onehot"``: floats
            (B, C, *S); ``"map"``: the map in the place of the target.
        target_first: Whether the target is the first argument.
        map: A map of the truth that the loss takes as third argument, (B, C, *S): ``"distances"``,
            ``"tubes"`` (see `harmoseg.losses.shelf`), or a function of masks (B, C, *S), or
            its import path.
        schedule: Which of ``epoch``, ``epochs``, ``step`` and ``steps`` the loss takes as keywords;
            see `Moment`. Without a training the loss is asked at the end of one.

    The arithmetic is float32, outside of autocast. ``forward`` takes logits (B, C, *S) and a target
    of class indices (B, *S) or (B, 1, *S), of floats (B, C, *S) for ``"multilabel"``. It raises
    HarmosegError, which names the loss, where the loss fails or returns no tensor.
    """

    def __init__(
        self,
        loss: Loss,
        mode: str,
        *,
        name: str = "",
        input: Literal["logits", "probabilities"] = "logits",
        target: Literal["usual", "channel", "onehot", "map"] = "usual",
        target_first: bool = False,
        map: str | MakeMap | None = None,
        schedule: str | Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.loss, self.mode = loss, check_mode(mode)
        self.name = name or type(loss).__name__
        self.input, self.target, self.target_first = input, target, target_first
        for option, choices in _CHOICES.items():
            if getattr(self, option) not in choices:
                self._refuse(option, choices, getattr(self, option))
        self.schedule = (schedule,) if isinstance(schedule, str) else tuple(schedule)
        for word in self.schedule:
            if word not in _MOMENTS:
                self._refuse("schedule", _MOMENTS, word)
        if target == "map" and map is None:
            raise HarmosegError(f"loss {self.name}: target=map needs the option map")
        self._map = self._find_map(map)
        self.takes_map = self._map is not None
        self.moment = _LATE

    def forward(self, logits: Tensor, target: Tensor, case_map: Tensor | None = None) -> Tensor:
        """Return what the loss returns."""
        pred, truth = self._prepare(logits.float(), target)
        if self.takes_map and case_map is None:
            labels = target.detach().reshape(-1, *logits.shape[2:])
            if self.mode == "multilabel":
                labels = target.detach()
            case_map = self.make_map(labels.cpu().numpy(), logits.shape[1]).to(logits.device)
        given = [pred, case_map if self.target == "map" else truth]
        if self.target_first:
            given.reverse()
        if self.takes_map and self.target != "map":
            given.append(case_map)
        keywords = {word: getattr(self.moment, word) for word in self.schedule}
        try:
            with torch.autocast(logits.device.type, enabled=False):
                value = self.loss(*given, **keywords)
        except Exception as error:  # any mistake of a user's code: the message names it
            wanted = [word for word in _MOMENTS if f"'{word}'" in str(error)]
            cure = f"; add the option schedule=[{','.join(wanted)}]" if wanted else ""
            raise HarmosegError(
                f"loss {self.name}: failed on logits {tuple(logits.shape)} and target "
                f"{tuple(truth.shape)} ({truth.dtype}): {type(error).__name__}: {error}{cure}"
            ) from error
        if not isinstance(value, Tensor):
            raise HarmosegError(
                f"loss {self.name}: loss(logits, target) must return a tensor, got "
                f"{type(value).__name__}"
            )
        return value

    def make_map(self, target: NDArray[Any], channels: int) -> Tensor:
        """Return the map of a target, (B, C, *S); see `harmoseg.losses.shelf.class_masks`."""
        if self._map is None:
            raise ValueError(f"loss {self.name} takes no map")
        masks = class_masks(self.mode, target, channels)
        try:
            return to_tensor(self._map(masks), masks)
        except Exception as error:  # any mistake of a user's function
            raise HarmosegError(
                f"loss {self.name}: its map failed on masks {masks.shape}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _prepare(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        multiclass = self.mode == "multiclass"
        if self.input == "probabilities":
            logits = logits.softmax(1) if multiclass else logits.sigmoid()
        if not multiclass:
            return logits, target.reshape(logits.shape).float()
        target = target.reshape(len(logits), 1, *logits.shape[2:])
        if self.target == "onehot":
            return logits, F.one_hot(target[:, 0].long(), logits.shape[1]).movedim(-1, 1).float()
        return logits, target if self.target == "channel" else target[:, 0].long()

    def _find_map(self, given: str | MakeMap | None) -> MakeMap | None:
        if not isinstance(given, str):
            return given
        if "." in given:
            found: MakeMap = import_object(given, "loss")
            return found
        if given not in NAMED_MAPS:
            self._refuse("map", (*NAMED_MAPS, "the import path of a function of masks"), given)
        return NAMED_MAPS[given]

    def _refuse(self, option: str, choices: Sequence[Any], value: Any) -> NoReturn:
        expected = " or ".join(str(choice).lower() for choice in choices)
        raise HarmosegError(f"loss {self.name}: {option} must be {expected}, got {value!r}")


def import_loss(loss: LossName, mode: str) -> ForeignLoss:
    """Import a loss and make it, with its options.

    A function is called as it is, with its options as keywords. A class is made with the options,
    and with what its constructor knows of logits and of the mode, in the words of
    segmentation-models-pytorch and MONAI. Raises HarmosegError where the path cannot be imported,
    or the loss cannot be made.
    """
    path, short = loss.name, loss.name.rpartition(".")[2].removeprefix("py:")
    calling: dict[str, Any] = {k: v for k, v in loss.options if k in CALLING}
    options = {k: v for k, v in loss.options if k not in CALLING}
    found = import_object(path, "loss")
    if not callable(found):
        raise HarmosegError(f"loss {path}: is no loss but {type(found).__name__}")
    if not inspect.isclass(found):
        made = functools.partial(found, **options) if options else found
        return ForeignLoss(made, mode, name=path, **calling)
    known = _words(found, mode, calling.get("input", "logits"), calling.get("target", "usual"))
    options = {**known, **{name: _listed(value) for name, value in options.items()}}
    try:
        made = found(**options)
    except Exception as error:  # any mistake of a user's constructor
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise HarmosegError(
            f"loss {path}: {short}({given}) cannot be made ({error}); write what it needs in "
            f"parentheses, such as {short}(alpha=0.3), or name a function loss(logits, target) in "
            "a file of yours"
        ) from error
    if not callable(made):
        raise HarmosegError(f"loss {path}: what it makes cannot be called as loss(logits, target)")
    if "target" not in calling and options.get("to_onehot_y"):
        calling["target"] = "channel"  # MONAI's one-hot conversion wants the channel
    return ForeignLoss(made, mode, name=path, **calling)


def source_hash(losses: Sequence[LossName]) -> str | None:
    """Hash the files of imported losses: those of the modules named, and those that define them.

    Part of what determines a run: a loss that was edited is another loss. None where no loss is
    imported, and where there is no file, as for compiled code.
    """
    paths = [
        path
        for loss in losses
        if loss.is_imported
        for path in (loss.name, dict(loss.options).get("map"))
        if isinstance(path, str) and "." in path
    ]
    hashes = [hash_object(path, "loss") for path in paths]
    known = [found for found in hashes if found]
    if len(known) < 2:
        return known[0] if known else None
    return hashlib.sha256("".join(known).encode()).hexdigest()


def _words(loss: type, mode: str, given: str, target: str) -> dict[str, Any]:
    """Return the options of a constructor that concern logits and the mode.

    The names are those of segmentation-models-pytorch (mode, from_logits) and MONAI (the others).
    """
    multiclass, logits = mode == "multiclass", given == "logits"
    known: dict[str, Any] = {
        "mode": mode,
        "sigmoid": logits and not multiclass,
        "softmax": logits and multiclass,
        "use_softmax": logits and multiclass,
        "to_onehot_y": multiclass and target != "onehot",
    }
    if not logits:
        known["from_logits"] = False
    parameters = inspect.signature(loss).parameters
    return {name: value for name, value in known.items() if name in parameters}


def _listed(value: Option) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


class PartLoss(nn.Module):
    """One part of `HarmonizedLoss`: ``"pixel"`` (BCE or cross-entropy) or ``"dice"`` (1 - Dice).

    ``loss(logits, target)`` returns a scalar; shapes are those of `Mode`.
    """

    def __init__(self, part: str, mode: Mode, **shared: Any) -> None:
        super().__init__()
        self.part = part
        self.harmonized = HarmonizedLoss(mode, spectral_weight=0.0, **shared)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the part."""
        return self.harmonized.terms(logits, target)[self.part]


_MAKERS: dict[str, Callable[..., nn.Module]] = {
    "bce": functools.partial(PartLoss, "pixel"),
    "dice": functools.partial(PartLoss, "dice"),
    "scc": SpectralCorrelationLoss,
    **{name: functools.partial(SpectralCorrelationLoss, bands=name) for name in get_args(BandName)},
    "focal": FocalLoss,
    "topk": TopKLoss,
    "tversky": TverskyLoss,
    "focal-tversky": functools.partial(TverskyLoss, gamma=4 / 3),
    "generalised-dice": GeneralisedDiceLoss,
    "lovasz": LovaszLoss,
    "boundary": BoundaryLoss,
    "hausdorff-dt": HausdorffLoss,
    "cldice": ClDiceLoss,
    "skeleton-recall": SkeletonRecallLoss,
    "focal-frequency": FocalFrequencyLoss,
    "cwmi": WaveletInformationLoss,
}
"""By name: a function of the mode, with `reduction`, `across_ranks` and the loss's own options."""


def make_loss(
    loss: LossName, mode: str, *, reduction: Reduction = "batch", across_ranks: bool = False
) -> nn.Module:
    """Make a loss, called as ``loss(logits, target)``, that returns a scalar.

    Shapes are those of `Mode`. `across_ranks` is that of `HarmonizedLoss`; an imported loss sees
    the batch of its own process. Raises HarmosegError for an unknown option, and where a loss
    cannot be imported or made.
    """
    if loss.is_imported:
        return import_loss(loss, mode)
    maker = _MAKERS[loss.name]
    parameters = inspect.signature(maker).parameters
    known = [name for name in parameters if name not in _NO_OPTIONS]
    if "shared" in parameters and "include_background" not in known:
        known.append("include_background")
    unknown = [name for name, _ in loss.options if name not in known]
    if unknown:
        raise HarmosegError(
            f"loss {loss.name}: unknown option {unknown[0]!r}; it has {', '.join(known) or 'none'}"
        )
    for name, value in loss.options:
        usual = parameters[name].default if name in parameters else None
        if isinstance(value, str) and isinstance(usual, int | float):
            kind = "true or false" if isinstance(usual, bool) else "a number"
            raise HarmosegError(f"loss {loss.name}: {name} must be {kind}, got {value!r}")
    try:
        return maker(mode, reduction=reduction, across_ranks=across_ranks, **dict(loss.options))
    except (TypeError, ValueError) as error:
        raise HarmosegError(f"loss {loss}: {error}") from error


_NO_OPTIONS = ("mode", "reduction", "across_ranks", "shared", "bands", "ignore_index")
"""Arguments of the makers that a method does not spell as options."""
