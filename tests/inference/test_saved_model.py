"""Model folders: round trip, damage of every kind, prediction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import harmoseg
from harmoseg import HarmosegError
from harmoseg.files import sha256_of
from harmoseg.inference.saved_model import ModelInfo, SavedModel, _seal, load_model, save_model
from harmoseg.store.card import Card

BINARY = Card("polyps", "Polyps", "colonoscopy", "binary", ("background", "polyp"))
THREE = Card(
    "heart",
    "Heart",
    "MR",
    "multiclass",
    ("background", "left", "right"),
    colours=("#ff0000", "#00ff00"),
)
OPTIONS = {
    "unet": {"decoder_channels": (16, 16, 8, 8, 8)},
    "transunet": {"depth": 1, "width": 32, "heads": 4, "decoder_channels": (16, 16, 8, 8)},
}


def describe(name: str = "unet", card: Card = BINARY, channels: int = 3) -> ModelInfo:
    return ModelInfo(
        name,
        "resnet18",
        card,
        32,
        48,
        channels,
        options=OPTIONS[name],
        trained={"method": f"{name}+scc", "seed": 1},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One model folder for all tests that copy it."""
    folder = tmp_path_factory.mktemp("model") / "made"
    info = describe()
    torch.manual_seed(0)
    save_model(folder, info, info.build().state_dict())
    return folder


@pytest.fixture
def model(made, tmp_path):
    """Copy the folder, to damage."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in made.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("name", "card", "channels"), [("unet", THREE, 1), ("transunet", BINARY, 3)]
)
def test_round_trip(tmp_path, name, card, channels) -> None:
    info = describe(name, card, channels)
    network = info.build().eval()
    save_model(tmp_path / "m", info, network.state_dict())
    found = harmoseg.load(tmp_path / "m")
    assert (found.info.name, found.info.card, found.info.trained) == (name, card, info.trained)
    images = torch.rand(2, channels, 32, 48)
    with torch.inference_mode():
        assert torch.equal(found.network(images), network(images))
    assert not found.network.training
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "model.json",
        "weights.safetensors",
    ]


def test_weights_changed_by_one_byte_are_refused(model) -> None:
    file = model / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(HarmosegError, match=r"weights.safetensors: changed since it was made"):
        load_model(model)


@pytest.mark.parametrize(
    "change",
    [
        {"height": 64},
        {"name": "transunet"},
        {"seal": "0" * 64},
        {"weights_sha256": "0" * 64},
        {"more": 1},
    ],
)
def test_a_description_changed_by_hand_is_refused(model, change) -> None:
    values = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(HarmosegError, match=r"model.json: changed since it was made"):
        load_model(model)


def test_a_description_laid_out_anew_is_the_same(model) -> None:
    values = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(dict(reversed(values.items())), indent=8))
    assert load_model(model).info.card.classes == BINARY.classes


def test_classes_that_do_not_fit_the_weights_are_refused(tmp_path) -> None:
    weights = describe(card=BINARY).build().state_dict()
    save_model(tmp_path / "m", describe(card=THREE), weights)
    with pytest.raises(
        HarmosegError,
        match=r"the 3 classes of its card \(background, left, right\): 2 differ, the first is segmentation_head",
    ):
        load_model(tmp_path / "m")


def test_another_network_is_refused(tmp_path) -> None:
    save_model(tmp_path / "m", describe("transunet"), describe("unet").build().state_dict())
    with pytest.raises(HarmosegError, match="not those of a transunet with encoder resnet18"):
        load_model(tmp_path / "m")


def test_missing_files_are_named(model, tmp_path) -> None:
    (model / "weights.safetensors").unlink()
    with pytest.raises(HarmosegError, match=r"weights.safetensors: no such file; a model is both"):
        load_model(model)
    (model / "model.json").unlink()
    with pytest.raises(HarmosegError, match=r"not a model \(model.json is missing\)"):
        load_model(model)
    with pytest.raises(HarmosegError, match="absent: not a model"):
        load_model(tmp_path / "absent")


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"schema": 1}'])
def test_what_is_no_description_is_refused(model, content) -> None:
    (model / "model.json").write_text(content)
    with pytest.raises(HarmosegError, match=r"model\.json"):
        load_model(model)


@pytest.mark.parametrize("schema", [0, 2, None])
def test_another_schema_is_refused(model, schema) -> None:
    values = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**values, "schema": schema}))
    with pytest.raises(
        HarmosegError, match=f"schema version {schema}, this version of harmoseg reads 1"
    ):
        load_model(model)


def test_a_sealed_description_without_a_field_is_refused(model) -> None:
    values = json.loads((model / "model.json").read_text())
    del values["seal"], values["encoder"]
    (model / "model.json").write_text(json.dumps({**values, "seal": _seal(values)}))
    with pytest.raises(HarmosegError, match=r"field missing or wrong \('encoder'\)"):
        load_model(model)


def test_a_tensor_less_is_refused(model) -> None:
    file = model / "weights.safetensors"
    weights = load_file(file)
    del weights["segmentation_head.0.bias"]
    save_file(weights, file)
    values = {**json.loads((model / "model.json").read_text()), "weights_sha256": sha256_of(file)}
    del values["seal"]
    (model / "model.json").write_text(json.dumps({**values, "seal": _seal(values)}))
    with pytest.raises(HarmosegError, match="1 differ, the first is segmentation_head.0.bias"):
        load_model(model)


def test_writing_where_it_is_not_possible(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    info = describe()
    with pytest.raises(HarmosegError, match="cannot be written"):
        save_model(tmp_path / "file", info, info.build().state_dict())


class Brightness(torch.nn.Module):
    """A network whose answer is known: the foreground, or class 2, is where the image is bright."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(10.0))
        self.classes = classes

    def forward(self, images):
        bright = self.scale * images.mean(1, keepdim=True)
        zeros = torch.zeros_like(bright)
        return bright if self.classes == 1 else torch.cat([zeros, zeros - 5, bright], 1)


