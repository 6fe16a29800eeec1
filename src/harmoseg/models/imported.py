"""A network of somebody's own, named by an import path or by a file and a function in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harmoseg.errors import HarmosegError
from harmoseg.imports import import_object


def build_imported(path: str, in_channels: int, classes: int, **options: Any) -> nn.Module:
    """Build the network that a class or a function makes, called with `in_channels` and `classes`.

    Raises HarmosegError where it cannot be imported or made, and where it makes no module.
    """
    make = import_object(path, "model")
    try:
        network = make(in_channels=in_channels, classes=classes, **options)
    except Exception as error:  # somebody's constructor may hold any mistake
        raise HarmosegError(
            f"model {path}: cannot be made with in_channels={in_channels}, classes={classes} "
            f"({type(error).__name__}: {error}); write a function with these two arguments that "
            "returns the network"
        ) from error
    if not isinstance(network, nn.Module):
        raise HarmosegError(
            f"model {path}: returned {type(network).__name__}, expected a torch.nn.Module"
        )
    return network


def check_imported(
    path: str, network: nn.Module, in_channels: int, classes: int, space: tuple[int, int]
) -> None:
    """Raise HarmosegError unless a network maps images to logits and can be trained.

    It is asked once, in training mode, on two images of noise of `space`, and left as it was.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise HarmosegError(f"model {path}: no parameter wants a gradient; nothing can be trained")
    images = torch.rand(2, in_channels, *space, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training, state = network.training, torch.get_rng_state()
    try:
        found = network.train()(images)
        _check_logits(path, found, (2, classes, *space))
        found.float().square().mean().backward()
    except HarmosegError:
        raise
    except Exception as error:  # whatever somebody's code does, the message names the code
        raise HarmosegError(
            f"model {path}: failed on images of shape {tuple(images.shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        network.train(training)
        network.zero_grad()
        network.load_state_dict(before)
        torch.set_rng_state(state)


def _check_logits(path: str, found: object, shape: tuple[int, ...]) -> None:
    if not isinstance(found, Tensor):
        raise HarmosegError(
            f"model {path}: returned {type(found).__name__} for a batch, expected one tensor of "
            "logits; return the main output alone"
        )
    if tuple(found.shape) != shape or not found.is_floating_point():
        raise HarmosegError(
            f"model {path}: returned {found.dtype} of shape {tuple(found.shape)}, expected logits "
            f"of shape {shape}: (batch, classes, height, width)"
        )
    if not torch.isfinite(found).all():
        raise HarmosegError(f"model {path}: returned logits that are not finite for noise")
    if not found.requires_grad:
        raise HarmosegError(
            f"model {path}: its logits have no gradient; remove detach or no_grad from its forward"
        )
