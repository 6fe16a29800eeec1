"""An argument parser that refuses unknown keys and names the nearest known one."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse

from harmoseg.errors import HarmosegError
from harmoseg.files import read_yaml

_UNKNOWN_ARGUMENT = re.compile(r"unrecognized arguments?: (?P<key>\S+)", re.IGNORECASE)
_UNKNOWN_KEY = re.compile(
    r"(?:does not accept option|option|key) ['\"](?P<key>[\w.-]+)['\"]"
    r"(?: is not (?:accepted|expected).*)?$",
    re.IGNORECASE,
)
_SUBCOMMAND = re.compile(r"Subcommand '(?P<name>[\w.-]+)'")
_UNKNOWN_COMMAND = re.compile(r"invalid choice: '(?P<found>[^']*)' \(choose from (?P<known>.*)\)")
_WRONG_TYPE = re.compile(r"Parser key [\"'](?P<key>[\w.-]+)[\"']: (?P<problem>.*)", re.DOTALL)
_EXPECTED = re.compile(r"Expected an? (\[.*?\]|\w+)")
_GOT = re.compile(r"(?:Got|Given) value: (.*)$")
_OPTION = re.compile(r"(?<![\w-])--[a-z]\w*")
_TRUTHS = frozenset(("true", "false", "yes", "no", "on", "off", "1", "0"))
_REQUIRED = re.compile(r"the following arguments are required: (?P<names>.*)")


class Parser(jsonargparse.ArgumentParser):
    """jsonargparse's parser, with errors as `HarmosegError` and a suggestion for unknown keys."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # An abbreviation that works today may mean another option tomorrow.
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_args(self, args: Any = None, *others: Any, **named: Any) -> Any:
        """Parse arguments: ``--config FILE`` first, and truth values as flags."""
        if args is not None:
            args = _with_config_read(_with_flags(_with_config_first(args), self), self)
        return super().parse_args(args, *others, **named)

    def format_help(self, *args: Any, **named: Any) -> str:
        """Return the help, with dashes in the names of options."""
        text = super().format_help(*args, **named)
        text = _OPTION.sub(lambda found: found[0].replace("_", "-"), text)
        return re.sub(r"(--[\w-]+) \{true,false\}", r"\1", text)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise HarmosegError with the message, and the nearest known name where one is unknown."""
        text = " ".join(str(message).split())
        raise HarmosegError(f"{self._explain(text)} (see {_program(self)} --help)")

    def _explain(self, text: str) -> str:
        command = _UNKNOWN_COMMAND.search(text)
        if command:
            known = re.findall(r"[\w-]+", command["known"])
            return f"unknown command {command['found']!r}" + _nearest(command["found"], known)
        argument = _UNKNOWN_ARGUMENT.search(text)
        if argument and not argument["key"].startswith("-"):
            return f"one argument too many: {argument['key']!r}"
        unknown = argument or _UNKNOWN_KEY.search(text)
        if unknown:
            key = unknown["key"].lstrip("-").partition("=")[0]
            return f"unknown option {key!r}" + _nearest(key, sorted(_keys(self._named_in(text))))
        wrong = _WRONG_TYPE.search(text)
        if wrong:
            return f"option {wrong['key'].rpartition('.')[2]!r}: {_plainly(wrong['problem'])}"
        required = _REQUIRED.search(text)
        if required:
            names = (name.rpartition(".")[2] for name in required["names"].split(", "))
            positional = _positionals(self)
            told = (n if n in positional else f"--{n.replace('_', '-')}" for n in names)
            return f"missing: {', '.join(told)}"
        return text

    def _named_in(self, text: str) -> Any:
        """Find the parser of the command that a message speaks of; this one if it names none."""
        named = _SUBCOMMAND.search(text)
        for action in self._actions:
            choices = getattr(action, "_name_parser_map", {})
            if named and named["name"] in choices:
                return choices[named["name"]]
        return self


def columns() -> int:
    """Return the width to print tables in: that of the terminal, or 120 in a file."""
    return max(80, shutil.get_terminal_size((120, 24)).columns)


def with_underscores(arguments: Sequence[str]) -> list[str]:
    """Let ``--batch-size`` mean ``--batch-size``: people write both."""
    converted = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--") and len(name) > 2:
            name = "--" + name[2:].replace("-", "_")
        converted.append(name + equals + value)
    return converted


def _with_config_first(arguments: Sequence[str]) -> list[str]:
    """Move ``--config FILE`` to the front, so that flags win over the file wherever it stands.

    The dataset of `prepare` stays before its options.
    """
    words = 1 if arguments and not arguments[0].startswith("-") else 0
    first: list[str] = list(arguments[:words])
    rest = list(arguments[words:])
    for place in [i for i, argument in enumerate(rest) if argument == "--config"][::-1]:
        first[words:words] = rest[place : place + 2]
        del rest[place : place + 2]
    return first + rest


def _with_config_read(arguments: Sequence[str], parser: Parser) -> list[str]:
    """Replace ``--config FILE`` by the content of the file, read by the rules of YAML 1.2."""
    read = list(arguments)
    lists = {action.dest for action in actions(parser) if action.nargs in ("*", "+")}
    for place, argument in enumerate(read[:-1]):
        if argument == "--config" and not read[place + 1].startswith("{"):
            values = read_yaml(Path(read[place + 1]), what="options of the command")
            for name in lists & values.keys():
                given = values[name]
                values[name] = given if isinstance(given, list) else [given]
            read[place + 1] = json.dumps(values, default=str)
    return read


def _with_flags(arguments: Sequence[str], parser: Parser) -> list[str]:
    """Let ``--overwrite`` mean ``--overwrite``, whatever word follows it."""
    flags = {
        option
        for action in actions(parser)
        if getattr(action, "_typehint", None) is bool
        for option in action.option_strings
    }
    read = []
    for place, argument in enumerate(arguments):
        following = arguments[place + 1].lower() if place + 1 < len(arguments) else ""
        is_alone = argument in flags and following not in _TRUTHS
        read.append(f"{argument}=true" if is_alone else argument)
    return read


def actions(parser: Any) -> Iterator[Any]:
    """Return the actions of a parser and of its commands."""
    for action in parser._actions:
        yield action
        for inner in getattr(action, "_name_parser_map", {}).values():
            yield from actions(inner)


def _plainly(problem: str) -> str:
    """Return the expected values and the given one, where the library's message can be read."""
    problem = re.sub(r"<class '(\w+)'>|typing\.Literal", r"\1", problem)
    wanted = [name.strip("[]").replace("'", "") for name in _EXPECTED.findall(problem)]
    given = _GOT.search(problem)
    if not (wanted and given):
        return problem
    # An option that may be left away has None for a value, which nobody can write.
    kinds = [_KINDS.get(name, f"one of {name}") for name in wanted if name != "NoneType"]
    return f"expected {' or '.join(kinds)}, got {given[1]!r}"


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


def _nearest(found: str, known: Sequence[str]) -> str:
    matches = difflib.get_close_matches(found.replace("-", "_"), known, n=1, cutoff=0.0)
    return f"; did you mean {matches[0].replace('_', '-')!r}?" if matches else ""


def _keys(parser: Any) -> Iterable[str]:
    for action in parser._actions:
        for option in action.option_strings:
            # What the library hides from its help is not to be suggested either.
            shown = action.help != argparse.SUPPRESS and option != "--print_shtab"
            if shown and option.startswith("--") and not option.endswith("+"):
                yield option[2:]


def _positionals(parser: Any) -> set[str]:
    """Name the arguments without dashes of a parser and of its commands."""
    return {action.dest for action in actions(parser) if not action.option_strings}


def _program(parser: Any) -> str:
    return str(parser.prog).replace(" [options]", "")
