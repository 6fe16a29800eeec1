"""What a network is and costs, and what a trained model is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harmoseg.errors import HarmosegError
from harmoseg.files import sha256_of
from harmoseg.inference.options import WEIGHTS_FILE
from harmoseg.inference.saved_model import load_model
from harmoseg.models.create import create_model
from harmoseg.models.encoders import check_encoder
from harmoseg.models.weights import file_card, fit, library_card, misfits, read_weights


def count_flops(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Count the floating-point operations of one image (C, H, W) through a network.

    A multiplication with its addition counts as two. Convolutions, matrix products and attention
    are counted; normalisation, activations and interpolation are not.
    The network is left without weights: nothing is computed, only shapes are followed.
    """
    empty = network.to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        empty(torch.empty(1, *shape, device="meta"))
    return int(counter.get_total_flops())


def describe_network(
    name: str,
    *,
    encoder: str,
    size: int,
    channels: int,
    classes: int,
    weights: str | None = None,
) -> str:
    """Describe a network: input, parameters, operations, and the source of its encoder weights.

    Nothing is downloaded. Raises HarmosegError for what `create_model` refuses.
    """
    if size < 1:
        raise HarmosegError(f"size must be 1 or more, got {size}")
    check_encoder(encoder, imagenet=weights == "imagenet")
    network = create_model(name, encoder=encoder, in_channels=channels, classes=classes)
    lines = {"network": f"{name} with encoder {encoder}", **_describe_size(network, name)}
    described = {} if weights is None else _describe_weights(network, encoder, weights)
    flops = count_flops(network, (channels, size, size))
    lines["operations"] = (
        f"{flops / 1e9:.2f} GFLOP per image of {size} x {size} px with {channels} channel(s), a "
        "multiplication with its addition counted as two"
    )
    return _table({**lines, "weights": "random" if weights is None else weights, **described})


def describe_model(path: Path) -> str:
    """Describe a model folder or a finished run: network, classes, card, training.

    Raises HarmosegError where it is no model, or was changed since it was made.
    """
    model = load_model(path)
    info, card = model.info, model.info.card
    return _table(
        {
            "model": f"{info.name} with encoder {info.encoder}",
            "options": ", ".join(f"{key} {value}" for key, value in info.options.items()),
            "input": f"{info.width} x {info.height} px, {info.channels} channel(s)",
            "classes": ", ".join(card.classes),
            "trained on": f"{card.title} ({card.modality}, {card.mode})",
            "training": ", ".join(f"{key} {value}" for key, value in info.trained.items()),
            "licence": card.licence or "not stated",
            **_describe_size(model.network, info.name),
            "sha256": f"{sha256_of(path / WEIGHTS_FILE)}, as when it was made",
        }
    )


def _describe_size(network: nn.Module, name: str) -> dict[str, str]:
    parameters = sum(value.numel() for value in network.parameters())
    held = [*network.parameters(), *network.buffers()]
    memory = sum(value.numel() * value.element_size() for value in held)
    encoder = getattr(network, "encoder", None)
    stride = 16 if name == "transunet" else int(getattr(encoder, "output_stride", 32))
    sizes = "multiples of 16" if name == "transunet" else "any height and width"
    return {
        "parameters": f"{parameters:,} ({memory / 2**20:.1f} MiB of weights in memory)",
        "stride": f"{stride} px",
        "sizes": sizes,
    }


def _describe_weights(network: nn.Module, encoder: str, weights: str) -> Mapping[str, str]:
    if weights == "imagenet":
        return library_card(encoder).lines(encoder)
    path = Path(weights)
    stored = read_weights(path)
    digest = sha256_of(path)
    module = network.get_submodule("encoder")
    problems = misfits(module, fit(module, stored, encoder=encoder))
    card = file_card(path, digest)
    described = (
        {"card": f"no card: provenance unknown; say where it is from in {path.stem}.toml beside it"}
        if card is None
        else card.lines(encoder)
    )
    return {
        "sha256": digest,
        "tensors": str(len(stored)),
        "fits encoder": f"no: {problems}" if problems else "yes",
        **described,
    }


def _table(lines: Mapping[str, str]) -> str:
    return "\n".join(f"{label + ':':<15}{text}" for label, text in lines.items() if text)
