"""harmoseg explain: what it writes, the same twice; mistakes are one line and write nothing."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import create_model
from harmoseg.cli.main import main
from harmoseg.explain.cam import LAYERS, explain_slices
from harmoseg.explain.slices import choose_slices
from harmoseg.store.reading import open_store
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import train


@pytest.fixture(scope="module")
def run(phantom_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    options = TrainingOptions(encoder="tu-test_resnet", epochs=1, batch_size=4)
    train(phantom_store, out, method="unet", seed=0, options=options)
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_is_explained_and_the_same_twice(run, phantom_store, tmp_path, capsys) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(run, twin)
    for out in ("a", "b"):
        words = ["explain", "run", str(run), str(phantom_store), "--out", str(tmp_path / out)]
        assert main([*words, "--beside", str(twin), "--cases", "1", "--layer", *LAYERS]) == 0
    said = capsys.readouterr().out
    names = ["cams.png", "cams.svg", "spectral-maps.csv", "spectral-maps.png", "spectral-maps.svg"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert f"wrote {tmp_path / 'a' / name}" in said
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with Image.open(tmp_path / "a" / "cams.png") as picture:
        assert min(picture.size) > 300
    rows = rows_of(tmp_path / "a" / "spectral-maps.csv")
    assert {row["run"] for row in rows} == {"run", "twin"}
    assert {row["class"] for row in rows} <= {"organ", "vessel", "lesion"}
    assert len({row["case"] for row in rows}) == 1
    for row in rows:
        assert row["DSC"] and (
            row["log_magnitude_r"] == "" or -1 <= float(row["log_magnitude_r"]) <= 1
        )


def test_a_store_is_explained(phantom_store, tmp_path) -> None:
    out = tmp_path / "new" / "facts"
    assert main(["explain", "data", str(phantom_store), "--out", str(out), "--cases", "5"]) == 0
    assert {path.suffix for path in out.iterdir()} == {".png", ".svg", ".csv"}
    shares = rows_of(out / "power-share.csv")
    assert {row["kind"] for row in shares} == {"images", "images, tapered", "masks"}
    for kind in ("images", "masks"):
        assert sum(float(r["share"]) for r in shares if r["kind"] == kind) == pytest.approx(1)
    effects = rows_of(out / "spatial-spectral.csv")
    assert len(effects) == 21
    for row in effects:
        if int(row["masks"]):
            assert float(row["spatial"]) == pytest.approx(float(row["all_frequencies"]), abs=1e-9)
        else:
            assert row["spatial"] == row["log_magnitude"] == ""


def test_transunet_is_explained_as_unet_is(binary_store) -> None:
    shown = choose_slices(open_store(binary_store), "test", ["2"])
    channels = shown[0].image.shape[-1]
    options = {"depth": 1, "width": 32, "heads": 8}
    network = create_model("transunet", encoder="resnet18", in_channels=channels, **options)
    found = explain_slices(network, "binary", shown, layers=LAYERS, targets=[1, 1])
    for item in found:
        assert [item.cams[layer].shape for layer in LAYERS] == [(2, 2), (2, 2), (32, 32)]
        assert item.predicted.shape == item.spectral.shape == (32, 32)
        assert all(cam.min() >= 0 and cam.max() <= 1 for cam in item.cams.values())
        assert np.isfinite(item.correlation.mean) or not item.predicted.any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}", "absent"], "absent: no such store"),
        (["absent", "{store}"], "absent: not a model"),
        (
            ["{run}", "{store}", "--layer", "decoderr"],
            "unknown layer 'decoderr'; did you mean 'decoder'",
        ),
        (
            ["{run}", "{store}", "--target", "liver"],
            "no class 'liver'; expected one of organ, vessel",
        ),
        (["{run}", "{store}", "--cases", "nobody"], "no case 'nobody'; did you mean"),
        (
            ["{run}", "{store}", "--beside", "{run}"],
            "runs of one method, seed and name; give each once",
        ),
        (["{run}", "{binary}"], "mode is binary, the run was trained with multiclass"),
        (
            ["{run}", "{store}", "--layers", "encoder"],
            "unknown option 'layers'; did you mean 'layer'",
        ),
        (
            ["{run}", "{store}", "--split", "tset"],
            "option 'split': expected one of train, val, test",
        ),
        (["{run}"], "missing: store"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    run, phantom_store, binary_store, tmp_path, monkeypatch, capsys, words, message
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"run": run, "store": phantom_store, "binary": binary_store}
    given = [word.format(**places) for word in words]
    assert main(["explain", "run", *given, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("harmoseg: error: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_explained_comes_first(capsys) -> None:
    assert main(["explain", "rum", "x", "y", "--out", "z"]) == 2
    assert "unknown command 'rum'; did you mean 'run'" in capsys.readouterr().err
    assert main(["explain", "data", "x"]) == 2
    assert "missing: --out (see harmoseg explain" in capsys.readouterr().err
