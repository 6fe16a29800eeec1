"""How a method is spelled: ``model[+term[:weight]][@reduction]``."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import cast

from harmoseg.errors import HarmosegError
from harmoseg.models import MODEL_NAMES
from harmoseg.models.names import ModelName
from harmoseg.spectrum import Reduction

_TERMS = ("scc",)
_PAPER_WEIGHT = 0.2
_SPELLING = re.compile(
    r"(?P<model>[a-z0-9_]+)(\+(?P<term>[a-z]+)(:(?P<weight>[^@]+))?)?(@(?P<reduction>\w+))?"
)


@dataclass(frozen=True)
class Method:
    """A network and the objective it is trained with.

    `spectral_weight` is the paper's lambda, 0 for BCE + Dice alone.
    """

    model: ModelName
    spectral_weight: float
    reduction: Reduction

    def __str__(self) -> str:
        """Spell the method in its one canonical form."""
        term = ""
        if self.spectral_weight > 0:
            term = "+scc"
            if self.spectral_weight != _PAPER_WEIGHT:
                term += f":{self.spectral_weight!r}"
        return self.model + term + ("" if self.reduction == "batch" else f"@{self.reduction}")


def parse_method(text: str) -> Method:
    """Read a method such as ``unet``, ``unet+scc``, ``transunet+scc:0.5`` or ``unet+scc@sample``.

    Without a weight the term has the paper's, 0.2. Raises HarmosegError saying what is expected.
    """
    match = _SPELLING.fullmatch(text.strip())
    if match is None:
        raise HarmosegError(
            f"method {text!r} is not of the form model[+term[:weight]][@reduction], for example "
            "unet, unet+scc, unet+scc:0.5 or unet+scc@sample"
        )
    model = _choice(text, "model", match["model"], MODEL_NAMES)
    weight = 0.0
    if match["term"] is not None:
        _choice(text, "term", match["term"], _TERMS)
        weight = _PAPER_WEIGHT if match["weight"] is None else _weight(text, match["weight"])
    reduction = _choice(text, "reduction", match["reduction"] or "batch", ("batch", "sample"))
    return Method(cast(ModelName, model), weight, cast(Reduction, reduction))


def _choice(text: str, what: str, found: str, choices: tuple[str, ...]) -> str:
    if found in choices:
        return found
    nearest = difflib.get_close_matches(found, choices, n=1, cutoff=0.0)[0]
    raise HarmosegError(
        f"method {text!r}: unknown {what} {found!r}; did you mean {nearest!r}? "
        f"(expected {' or '.join(choices)})"
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
