"""A model folder: a trained network with everything that predicting on new files needs.

A model is a folder::

    model.json            network, preprocessing, classes, card, training; sealed by a hash
    weights.safetensors   the weights

Nothing else is read: the two files can be copied anywhere. A finished run is such a folder too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn

from harmoseg.errors import HarmosegError
from harmoseg.files import (
    check_schema,
    make_folder,
    read_json,
    sha256_of,
    write_bytes,
    write_json,
)
from harmoseg.imports import hash_object
from harmoseg.inference.options import MODEL_FILE, WEIGHTS_FILE
from harmoseg.inference.planes import cut_windows, predict_planes
from harmoseg.inference.predictor import Predictor
from harmoseg.models.create import create_model
from harmoseg.store.card import Card, TaskMode, card_from_mapping

SCHEMA = 1

_AGAIN = "copy both files again from where the model was made, or train again"


@dataclass(frozen=True)
class ModelInfo:
    """Description of a network and of the images that it expects.

    Args:
        name: ``unet``, ``transunet`` or an import path, with `encoder` and the constructor's
            further `options`.
        card: The dataset that it was trained on: mode, classes, intensity window, orientation of
            volumes, side of the squares that images are cut into.
        height: Height of what the network sees, in pixels.
        width: Width of what the network sees, in pixels.
        channels: 1 or 3.
        volumes: Whether it was trained on slices of volumes rather than on plain images.
        trained: How it was trained (method, seed, store, fingerprint), for the record.
    """

    name: str
    encoder: str
    card: Card
    height: int
    width: int
    channels: int
    options: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[str, Any] = field(default_factory=dict)
    volumes: bool = False

    @property
    def mode(self) -> TaskMode:
        """Return the task of its card."""
        return self.card.mode

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes of its card, the background first."""
        return self.card.classes

    @property
    def method(self) -> str:
        """Return the method that it was trained by, else the name of the network."""
        return str(self.trained.get("method", self.name))

    @property
    def seed(self) -> int:
        """Return the seed of its training, 0 where none is known."""
        return int(self.trained.get("seed", 0))

    @property
    def channels_out(self) -> int:
        """Return the number of output channels: 1 for binary, else one per class."""
        return 1 if self.mode == "binary" else len(self.classes)

    def build(self, *, weights: str | Path | None = None) -> nn.Module:
        """Build the network, channels last in memory; `weights` as for `create_model`."""
        network = create_model(
            self.name,
            in_channels=self.channels,
            classes=self.channels_out,
            encoder=self.encoder,
            weights=weights,
            **self.options,
        )
        return network.to(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A model opened from its folder, its network in evaluation mode."""

    path: Path
    info: ModelInfo
    network: nn.Module

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Predict the label map of an image or a volume of bytes, at its own size.

        An image is (H, W) or (H, W, C), a volume (D, H, W, C), or (D, H, W) for a network of one
        channel; the labels are (H, W) or (D, H, W). Every plane is shown to the network as a store
        shows it: resized, or cut into the squares of the card. The probabilities are resized to
        the plane and decided there: foreground above 0.5, or the most probable class.

        Raises HarmosegError for another type or shape, and for channels that the network does not
        take.
        """
        _check_bytes(image)
        channels = self.info.channels
        whole = image
        if image.ndim == 2 or (image.ndim == 3 and channels == 1 and image.shape[-1] != 1):
            whole = image[..., None]
        planes = whole[None] if whole.ndim == 3 else whole
        self._check(planes, image, "(H, W), (H, W, C) or (D, H, W, C)")
        windows = cut_windows(planes, (self.info.height, self.info.width), tile=self.info.card.tile)
        predicted = predict_planes(self._predictor, [(None, planes.shape, windows)])
        labels = np.stack([plane.label for plane in predicted])
        return labels[0] if whole.ndim == 3 else labels

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict images (B, H, W, C) of bytes at the network's size: (B, classes, H, W).

        The one class of a binary model is the foreground.

        Raises HarmosegError for another type, size or number of channels.
        """
        _check_bytes(images)
        self._check(images, images, "(B, H, W, C)")
        height, width = self.info.height, self.info.width
        if images.shape[1:3] != (height, width):
            raise HarmosegError(
                f"this network sees images of {height} x {width}, got {images.shape[1]} x "
                f"{images.shape[2]}; use predict, which resizes"
            )
        predictor = self._predictor
        # What was resized, or read by memory map, may not be written to, which PyTorch wants.
        prepared = predictor.prepare(np.require(images, requirements="W"))
        return np.asarray(predictor.probabilities(prepared).cpu().numpy())

    @property
    def _predictor(self) -> Predictor:
        device = next(self.network.parameters()).device.type
        return Predictor([self.network], self.info.card.mode, device)

    def _check(self, planes: NDArray[np.uint8], given: NDArray[np.uint8], expected: str) -> None:
        if planes.ndim != 4 or not planes.size:
            raise HarmosegError(f"expected an array of shape {expected}, got {given.shape}")
        if planes.shape[-1] != self.info.channels:
            raise HarmosegError(
                f"this network takes {self.info.channels} channel(s), got {planes.shape[-1]} in an "
                f"array of shape {given.shape}"
            )


def _check_bytes(images: object) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = getattr(images, "dtype", type(images).__name__)
        raise HarmosegError(f"expected an array of bytes (uint8, 0 to 255), got {found}")


def save_model(folder: Path, info: ModelInfo, weights: Mapping[str, Tensor]) -> None:
    """Write a model folder, weights first; raise HarmosegError where it cannot be written."""
    make_folder(folder)
    file = folder / WEIGHTS_FILE
    write_bytes(file, save({name: value.contiguous() for name, value in weights.items()}))
    values = {
        "schema": SCHEMA,
        "harmoseg": version("harmoseg"),
        **asdict(info),
        "weights_sha256": sha256_of(file),
    }
    write_json(folder / MODEL_FILE, {**values, "seal": _seal(values)})


def load_model(path: str | Path) -> SavedModel:
    """Open a model folder or a finished run.

    Raises HarmosegError where it is no model, where either file was changed since it was made, and
    where weights and classes do not fit.
    """
    folder = Path(path)
    info, digest = _read_info(folder)
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise HarmosegError(f"{file}: no such file; a model is both files together: {_AGAIN}")
    if sha256_of(file) != digest:
        raise HarmosegError(
            f"{file}: changed since it was made (its hash is not that of {MODEL_FILE}); {_AGAIN}"
        )
    _check_source(folder, info)
    network = info.build()
    expected, found = network.state_dict(), load_file(file)
    differing = [
        name
        for name in sorted(expected.keys() | found.keys())
        if name not in expected or name not in found or expected[name].shape != found[name].shape
    ]
    if differing:
        raise HarmosegError(
            f"{folder}: the weights are not those of a {info.name} with encoder {info.encoder} "
            f"for {info.channels} channel(s) and the {len(info.card.classes)} classes of its card "
            f"({', '.join(info.card.classes)}): {len(differing)} differ, the first is "
            f"{differing[0]}; {_AGAIN}"
        )
    network.load_state_dict(found)
    return SavedModel(folder, info, network.eval())


def _check_source(folder: Path, info: ModelInfo) -> None:
    """Raise HarmosegError where the code of an imported network is another than it was trained."""
    trained = info.trained.get("source")
    if trained and trained != (found := hash_object(info.name, "model")):
        raise HarmosegError(
            f"{folder}: the code of {info.name} was changed since it was trained (sha256 "
            f"{str(found)[:12]} instead of {trained[:12]}); take the code that it was trained with"
        )


def _read_info(folder: Path) -> tuple[ModelInfo, str]:
    file = folder / MODEL_FILE
    if not file.is_file():
        raise HarmosegError(
            f"{folder}: not a model ({MODEL_FILE} is missing); give a finished run, or a folder "
            "that `harmoseg export` made"
        )
    values = read_json(file, what="the description of a model")
    check_schema(values.get("schema"), SCHEMA, file, cure="use the harmoseg that made it")
    seal = values.pop("seal", None)
    if seal != _seal(values):
        raise HarmosegError(
            f"{file}: changed since it was made (its seal does not fit what it says); {_AGAIN}"
        )
    try:
        fields = {name: values[name] for name in ModelInfo.__dataclass_fields__}
        info = ModelInfo(**{**fields, "card": card_from_mapping(fields["card"])})
        return info, str(values["weights_sha256"])
    except (KeyError, TypeError) as error:
        raise HarmosegError(f"{file}: field missing or wrong ({error}); {_AGAIN}") from error


def _seal(values: Mapping[str, Any]) -> str:
    """Hash what a description says, however it is laid out."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
