"""From images and masks to an answer, through the command line alone."""

from __future__ import annotations

import csv
import json

from harmoseg.cli.main import main


def test_folder_to_report(folder_data, tmp_path, capsys) -> None:
    images, masks = folder_data(count=20, suffix="_mask")
    store, study = tmp_path / "store", tmp_path / "study"
    prepare = ["prepare", "folder", "--images", str(images), "--masks", str(masks)]
    assert main([*prepare, "--out", str(store), "--size", "32", "--test-fraction", "0.3"]) == 0
    assert main(["info", str(store), "--preview", str(tmp_path / "p.png")]) == 0
    small = ["--encoder", "resnet18", "--epochs", "6", "--batch-size", "4"]
    command = ["compare", str(store), "--out", str(study), "--seeds", "2", *small]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "Paired differences" in out and str(study / "report.html") in out
    with (study / "tables" / "means.csv").open(newline="") as stream:
        means = {row["method"]: float(row["DSC"].split()[0]) for row in csv.DictReader(stream)}
    # Bright discs on dark noise: whoever learns at all finds them.
    assert set(means) == {"unet", "unet+scc"} and min(means.values()) > 60


def test_train_then_evaluate(binary_store, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    small = ["--encoder", "resnet18", "--epochs", "1", "--batch-size", "4"]
    assert main(["train", str(binary_store), "--out", str(run), "--method", "unet", *small]) == 0
    assert main(["evaluate", str(run), str(binary_store)]) == 0
    summary = json.loads((run / "evaluations" / "phantom-binary" / "summary.json").read_text())
    assert summary["cases"] == 8 and summary["method"] == "unet"
    assert "per_image" in capsys.readouterr().out
