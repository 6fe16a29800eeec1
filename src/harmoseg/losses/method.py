"""How a method is spelled: ``model[=base][+term[:weight]]...[@reduction]``, or as YAML.

Both are read into one form, `Method`, whose text names the method everywhere else; and the controls
that a method is compared with.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from harmoseg.errors import HarmosegError

if TYPE_CHECKING:  # `parse_method` is used where nothing waits for torch
    from harmoseg.spectrum import Reduction

ModelName = Literal["unet", "transunet"]
MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)
BANDS = ("rings", "midrings", "low", "mid", "high")
SHELF = (
    "focal",
    "topk",
    "tversky",
    "focal-tversky",
    "generalised-dice",
    "lovasz",
    "boundary",
    "hausdorff-dt",
    "cldice",
    "skeleton-recall",
    "focal-frequency",
    "cwmi",
)
LOSSES = ("scc", *BANDS, "dice", "bce", *SHELF)
"""The losses that have a name of their own; `harmoseg.losses.named` makes them."""
Option = bool | int | float | str | None | tuple["Option", ...]
LossSpelling: TypeAlias = "str | LossName | Mapping[str, Any] | Callable[..., Any]"
MethodSpelling: TypeAlias = "str | Method | Mapping[str, Any]"
_PAPER_WEIGHT = 0.2
_FILE = r"[\w./~-]+\.py:"
_LOSS_NAME = rf"(?:{_FILE})?[A-Za-z_][\w.-]*"
_LOSS = rf"{_LOSS_NAME}(?:\([^()]*\))?"
_WEIGHT = r":(?:\d[\d.]*e\+\d+|[^@+]+)"
_SPELLING = re.compile(
    rf"(?P<model>[\w./~-]+(:[A-Za-z_]\w*)?)(=(?P<base>{_LOSS}))?(?P<terms>(\+{_LOSS}({_WEIGHT})?)*)"
    r"(@(?P<reduction>\w+))?"
)
_TERM = re.compile(rf"\+(?P<loss>{_LOSS})(?P<weight>{_WEIGHT})?")
_NAMED = re.compile(rf"(?P<name>{_LOSS_NAME})(\((?P<options>[^()]*)\))?")
_PARTS = re.compile(r",(?![^\[]*\])")
_WORDS = {"true": True, "false": False, "none": None}
_EXAMPLES = (
    "unet, unet+scc, unet+rings:1@sample, unet+monai.losses.FocalLoss:0.5, unet=bce or "
    "'unet+tversky(alpha=0.3,beta=0.7)'"
)


@dataclass(frozen=True, order=True)
class LossName:
    """A loss by its name, its import path or ``path/to/file.py:name``, and its options, sorted."""

    name: str
    options: tuple[tuple[str, Option], ...] = ()

    def __str__(self) -> str:
        """Spell the loss in its one canonical form."""
        options = ",".join(f"{name}={_spell(value)}" for name, value in self.options)
        return f"{self.name}({options})" if options else self.name

    @property
    def is_imported(self) -> bool:
        """Return whether the loss is named by its import path."""
        return "." in self.name


@dataclass(frozen=True)
class Term:
    """A loss that is added, and its weight, the paper's lambda."""

    loss: LossName
    weight: float

    def __str__(self) -> str:
        """Spell the term; the paper's weight is left out."""
        weight = "" if self.weight == _PAPER_WEIGHT else f":{_spell(self.weight)}"
        return f"{self.loss}{weight}"


