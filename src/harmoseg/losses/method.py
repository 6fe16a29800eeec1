"""How a method is spelled: ``model[+term[:weight]][@reduction]``."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

from harmoseg.errors import HarmosegError

if TYPE_CHECKING:  # `parse_method` is used where nothing waits for torch
    from harmoseg.spectrum import Reduction

ModelName = Literal["unet", "transunet"]
MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)
SPECTRAL_TERMS = ("scc", "rings", "low", "mid", "high")
TERMS = (*SPECTRAL_TERMS, "dice")
_PAPER_WEIGHT = 0.2
_SPELLING = re.compile(
    r"(?P<model>[a-z0-9_]+)(\+(?P<term>[A-Za-z_][\w.]*)(:(?P<weight>[^@]+))?)?"
    r"(@(?P<reduction>\w+))?"
)
_EXAMPLES = "unet, unet+scc, unet+rings:1@sample or unet+monai.losses.FocalLoss:0.5"


@dataclass(frozen=True)
class Method:
    """A network and the objective it is trained with: BCE + Dice, and at most one term beside it.

    `term` is None for BCE + Dice alone; ``scc`` (the whole spectrum, the paper's), ``rings``,
    ``low``, ``mid`` or ``high`` (bands of it); ``dice``, a second soft Dice, which is a control; or
    the import path of a loss, with a dot in it. `weight` is the term's, the paper's lambda, and 0
    without a term.
    """

    model: ModelName
    term: str | None
    weight: float
    reduction: Reduction

    def __str__(self) -> str:
        """Spell the method in its one canonical form."""
        term = ""
        if self.term is not None:
            term = f"+{self.term}"
            if self.weight != _PAPER_WEIGHT:
                term += f":{_spell(self.weight)}"
        return self.model + term + ("" if self.reduction == "batch" else f"@{self.reduction}")

    @property
    def is_imported(self) -> bool:
        """Say whether the term is somebody's loss, named by its import path."""
        return self.term is not None and "." in self.term

    @property
    def plain(self) -> Method:
        """Give the same network and reduction without the term: what the term is added to."""
        return replace(self, term=None, weight=0.0)

    @property
    def overlap_control(self) -> Method | None:
        """Give the same with an overlap term of the same weight in the place of the term.

        What a method gains over this, no overlap term would have given. A band of the spectrum has
        the whole spectrum there, which by Parseval's theorem is a soft Dice; any other term has
        Dice. None without a term and for ``dice`` itself.
        """
        if self.term is None or self.term == "dice":
            return None
        bands = self.term in SPECTRAL_TERMS and self.term != "scc"
        return replace(self, term="scc" if bands else "dice")


def parse_method(text: str) -> Method:
    """Read a method such as ``unet``, ``transunet+scc:0.5`` or ``unet+rings:1@sample``.

    Without a weight the term has the paper's, 0.2. A loss that is named by its import path is not
    imported here. Raises HarmosegError saying what is expected.
    """
    match = _SPELLING.fullmatch(text.strip())
    if match is None:
        raise HarmosegError(
            f"method {text!r} is not of the form model[+term[:weight]][@reduction], for example "
            f"{_EXAMPLES}"
        )
    model = _choice(text, "model", match["model"], MODEL_NAMES)
    term, weight = match["term"], 0.0
    if term is not None:
        if "." not in term:
            _choice(text, "term", term, TERMS, ", or the import path of a loss")
        weight = _PAPER_WEIGHT if match["weight"] is None else _weight(text, match["weight"])
    reduction = _choice(text, "reduction", match["reduction"] or "batch", ("batch", "sample"))
    return Method(cast("ModelName", model), term, weight, cast("Reduction", reduction))


def _choice(text: str, what: str, found: str, choices: tuple[str, ...], also: str = "") -> str:
    if found in choices:
        return found
    nearest = difflib.get_close_matches(found, choices, n=1, cutoff=0.0)[0]
    raise HarmosegError(
        f"method {text!r}: unknown {what} {found!r}; did you mean {nearest!r}? "
        f"(expected {' or '.join(choices)}{also})"
    )


def _weight(text: str, found: str) -> float:
    try:
        weight = float(found)
    except ValueError:
        weight = -1.0
    if not 0 < weight < float("inf"):
        raise HarmosegError(
            f"method {text!r}: weight {found!r} must be a number above 0; leave the term out for 0"
        )
    return weight


def _spell(weight: float) -> str:
    """Write a weight as short as it can be without becoming another."""
    short = f"{weight:g}"
    return short if float(short) == weight else repr(weight)
