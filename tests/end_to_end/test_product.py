"""From images and masks to an answer, through the command line alone."""

from __future__ import annotations

import csv
import json

import numpy as np
from PIL import Image

from harmoseg.cli.main import main


def test_folder_to_report(folder_data, tmp_path, capsys) -> None:
    images, masks = folder_data(count=20, suffix="_mask")
    store, study = tmp_path / "store", tmp_path / "study"
    prepare = ["prepare", "folder", "--images", str(images), "--masks", str(masks)]
    assert main([*prepare, "--out", str(store), "--size", "32", "--test-fraction", "0.3"]) == 0
    assert main(["info", str(store), "--preview", str(tmp_path / "p.png")]) == 0
    small = ["--encoder", "resnet18", "--epochs", "6", "--batch-size", "4"]
    command = ["compare", str(store), "--out", str(study), "--seeds", "2", *small]
    assert main([*command, "--controls", "reduction"]) == 0
    out = capsys.readouterr().out
    assert "Paired differences" in out and str(study / "report.html") in out
    with (study / "tables" / "means.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["measure"] == "DSC"]
    means = {row["method"]: float(row["mean"]) for row in rows}
    # Bright discs on dark noise: whoever learns at all finds them.
    assert set(means) == {"unet", "unet+scc"} and min(means.values()) > 60


def test_train_then_evaluate(binary_store, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    small = ["--encoder", "tu-test_resnet", "--epochs", "1", "--batch-size", "4"]
    assert main(["train", str(binary_store), "--out", str(run), "--method", "unet", *small]) == 0
    assert main(["evaluate", str(run), str(binary_store)]) == 0
    summary = json.loads((run / "evaluations" / "phantom-binary" / "summary.json").read_text())
    assert summary["cases"] == 8 and summary["method"] == "unet"
    assert "per_image" in capsys.readouterr().out


def test_train_on_a_folder_and_predict_on_another(folder_data, tmp_path, capsys) -> None:
    images, _ = folder_data(count=12, size=40)
    source, run, out = images.parent, tmp_path / "runs" / "run", tmp_path / "out"
    (tmp_path / "another").mkdir()
    for i in range(3):
        Image.open(images / f"case{i}.png").resize((64, 50)).save(tmp_path / f"another/{i}.png")
    small = ["--encoder", "tu-test_resnet", "--epochs", "1", "--batch-size", "4", "--size", "32"]
    train = ["train", str(source), "--out", str(run), "--method", "unet", *small]
    assert main(train) == 0
    said = capsys.readouterr().out
    store = tmp_path / "runs" / "run-store"
    assert f"prepared {store} from {source} (cases: 10 train, 2 test)" in said
    assert main(train) == 0 and "is there already" in capsys.readouterr().out
    assert main(["predict", str(run), str(tmp_path / "another"), str(out), "--overlays"]) == 0
    for i in range(3):
        mask = np.asarray(Image.open(out / "masks" / f"{i}.png"))
        assert mask.shape == (50, 64) and set(np.unique(mask)) <= {0, 255}
    # A store that was made otherwise is not replaced, and a store needs no preparing.
    other = [*train[:-1], "48"]
    assert main(other) == 2
    assert "or by an earlier version; remove it, or choose another --out" in capsys.readouterr().err
    assert main(["train", str(store), *train[2:]]) == 2
    assert "a prepared store; --size would change nothing" in capsys.readouterr().err
    assert main(["train", str(images), *train[2:]]) == 2
    assert "no images and no masks in it" in capsys.readouterr().err
