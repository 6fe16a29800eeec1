"""The controls that a method is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harmoseg.losses.method import parse_method

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
