"""Build a network by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoseg.errors import HarmosegError
from harmoseg.losses.method import MODEL_NAMES, is_imported_model

if TYPE_CHECKING:
    from torch import nn

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
        from harmoseg.models.imported import build_imported

        return build_imported(name, in_channels, classes, **options)
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise HarmosegError(
            "create_model needs segmentation-models-pytorch; "
            "install it with: pip install 'harmoseg[train]'"
        )
    # Imported here so that `import harmoseg` stays as light as torch.
    from harmoseg.models.activation_checkpointing import checkpoint_blocks
    from harmoseg.models.encoders import check_encoder, freeze_unused
    from harmoseg.models.local_weights import load_encoder_weights

    from_library = weights == "imagenet"
    check_encoder(encoder, imagenet=from_library)
    _check_options(name, encoder, options)
    # For timm's encoders the name says which weights, and they only want to know whether.
    asked = (True if encoder.startswith("tu-") else "imagenet") if from_library else None
    network: nn.Module
    try:
        network = _constructor(name)(
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


def _constructor(name: str) -> Any:
    if name == "unet":
        from segmentation_models_pytorch import Unet

        return Unet
    from harmoseg.models.transunet import TransUNet

    return TransUNet


def _check_options(name: str, encoder: str, options: Mapping[str, Any]) -> None:
    """Refuse unknown options: the library would leave them unused without a word."""
    known = _OPTIONS[name]
    unknown = sorted(set(options) - set(known))
    if unknown and not encoder.startswith("tu-"):
        raise HarmosegError(
            f"unknown option {unknown[0]!r} for {name}; expected one of {', '.join(known)}"
        )
