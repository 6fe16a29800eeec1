"""Variables are set before the libraries that read them are loaded, unless the user chose."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harmoseg.environment import bound_spinning, place_caches


def test_spinning_is_bounded_where_nobody_chose() -> None:
    environment: dict[str, str] = {"OMP_NUM_THREADS": "2"}
    bound_spinning(environment)
    assert environment["GOMP_SPINCOUNT"] == "1000" and environment["KMP_BLOCKTIME"] == "1"


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_a_choice_of_the_user_stays(name) -> None:
    environment = {name: "active"}
    bound_spinning(environment)
    assert environment == {name: "active"}


def test_the_command_sets_it_before_torch_is_loaded() -> None:
    code = (
        "import sys, os, harmoseg.__main__ as entry\n"
        "import harmoseg.environment\n"
        "def seen(environment):\n"
        "    print('torch' in sys.modules, environment is os.environ)\n"
        "    raise SystemExit(0)\n"
        "entry.bound_spinning = seen\n"
        "entry.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "True"]


def test_caches_lie_below_one_folder_unless_told_otherwise() -> None:
    environment = {"HARMOSEG_CACHE": "/data/weights", "TORCH_HOME": "/elsewhere"}
    place_caches(environment)
    assert environment["HF_HUB_CACHE"] == "/data/weights/huggingface"
    assert environment["TORCH_HOME"] == "/elsewhere"
    place_caches(untouched := {})
    assert untouched == {}