@dataclass(frozen=True)
class Method:
    """A network and the objective it is trained with: a base, and terms beside it.

    `model` is one of `MODEL_NAMES`, an import path, or ``path/to/file.py:function``. `base` is
    None for BCE + Dice. A loss is one of `LOSSES` or an import path: see
    docs/reference/methods.md.
    """

    model: str
    terms: tuple[Term, ...]
    reduction: Reduction
    base: LossName | None = None

    def __str__(self) -> str:
        """Spell the method in its one canonical form."""
        terms = "".join(f"+{term}" for term in self.terms)
        return self.stem + terms + ("" if self.reduction == "batch" else f"@{self.reduction}")

    @property
    def stem(self) -> str:
        """Spell the model and its base."""
        return self.model if self.base is None else f"{self.model}={self.base}"

    @property
    def term(self) -> str | None:
        """Spell the terms without their weights; None without a term."""
        return "+".join(str(term.loss) for term in self.terms) or None

    @property
    def weight(self) -> float:
        """Return the weight of the first term, 0 without a term."""
        return self.terms[0].weight if self.terms else 0.0

    @property
    def losses(self) -> tuple[LossName, ...]:
        """List the losses that the method names: the base, then the terms."""
        named = tuple(term.loss for term in self.terms)
        return named if self.base is None else (self.base, *named)

    @property
    def weightless(self) -> Method:
        """Return the method with all weights 0: methods that differ in weights alone are equal."""
        return replace(self, terms=tuple(replace(term, weight=0.0) for term in self.terms))

    @property
    def plain(self) -> Method:
        """Return the first control: the same method without its terms.

        For a method with another base and no term that is BCE + Dice.
        """
        return replace(self, terms=()) if self.terms else replace(self, base=None)

    @property
    def overlap_control(self) -> Method | None:
        """Return the second control: the same with one overlap term in the place of the terms.

        The weight is the same. For bands of the spectrum the overlap term is the whole spectrum,
        which by Parseval's theorem is a soft Dice; for other terms it is Dice. None without a term
        and for ``dice`` itself.
        """
        names = {term.loss.name for term in self.terms}
        if not names or names == {"dice"}:
            return None
        loss = LossName("scc" if names <= set(BANDS) else "dice")
        weight = sum(term.weight for term in self.terms)
        return replace(self, terms=(Term(loss, weight),))


def parse_method(given: MethodSpelling) -> Method:
    """Read a method.

    `given` is a text such as ``unet``, ``transunet+scc:0.5`` or ``unet=focal+rings:1@sample``; or,
    as recipes have it, a mapping with the keys ``model``, ``base``, ``terms`` (of losses, each with
    a ``weight``) and ``reduction``; or a `Method`.

    Without a weight a term has the paper's, 0.2. A loss that is named by its import path is not
    imported here. Raises HarmosegError naming what is expected.
    """
    if isinstance(given, Method):
        return parse_method(str(given))  # checked
    if isinstance(given, Mapping):
        return parse_method(_method_to_text(given))
    where, match = f"method {given!r}", _match(given)
    model = match["model"]
    if not is_imported_model(model):
        also = ", the import path of a network, or path/to/file.py:function"
        _choice(where, "model", model, MODEL_NAMES, also)
    base = None if match["base"] is None else parse_loss(match["base"], where, what="base")
    terms = []
    for found in _TERM.finditer(match["terms"]):
        weight = _PAPER_WEIGHT if found["weight"] is None else _weight(where, found["weight"][1:])
        terms.append(Term(parse_loss(found["loss"], where, what="term"), weight))
    reduction = _choice(where, "reduction", match["reduction"] or "batch", ("batch", "sample"))
    return Method(model, tuple(terms), cast("Reduction", reduction), base)


def is_imported_model(name: str) -> bool:
    """Return whether a network is named by an import path, or by a file and a function in it."""
    path, _, function = name.rpartition(":")
    if path:
        return path.endswith(".py") and function.isidentifier()
    return "." in name and all(part.isidentifier() for part in name.split("."))


def takes_weight(given: MethodSpelling) -> bool:
    """Return whether a method has one term, whose weight is left open."""
    if isinstance(given, Method):
        return False
    text = _method_to_text(given) if isinstance(given, Mapping) else given
    weights = [found["weight"] for found in _TERM.finditer(_match(text)["terms"])]
    return weights == [None]


