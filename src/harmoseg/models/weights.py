"""Weights of an encoder: local files, checked key by key, and cards of where they are from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import encoders as library_encoders
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from harmoseg.errors import HarmosegError, listed
from harmoseg.files import sha256_of
from harmoseg.store.transforms import normalisation

_HEAD_PREFIXES = ("fc.", "_fc.", "classifier.", "head.", "last_linear.")
"""The classification head of an ImageNet network; an encoder has no use for it."""

_COUNTER = "num_batches_tracked"

_CARDS = files("harmoseg.models") / "weight_cards"
_SIDE_FIELDS = ("source", "licence", "top1", "notes")
_PLACES = 3
"""Decimals to which a mean or deviation has to agree with ours to be called the same."""


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


def _list(what: str, names: list[str]) -> str:
    return f"{len(names)} {what} ({listed(names, 3)})" if names else ""


@dataclass(frozen=True)
class WeightCard:
    """One source of weights.

    `mean` and `std` are what the weights were trained with, per channel of images in [0, 1], and
    `keys` names their layout. `encoders` are those that the source has weights for, `top1` the
    published ImageNet accuracy of some, in percent, and `sha256` the hash of known files.
    `revision` says which copy the library downloads.
    """

    title: str
    source: str
    licence: str
    keys: str = ""
    encoders: tuple[str, ...] = ()
    mean: tuple[float, ...] = normalisation(3)[0]
    std: tuple[float, ...] = normalisation(3)[1]
    top1: Mapping[str, float] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    revision: str = ""

    def lines(self, encoder: str) -> dict[str, str]:
        """Return what applies to `encoder` in words, by label; empty where not known."""
        ours = [tuple(round(value, _PLACES) for value in part) for part in normalisation(3)]
        theirs = [tuple(round(value, _PLACES) for value in part) for part in (self.mean, self.std)]
        differs = "" if ours == theirs else "; harmoseg gives ImageNet's to every encoder"
        shown = [", ".join(f"{value:.3f}" for value in part) for part in theirs]
        return {
            "card": self.title,
            "source": self.source,
            "copy": self.revision,
            "licence": self.licence,
            "preprocessing": f"bytes / 255, mean {shown[0]}, deviation {shown[1]}{differs}",
            "input": "RGB; other numbers of channels are adapted in the first layer",
            "top-1": f"{self.top1[encoder]:.1f} % on ImageNet" if encoder in self.top1 else "",
            "keys": self.keys,
            "notes": self.notes,
        }


def library_card(encoder: str) -> WeightCard:
    """Return the card of the weights that ``weights="imagenet"`` downloads for an encoder.

    Raises HarmosegError where the package has no card for them.
    """
    if encoder.startswith("tu-"):
        return _timm_card(encoder.removeprefix("tu-"))
    for card in _packaged():
        if encoder in card.encoders:
            copy = library_encoders[encoder]["pretrained_settings"]["imagenet"]
            return replace(card, revision=f"{copy['repo_id']} at {copy['revision'][:12]}")
    raise HarmosegError(
        f"no weight card for encoder {encoder!r}: provenance unknown; see the documentation of "
        "segmentation-models-pytorch"
    )


def file_card(path: Path, digest: str | None = None) -> WeightCard | None:
    """Return the card of a weights file: the side file ``NAME.toml``, or one known by its hash.

    Raises HarmosegError where the side file cannot be read or says what a card does not hold.
    """
    side = path.with_suffix(".toml")
    if side.is_file():
        return _side_card(side)
    digest = digest or sha256_of(path)
    return next((card for card in _packaged() if digest in card.sha256.values()), None)


def _packaged() -> list[WeightCard]:
    return [
        _parse(item.read_text(encoding="utf-8"), item.name)
        for item in sorted(_CARDS.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".toml")
    ]


def _parse(text: str, where: str) -> WeightCard:
    values = tomllib.loads(text)
    unknown = sorted(set(values) - {item.name for item in fields(WeightCard)})
    if unknown:
        raise HarmosegError(f"{where}: unknown keys {unknown}")
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return WeightCard(**{**values, **lists})


def _side_card(path: Path) -> WeightCard:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HarmosegError(f"{path}: this weight card cannot be read ({error})") from error
    expected = f"a weight card holds {', '.join(_SIDE_FIELDS)}"
    unknown = sorted(set(values) - set(_SIDE_FIELDS))
    if unknown:
        raise HarmosegError(f"{path}: unknown key {unknown[0]!r}; {expected}")
    for name in ("source", "licence", "notes"):
        if not isinstance(values.get(name, ""), str):
            raise HarmosegError(f"{path}: {name} must be text in quotes; {expected}")
    if not values.get("source"):
        raise HarmosegError(f"{path}: source is missing: say where the weights are from")
    top1 = values.get("top1", 0)
    if isinstance(top1, bool) or not isinstance(top1, int | float) or not 0 <= top1 <= 100:
        raise HarmosegError(f"{path}: top1 must be a percentage from 0 to 100, got {top1!r}")
    notes = values.get("notes", "")
    if "top1" in values:
        notes = f"{top1:.1f} % top-1 on ImageNet, says the card" + (f"; {notes}" if notes else "")
    return WeightCard(
        title=path.name,
        source=values["source"],
        licence=values.get("licence", "") or "not stated",
        notes=notes,
    )


def _timm_card(name: str) -> WeightCard:
    """Complete timm's card with what timm itself knows of a network's weights."""
    card = _parse((_CARDS / "timm.toml").read_text(encoding="utf-8"), "timm.toml")
    known = timm.get_pretrained_cfg(name)
    if known is None:
        return card
    return replace(
        card,
        revision=str(known.hf_hub_id or known.url or ""),
        licence=f"{known.license or 'not stated'} for these weights; {card.licence}",
        mean=tuple(known.mean),
        std=tuple(known.std),
    )
