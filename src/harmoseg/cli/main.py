"""The entry point: choose the command, and turn its errors into one line and a status."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

import harmoseg
from harmoseg.cli import compare, demo, evaluate, info, prepare, train
from harmoseg.cli.parsing import with_config_first, with_underscores
from harmoseg.errors import HarmosegError

_COMMANDS = {
    "demo": demo,
    "prepare": prepare,
    "info": info,
    "compare": compare,
    "train": train,
    "evaluate": evaluate,
}
_OVERVIEW = """\
usage: harmoseg COMMAND [options]

Does a spectral objective make medical image segmentation better, by how much, and can it be
trusted? Try it on made images: harmoseg demo

commands:
{commands}

Each command explains itself: harmoseg COMMAND --help
On your own data: harmoseg prepare folder, then harmoseg compare.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 2 for a user's mistake, 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in {"-h", "--help"}:
        lines = (f"  {name:<10}{module.SUMMARY}" for name, module in _COMMANDS.items())
        print(_OVERVIEW.format(commands="\n".join(lines)), end="")
        return 0
    if given[0] == "--version":
        print(f"harmoseg {harmoseg.__version__}")
        return 0
    try:
        _run(given[0], given[1:])
    except HarmosegError as error:
        print(f"harmoseg: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("harmoseg: interrupted; run it again, and training continues", file=sys.stderr)
        return 130
    return 0


def _run(name: str, arguments: list[str]) -> None:
    if name not in _COMMANDS:
        nearest = difflib.get_close_matches(name, _COMMANDS, n=1, cutoff=0.0)[0]
        raise HarmosegError(f"unknown command {name!r}; did you mean {nearest!r}? (see --help)")
    command = _COMMANDS[name]
    # The dataset of `prepare` comes before its options.
    words = 1 if name == "prepare" and arguments else 0
    ordered = arguments[:words] + with_config_first(with_underscores(arguments[words:]))
    command.run(command.make_parser().parse_args(ordered))
