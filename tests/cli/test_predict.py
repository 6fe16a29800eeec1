"""harmoseg predict: its exit status, and what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from harmoseg.cli.main import main
from harmoseg.inference.saved_model import ModelInfo, save_model
from harmoseg.store.card import Card


@pytest.fixture
def model(tmp_path):
    card = Card("t", "T", "m", "binary", ("background", "x"), channels=1)
    info = ModelInfo("unet", "tu-test_resnet", card, 32, 32, 1)
    torch.manual_seed(0)
    save_model(tmp_path / "model", info, info.build().state_dict())
    (tmp_path / "in").mkdir()
    for i in range(3):
        values = np.random.default_rng(i).integers(0, 256, (30, 40), np.uint8)
        Image.fromarray(values).save(tmp_path / "in" / f"{i}.png")
    return tmp_path


def test_all_predicted_is_status_zero(model, capsys) -> None:
    words = ["predict", str(model / "model"), str(model / "in"), str(model / "out")]
    assert main([*words, "--tta", "--overlays", "--window", "sliding"]) == 0
    said = capsys.readouterr().out
    assert "3 of 3 predicted" in said
    assert "note: this model was trained on whole planes resized to 32 x 32; under" in said
    assert len(list((model / "out" / "overlays").iterdir())) == 3
    assert main([*words, "--tta", "--overlays", "--window", "sliding"]) == 0
    assert "3 of 3 predicted (3 of them before)" in capsys.readouterr().out
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "was predicted otherwise" in error and error.count("\n") == 1
    assert main([*words, "--overwrite", "true"]) == 0
    assert main([*words, "--overwrite"]) == 0


def test_a_failed_file_is_status_one_and_named(model, capsys) -> None:
    (model / "in" / "1.png").write_bytes(b"x")
    words = ["predict", str(model / "model"), str(model / "in"), str(model / "out")]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert "2 of 3 predicted; 1 failed" in captured.out
    assert "failed: " in captured.err and "1.png: cannot be decoded" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent", "in", "out"], "absent: not a model"),
        (["model", "absent", "out"], "absent: no such file or folder"),
        (["model", "in", "in"], "lie one in the other"),
        (["model", "in", "out", "--overlap", "2"], "overlap must be at least 0 and below 1"),
        (["model", "in", "out", "--windw", "whole"], "unknown option 'windw'; did you mean"),
        (["model", "in", "out", "--assume-spacing", "1", "1", "0"], "assume_spacing must be"),
        (["model", "in"], "out"),
    ],
)
def test_mistakes_are_one_line_and_status_two(model, monkeypatch, capsys, words, message) -> None:
    monkeypatch.chdir(model)
    assert main(["predict", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("harmoseg: error: ") and error.count("\n") == 1
    assert not (model / "out").exists()
