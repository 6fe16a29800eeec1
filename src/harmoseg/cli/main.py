"""The entry point: choose the command, and turn its errors into one line and a status."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata

import harmoseg
from harmoseg.cli.parsing import Parser, actions
from harmoseg.errors import HarmosegError, Terminated
from harmoseg.messages import show_messages

# The overview waits for no command to be imported, so what each is for stands here.
COMMANDS = {
    "demo": ("study", "Judge a real study, then train on made images, in a minute."),
    "prepare": ("data", "Turn a dataset's files into a prepared store."),
    "info": (
        "model",
        "Say what a store, a trained model or a network is; draw a store's contact sheet.",
    ),
    "verify": ("data", "Check a dataset's files or a store; say what is wrong and how to mend it."),
    "xray": ("model", "See what losses do, in seconds, without training."),
    "score": ("score", "Score folders of predicted masks against a folder of true masks."),
    "compare": (
        "compare",
        "Compare methods: train them on a store, or judge masks, tables or nnU-Net.",
    ),
    "plan": ("compare", "Plan a study: the seeds and cases that would show a difference."),
    "study": ("study", "Carry out a recipe: a table of the paper, or a study of your own."),
    "train": ("model", "Train one method on a store."),
    "evaluate": ("score", "Score a trained run on a split of a store."),
    "predict": ("model", "Predict masks for images, volumes or DICOM series."),
    "explain": (
        "model",
        "Draw what a network looks at, and what the spectra of its masks and data hold.",
    ),
    "export": ("model", "Write a trained model in a form that others read or run."),
    "study ensembles": (
        "study",
        "Combine the seeds of a study into an ensemble per method, and score it.",
    ),
    "study report": (
        "study",
        "Write tables, figures and report of a study anew, from its finished runs.",
    ),
    "study status": (
        "study",
        "Say how far a study is, what has failed, and about how long it still takes.",
    ),
}
"""The module of every command (``harmoseg.cli.MODULE_commands``), and what the command is for."""

_OF_A_STUDY = ("status", "ensembles", "report")
_SINGLE = [name for name in COMMANDS if " " not in name]
SHELLS = ("bash", "zsh", "tcsh")
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
"""Exit statuses of the command line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status, one of `STATUSES`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbose = False
    try:
        given, quiet, verbose = _take_flags(given)
        if not given or given[0] in {"-h", "--help"}:
            lines = (f"  {name:<10}{COMMANDS[name][1]}" for name in _SINGLE)
            print(_OVERVIEW.format(commands="\n".join(lines)), end="")
            return 0
        show_messages(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
        if given[:1] == ["--version"]:
            print(_versions() if "--json" in given else f"harmoseg {harmoseg.__version__}")
            return 0
        if given[:1] == ["--completion"]:
            parsers = {name: make_parser(name) for name in _SINGLE}
            print(_completion(given[1] if len(given) > 1 else "", parsers), end="")
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


def make_parser(name: str) -> Parser:
    """Make the parser of a command, of `COMMANDS`."""
    module, summary = COMMANDS[name]
    # Only the one that is asked for: some libraries take seconds to load.
    function = getattr(import_module(f"harmoseg.cli.{module}_commands"), name.rpartition(" ")[2])
    if name in ("prepare", "explain"):
        parser: Parser = function(summary)
        return parser
    has_config = name in ("compare", "train")
    return Parser.of(function, summary, config=has_config, prog=f"harmoseg {name}")


def _run(name: str, arguments: list[str]) -> int:
    dashed = [argument.startswith("-") for argument in arguments[:2]]
    if name == "study" and arguments and arguments[0] in _OF_A_STUDY:
        name, arguments = f"study {arguments[0]}", arguments[1:]
    elif name == "study" and dashed == [False, False]:  # a recipe stands alone
        nearest = difflib.get_close_matches(arguments[0], _OF_A_STUDY, n=1, cutoff=0.0)[0]
        raise HarmosegError(
            f"study: {arguments[0]!r} with one argument more; did you mean study {nearest}? (see "
            "harmoseg study --help)"
        )
    elif name not in _SINGLE:
        nearest = difflib.get_close_matches(name, _SINGLE, n=1, cutoff=0.0)[0]
        raise HarmosegError(f"unknown command {name!r}; did you mean {nearest!r}? (see --help)")
    parser = make_parser(name)
    # A command may have a verdict of its own, as `verify` has.
    return parser.call(parser.parse_args(arguments)) or 0


def _versions() -> str:
    """Return versions of harmoseg and of all that it uses, and the machine, as JSON."""
    packages = {}
    for text in metadata.requires("harmoseg") or []:
        name = re.split(r"[^\w.-]", text, maxsplit=1)[0]
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    packages.pop("harmoseg", None)
    from harmoseg.training.run_costs import describe_environment

    packages = dict(sorted(packages.items(), key=lambda pair: pair[0].lower()))
    found = {"harmoseg": harmoseg.__version__, **describe_environment(), "packages": packages}
    return json.dumps(found, indent=2)


def _completion(shell: str, commands: Mapping[str, Parser]) -> str:
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


def _take_flags(arguments: Sequence[str]) -> tuple[list[str], bool, bool]:
    """Separate ``--quiet`` and ``--verbose`` from the other arguments."""
    quiet = any(word in ("--quiet", "-q") for word in arguments)
    verbose = any(word in ("--verbose", "-v") for word in arguments)
    if quiet and verbose:
        raise HarmosegError("--quiet and --verbose exclude one another; give one of them")
    rest = [word for word in arguments if word not in ("--quiet", "-q", "--verbose", "-v")]
    return rest, quiet, verbose
