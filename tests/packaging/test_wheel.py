"""The wheel: built twice alike, installed where there is little and where there is all, typed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGED = ("src", "pyproject.toml", "README.md", "LICENSE")
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"

# What a name is declared to return is told, not guessed: an untyped package would have Any.
CLIENT = """
from typing import assert_type

import harmoseg
from harmoseg import Comparison, HarmonizedLoss, HarmosegError, LossCard, Scores

loss = HarmonizedLoss("binary", bands="rings")
card = assert_type(harmoseg.xray(loss), LossCard)
said = assert_type(card.sentences, list[str])
scores = assert_type(harmoseg.read_scores("scores.csv"), Scores)
result = assert_type(harmoseg.compare(scores, reference="A", margin=1.0), Comparison)
store = harmoseg.prepare_folder(images="a", masks="b", out="store").name
try:
    harmoseg.write_report(result, "report.html")
except HarmosegError as error:
    print(error, said, store)
"""


def execute(*command: object, **options: object) -> str:
    """Run a command; return what it printed, and show all of it where it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory):
    """Return a function that builds wheel and source archive from a copy of the repository."""

    def build() -> Path:
        copy = tmp_path_factory.mktemp("copy")
        for name in PACKAGED:
            if (ROOT / name).is_dir():
                left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(ROOT / name, copy / name, ignore=left_out)
            else:
                shutil.copy(ROOT / name, copy)
        os.utime(copy / "pyproject.toml", (1.8e9, 1.8e9))
        environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
        execute(sys.executable, "-m", "build", "--no-isolation", cwd=copy, env=environment)
        return copy / "dist"

    return build


@pytest.fixture(scope="module")
def dist(build) -> Path:
    """Build once for all tests."""
    return build()


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    """Return the wheel."""
    (found,) = dist.glob("*.whl")
    return found


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel alone into a new environment; return its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--no-cache"]
    execute(*uv, "--python", python, wheel)
    return python


def closure(*names: str) -> set[str]:
    """Name packages and all that they need here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name.lower() in found:
            continue
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another platform
        found.add(name.lower())
        for text in needed:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def link_packages(names: set[str], site: Path) -> None:
    """Link what packages installed here into another environment's folder."""
    for name in names:
        for file in metadata.files(name) or []:
            top = file.parts[0]
            source = Path(metadata.distribution(name).locate_file(top))
            if top != ".." and top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(source)


def test_same_source_same_wheel(build, wheel) -> None:
    (again,) = build().glob("*.whl")
    assert again.name == wheel.name
    first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, again))
    assert first == second


def test_long_description_renders_and_names_are_right(dist) -> None:
    said = execute(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()))
    assert said.count("PASSED") == 2


def test_loss_needs_torch_and_numpy_alone(wheel, tmp_path) -> None:
    python = install(wheel, tmp_path / "venv")
    link_packages(closure("torch", "numpy"), tmp_path / "venv" / SITE)
    code = (
        "import torch, harmoseg; x = torch.zeros(2, 1, 8, 8, requires_grad=True);"
        "harmoseg.HarmonizedLoss('binary')(x, torch.ones(2, 1, 8, 8)).backward();"
        "print(harmoseg.__version__, x.grad.abs().sum() > 0, harmoseg.__file__)"
    )
    version, has_gradient, file = execute(python, "-I", "-c", code).split()
    assert version in wheel.name and has_gradient == "tensor(True)" and str(tmp_path) in file
    missing = subprocess.run(
        [python, "-I", "-m", "harmoseg", "xray", "dice"], capture_output=True, text=True
    )
    assert missing.returncode == 2 and "pip install 'harmoseg[all]'" in missing.stderr


@pytest.fixture(scope="module")
def complete(wheel, tmp_path_factory) -> Path:
    """Install the wheel where all that its extras need is there; return its Python."""
    folder = tmp_path_factory.mktemp("complete")
    python = install(wheel, folder)
    here = Path(metadata.distribution("torch").locate_file(""))
    # A folder that is only on the path: the editable harmoseg in it is not seen.
    (folder / SITE / "all.pth").write_text(f"{here}\n", encoding="utf-8")
    return python


def test_extras_name_what_is_there(complete) -> None:
    code = "from importlib.metadata import requires; print(*requires('harmoseg'), sep='\\n')"
    needed = [Requirement(text) for text in execute(complete, "-I", "-c", code).splitlines()]
    for extra in ("train", "report", "corruptions", "dicom", "excel", "loggers"):
        asked = [one for one in needed if one.marker and one.marker.evaluate({"extra": extra})]
        assert asked
        for one in asked:
            assert one.name == "harmoseg" or metadata.version(one.name) in one.specifier


def test_demo_runs_from_the_wheel_and_offline(complete, tmp_path) -> None:
    # No address is reached: a name server that refuses, and proxies that are nobody.
    nowhere = "http://127.0.0.1:9"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "HTTPS_PROXY": nowhere,
        "HTTP_PROXY": nowhere,
    }
    said = execute(complete, "-I", "-m", "harmoseg", "demo", cwd=tmp_path, env=environment)
    *_, verdict, first, _, report = said.strip().splitlines()
    assert "comparisons of a method with a control in DSC" in verdict and first.startswith("On ")
    assert report == "report: demo/polyps/report.html"
    assert (tmp_path / "demo" / "polyps" / "report.html").stat().st_size > 100_000
    assert (tmp_path / "demo" / "study" / "report.html").stat().st_size > 100_000


def test_shipped_scores_are_those_of_the_results() -> None:
    from harmoseg.scores.files import example_scores, read_scores

    keys = ["method", "seed", "tested_on", "case", "class"]
    shipped = example_scores().to_frame().set_index(keys)
    polyps = read_scores(ROOT / "results" / "trained-out" / "polyps")
    present = polyps.to_frame().set_index(keys)
    assert (shipped["DSC"].fillna(-1) == present["DSC"].reindex(shipped.index).fillna(-1)).all()


def test_strict_client_is_typed(wheel, tmp_path) -> None:
    # Without the libraries below it, which take mypy a minute to read.
    python = install(wheel, tmp_path / "venv")
    client = tmp_path / "client.py"
    client.write_text(CLIENT, encoding="utf-8")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable"]
    assert "no issues found" in execute(*mypy, python, client, cwd=tmp_path)
