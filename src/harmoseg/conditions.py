"""Conditions by their spelling: a corruption of the images by name and level, or ``clean``.

`KINDS` says what each does, and has its levels. The default is the level of the paper, "0.01", in
every reading that it allows, and the middle of the ladder elsewhere.

Tables and figures know a condition by its spelling; `harmoseg.store.corruptions` carries it out.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from decimal import Decimal

from harmoseg.errors import HarmosegError

PAPER_LEVEL = 0.01


@dataclass(frozen=True)
class ConditionKind:
    """Meaning and levels of a named corruption of images in [0, 1].

    `ladder` has the levels of severities 1 to 5; a level lies in `low` ... `high`.
    """

    meaning: str
    unit: str
    ladder: tuple[float, ...]
    low: float = 0.0
    high: float = 1.0

    @property
    def default(self) -> float:
        """Return the level of the paper where the ladder has it, the middle one elsewhere."""
        return PAPER_LEVEL if PAPER_LEVEL in self.ladder else self.ladder[2]


KINDS: dict[str, ConditionKind] = {
    "gaussian": ConditionKind(
        "normal noise is added to every pixel and channel",
        "variance on images in [0, 1]",
        (0.002, 0.005, 0.01, 0.02, 0.05),
    ),
    "gaussian_std": ConditionKind(
        "the same, by its other parameter",
        "standard deviation on images in [0, 1]",
        (0.01, 0.02, 0.05, 0.1, 0.2),
    ),
    "bernoulli": ConditionKind(
        "a pixel, all of its channels together, becomes 0 or 1 (salt or pepper)",
        "probability of a pixel",
        (0.002, 0.005, 0.01, 0.03, 0.1),
    ),
    "dropout": ConditionKind(
        "a pixel, all of its channels together, becomes 0",
        "probability of a pixel",
        (0.002, 0.005, 0.01, 0.03, 0.1),
    ),
    "blur": ConditionKind(
        "every slice is convolved with a Gaussian, reflected at its border",
        "sigma in pixels at training resolution",
        (0.5, 1.0, 1.5, 2.5, 4.0),
        high=100.0,
    ),
    "contrast": ConditionKind(
        "every value moves towards the mean of its channel over the case",
        "factor that remains of the distance to the mean",
        (0.8, 0.6, 0.45, 0.3, 0.2),
    ),
    "gamma": ConditionKind(
        "every value is raised to a power: above 1 darkens, below 1 brightens",
        "exponent on images in [0, 1]",
        (1.2, 1.5, 1.8, 2.2, 2.8),
        low=0.1,
        high=10.0,
    ),
    "downsampling": ConditionKind(
        "every slice is shrunk with antialiasing and enlarged again, bilinearly",
        "factor by which both sides shrink",
        (1.5, 2.0, 3.0, 4.0, 6.0),
        low=1.0,
        high=100.0,
    ),
    "bias_field": ConditionKind(
        "brightness drifts over the volume by the exponential of a cubic polynomial (TorchIO)",
        "largest size of a coefficient",
        (0.1, 0.2, 0.3, 0.4, 0.5),
        high=2.0,
    ),
    "ghosting": ConditionKind(
        "faint copies along rows or columns, as from periodic motion in MR (TorchIO)",
        "strength: n ghosts have this / n of the amplitude of the image",
        (0.4, 0.8, 1.2, 1.6, 2.0),
        high=4.0,
    ),
}

LADDERS: dict[str, tuple[float, ...]] = {name: kind.ladder for name, kind in KINDS.items()}
"""The levels of severities 1 to 5 of every corruption."""


@dataclass(frozen=True)
class Corruption:
    """A corruption at a level in its own unit; `str` gives its canonical spelling.

    Raises HarmosegError for an unknown name or a level out of range.
    """

    name: str
    level: float

    def __post_init__(self) -> None:
        """Check name and level."""
        kind = _kind(self.name)
        if not kind.low <= self.level <= kind.high:
            raise HarmosegError(
                f"corruption {self.name}: level {self.level:g} is out of range; the level is the "
                f"{kind.unit}, from {kind.low:g} to {kind.high:g}"
            )

    def __str__(self) -> str:
        """Spell it, with as many digits as the level needs."""
        level = format(Decimal(repr(self.level)).normalize(), "f")  # without an exponent
        return f"{self.name}:{level}"


def parse_corruption(text: str) -> Corruption:
    """Read ``name`` (at its default level), ``name:level`` or ``name@severity`` (1 to 5).

    Raises HarmosegError for an unknown name, and for a level or severity out of range.
    """
    name, at, severity = text.partition("@")
    if at:
        ladder = _kind(name).ladder
        if severity not in {str(number) for number in range(1, len(ladder) + 1)}:
            raise HarmosegError(
                f"corruption {text!r}: severity {severity!r} found; expected 1 to {len(ladder)}, "
                f"which stand for the levels {', '.join(f'{level:g}' for level in ladder)}"
            )
        return Corruption(name, ladder[int(severity) - 1])
    name, colon, level = text.partition(":")
    if not colon:
        return Corruption(name, _kind(name).default)
    try:
        number = float(level)
    except ValueError as error:
        raise HarmosegError(
            f"corruption {text!r}: {level!r} is no number; write for example {name}:"
            f"{_kind(name).default:g}, the {_kind(name).unit}"
        ) from error
    return Corruption(name, number)


def _kind(name: str) -> ConditionKind:
    if name not in KINDS:
        nearest = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.0)[0]
        raise HarmosegError(
            f"unknown corruption {name!r}; did you mean {nearest!r}? Known: {', '.join(KINDS)}"
        )
    return KINDS[name]
