"""harmoseg verify: what it prints and writes, and its exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg.cli.main import main


def test_help_names_the_exit_status_and_every_option(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: harmoseg verify")
    assert "1 with errors, 2 for a mistake" in text
    for option in ("--dataset", "--split", "--fold", "--json", "--page"):
        assert option in text
    assert main(["--help"]) == 0
    assert "  verify    Check a dataset's files or a store" in capsys.readouterr().out


def test_a_sound_store(phantom_store, tmp_path, capsys) -> None:
    names = [str(tmp_path / "new" / name) for name in ("v.json", "v.html")]
    assert main(["verify", str(phantom_store), "--json", names[0], "--page", names[1]]) == 0
    out = capsys.readouterr().out
    assert "verified: 0 error(s), 0 warning(s)" in out and f"wrote {names[1]}" in out
    values = json.loads(Path(names[0]).read_text(encoding="utf-8"))
    assert values["kind"] == "store" and values["dataset"] == "phantom-multiclass"
    assert Path(names[1]).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_damaged_store_gives_status_one_and_the_files(phantom_store, tmp_path, capsys) -> None:
    store = tmp_path / "store"
    shutil.copytree(phantom_store, store)
    data = bytearray((store / "images.npy").read_bytes())
    data[-1] ^= 1
    (store / "images.npy").write_bytes(data)
    assert main(["verify", str(store), "--json", str(tmp_path / "v.json")]) == 1
    captured = capsys.readouterr()
    assert "errors (1)" in captured.out and "images.npy: changed since" in captured.out
    assert "-> prepare the store again" in captured.out and "Traceback" not in captured.err
    assert json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))["errors"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent: no such folder"),
        ([".", "--dataset", "kvasir"], "unknown dataset 'kvasir'"),
        ([".", "--fold", "one"], "option 'fold'"),
        (["."], "not recognised as any of"),
        ([".", "--datset", "x"], "unknown option 'datset'; did you mean 'dataset'"),
        ([], "store_or_source"),
    ],
)
def test_mistakes_are_one_line_and_status_two(
    arguments, message, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("harmoseg: error: ") and error.count("\n") == 1


def test_a_page_of_another_ending_is_a_mistake(phantom_store, tmp_path, capsys) -> None:
    assert main(["verify", str(phantom_store), "--page", str(tmp_path / "p.png")]) == 2
    assert "ends in .html" in capsys.readouterr().err


def btseg(root: Path, count: int = 6) -> None:
    for number in range(1, count + 1):
        for folder, ending in (("images", "jpg"), ("masks", "png")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            values = np.random.default_rng(number).integers(0, 2, (16, 16), np.uint8) * 255
            Image.fromarray(values).save(root / folder / f"{number}.{ending}")


def test_a_split_and_a_fold_can_be_named(tmp_path, capsys) -> None:
    btseg(tmp_path)
    words = ["verify", str(tmp_path), "--dataset", "btseg"]
    tested = []
    for fold in ("1", "5"):
        assert main([*words, "--fold", fold, "--json", str(tmp_path / "v.json")]) == 1
        values = json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))
        tested.append([case["case"] for case in values["cases"] if case["split"] == "test"])
    assert tested[0] != tested[1]
    assert main([*words, "--split", "patients"]) == 1
    assert "a split by patient needs the official .mat files" in capsys.readouterr().out
    assert main([*words, "--split", "patients", "--fold", "2"]) == 1
    assert "the split 'patients' is not in folds" in capsys.readouterr().out


def test_what_is_missing_is_told_by_every_command(tmp_path, capsys) -> None:
    btseg(tmp_path / "s")
    out = str(tmp_path / "store")
    words = ["prepare", "btseg", "--source", str(tmp_path / "s"), "--out", out, "--size", "16"]
    assert main(words) == 2 and "--allow-missing" in capsys.readouterr().err
    missing = "not all cases are in it: 6 of"
    remark = "this form names no patients"
    for command in ([*words, "--allow_missing", "true"], [*words, "--allow_missing", "true"]):
        assert main(command) == 0
        said = capsys.readouterr().out
        assert f"note: {missing}" in said and f"note: {remark}" in said
    assert main(["info", out]) == 0
    said = capsys.readouterr().out
    assert missing in said and remark in said
    assert main(["verify", out]) == 1
    said = capsys.readouterr().out
    assert "incomplete: " in said and remark in said
