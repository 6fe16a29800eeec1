"""Build a network by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, get_args

from torch import nn

from harmoseg.errors import HarmosegError
from harmoseg.models.names import ModelName

MODEL_NAMES: tuple[str, ...] = get_args(ModelName)
"""The names that `create_model` takes."""


def create_model(
    name: str,
    *,
    in_channels: int = 3,
    classes: int = 1,
    encoder: str = "resnet50",
    weights: str | Path | None = None,
    **options: Any,
) -> nn.Module:
    """Build ``"unet"`` or ``"transunet"`` on an encoder of segmentation-models-pytorch.

    The module maps images (B, in_channels, H, W) to logits (B, classes, H, W). UNet takes any H
    and W; TransUNet takes multiples of 16 and otherwise raises HarmosegError naming the nearest.

    `weights` initialises the encoder: None (random), ``"imagenet"`` (downloaded by
    segmentation-models-pytorch, the only case that touches the network) or the path of a local
    ``.safetensors`` file, checked key by key. `options` go to the network's constructor:
    `segmentation_models_pytorch.Unet`, or `harmoseg.models.transunet.TransUNet` (depth, width,
    heads).

    Raises HarmosegError for an unknown name or encoder, for weights that do not fit, and where
    segmentation-models-pytorch is not installed.
    """
    if name not in MODEL_NAMES:
        raise HarmosegError(f"model must be one of {', '.join(MODEL_NAMES)}, got {name!r}")
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise HarmosegError(
            "create_model needs segmentation-models-pytorch; "
            "install it with: pip install 'harmoseg[train]'"
        )
    # Imported here so that `import harmoseg` stays as light as torch.
    from harmoseg.models.encoders import check_encoder, load_encoder_weights

    check_encoder(encoder)
    library_weights = "imagenet" if weights == "imagenet" else None
    network: nn.Module
    try:
        network = _build(name, encoder, library_weights, in_channels, classes, options)
    except HarmosegError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        # What the libraries raise for a backbone that timm does not have, or without a network.
        reason = " ".join(str(error).split())[:300]
        cure = "; give a local .safetensors file as weights" if library_weights else ""
        raise HarmosegError(
            f"{name} with encoder {encoder!r} cannot be built ({reason}){cure}"
        ) from error
    if weights is not None and library_weights is None:
        load_encoder_weights(network, Path(weights), encoder=encoder)
    return network


def _build(
    name: str,
    encoder: str,
    library_weights: str | None,
    in_channels: int,
    classes: int,
    options: dict[str, Any],
) -> nn.Module:
    network: nn.Module
    if name == "unet":
        from segmentation_models_pytorch import Unet

        network = Unet(
            encoder,
            encoder_weights=library_weights,
            in_channels=in_channels,
            classes=classes,
            **options,
        )
    else:
        from harmoseg.models.transunet import TransUNet

        network = TransUNet(
            encoder,
            encoder_weights=library_weights,
            in_channels=in_channels,
            classes=classes,
            **options,
        )
    return network
