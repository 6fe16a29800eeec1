"""Build a network by name, or import one."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harmoseg.errors import HarmosegError
from harmoseg.imports import import_object
from harmoseg.losses.method import MODEL_NAMES, is_imported_model

_OPTIONS = {
    # Of the library's Unet; its others are set here, or would make the output no logits.
    "unet": (
        "encoder_depth",
        "decoder_channels",
        "decoder_use_norm",
        "decoder_attention_type",
        "decoder_interpolation",
    ),
    "transunet": ("depth", "width", "heads", "decoder_channels"),
}
"""What may be said of a network beyond encoder, channels and classes."""


def create_model(
    name: str,
    *,
    in_channels: int = 3,
    classes: int = 1,
    encoder: str = "resnet50",
    weights: str | Path | None = None,
    checkpointing: bool = False,
    **options: Any,
) -> nn.Module:
    """Build ``"unet"`` or ``"transunet"`` on an encoder of segmentation-models-pytorch.

    Or a network of one's own: `name` is then its import path (``package.module.Network``), or
    ``path/to/file.py:function``, called with `in_channels` and `classes`; it has no `encoder`.

    The module maps images (B, in_channels, H, W) to logits (B, classes, H, W). UNet takes any H
    and W; TransUNet takes multiples of 16 and otherwise raises HarmosegError naming the nearest.

    `weights` initialises the encoder: None (random), ``"imagenet"`` (downloaded by
    segmentation-models-pytorch, the only case that touches the network) or the path of a local
    ``.safetensors`` file, checked key by key. `checkpointing` saves memory in training and costs
    a second forward pass: of every block only the input is kept, the rest is computed again for
    the gradients, which stay as they were. `options` go to the network's constructor:
    `segmentation_models_pytorch.Unet` (encoder_depth, decoder_...), or
    `harmoseg.models.transunet.TransUNet` (depth, width, heads, decoder_channels); any others to
    timm where the encoder is ``tu-NAME``.

    Parameters that no output depends on, as some encoders have, want no gradient.

    Raises HarmosegError for an unknown name, encoder or option, for an encoder that cannot carry
    the network, for weights that do not fit, and where segmentation-models-pytorch is not
    installed.
    """
    is_imported = is_imported_model(name)
    if name not in MODEL_NAMES and not is_imported:
        raise HarmosegError(
            f"model must be one of {', '.join(MODEL_NAMES)}, an import path, or "
            f"path/to/file.py:function, got {name!r}"
        )
    for what, number in (("in_channels", in_channels), ("classes", classes)):
        if number < 1:
            raise HarmosegError(f"{what} must be 1 or more, got {number}")
    if is_imported:
        if weights is not None or checkpointing:
            what = "weights" if weights is not None else "checkpointing"
            raise HarmosegError(f"{what} is of named networks; {name} does that in its own code")
        return build_imported(name, in_channels, classes, **options)
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise HarmosegError(
            "create_model needs segmentation-models-pytorch; "
            "install it with: pip install 'harmoseg[train]'"
        )
    # Here and not above: `create_model` is a name of the light core, which has torch alone.
    from segmentation_models_pytorch import Unet

    from harmoseg.models.activation_checkpointing import checkpoint_blocks
    from harmoseg.models.encoders import check_encoder, freeze_unused
    from harmoseg.models.transunet import TransUNet
    from harmoseg.models.weights import load_encoder_weights

    from_library = weights == "imagenet"
    check_encoder(encoder, imagenet=from_library)
    _check_options(name, encoder, options)
    # For timm's encoders the name says which weights, and they only want to know whether.
    asked = (True if encoder.startswith("tu-") else "imagenet") if from_library else None
    constructor: Any = Unet if name == "unet" else TransUNet
    try:
        network: nn.Module = constructor(
            encoder, encoder_weights=asked, in_channels=in_channels, classes=classes, **options
        )
    except HarmosegError:
        raise
    except (AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        # What the libraries raise for stages that a backbone has not, or without a network.
        reason = " ".join(str(error).split())[:300]
        cure = "; give a local .safetensors file as weights" if from_library else ""
        raise HarmosegError(
            f"{name} with encoder {encoder!r} cannot be built ({reason}){cure}"
        ) from error
    if name == "unet":
        freeze_unused(network.get_submodule("encoder"), encoder, in_channels)
    if weights is not None and not from_library:
        load_encoder_weights(network, Path(weights), encoder=encoder)
    if checkpointing:
        checkpoint_blocks(network)
    return network


def _check_options(name: str, encoder: str, options: Mapping[str, Any]) -> None:
    """Refuse unknown options: the library would leave them unused without a word."""
    known = _OPTIONS[name]
    unknown = sorted(set(options) - set(known))
    if unknown and not encoder.startswith("tu-"):
        raise HarmosegError(
            f"unknown option {unknown[0]!r} for {name}; expected one of {', '.join(known)}"
        )


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
