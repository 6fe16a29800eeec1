"""What stands before a command: versions for a report of a defect, completion for a shell."""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import re
from collections.abc import Sequence
from importlib import metadata

import harmoseg
from harmoseg.cli.parsing import Parser, actions
from harmoseg.errors import HarmosegError

SHELLS = ("bash", "zsh", "tcsh")


def versions() -> str:
    """Return versions of harmoseg and of all that it uses, as JSON."""
    packages = {}
    for text in metadata.requires("harmoseg") or []:
        name = re.split(r"[^\w.-]", text, maxsplit=1)[0]
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    packages.pop("harmoseg", None)
    import torch

    has_accelerator = torch.cuda.is_available()
    found = {
        "harmoseg": harmoseg.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "accelerator": torch.cuda.get_device_name() if has_accelerator else "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "packages": dict(sorted(packages.items(), key=lambda pair: pair[0].lower())),
    }
    return json.dumps(found, indent=2)


def completion(shell: str, commands: dict[str, Parser]) -> str:
    """Return the script that completes commands and options in a shell.

    Raises HarmosegError for a shell that there is no script for.
    """
    if shell not in SHELLS:
        raise HarmosegError(f"no completion for {shell!r}; expected one of {', '.join(SHELLS)}")
    import shtab

    top = argparse.ArgumentParser(prog="harmoseg")
    inner = top.add_subparsers()
    for name, parser in commands.items():
        for action in actions(parser):
            if action.choices is None and action.nargs != 0:
                action.complete = shtab.FILE
        inner.add_parser(name, help=parser.description, parents=[parser], add_help=False)
    script = shtab.complete(top, shell)
    return re.sub(r"--[a-z]\w*", lambda found: found[0].replace("_", "-"), script)


def take_flags(arguments: Sequence[str]) -> tuple[list[str], bool, bool]:
    """Take ``--quiet`` and ``--verbose`` out of arguments, wherever they stand."""
    quiet = any(word in ("--quiet", "-q") for word in arguments)
    verbose = any(word in ("--verbose", "-v") for word in arguments)
    if quiet and verbose:
        raise HarmosegError("--quiet and --verbose exclude one another; give one of them")
    rest = [word for word in arguments if word not in ("--quiet", "-q", "--verbose", "-v")]
    return rest, quiet, verbose