@pytest.mark.parametrize(("card", "value"), [(BINARY, 1), (THREE, 2)])
def test_predict_decides_at_the_size_of_the_image(tmp_path, card, value) -> None:
    info = describe(card=card, channels=1)
    model = SavedModel(tmp_path, info, Brightness(info.channels_out).train())
    image = np.zeros((64, 96), np.uint8)  # twice the network's size
    image[:, 48:] = 255
    label = model.predict(image)
    assert label.shape == (64, 96) and label.dtype == np.uint8
    assert (label[:, 50:] == value).all() and (label[:, :46] == 0).all()
    assert np.array_equal(label, model.predict(image[..., None]))
    assert not model.network.training


def test_probabilities_are_those_of_the_network(made) -> None:
    model = load_model(made)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    found = model.probabilities(images)
    assert found.shape == (2, 1, 32, 48) and found.dtype == np.float32
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    prepared = torch.tensor(
        ((images / 255 - mean) / std).transpose(0, 3, 1, 2), dtype=torch.float32
    )
    with torch.inference_mode():
        expected = model.network(prepared).sigmoid()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.array_equal(model.predict(images[0]), found[0, 0] > 0.5)


def test_probabilities_of_classes_sum_to_one(tmp_path) -> None:
    model = SavedModel(tmp_path, describe(card=THREE), Brightness(3))
    found = model.probabilities(np.zeros((1, 32, 48, 3), np.uint8))
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3)), "expected an array of bytes .*got float64"),
        ([[1, 2]], "got list"),
        (np.zeros((8, 8), np.uint8), r"takes 3 channel\(s\), got 1"),
        (np.zeros((8, 8, 4), np.uint8), r"takes 3 channel\(s\), got 4"),
        (np.zeros((1, 1, 8, 8, 3), np.uint8), r"C\) or \(D, H, W, C\), got \(1, 1, 8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"got \(0, 8, 3\)"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, image, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        SavedModel(tmp_path, describe(), Brightness(1)).predict(image)


def test_a_batch_of_another_size_is_refused(tmp_path) -> None:
    with pytest.raises(HarmosegError, match="sees images of 32 x 48, got 48 x 32; use predict"):
        SavedModel(tmp_path, describe(), Brightness(1)).probabilities(
            np.zeros((1, 48, 32, 3), np.uint8)
        )


def test_an_image_larger_than_the_squares_of_training_is_cut_into_them() -> None:
    model = SavedModel(Path(), describe(card=replace(BINARY, tile=40)), Brightness(1))
    image = np.zeros((40, 70, 3), np.uint8)
    image[:, 52:] = 255
    label = model.predict(image)
    assert label.shape == (40, 70) and (label[:, 54:] == 1).all() and (label[:, :50] == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_volume_is_predicted_plane_by_plane(channels) -> None:
    info = describe(card=BINARY, channels=channels)
    model = SavedModel(Path(), info, info.build().eval())
    volume = np.random.default_rng(0).integers(0, 256, (3, 40, 50, channels), np.uint8)
    found = model.predict(volume)
    assert np.array_equal(found, np.stack([model.predict(plane) for plane in volume]))
    if channels == 1:
        assert np.array_equal(model.predict(volume[..., 0]), found)
