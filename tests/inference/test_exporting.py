"""Exports give what the network gives, and say how they are used."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from harmoseg import HarmosegError
from harmoseg.cli.main import main
from harmoseg.files import sha256_of
from harmoseg.inference import exporting
from harmoseg.inference.exporting import export_onnx, export_torch
from harmoseg.inference.saved_model import ModelInfo, SavedModel, save_model
from harmoseg.store.card import Card
from harmoseg.store.transforms import images_to_tensor, normalise

CARD = Card("heart", "Heart", "MR", "multiclass", ("background", "left", "right"))
OPTIONS = {
    "unet": {"decoder_channels": (8, 8, 8, 8, 8)},
    "transunet": {"depth": 1, "width": 16, "heads": 4, "decoder_channels": (8, 8, 8, 8)},
}


def make(folder, name: str = "unet") -> SavedModel:
    info = ModelInfo(name, "tu-test_resnet", CARD, 64, 96, 1, OPTIONS[name], {"seed": 1})
    torch.manual_seed(0)
    network = info.build()
    network(torch.rand(4, 1, 64, 96))  # running statistics that are not those of the start
    save_model(folder, info, network.state_dict())
    return SavedModel(folder, info, network.eval())


def run_onnx(file, images):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images.numpy()})[0]


def sizes(name: str):
    """Shapes to try: another batch for both, other sizes for UNet, odd ones too."""
    return [(1, 1, 64, 96), (3, 1, 64, 96)] + ([(1, 1, 70, 51)] if name == "unet" else [])


@pytest.mark.parametrize("name", ["unet", "transunet"])
def test_onnx_gives_what_the_network_gives(tmp_path, name) -> None:
    model = make(tmp_path / "model", name)
    out = tmp_path / "model" / "model.onnx"
    export_onnx(model, out)
    for shape in sizes(name):
        images = torch.randn(shape)
        with torch.no_grad():
            np.testing.assert_allclose(run_onnx(out, images), model.network(images), atol=1e-4)
    card = json.loads((tmp_path / "model" / "model.onnx.json").read_text())
    assert card["sha256"] == sha256_of(out) and card["file"] == "model.onnx"
    free = ["height", "width"] if name == "unet" else [64, 96]
    assert card["input"]["shape"] == ["batch", 1, *free]
    assert card["classes"] == ["background", "left", "right"]
    # Another file than the model's own description, which is as it was.
    kept = sorted(p.name for p in (tmp_path / "model").iterdir())
    assert kept == ["model.json", "model.onnx", "model.onnx.json", "weights.safetensors"]


def test_the_description_is_enough_to_use_a_program(tmp_path) -> None:
    model = make(tmp_path / "model")
    out = tmp_path / "deep" / "model.pt2"
    export_torch(model, out, batch=1)
    said = json.loads((tmp_path / "deep" / "model.pt2.json").read_text())["input"]
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 1), dtype=np.uint8)
    prepared = (image / 255 - np.array(said["mean"])) / np.array(said["std"])
    prepared = torch.tensor(prepared.transpose(0, 3, 1, 2), dtype=torch.float32)
    torch.testing.assert_close(prepared, normalise(images_to_tensor(image)))
    assert said["shape"] == [1, 1, "height", "width"]
    program = torch.export.load(out).module()
    found = program(prepared).softmax(1).detach().numpy()
    np.testing.assert_allclose(found, model.probabilities(image), atol=1e-5)


def test_the_command_exports_a_model(tmp_path, capsys) -> None:
    make(tmp_path / "m", "transunet")
    out = tmp_path / "m.pt2"
    assert main(["export", str(tmp_path / "m"), str(out), "--format", "torch"]) == 0
    assert f"wrote {out} and {out}.json" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "m"), str(out), "--format", "torch"]) == 2
    assert "exists already" in capsys.readouterr().err
    images = torch.rand(3, 1, 64, 96)
    assert torch.export.load(out).module()(images).shape == (3, 3, 64, 96)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent", "a.onnx"], "absent: not a model"),
        (["m", "a.txt"], "a.txt: the format onnx is written to a file NAME.onnx"),
        (["m", "a.onnx", "--format", "torch"], "the format torch is written to a file NAME.pt2"),
        (["m", "a.onnx", "--batch", "-1"], "batch must be 1 or more"),
        (["m", "a.onnx", "--format", "tflite"], "option 'format'"),
        (["m", "m/model.json/a.onnx"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    tmp_path, monkeypatch, arguments, message, capsys
) -> None:
    make(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_a_disk_that_is_read_only_is_told_in_one_line(tmp_path, monkeypatch, suffix) -> None:
    model = make(tmp_path / "m")

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    export = {"onnx": export_onnx, "pt2": export_torch}[suffix]
    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(HarmosegError, match=r"cannot be written \(Read-only file system\)"):
        export(model, tmp_path / f"x.{suffix}")
    assert not (tmp_path / f"x.{suffix}").exists()


def test_without_the_extra_it_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda _: None)
    model = SavedModel(
        tmp_path, ModelInfo("unet", "resnet18", CARD, 32, 32, 1), torch.nn.Identity()
    )
    with pytest.raises(HarmosegError, match=r"needs onnx and onnxscript; .*harmoseg\[export\]"):
        export_onnx(model, tmp_path / "a.onnx")


def test_a_program_that_differs_is_not_written(tmp_path) -> None:
    class Forgetful(torch.nn.Module):
        def forward(self, images):
            return images * (1.0 if torch.compiler.is_compiling() else 2.0)

    info = ModelInfo("transunet", "resnet18", CARD, 32, 32, 3)
    with pytest.raises(HarmosegError, match="the exported network differs"):
        export_torch(SavedModel(tmp_path, info, Forgetful()), tmp_path / "a.pt2")
    assert list(tmp_path.iterdir()) == []