def _match(text: str) -> re.Match[str]:
    found = None
    if isinstance(text, str):
        found = _SPELLING.fullmatch(re.sub(r"\s*([(),=])\s*", r"\1", text.strip()))
    if found is None:
        raise HarmosegError(
            f"method {text!r} is not of the form model[=base][+term[:weight]][@reduction], for "
            f"example {_EXAMPLES}"
        )
    return found


def parse_loss(given: LossSpelling, where: str = "", *, what: str = "loss") -> LossName:
    """Read a loss.

    `given` is a text such as ``rings``, ``tversky(alpha=0.3,beta=0.7)`` or an import path; or a
    mapping with the keys ``loss`` and ``options``; or a `LossName`; or a class or a function of a
    module, which has an import path.

    Raises HarmosegError, which begins with `where`, for an unknown name or options that are not of
    the form name=value.
    """
    text = _loss_to_text(given, where or f"{what} {given!r}")
    where = where or f"{what} {text!r}"
    match = _NAMED.fullmatch(re.sub(r"\s+", "", text))
    if match is None:
        raise HarmosegError(
            f"{where}: expected a name, an import path or path/to/file.py:name, with options in "
            "parentheses, such as rings, tversky(alpha=0.3,beta=0.7) or "
            "monai.losses.FocalLoss(gamma=3)"
        )
    name = match["name"]
    if "." not in name:
        _choice(where, what, name, LOSSES, ", or the import path of a loss")
    options: dict[str, Option] = {}
    for part in _PARTS.split(match["options"] or ""):
        key, equals, value = part.partition("=")
        if part and not (equals and key.isidentifier() and value):
            raise HarmosegError(f"{where}: option {part!r} must be name=value")
        if part:
            options[key] = _read_option(value)
    return LossName(name, tuple(sorted(options.items())))


def _method_to_text(given: Mapping[str, Any]) -> str:
    """Spell a mapping as a text; a weight that is left open stays open."""
    where = f"method {dict(given)!r}"
    _check_keys(where, given, ("model", "base", "terms", "reduction"))
    if "model" not in given:
        raise HarmosegError(f"{where}: model is missing (expected {' or '.join(MODEL_NAMES)})")
    text = str(given["model"])
    if given.get("base") is not None:
        text += f"={_loss_to_text(given['base'], f'{where}: base')}"
    terms = given.get("terms") or []
    for term in terms if isinstance(terms, list | tuple) else [terms]:
        loss, weight = term, ""
        if isinstance(term, Mapping) and "weight" in term:
            loss = {key: value for key, value in term.items() if key != "weight"}
            weight = f":{term['weight']}"
        text += f"+{_loss_to_text(loss, f'{where}: terms')}{weight}"
    reduction = given.get("reduction")
    return text if reduction is None else f"{text}@{reduction}"


def _loss_to_text(given: LossSpelling, where: str) -> str:
    if isinstance(given, str | LossName):
        return str(given)
    if isinstance(given, Mapping):
        _check_keys(where, given, ("loss", "options"))
        options = given.get("options") or {}
        if "loss" not in given or not isinstance(options, Mapping):
            raise HarmosegError(
                f"{where}: expected a loss as {{loss: NAME, options: {{NAME: VALUE}}}}, got "
                f"{dict(given)!r}"
            )
        parts = [f"{name}={_spell(_as_option(value, where))}" for name, value in options.items()]
        name = _loss_to_text(given["loss"], where)
        return f"{name}({','.join(parts)})" if parts else name
    path = f"{getattr(given, '__module__', '')}.{getattr(given, '__qualname__', '')}"
    module, _, name = path.rpartition(".")
    if module == "__main__" or getattr(sys.modules.get(module), name, None) is not given:
        raise HarmosegError(
            f"{where}: a loss that is trained with has a name or an import path; write it as a "
            "class or a function in a file, and pass that"
        )
    return path


