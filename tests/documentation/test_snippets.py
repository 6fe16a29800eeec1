"""What the README and the docs tell people to type works as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from harmoseg.cli import main as cli
from harmoseg.study.recipe import read_recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(language: str) -> list[pytest.param]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for i, block in enumerate(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)):
            found.append(pytest.param(block, id=f"{page.relative_to(ROOT)}:{i}"))
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "snippet", "exec"), {"__name__": "snippet"})  # noqa: S102
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("text", blocks("console"))
def test_commands_are_understood(text) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["make"]:
                assert set(words[1:]) <= set(targets), line
            if words[:1] == ["harmoseg"] and len(words) > 2:
                # Parsing checks every option's name and type; nothing is run.
                command, rest = words[1], words[2:]
                if command == "study" and rest[0] in cli._OF_A_STUDY:
                    command, rest = f"study {rest[0]}", rest[1:]
                cli.make_parser(command).parse_args(rest)


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_public_name_is_documented() -> None:
    import harmoseg

    for name in harmoseg.__all__:
        assert getattr(harmoseg, name).__doc__, name


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_begin_with_the_command_that_runs_them(recipe, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(recipe.read_text(encoding="utf-8").splitlines()[0].removeprefix("# "))
    parsed = cli.make_parser(words[1]).parse_args(words[2:])
    seeds = parsed.seeds if words[1] == "compare" else read_recipe(recipe, ROOT).seeds
    assert words[0] == "harmoseg" and seeds >= 2
