"""harmoseg xray prints a page, and writes a page and numbers."""

from __future__ import annotations

import json

from harmoseg.cli.main import main


def test_losses_side_by_side(tmp_path, capsys, binary_store) -> None:
    page, numbers = tmp_path / "page.html", tmp_path / "cards.json"
    arguments = ["xray", "scc", "tversky(alpha=0.3,beta=0.7)", "--store", str(binary_store)]
    assert main([*arguments, "--html", str(page), "--json", str(numbers)]) == 0
    told = capsys.readouterr().out
    assert "Is it safe to train with?" in told and "is squared Dice" in told
    assert [card["name"] for card in json.loads(numbers.read_text())] == arguments[1:3]
    assert page.read_text().startswith("<!doctype html>")


def test_mistakes_are_named(capsys) -> None:
    for arguments, message in (
        (["sc"], "unknown loss 'sc'; did you mean 'scc'"),
        (["scc", "--mode", "multilable"], "expected one of binary, multiclass, multilabel"),
        ([], "missing: losses"),
        (["scc", "--stor", "x"], "unknown option 'stor'; did you mean 'store'"),
    ):
        assert main(["xray", *arguments]) == 2
        assert message in capsys.readouterr().err, arguments
