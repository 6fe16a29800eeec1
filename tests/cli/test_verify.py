"""harmoseg verify: what it prints and writes, and its exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harmoseg.cli.main import main


def test_help_names_the_exit_status_and_every_option(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: harmoseg verify")
    assert "1 with errors, 2 for a mistake" in text
    for option in ("--dataset", "--json", "--page"):
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
