"""The parser of a command, made of its function, with the nearest name for every unknown one."""

from __future__ import annotations

import argparse
import difflib
import inspect
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_args, get_origin, get_type_hints

import docstring_parser
import jsonargparse

from harmoseg.errors import HarmosegError
from harmoseg.files import read_yaml

if TYPE_CHECKING:
    from harmoseg.statistics.printing import Table

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
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
Repeated = Annotated[Sequence[str], "extend"]
"""Words of an option that may be given several times: all of them count."""


class Parser(jsonargparse.ArgumentParser):
    """jsonargparse's parser, with errors as `HarmosegError` and a suggestion for unknown keys."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # An abbreviation that works today may mean another option tomorrow.
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._function: Callable[..., Any] | None = None
        self._commands: dict[str, Parser] = {}

    @classmethod
    def of(
        cls, function: Callable[..., Any], summary: str = "", *, config: bool = False, **named: Any
    ) -> Parser:
        """Make the parser of a command from the signature and the docstring of its function.

        Parameters before the star stand alone, the others are options. A sequence takes several
        words; the fields of a dataclass are options in a group of their own. The description is
        `summary` with what the docstring says after its first line; with `config` the options may
        lie in a file.
        """
        said = docstring_parser.parse(getattr(function, "func", function).__doc__ or "")
        more = " ".join((said.long_description or "").split())
        parser = cls(**{"description": f"{summary} {more}".strip(), **named})
        parser._function = function
        if config:
            parser.add_argument(
                "--config", action="config", help="YAML file with any of these options."
            )
        for name, parameter in inspect.signature(function).parameters.items():
            hint, help_text = _hints(function)[name], _described(said, name)
            if is_dataclass(hint):
                _add_fields(parser, hint)
                continue
            options = _options(hint, parameter.default, help_text)
            if parameter.kind is parameter.KEYWORD_ONLY:
                parser.add_argument(f"--{name}", **options)
                continue
            if not options.pop("required", False):
                options["nargs"] = "?"
            parser.add_argument(name, **options)
        return parser

    @classmethod
    def of_several(cls, dest: str, commands: dict[str, tuple[Parser, str]], **named: Any) -> Parser:
        """Make the parser of a command that has further ones: by name, each with its help."""
        parser = cls(**named)
        inner = parser.add_subcommands(required=True, dest=dest)
        for name, (command, help_text) in commands.items():
            inner.add_subcommand(name, command, help=help_text)
            parser._commands[name] = command
        return parser

    def call(self, parsed: jsonargparse.Namespace) -> Any:
        """Call the command's function with what was parsed, options as their dataclasses."""
        for name, command in self._commands.items():
            if name in parsed and parsed[name] is not None:
                return command.call(parsed[name])
        if self._function is None:
            raise RuntimeError("a parser without a function was called")
        given = {}
        for name, hint in _hints(self._function).items():
            if isinstance(hint, type) and is_dataclass(hint):
                inner = {item.name: _hints(hint)[item.name] for item in fields(hint)}
                given[name] = hint(
                    **{key: _value(kind, parsed[key]) for key, kind in inner.items()}
                )
            elif name in parsed:
                given[name] = _value(hint, parsed[name])
        return self._function(**given)

    def parse_args(self, args: Any = None, *others: Any, **named: Any) -> Any:
        """Parse arguments: dashes in names, ``--config FILE`` first, truth values as flags."""
        if args is not None:
            args = _with_config_first(_with_underscores(args))
            args = _with_config_read(_with_flags(args, self), self)
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


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables as wide as the terminal, or 120 columns in a file."""
    from harmoseg.statistics.printing import to_terminal

    for table in tables:
        print(to_terminal(table, max(80, shutil.get_terminal_size((120, 24)).columns)))


def print_verdict(tables: Iterable[Table], sentences: Sequence[str], report: Path) -> None:
    """Print tables, what they mean in words, and where the report is."""
    print_tables(tables)
    print("\n".join(sentences))
    print(f"report: {report}")


def _with_underscores(arguments: Sequence[str]) -> list[str]:
    """Spell options with underscores: ``--batch-size`` means ``--batch_size``."""
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
    """Spell flags with their value: ``--overwrite`` means ``--overwrite=true``."""
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
    """Return the arguments without dashes of a parser and of its commands."""
    return {action.dest for action in actions(parser) if not action.option_strings}


def _hints(function: Any) -> dict[str, Any]:
    """Return the types of a function's parameters; of a partial one also those it has already."""
    return get_type_hints(getattr(function, "func", function), include_extras=True)


def _described(said: docstring_parser.Docstring, name: str) -> str:
    """Return what a docstring says of a parameter."""
    texts = [part.description or "" for part in said.params if part.arg_name == name]
    return " ".join(" ".join(texts).split()).replace("%", "%%")


def _add_fields(parser: Parser, kind: Any) -> None:
    """Add the fields of a dataclass as options, in a group with the first line of its docstring."""
    said = docstring_parser.parse(kind.__doc__ or "")
    group = parser.add_argument_group((said.short_description or "").rstrip("."))
    for item in fields(kind):
        made = item.default_factory() if item.default_factory is not MISSING else item.default
        default = inspect.Parameter.empty if made is MISSING else made
        options = _options(_hints(kind)[item.name], default, _described(said, item.name))
        group.add_argument(f"--{item.name}", **options)


def _options(hint: Any, default: Any, help_text: str) -> dict[str, Any]:
    """Return the arguments of `add_argument` for a parameter."""
    options: dict[str, Any] = {"help": help_text}
    if get_origin(hint) is Annotated:
        hint, options["action"] = get_args(hint)
    inner = _without_none(hint)
    options["type"] = hint
    if get_origin(inner) in (list, tuple, Sequence):
        words = get_args(inner)
        options["type"] = words[0]
        is_fixed = get_origin(inner) is tuple and ... not in words
        options["nargs"] = len(words) if is_fixed else "+" if default else "*"
    if default is inspect.Parameter.empty:
        return {**options, "required": True}
    return {**options, "default": list(default) if isinstance(default, tuple) else default}


def _value(hint: Any, value: Any) -> Any:
    """Return what was parsed as the type of its parameter: several words are a list to argparse."""
    is_list = get_origin(_without_none(hint)) is list
    return tuple(value) if isinstance(value, list) and not is_list else value


def _without_none(hint: Any) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(hint) and len(kinds) == 1 else hint


def _program(parser: Any) -> str:
    return str(parser.prog).replace(" [options]", "")
