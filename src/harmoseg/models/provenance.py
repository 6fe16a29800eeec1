"""Weight cards: where an encoder's weights come from, on what terms, and what they expect."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path

import timm
from segmentation_models_pytorch.encoders import encoders as library_encoders

from harmoseg.errors import HarmosegError
from harmoseg.files import sha256_of
from harmoseg.store.transforms import normalisation

_CARDS = files("harmoseg.models") / "weight_cards"
_SIDE_FIELDS = ("source", "licence", "top1", "notes")
_PLACES = 3
"""Decimals to which a mean or deviation has to agree with ours to be called the same."""


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
