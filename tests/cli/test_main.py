"""The command line: help, mistakes, statuses, versions, completion, quiet and verbose."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harmoseg
from harmoseg import HarmosegError
from harmoseg.cli.main import STATUSES, main, make_parser
from harmoseg.store.reading import open_store

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["prepare"],
        ["prepare", "folder"],
        ["prepare", "kvasir-seg"],
        ["prepare", "phantom"],
        ["train"],
        ["evaluate"],
        ["export"],
        ["compare"],
        ["info"],
        ["explain"],
        ["explain", "run"],
        ["explain", "data"],
        ["demo"],
    ],
)
def test_help_explains_every_option(command, capsys) -> None:
    if command:
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
    else:
        assert main(["--help"]) == 0
    text = capsys.readouterr().out
    usage = text.replace("[options] ", "")
    assert usage.startswith("usage: harmoseg " + " ".join(command))
    # An option without a word of explanation shows its type alone.
    options = re.split(r"\n  (?=--|[a-z])", text.partition("-h, --help")[2])[1:]
    bare = [option for option in options if re.fullmatch(r"\S+( \S+)*\s+\([^)]*\)\s*", option)]
    assert bare == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["comapre", "x"], "unknown command 'comapre'; did you mean 'compare'"),
        (["prepare", "kvasir"], "unknown command 'kvasir'; did you mean 'kvasir-seg'"),
        (["compare", "x", "--epoch", "3"], "unknown option 'epoch'; did you mean 'epochs'"),
        (
            ["compare", "x", "--batch-sice=3"],
            "unknown option 'batch_sice'; did you mean 'batch-size'",
        ),
        (
            ["train", "x", "--out", "y", "--epochs", "many"],
            "option 'epochs': expected a whole number, got 'many'",
        ),
        (
            ["train", "x", "--out", "y", "--select", "first"],
            "option 'select': expected one of best, last, got 'first'",
        ),
        (
            ["prepare", "btseg", "--source", "x", "--out", "y", "--fold", "last"],
            "option 'fold': expected a whole number, got 'last'",
        ),
        (["evaluate", "x", "y", "--tta", "maybe"], "one argument too many: 'maybe'"),
        (["prepare", "kvasir-seg"], "missing: --source, --out (see harmoseg prepare"),
        (["evaluate"], "missing: run, store (see"),
        (["train", "x", "--out", "y", "--epochs", "0"], "epochs must be 1 or more"),
        (["train", "x"], "missing: --out (see"),
        (["info", "absent"], "absent: no such store"),
        (["prepare", "phantom", "--out", "p", "--count", "-2"], "count must be 2 or more"),
        (["prepare", "phantom", "--out", "p", "--size", "0"], "size must be 16 or more"),
        (["prepare", "phantom", "--out", "p", "--seed", "-1"], "seed must be 0 or more"),
        (["evaluate", "absent", "x"], "absent: not a model"),
        (["study", "statsu", "x"], "did you mean study status"),
        (["study", "report", "--print_shtap", "x"], "unknown option 'print_shtap'; did you mean"),
        (["study", "absent.yaml", "--gpus", "1"], "--gpus is for the jobs of a cluster"),
        (["study", "--stores", "x", "absent.yaml"], "absent.yaml: no such file"),
    ],
)
def test_mistakes_are_one_line_and_status_two(arguments, message, capsys) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("harmoseg: error: ") and error.count("\n") == 1


def test_an_error_of_several_lines_is_shown_in_one(capsys, monkeypatch) -> None:
    def fail(*_):
        raise HarmosegError("a  b.png: broken\n  (by a library);\n\nreplace it\n")

    monkeypatch.setattr("harmoseg.cli.main._run", fail)
    assert main(["info", "x"]) == 2
    shown = "harmoseg: error: a  b.png: broken (by a library); replace it\n"
    assert capsys.readouterr().err == shown  # names with two spaces stay as they are


def test_a_configuration_file_is_read_and_flags_win(tmp_path, capsys) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("size: 24\nclasses: [background, disc]\n")
    arguments = ["prepare", "folder", "--config", str(config), "--images", "i", "--masks", "m"]
    assert main([*arguments, "--out", str(tmp_path / "s")]) == 2
    assert "i: no such folder" in capsys.readouterr().err
    config.write_text("sizze: 24\n")
    assert main([*arguments, "--out", str(tmp_path / "s")]) == 2
    assert "unknown option 'sizze'; did you mean 'size'" in capsys.readouterr().err
    config.write_text("epochz: 3\n")
    assert main(["compare", "x", "--config", str(config)]) == 2
    assert "unknown option 'epochz'; did you mean 'epochs'" in capsys.readouterr().err


def test_flags_win_over_the_file_in_any_order(tmp_path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("epochs: 7\nseeds: 5\n")
    for words in (
        ["--epochs", "3", "--config", str(config)],
        ["--config", str(config), "--epochs", "3"],
    ):
        parsed = make_parser("compare").parse_args(["store", *words])
        assert (parsed.epochs, parsed.seeds, parsed.paths) == (3, 5, ["store"])


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harmoseg.cli.main._run", interrupt)
    assert main(["info", "x"]) == 130
    assert "run it again, and it continues" in capsys.readouterr().err


def test_importing_the_package_imports_torch_and_numpy_alone() -> None:
    code = (
        "import sys, torch, numpy; before = {m.partition('.')[0] for m in sys.modules};"
        "import harmoseg; after = {m.partition('.')[0] for m in sys.modules};"
        "new = sorted(m for m in after - before - sys.stdlib_module_names); print(new)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['harmoseg']"


def test_a_light_installation_says_what_the_command_line_needs() -> None:
    code = (
        "import sys; sys.modules['jsonargparse'] = None; sys.argv = ['harmoseg', '--help'];"
        "from harmoseg.__main__ import main; sys.exit(main())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 2 and "Traceback" not in found.stderr
    assert "needs jsonargparse" in found.stderr and "pip install 'harmoseg[all]'" in found.stderr


def test_a_command_says_what_it_lacks_before_it_begins(binary_store, tmp_path) -> None:
    code = (
        "import sys; sys.modules['jinja2'] = None;"
        f"sys.argv = ['harmoseg', 'compare', {str(binary_store)!r}, '--out', {str(tmp_path / 'o')!r}];"
        "from harmoseg.__main__ import main; sys.exit(main())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 2 and "Traceback" not in found.stderr
    assert "needs jinja2" in found.stderr and not (tmp_path / "o").exists()


def test_truth_values_are_flags_and_the_old_spelling_works(folder_data, tmp_path) -> None:
    images, masks = folder_data()
    folder = ["prepare", "folder", "--images", str(images), "--masks", str(masks), "--size", "32"]
    assert main([*folder, "--out", str(tmp_path / "s")]) == 0
    for spelled in (["--overwrite"], ["--overwrite", "true"], ["--overwrite=true"]):
        # A flag takes no word that follows it.
        assert main([*folder[:2], *spelled, *folder[2:], "--out", str(tmp_path / "s")]) == 0


def test_a_set_that_only_tests_has_a_name(folder_data, tmp_path) -> None:
    images, masks = folder_data()
    folder = ["prepare", "folder", "--images", str(images), "--masks", str(masks), "--size", "32"]
    assert main([*folder, "--out", str(tmp_path / "s"), "--test-only"]) == 0
    assert {case.split for case in open_store(tmp_path / "s").cases} == {"test"}


def test_help_shows_options_with_dashes_and_flags_without_values(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = capsys.readouterr().out
    assert "--batch-size" in told and "_size" not in told and "{true,false}" not in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epochs: 1  # f\xfcr uns\n", "line 1 is no UTF-8 .* save the file as UTF-8"),
        (b"", "c.yaml: empty; expected options of the command"),
        (b"- epochs\n", "expected options of the command, as lines of NAME: VALUE"),
        (b"epochs: [1\n", "c.yaml: not YAML"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(
    tmp_path, capsys, content, message
) -> None:
    config = tmp_path / "c.yaml"
    config.write_bytes(content)
    assert main(["train", "store", "--out", "run", "--config", str(config)]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_configuration_is_read_as_it_is_written(tmp_path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "images: a\nmasks: b\nout: c\nclasses: [no, yes]\noverwrite: true\n", encoding="utf-16"
    )
    found = make_parser("prepare").parse_args(["folder", "--config", str(config)]).folder
    assert found.classes == ["no", "yes"] and found.overwrite is True
    config.write_text("loggers: csv\nlearning_rate: 1e-1\n")
    found = make_parser("train").parse_args(["s", "--out", "r", "--config", str(config)])
    assert found.loggers == ["csv"] and found.learning_rate == 0.1


def test_output_that_nobody_reads_any_more_is_no_failure(binary_store) -> None:
    command = (
        f"{sys.executable} -m harmoseg info {binary_store} | head -n 1; echo ${{PIPESTATUS[0]}}"
    )
    ended = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=True)
    assert ended.stderr == "" and ended.stdout.splitlines()[-1] in ("0", "141")


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


def test_one_method_is_refused_before_it_is_trained(binary_store, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    words = ["compare", str(binary_store), "--methods", "unet", "unet", "--out", str(out)]
    assert main(words) == 2
    assert "names one method, unet, and it has no control" in capsys.readouterr().err
    assert not out.exists()
