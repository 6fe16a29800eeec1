"""The front door: functions that do what the commands do, with the same options."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import harmoseg
from harmoseg import HarmosegError
from harmoseg.cli.main import main
from harmoseg.training.options import TrainingOptions

TINY = {"encoder": "tu-test_resnet", "epochs": 1, "batch_size": 4, "validation_fraction": 0}


def test_names_are_imported_when_they_are_asked_for() -> None:
    code = (
        "import harmoseg, sys; harmoseg.compare; "
        "assert 'harmoseg.training' not in sys.modules; "
        "assert set(harmoseg.__all__) <= set(dir(harmoseg)); "
        "assert all(getattr(harmoseg, name) is not None for name in harmoseg.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_public_function_has_the_name_of_a_room() -> None:
    from pathlib import Path

    rooms = {path.name for path in Path(harmoseg.__file__).parent.iterdir() if path.is_dir()}
    assert not rooms & set(harmoseg.__all__)


def test_both_doors_give_the_same_scores(phantom_store, tmp_path, capsys) -> None:
    study = harmoseg.run_study(
        phantom_store, out=tmp_path / "a", seeds=1, controls="none", select="last", **TINY
    )
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    command = ["compare", str(phantom_store), "--out", str(tmp_path / "b"), "--seeds", "1"]
    assert main([*command, "--controls", "none", "--select", "last", *flags]) == 0
    pd.testing.assert_frame_equal(
        study.scores.to_frame(), harmoseg.read_scores(tmp_path / "b").to_frame()
    )
    opened = harmoseg.open_study(tmp_path / "b")
    assert opened.compare().sentences == study.compare().sentences
    capsys.readouterr()
    # A study's scores alone are judged like any table.
    table = tmp_path / "b" / "scores.csv"
    assert main(["compare", str(table), "--out", str(tmp_path / "c"), "--reference", "unet"]) == 0
    assert "Paired differences" in capsys.readouterr().out
    assert main(["compare", str(table), "--out", str(tmp_path / "c")]) == 2
    assert "holds a report already" in capsys.readouterr().err
    again = ["compare", str(table), "--out", str(tmp_path / "c"), "--overwrite"]
    assert main(again) == 0


def test_a_run_is_trained_evaluated_and_used(phantom_store, tmp_path) -> None:
    run = harmoseg.train(phantom_store, out=tmp_path / "run", method="unet", select="last", **TINY)
    scores = harmoseg.evaluate(run, phantom_store, conditions=["blur"], tolerance=1.0)
    assert scores.values_of("condition") == ["clean", "blur:1.5"] and "NSD_1px" in scores.measures
    assert (run / "evaluations" / phantom_store.name / "scores.csv").is_file()
    with pytest.raises(HarmosegError, match="unknown option 'tolerence'; did you mean 'tolerance'"):
        harmoseg.evaluate(run, phantom_store, out=tmp_path / "e", tolerence=1.0)
    with pytest.raises(HarmosegError, match="unknown option 'epoch'; did you mean 'epochs'"):
        harmoseg.train(phantom_store, out=tmp_path / "other", epoch=3)
    assert not (tmp_path / "other").exists()


def test_data_is_prepared(tmp_path, folder_data) -> None:
    images, masks = folder_data(count=6, size=32)
    store = harmoseg.prepare_folder(images=images, masks=masks, out=tmp_path / "s", size=32)
    assert (store / "store.json").is_file()
    assert harmoseg.prepare("phantom", out=tmp_path / "p", count=4, size=32) == tmp_path / "p"
    with pytest.raises(HarmosegError, match="source: not given"):
        harmoseg.prepare("kvasir-seg", out=tmp_path / "k")


def test_options_are_defined_once() -> None:
    for function in (harmoseg.train, harmoseg.run_study):
        own = set(inspect.signature(function).parameters)
        assert not own & {field.name for field in fields(TrainingOptions)}


def test_a_table_that_is_not_there_is_named(tmp_path, capsys) -> None:
    assert main(["compare", str(tmp_path / "no.csv")]) == 2
    assert "no.csv: no such file or folder" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("method,case\na,b\n")
    assert main(["compare", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 2
    assert "no column holds a measure" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folders_of_masks_go_to_the_report_in_one_command(tmp_path, capsys) -> None:
    random = np.random.default_rng(0)
    for i in range(6):
        truth = np.zeros((32, 32), np.uint8)
        truth[8:24, 6 + i : 20] = 255
        for name, shift in (("labels", 0), ("a", 1), ("b/seed0", 3), ("b/seed1", 4)):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            mask = np.roll(truth, shift, 0)
            mask[random.integers(32, size=9), random.integers(32, size=9)] ^= 255
            Image.fromarray(truth if not shift else mask).save(tmp_path / name / f"case{i}.png")
    words = [f"A={tmp_path / 'a'}", f"B={tmp_path / 'b'}", "--truth", str(tmp_path / "labels")]
    out = ["--out", str(tmp_path / "verdict"), "--reference", "A"]
    assert main(["compare", *words, *out, "--margin", "1"]) == 0
    told = capsys.readouterr().out
    assert "B scores lower than A" in told and (tmp_path / "verdict" / "report.html").is_file()
    scores = harmoseg.read_scores(tmp_path / "verdict")
    assert {(row.method, row.seed) for row in scores.frame.itertuples()} == {
        *(("A", "0"), ("B", "0"), ("B", "1"))
    }
    for wrong, message in (
        (words[:2], "name the folder of true masks with --truth"),
        ([words[0], str(tmp_path / "b"), *words[2:]], "expected NAME=FOLDER"),
        ([str(tmp_path / "a"), *words[2:]], "name every folder of masks"),
        ([str(tmp_path / "a"), str(tmp_path / "b")], "name the folder of true masks with --truth"),
    ):
        assert main(["compare", *wrong, "--out", str(tmp_path / "x")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