def _as_option(value: Any, where: str) -> Option:
    if isinstance(value, list | tuple) and not any(isinstance(v, list | tuple) for v in value):
        return tuple(_as_option(item, where) for item in value)
    if value is None or isinstance(value, bool | int | float):
        return cast("Option", value)
    if isinstance(value, str) and not re.search(r"[\s()\[\],'\"]", value):
        return value
    raise HarmosegError(
        f"{where}: option value {value!r} must be a number, true, false, none, a word without "
        "blanks, brackets, commas and quotes, or a list of them"
    )


def _check_keys(where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            _choice(where, "key", str(key), known)


def _read_option(text: str) -> Option:
    """Read a number, a word, true, false, none, or a list of them in brackets."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text.startswith("[") and text.endswith("]"):
        return tuple(_read_option(part) for part in text[1:-1].split(",") if part)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float) else text.strip("'\"")


def _choice(where: str, what: str, found: str, choices: tuple[str, ...], also: str = "") -> str:
    if found in choices:
        return found
    nearest = difflib.get_close_matches(found, choices, n=1, cutoff=0.0)[0]
    raise HarmosegError(
        f"{where}: unknown {what} {found!r}; did you mean {nearest!r}? "
        f"(expected {' or '.join(choices)}{also})"
    )


def _weight(where: str, found: str) -> float:
    try:
        weight = float(found)
    except ValueError:
        weight = -1.0
    if not 0 < weight < float("inf"):
        raise HarmosegError(
            f"{where}: weight {found!r} must be a number above 0; leave the term out for 0"
        )
    return weight


def _spell(value: Option) -> str:
    """Write a value as short as it can be without becoming another."""
    if isinstance(value, tuple):
        return "[" + ",".join(map(_spell, value)) + "]"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, str):  # quoted where it would be read as something else
        return value if _read_option(value) == value else f"'{value}'"
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


Controls = Literal["none", "reduction", "all"]
"""Controls that a study adds where they are missing: none; for every method with a term the same
network and reduction without it; both, that and the same with an overlap term of equal weight."""
DEFAULT_CONTROLS: Controls = "all"
"""A gain without its overlap control says nothing about the spectrum."""
Kind = Literal[
    "without the term", "BCE + Dice instead", "overlap term instead", "control", "no control"
]


@dataclass(frozen=True)
class Reference:
    """A method that another is compared with, and how it differs from that."""

    method: str
    kind: Kind


def with_controls(methods: Sequence[str], controls: Controls) -> tuple[str, ...]:
    """Spell methods canonically, each once, and add the controls that are missing.

    A control comes before the first method that needs it.
    """
    found: dict[str, None] = {}
    for text in methods:
        method = parse_method(text)
        if controls != "none" and method.plain != method:
            found.setdefault(str(method.plain))
        if controls == "all" and method.overlap_control is not None:
            found.setdefault(str(method.overlap_control))
        found.setdefault(str(method))
    return tuple(found)


def references_of(method: str, methods: Sequence[str]) -> tuple[Reference, ...]:
    """Return the methods of a plan that `method` is compared with.

    A method with a term has two controls: the same network and reduction without the term, and the
    same with an overlap term of equal weight in its place. A method with another base and no term
    has BCE + Dice. Where the plan lacks the first control, and for a method without a term, the
    reference is the first method of the plan, which is no control.
    """
    parsed, first = parse_method(method), methods[0]
    plain, overlap = str(parsed.plain), parsed.overlap_control
    found = []
    if plain != method and plain in methods:
        found.append(Reference(plain, "without the term" if parsed.terms else "BCE + Dice instead"))
    if overlap is not None and str(overlap) in methods:
        found.append(Reference(str(overlap), "overlap term instead"))
    of_first = () if method == first else references_of(first, methods)
    if (
        plain not in (item.method for item in found)
        and first not in (method, *(item.method for item in found))
        # The control of the first method is its reference already: not the other way round too.
        and method not in (item.method for item in of_first)
    ):
        found.insert(0, Reference(first, "no control"))
    return tuple(found)
