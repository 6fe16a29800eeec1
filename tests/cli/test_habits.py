"""What stands before a command: versions, completion, quiet and verbose, statuses, caches."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from pathlib import Path

import pytest

import harmoseg
from harmoseg.caches import place_caches
from harmoseg.cli.main import STATUSES, main

ROOT = Path(__file__).parents[2]


def test_versions_as_json(capsys) -> None:
    assert main(["--version", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["harmoseg"] == harmoseg.__version__
    assert {"torch", "numpy", "pandas", "lightning"} <= set(found["packages"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("harmoseg eva", {"evaluate"}),
        ("harmoseg compare --batch", {"--batch-size"}),
        ("harmoseg prepare kvasir", {"kvasir-seg"}),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_bash_completes(words, expected, capsys, tmp_path) -> None:
    assert main(["--completion", "bash"]) == 0
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    asked = f"COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}; _shtab_harmoseg"
    command = ["bash", "-c", f'. {script}; {asked}; echo "${{COMPREPLY[@]}}"']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == expected


def test_unknown_shell_is_refused(capsys) -> None:
    assert main(["--completion", "fish"]) == 2
    assert "expected one of bash, zsh, tcsh" in capsys.readouterr().err


def test_quiet_shows_results_alone(binary_store, tmp_path, capsys) -> None:
    small = ["--encoder", "tu-test_resnet", "--epochs", "1", "--batch-size", "4", "--quiet"]
    command = ["train", str(binary_store), "--out", str(tmp_path / "run"), *small]
    try:
        assert main(command) == 0
        assert capsys.readouterr().err == ""
        assert main(["compare", "absent", "-v"]) == 2
        assert "Traceback" in capsys.readouterr().err
        assert main(["compare", "absent", "-v", "-q"]) == 2
        assert "exclude one another" in capsys.readouterr().err
    finally:
        logging.getLogger("harmoseg").setLevel(logging.INFO)


def test_statuses_are_documented_as_they_are() -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    for status, meaning in STATUSES.items():
        assert f"| {status} | {meaning} |" in page


def test_caches_lie_below_one_folder_unless_told_otherwise() -> None:
    environment = {"HARMOSEG_CACHE": "/data/weights", "TORCH_HOME": "/elsewhere"}
    place_caches(environment)
    assert environment["HF_HUB_CACHE"] == "/data/weights/huggingface"
    assert environment["TORCH_HOME"] == "/elsewhere"
    place_caches(untouched := {})
    assert untouched == {}
