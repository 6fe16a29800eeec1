"""Encoders of segmentation-models-pytorch: their names, and what of them a network uses."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import timm
import torch
from segmentation_models_pytorch.encoders import encoders as library_encoders
from segmentation_models_pytorch.encoders import get_encoder_names
from torch import Tensor, nn
from torch.func import functional_call

from harmoseg.errors import HarmosegError

PROBE_SIZE = (224, 256)
"""Height and width that an encoder is tried at: not square, so that a fixed size is found out."""


def check_encoder(encoder: str, *, imagenet: bool = False) -> None:
    """Raise HarmosegError unless the library knows `encoder`, and has weights where asked."""
    if encoder.startswith("tu-"):
        _check_timm(encoder, imagenet=imagenet)
        return
    names = get_encoder_names()
    if encoder not in names:
        nearest = difflib.get_close_matches(encoder, names, n=1, cutoff=0.0)[0]
        raise HarmosegError(
            f"unknown encoder {encoder!r}; did you mean {nearest!r}? "
            "(any encoder of segmentation-models-pytorch, or tu-NAME for one of timm)"
        )
    settings = library_encoders[encoder]["pretrained_settings"]
    if imagenet and "imagenet" not in settings:
        raise HarmosegError(
            f"segmentation-models-pytorch has no ImageNet weights for encoder {encoder!r} (only "
            f"{', '.join(sorted(settings))}); choose another encoder, or give a local "
            ".safetensors file as weights"
        )


def _check_timm(encoder: str, *, imagenet: bool) -> None:
    name = encoder.removeprefix("tu-")
    base = name.partition(".")[0]  # NAME.TAG says which weights
    if not timm.is_model(base):
        nearest = difflib.get_close_matches(base, timm.list_models(), n=1, cutoff=0.0)[0]
        raise HarmosegError(
            f"unknown encoder {encoder!r}: timm has no {base!r}; did you mean 'tu-{nearest}'?"
        )
    if imagenet and not timm.models.is_model_pretrained(name):
        raise HarmosegError(
            f"timm has no weights for {name!r}; choose another encoder, or give a local "
            ".safetensors file as weights"
        )


@dataclass(frozen=True)
class Examination:
    """Shapes (C, H, W) of an encoder's features, and the parameters that they ignore."""

    shapes: tuple[tuple[int, ...], ...]
    unused: frozenset[str]


def examine(encoder: nn.Module, name: str, in_channels: int) -> Examination:
    """Send an image without content through an encoder: shapes and gradients, no arithmetic.

    Raises HarmosegError where the encoder takes images of one size only.
    """
    parameters = {
        key: torch.empty_like(value, device="meta").requires_grad_()
        for key, value in encoder.named_parameters()
    }
    buffers = {
        key: torch.empty_like(value, device="meta") for key, value in encoder.named_buffers()
    }
    image = torch.empty(2, in_channels, *PROBE_SIZE, device="meta")
    modes = {module: module.training for module in encoder.modules()}
    try:
        with torch.enable_grad():
            features: list[Tensor] = functional_call(
                encoder.eval(), {**parameters, **buffers}, (image,)
            )
            total = torch.stack([value.sum() for value in features if value.requires_grad]).sum()
            gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        cure = "; strict_img_size=False may free it" if "match model" in reason else ""
        raise HarmosegError(
            f"encoder {name!r} does not take images of any size (at {PROBE_SIZE[0]} x "
            f"{PROBE_SIZE[1]}: {reason}); choose another encoder{cure}"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    unused = (key for key, found in zip(parameters, gradients, strict=True) if found is None)
    return Examination(tuple(tuple(value.shape[1:]) for value in features), frozenset(unused))


def freeze_unused(encoder: nn.Module, name: str, in_channels: int) -> None:
    """Freeze encoder parameters that no feature depends on.

    Distributed training waits for the gradient of every parameter that wants one: some families
    carry layers for classification, and most build all stages whatever the depth.
    """
    unused = examine(encoder, name, in_channels).unused
    for key, parameter in encoder.named_parameters():
        if key in unused:
            parameter.requires_grad_(False)


def drop_unused(encoder: nn.Module, name: str, in_channels: int) -> Examination:
    """Remove the layers that no feature depends on: they would be dead weight in every file.

    Where an encoder cannot do without them they stay, frozen. Returns what the encoder is.
    """
    before = examine(encoder, name, in_channels)
    paths = list(_unused_modules(encoder, before.unused))
    removed = {path: encoder.get_submodule(path) for path in paths}
    for path in paths:
        encoder.set_submodule(path, _Dropped())
    try:
        works = examine(encoder, name, in_channels).shapes == before.shapes
    except (AttributeError, HarmosegError, TypeError):
        # It looks into them, or mixes what they give with what it needs (HRNet's branches).
        works = False
    if not works:
        for path, module in removed.items():
            encoder.set_submodule(path, module)
    freeze_unused(encoder, name, in_channels)
    return before


class _Dropped(nn.Module):
    """Placeholder of a removed layer.

    Some families still call the layers behind the last feature, and leave their result unused.
    """

    def forward(self, features: Any, *_: Any, **__: Any) -> Any:
        """Return the first argument."""
        return features


def _unused_modules(module: nn.Module, unused: frozenset[str], path: str = "") -> Iterator[str]:
    """Name the largest modules all of whose parameters are unused."""
    names = {name for name, _ in module.named_parameters(prefix=path)}
    if not names & unused:
        return
    if names <= unused:
        yield path
        return
    for name, child in module.named_children():
        yield from _unused_modules(child, unused, f"{path}.{name}" if path else name)
