"""Networks and recipes of one's own: checked before training, part of what determines a run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from harmoseg import HarmosegError, load
from harmoseg.losses.method import parse_method
from harmoseg.models.create import build_imported, check_imported, create_model
from harmoseg.store.training_view import open_training_view
from harmoseg.training.experiment import resolve_experiment
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import train

TINY = TrainingOptions(epochs=1, batch_size=4, validation_fraction=0.25)
SOURCE = """
from torch import nn
import torch

def small(in_channels, classes):
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, classes, 1),
    )

def no_module(in_channels, classes):
    return 3

def other_words(channels):
    return nn.Identity()

def halved(in_channels, classes):
    return nn.Sequential(nn.Conv2d(in_channels, classes, 3, stride=2, padding=1))

def frozen(in_channels, classes):
    return small(in_channels, classes).requires_grad_(False)

class Several(nn.Module):
    def __init__(self, in_channels, classes):
        super().__init__()
        self.net = small(in_channels, classes)
    def forward(self, x):
        return [self.net(x)]

class Detached(Several):
    def forward(self, x):
        return self.net(x).detach()

class NotFinite(Several):
    def forward(self, x):
        return self.net(x) / 0 * torch.inf

class Fails(Several):
    def forward(self, x):
        return self.net(x[:, :99].reshape(2, 7, -1))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "networks.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_a_network_in_a_file_is_trained_saved_and_guarded(binary_store, file, tmp_path) -> None:
    out, name = tmp_path / "run", f"{file}:small"
    train(binary_store, out, method=f"{name}+scc", seed=0, options=TINY)
    described = json.loads((out / "model.json").read_text())
    assert described["name"] == name and len(described["trained"]["source"]) == 64
    model = load(out)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    images = images[..., : model.info.channels]
    assert model.probabilities(images).shape == (2, 1, 32, 32)
    assert sum(part.numel() for part in model.network.parameters()) < 300
    # Another code is another network, though its weights may fit.
    described["trained"]["source"] = "0" * 64
    info = replace(model.info, trained={**model.info.trained, "source": "0" * 64})
    from harmoseg.inference.saved_model import save_model

    save_model(tmp_path / "other", info, model.network.state_dict())
    with pytest.raises(HarmosegError, match="was changed since it was trained"):
        load(tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_module", "returned int, expected a torch.nn.Module"),
        ("other_words", "cannot be made with in_channels=3, classes=2 .*these two arguments"),
        ("absent", "cannot be imported .*AttributeError"),
        ("halved", r"shape \(2, 2, 8, 8\), expected logits of shape \(2, 2, 16, 16\)"),
        ("frozen", "no parameter wants a gradient"),
        ("Several", "returned list for a batch, expected one tensor"),
        ("Detached", "its logits have no gradient; remove detach"),
        ("NotFinite", "logits that are not finite"),
        ("Fails", r"failed on images of shape \(2, 3, 16, 16\): RuntimeError"),
    ],
)
def test_unfit_networks_are_refused_before_training(file, name, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        check_imported("x", build_imported(f"{file}:{name}", 3, 2), 3, 2, (16, 16))


def test_checking_leaves_a_network_as_it_was(file) -> None:
    network = build_imported(f"{file}:small", 1, 1).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    check_imported("x", network, 1, 1, (8, 8))
    assert not network.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_import_paths_and_files_are_methods() -> None:
    for name in ("monai.networks.nets.BasicUNet", "path/to/file.py:make", "~/n.py:make"):
        for rest in ("", "+scc:0.5", "=focal+rings:1@sample"):
            found = parse_method(name + rest)
            assert (found.model, str(found)) == (name, name + rest)
    for wrong in ("unt", "unet:small", "file.py:0.5", "a/b.txt:make"):
        with pytest.raises(HarmosegError, match="unknown model|not of the form"):
            parse_method(wrong)
    with pytest.raises(HarmosegError, match="weights is of named networks"):
        create_model("a.b.Net", weights="x.safetensors")


def test_every_part_of_a_recipe_determines_a_run(binary_store, file) -> None:
    view = open_training_view(binary_store, validation_fraction=0.25)

    def key(method="unet", **changes):
        return resolve_experiment(method, 0, replace(TINY, **changes), view).key

    keys = {
        key(), key(augment="strong"), key(augment=False), key(f"{file}:small"),
        key(optimizer="adamw", learning_rate=1e-3), key(learning_rate=1e-3),
    }  # fmt: skip
    assert len(keys) == 6 and key(optimizer="sgd", augment=True) == key()
    assert key(f"{file}:small") == key(f"{file}:small", encoder="resnet18")  # it has none
    with pytest.raises(HarmosegError, match="at which AdamW does not learn"):
        replace(TINY, optimizer="adamw")
    with pytest.raises(HarmosegError, match="augment must be true, false or strong"):
        replace(TINY, augment="weak")


def test_adamw_and_strong_augmentation_train(binary_store, file, tmp_path) -> None:
    options = replace(TINY, optimizer="adamw", learning_rate=1e-3, augment="strong")
    train(binary_store, tmp_path / "a", method=f"{file}:small", seed=0, options=options)
    train(binary_store, tmp_path / "b", method=f"{file}:small", seed=0, options=options)
    logs = [(tmp_path / name / "log.csv").read_text().splitlines()[1] for name in "ab"]
    losses = [line.split(",")[:3] for line in logs]
    assert losses[0] == losses[1]
