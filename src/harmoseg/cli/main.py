"""The entry point: choose the command, and turn its errors into one line and a status."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harmoseg.cli import compare, demo, evaluate, info, prepare, train
from harmoseg.cli.parsing import Parser, with_underscores
from harmoseg.errors import HarmosegError

_COMMANDS = {
    "demo": demo,
    "prepare": prepare,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "info": info,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 2 for a user's mistake, 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parser = _make_parser()
        parsed = parser.parse_args(with_underscores(given or ["--help"]))
        _COMMANDS[parsed.command].run(parsed[parsed.command])
    except HarmosegError as error:
        print(f"harmoseg: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("harmoseg: interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    return 0


def _make_parser() -> Parser:
    parser = Parser(
        prog="harmoseg",
        description="Does a spectral objective make medical image segmentation better, by how "
        "much, and can it be trusted? Try: harmoseg demo",
    )
    commands = parser.add_subcommands(required=True, dest="command")
    for module in _COMMANDS.values():
        module.add_to(commands)
    return parser
