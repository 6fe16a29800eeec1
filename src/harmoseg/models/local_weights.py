"""Weights of an encoder from a local file, checked key by key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from harmoseg.errors import HarmosegError

_HEAD_PREFIXES = ("fc.", "_fc.", "classifier.", "head.", "last_linear.")
"""The classification head of an ImageNet network; an encoder has no use for it."""

_COUNTER = "num_batches_tracked"


def load_encoder_weights(network: nn.Module, path: Path, *, encoder: str) -> None:
    """Load a ``.safetensors`` file into ``network.encoder``, checking every key and shape.

    Keys are the encoder's own (torchvision's names for a ResNet), or for ``tu-NAME`` those of
    timm's NAME. A classification head in the file is left out, and so are stages that the network
    does not have (TransUNet stops at stride 16). A first convolution for 3 channels is adapted to
    another number of input channels as segmentation-models-pytorch does it: summed for one,
    repeated and rescaled otherwise.

    Raises HarmosegError naming the first keys that are missing, unexpected or of another shape;
    the network is then unchanged.
    """
    module = cast(nn.Module, network.encoder)
    found = fit(module, read_weights(path), encoder=encoder)
    problems = misfits(module, found)
    if problems:
        raise HarmosegError(
            f"{path}: these weights are not of encoder {encoder!r}: {problems}. "
            "Give the encoder that the file was made for, or another file"
        )
    # Named apart from the encoders' own load_state_dict, some of which edit what they are given.
    nn.Module.load_state_dict(module, found)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a ``.safetensors`` file, or raise HarmosegError."""
    if not path.is_file():
        raise HarmosegError(
            f"{path}: no such weights file; give a local .safetensors file, "
            '"imagenet" to download, or leave weights out for a random start'
        )
    if path.suffix != ".safetensors":
        raise HarmosegError(
            f"{path}: weights must be a .safetensors file (pickled weights can run code and are "
            "not read); convert it with safetensors.torch.save_file"
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise HarmosegError(f"{path}: not a readable .safetensors file ({error})") from error


def fit(module: nn.Module, stored: Mapping[str, Tensor], *, encoder: str) -> dict[str, Tensor]:
    """Bring a file's tensors to an encoder's names, precision and input channels."""
    expected = module.state_dict()
    found: dict[str, Tensor] = {}
    strangers: dict[str, Tensor] = {}
    for key, value in stored.items():
        name = next((name for name in _names(key, encoder) if name in expected), None)
        if name is None:
            strangers[key] = value
        else:
            # To the network's precision first: sums over channels in float16 would round.
            found[name] = _adapt_channels(value.to(expected[name].dtype), expected[name])
    strangers = {k: v for k, v in strangers.items() if not k.startswith(_HEAD_PREFIXES)}
    if strangers:
        whole = _whole_network(encoder)
        found.update({k: v for k, v in strangers.items() if k not in whole})
    # Batches are only counted where an average over all of them is asked for; old files have none.
    counters = {key: value for key, value in expected.items() if key.endswith(_COUNTER)}
    return {**counters, **found} if found else found


def misfits(module: nn.Module, found: Mapping[str, Tensor]) -> str:
    """Return which tensors of an encoder are missing, unexpected or of another shape, if any."""
    expected = module.state_dict()
    shapes = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & found.keys())
        if found[key].shape != expected[key].shape
    ]
    parts = (
        _list("missing", sorted(expected.keys() - found.keys())),
        _list("unexpected", sorted(found.keys() - expected.keys())),
        _list("of another shape", shapes),
    )
    return "; ".join(part for part in parts if part)


def _names(key: str, encoder: str) -> Iterable[str]:
    """Return the names that a file's key may have in the encoder."""
    yield key
    if encoder.startswith("tu-"):
        yield f"model.{key}"
        # timm's feature extractors have stages_0.x where its networks have stages.0.x.
        yield "model." + re.sub(r"^(\w+)\.(\d+)\.", r"\1_\2.", key)


def _whole_network(encoder: str) -> set[str]:
    """Name all tensors of the network that the encoder is cut from."""
    try:
        with torch.device("meta"):  # names alone are asked for
            names = set(get_encoder(encoder, depth=5).state_dict())
    except RuntimeError:  # some families compute with numbers while they are built
        names = set(get_encoder(encoder, depth=5).state_dict())
    if encoder.startswith("tu-"):
        names |= set(timm.create_model(encoder.removeprefix("tu-")).state_dict())
    return names


def _adapt_channels(value: Tensor, expected: Tensor) -> Tensor:
    """Fit a convolution kernel for 3 input channels to another number of them."""
    wanted = expected.shape[1] if expected.ndim == 4 else 0
    is_stem = value.ndim == 4 and value.shape[1] == 3 and wanted not in {0, 3}
    if not is_stem or value.shape[0] != expected.shape[0]:
        return value
    if wanted == 1:
        return value.sum(1, keepdim=True)
    # The sum over channels is kept, so that activations start at the size they were trained at.
    repeated = value[:, [channel % 3 for channel in range(wanted)]]
    return torch.mul(repeated, 3 / wanted)


def _list(what: str, names: list[str], most: int = 3) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {what} ({', '.join(names[:most])}{rest})"
