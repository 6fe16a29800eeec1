"""The entry point: choose the command, and turn its errors into one line and a status."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import harmoseg
from harmoseg.cli.commands import SUMMARIES
from harmoseg.cli.habits import completion, take_flags, versions
from harmoseg.cli.parsing import with_underscores
from harmoseg.errors import HarmosegError, Terminated
from harmoseg.messages import show_messages

_OF_A_STUDY = ("status", "ensembles", "report")
_COMMANDS = [name for name in SUMMARIES if not name.startswith("study_")]
_OVERVIEW = """\
usage: harmoseg COMMAND [options]

Does a spectral objective make medical image segmentation better, by how much, and can it be
trusted? Try it on made images: harmoseg demo. Look at a loss: harmoseg xray scc dice rings

commands:
{commands}

Each command explains itself: harmoseg COMMAND --help
On your own data: harmoseg prepare folder, then harmoseg compare.

With any command: --quiet shows warnings and results alone, --verbose also where an error arose.
harmoseg --version [--json]          versions, for a report of a defect
harmoseg --completion bash|zsh|tcsh  completion: eval "$(harmoseg --completion bash)"
"""


STATUSES = {
    0: "Done.",
    1: "Done, and data was found to be wrong (`verify`), or some runs or files failed.",
    2: "A mistake in what was asked or given; the message says what to do.",
    130: "Interrupted (Ctrl-C); the same command continues.",
    141: "The reader of the output went away, as `head` does.",
    143: "Terminated and saved; the same command continues.",
}
"""What the command line returns."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status, one of `STATUSES`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbose = False
    try:
        given, quiet, verbose = take_flags(given)
        if not given or given[0] in {"-h", "--help"}:
            lines = (f"  {name:<10}{SUMMARIES[name]}" for name in _COMMANDS)
            print(_OVERVIEW.format(commands="\n".join(lines)), end="")
            return 0
        show_messages(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
        if given[:1] == ["--version"]:
            print(versions() if "--json" in given else f"harmoseg {harmoseg.__version__}")
            return 0
        if given[:1] == ["--completion"]:
            parsers = {name: _command(name).make_parser() for name in _COMMANDS}
            print(completion(given[1] if len(given) > 1 else "", parsers), end="")
            return 0
        status = _run(given[0], given[1:])
        sys.stdout.flush()  # here, where a reader that went away is no error
        return status
    except HarmosegError as error:
        if verbose:
            traceback.print_exc()
        # One line, whatever a library's own message in it looked like.
        print("harmoseg: error:", re.sub(r"\s*\n\s*", " ", str(error).strip()), file=sys.stderr)
        return 2
    except Terminated:
        print("harmoseg: terminated and saved; run it again, and it continues", file=sys.stderr)
        return 143
    except BrokenPipeError:
        # Whoever read the output has enough, as `head` has. Nothing is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("harmoseg: interrupted; run it again, and it continues", file=sys.stderr)
        return 130


def _run(name: str, arguments: list[str]) -> int:
    if name == "study" and arguments and arguments[0] in _OF_A_STUDY:
        command = _command(f"study_{arguments[0]}")
        return command.run(command.make_parser().parse_args(arguments[1:])) or 0
    dashed = [argument.startswith("-") for argument in arguments[:2]]
    if name == "study" and dashed == [False, False]:  # a recipe stands alone
        nearest = difflib.get_close_matches(arguments[0], _OF_A_STUDY, n=1, cutoff=0.0)[0]
        raise HarmosegError(
            f"study: {arguments[0]!r} with one argument more; did you mean study {nearest}? (see "
            "harmoseg study --help)"
        )
    if name not in _COMMANDS:
        nearest = difflib.get_close_matches(name, _COMMANDS, n=1, cutoff=0.0)[0]
        raise HarmosegError(f"unknown command {name!r}; did you mean {nearest!r}? (see --help)")
    command = _command(name)
    # The dataset of `prepare` has a name with dashes.
    words = 1 if name == "prepare" and arguments else 0
    spelled = arguments[:words] + with_underscores(arguments[words:])
    # A command may have a verdict of its own, as `verify` has.
    return command.run(command.make_parser().parse_args(spelled)) or 0


def _command(name: str) -> Any:
    # Only the one that is asked for: most need torch, which takes a second or two to load.
    return import_module(f"harmoseg.cli.{name}")
