"""Damage to the images of a case, by name and level, to see how far a network withstands it.

===============  ==========================  ===================================================
name             unit of the level           ladder (severities 1 to 5)
===============  ==========================  ===================================================
``gaussian``     variance, images in [0, 1]  0.002, 0.005, **0.01**, 0.02, 0.05
``gaussian_std`` standard deviation          **0.01**, 0.02, 0.05, 0.1, 0.2
``bernoulli``    probability of a pixel      0.002, 0.005, **0.01**, 0.03, 0.1
``dropout``      probability of a pixel      0.002, 0.005, **0.01**, 0.03, 0.1
``blur``         sigma in stored pixels      0.5, 1, 1.5, 2.5, 4
``contrast``     factor towards the mean     0.8, 0.6, 0.45, 0.3, 0.2
``gamma``        exponent, images in [0, 1]  1.2, 1.5, 1.8, 2.2, 2.8
``downsampling`` factor of both sides        1.5, 2, 3, 4, 6
``bias_field``   largest coefficient         0.1, 0.2, 0.3, 0.4, 0.5
``ghosting``     n-fold strength of a ghost  0.4, 0.8, 1.2, 1.6, 2
===============  ==========================  ===================================================

Bold is the level of the paper, "0.01", in every reading that it allows; it is the default where
there is one, the middle of the ladder elsewhere. `KINDS` says what each does.

A corruption is drawn from (case, seed, name) alone, whatever the level: a higher level is more of
the same damage, and the same cases in another order or process are damaged the same way.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.store import damage
from harmoseg.store.damage import Apply, Draw


@dataclass(frozen=True)
class Kind:
    """What a named corruption does, to images in [0, 1], and at which levels.

    `ladder` has the levels of severities 1 to 5; a level lies in `low` ... `high`. Kinds with one
    `stream` share their draws, so that they can be compared pixel by pixel.
    """

    meaning: str
    unit: str
    default: float
    ladder: tuple[float, ...]
    low: float
    high: float
    stream: str
    draw: Draw
    apply: Apply


_PIXELS = (0.002, 0.005, 0.01, 0.03, 0.1)

KINDS: dict[str, Kind] = {
    "gaussian": Kind(
        "normal noise is added to every pixel and channel",
        "variance on images in [0, 1]",
        0.01,
        (0.002, 0.005, 0.01, 0.02, 0.05),
        0.0,
        1.0,
        "gaussian",
        damage.draw_normal,
        lambda images, drawn, level: damage.add_noise(images, drawn, math.sqrt(level)),
    ),
    "gaussian_std": Kind(
        "the same, by its other parameter",
        "standard deviation on images in [0, 1]",
        0.01,
        (0.01, 0.02, 0.05, 0.1, 0.2),
        0.0,
        1.0,
        "gaussian",
        damage.draw_normal,
        damage.add_noise,
    ),
    "bernoulli": Kind(
        "a pixel, all of its channels together, becomes 0 or 1 (salt or pepper)",
        "probability of a pixel",
        0.01,
        _PIXELS,
        0.0,
        1.0,
        "bernoulli",
        damage.draw_pixels,
        damage.salt_and_pepper,
    ),
    "dropout": Kind(
        "a pixel, all of its channels together, becomes 0",
        "probability of a pixel",
        0.01,
        _PIXELS,
        0.0,
        1.0,
        "bernoulli",
        damage.draw_pixels,
        damage.drop_pixels,
    ),
    "blur": Kind(
        "every slice is convolved with a Gaussian, reflected at its border",
        "sigma in pixels at training resolution",
        1.5,
        (0.5, 1.0, 1.5, 2.5, 4.0),
        0.0,
        100.0,
        "blur",
        damage.draw_nothing,
        damage.blur,
    ),
    "contrast": Kind(
        "every value moves towards the mean of its channel over the case",
        "factor that remains of the distance to the mean",
        0.45,
        (0.8, 0.6, 0.45, 0.3, 0.2),
        0.0,
        1.0,
        "contrast",
        damage.draw_nothing,
        damage.contrast,
    ),
    "gamma": Kind(
        "every value is raised to a power: above 1 darkens, below 1 brightens",
        "exponent on images in [0, 1]",
        1.8,
        (1.2, 1.5, 1.8, 2.2, 2.8),
        0.1,
        10.0,
        "gamma",
        damage.draw_nothing,
        damage.gamma,
    ),
    "downsampling": Kind(
        "every slice is shrunk with antialiasing and enlarged again, bilinearly",
        "factor by which both sides shrink",
        3.0,
        (1.5, 2.0, 3.0, 4.0, 6.0),
        1.0,
        100.0,
        "downsampling",
        damage.draw_nothing,
        damage.downsample,
    ),
    "bias_field": Kind(
        "brightness drifts over the volume by the exponential of a cubic polynomial (TorchIO)",
        "largest size of a coefficient",
        0.3,
        (0.1, 0.2, 0.3, 0.4, 0.5),
        0.0,
        2.0,
        "bias_field",
        damage.draw_bias_field,
        damage.bias_field,
    ),
    "ghosting": Kind(
        "faint copies along rows or columns, as from periodic motion in MR (TorchIO)",
        "strength: n ghosts have this / n of the amplitude of the image",
        1.2,
        (0.4, 0.8, 1.2, 1.6, 2.0),
        0.0,
        4.0,
        "ghosting",
        damage.draw_ghosting,
        damage.ghosting,
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
        return f"{self.name}:{np.format_float_positional(self.level, trim='-')}"


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


def corrupt(
    images: NDArray[np.uint8], corruption: Corruption, *, case: str, seed: int
) -> NDArray[np.uint8]:
    """Damage the slices (S, H, W, C) of one case; the input stays as it is.

    The draw is a function of the case's name, the seed and the corruption's name: the level only
    scales it. Computed in float32 on [0, 1], clipped and rounded to bytes at the end. Raises
    HarmosegError for other shapes and types, and where TorchIO is needed and absent.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise HarmosegError(
            f"corruption {corruption}: {images.dtype} images of shape {images.shape} found; "
            "expected bytes of shape (slices, height, width, channels)"
        )
    kind = KINDS[corruption.name]
    drawn = kind.draw(_generator(kind.stream, case, seed), images.shape)
    damaged = kind.apply(images.astype(np.float32) / np.float32(255), drawn, corruption.level)
    rounded: NDArray[np.uint8] = np.rint(255 * damaged.clip(0, 1)).astype(np.uint8)
    return rounded


def _kind(name: str) -> Kind:
    if name not in KINDS:
        nearest = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.0)[0]
        raise HarmosegError(
            f"unknown corruption {name!r}; did you mean {nearest!r}? Known: {', '.join(KINDS)}"
        )
    return KINDS[name]


def _generator(stream: str, case: str, seed: int) -> np.random.Generator:
    # A cryptographic hash: Python's own differs between processes, and names that differ in one
    # letter must not share draws.
    text = f"{seed}\n{stream}\n{case}".encode("utf-8", "surrogateescape")
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()))
