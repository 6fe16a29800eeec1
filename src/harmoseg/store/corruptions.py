"""Corruption of the images of a case, to see how far a network withstands it.

`harmoseg.conditions` has the names, the levels and what each does. A corruption is drawn from
(case, seed, name) alone, whatever the level: a higher level is more of the same damage, and the
same cases in another order or process are damaged the same way.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harmoseg.conditions import KINDS, LADDERS, Corruption, parse_corruption
from harmoseg.errors import HarmosegError
from harmoseg.store import corruption_effects
from harmoseg.store.corruption_effects import Apply, Draw

__all__ = ["KINDS", "LADDERS", "Corruption", "corrupt", "parse_corruption"]


class _Effect(NamedTuple):
    """How a corruption is drawn and applied; those of one `stream` share their draws.

    So they can be compared pixel by pixel.
    """

    stream: str
    draw: Draw
    apply: Apply


_EFFECTS: dict[str, _Effect] = {
    "gaussian": _Effect(
        "gaussian",
        corruption_effects.draw_normal,
        lambda images, drawn, level: corruption_effects.add_noise(images, drawn, math.sqrt(level)),
    ),
    "gaussian_std": _Effect(
        "gaussian",
        corruption_effects.draw_normal,
        corruption_effects.add_noise,
    ),
    "bernoulli": _Effect(
        "bernoulli",
        corruption_effects.draw_pixels,
        corruption_effects.salt_and_pepper,
    ),
    "dropout": _Effect(
        "bernoulli",
        corruption_effects.draw_pixels,
        corruption_effects.drop_pixels,
    ),
    "blur": _Effect(
        "blur",
        corruption_effects.draw_nothing,
        corruption_effects.blur,
    ),
    "contrast": _Effect(
        "contrast",
        corruption_effects.draw_nothing,
        corruption_effects.contrast,
    ),
    "gamma": _Effect(
        "gamma",
        corruption_effects.draw_nothing,
        corruption_effects.gamma,
    ),
    "downsampling": _Effect(
        "downsampling",
        corruption_effects.draw_nothing,
        corruption_effects.downsample,
    ),
    "bias_field": _Effect(
        "bias_field",
        corruption_effects.draw_bias_field,
        corruption_effects.bias_field,
    ),
    "ghosting": _Effect(
        "ghosting",
        corruption_effects.draw_ghosting,
        corruption_effects.ghosting,
    ),
}


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
    effect = _EFFECTS[corruption.name]
    drawn = effect.draw(_generator(effect.stream, case, seed), images.shape)
    damaged = effect.apply(images.astype(np.float32) / np.float32(255), drawn, corruption.level)
    rounded: NDArray[np.uint8] = np.rint(255 * damaged.clip(0, 1)).astype(np.uint8)
    return rounded


def _generator(stream: str, case: str, seed: int) -> np.random.Generator:
    # A cryptographic hash: Python's own differs between processes, and names that differ in one
    # letter must not share draws.
    text = f"{seed}\n{stream}\n{case}".encode("utf-8", "surrogateescape")
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()))
