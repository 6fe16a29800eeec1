"""Encoders of segmentation-models-pytorch: their names, and weights from a local file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import get_encoder_names
from torch import Tensor, nn

from harmoseg.errors import HarmosegError

_HEAD_PREFIXES = ("fc.", "classifier.", "head.")
"""The classification head of an ImageNet network; an encoder has no use for it."""


def check_encoder(encoder: str) -> None:
    """Raise HarmosegError, naming the nearest encoder, unless the library knows `encoder`."""
    names = get_encoder_names()
    # "tu-" names any timm backbone; the library itself says when timm does not have it.
    if encoder in names or encoder.startswith("tu-"):
        return
    nearest = difflib.get_close_matches(encoder, names, n=1, cutoff=0.0)[0]
    raise HarmosegError(
        f"unknown encoder {encoder!r}; did you mean {nearest!r}? "
        "(any encoder of segmentation-models-pytorch, or tu-NAME for one of timm)"
    )


def load_encoder_weights(network: nn.Module, path: Path, *, encoder: str) -> None:
    """Load a ``.safetensors`` file into ``network.encoder``, checking every key and shape.

    Keys are the encoder's own (torchvision's names for a ResNet); a classification head in the
    file is left out, and so are stages that the network does not have (TransUNet stops at stride
    16). A first convolution for 3 channels is adapted to another number of input channels as
    segmentation-models-pytorch does it: summed for one, repeated and rescaled otherwise.

    Raises HarmosegError naming the first keys that are missing, unexpected or of another shape;
    the network is then unchanged.
    """
    module = cast(nn.Module, network.encoder)
    stored = _read(path)
    expected = module.state_dict()
    absent_stages = cast(tuple[str, ...], getattr(module, "removed_stages", ()))
    skipped = (*_HEAD_PREFIXES, *(f"{stage}." for stage in absent_stages))
    found = {
        # To the network's precision first: sums over channels in float16 would round.
        key: _adapt_channels(value.to(expected[key].dtype), expected[key])
        if key in expected
        else value
        for key, value in stored.items()
        if not key.startswith(skipped)
    }
    problems = [
        *_list("missing", sorted(expected.keys() - found.keys())),
        *_list("unexpected", sorted(found.keys() - expected.keys())),
        *_list(
            "of another shape",
            [
                f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
                for key in sorted(expected.keys() & found.keys())
                if found[key].shape != expected[key].shape
            ],
        ),
    ]
    if problems:
        raise HarmosegError(
            f"{path}: these weights are not of encoder {encoder!r}: {'; '.join(problems)}. "
            "Give the encoder that the file was made for, or another file"
        )
    module.load_state_dict(found)


def _read(path: Path) -> dict[str, Tensor]:
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
    except SafetensorError as error:
        raise HarmosegError(f"{path}: not a readable .safetensors file ({error})") from error


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


def _list(what: str, names: list[str], most: int = 3) -> list[str]:
    if not names:
        return []
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return [f"{len(names)} {what} ({', '.join(names[:most])}{rest})"]
