"""Corruption of the images of a case, to see how far a network withstands it.

`harmoseg.conditions` has the names, the levels and what each does. A corruption is drawn from
(case, seed, name) alone, whatever the level: a higher level is more of the same damage, and the
same cases in another order or process are damaged the same way.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from harmoseg.conditions import KINDS, LADDERS, Corruption, parse_corruption
from harmoseg.errors import HarmosegError

__all__ = ["KINDS", "LADDERS", "Corruption", "corrupt", "parse_corruption"]

Floats = NDArray[np.float32]
Shape = tuple[int, ...]
_BIAS_ORDER = 3
_BIAS_COEFFICIENTS = 20
"""Monomials x^i y^j z^k with i + j + k of at most `_BIAS_ORDER`."""
_GHOSTS = (4, 10)
"""Smallest and largest number of ghosts, as TorchIO draws them."""


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


# Draws: of a generator and the shape (S, H, W, C) of the images.


def _draw_nothing(_random: np.random.Generator, _shape: Shape) -> Floats:
    return np.zeros(0, np.float32)


def _draw_normal(random: np.random.Generator, shape: Shape) -> Floats:
    """Draw a standard normal value for every pixel and channel."""
    return random.standard_normal(shape, dtype=np.float32)


def _draw_pixels(random: np.random.Generator, shape: Shape) -> Floats:
    """Draw two uniform values per pixel (2, S, H, W, 1): whether it is hit, and what it becomes."""
    return random.random((2, *shape[:3], 1), dtype=np.float32)


def _draw_bias_field(random: np.random.Generator, _shape: Shape) -> Floats:
    """Draw the coefficients of a polynomial in [-1, 1], the constant one 0."""
    coefficients = random.uniform(-1, 1, _BIAS_COEFFICIENTS).astype(np.float32)
    # TorchIO draws that one too; but a brightness that is the same everywhere is no field.
    coefficients[0] = 0
    return coefficients


def _draw_ghosting(random: np.random.Generator, _shape: Shape) -> Floats:
    """Draw the number of ghosts and the axis (0 rows, 1 columns) along which they appear."""
    low, high = _GHOSTS
    return np.array([random.integers(low, high + 1), random.integers(2)], np.float32)


# Effects: of images in [0, 1], a draw and a level. Nothing is clipped here.


def _add_noise(images: Floats, drawn: Floats, deviation: float) -> Floats:
    return images + np.float32(deviation) * drawn


def _salt_and_pepper(images: Floats, drawn: Floats, probability: float) -> Floats:
    """Set pixels to 0 or 1, as likely the one as the other."""
    return np.where(drawn[0] < probability, (drawn[1] < 0.5).astype(np.float32), images)


def _drop_pixels(images: Floats, drawn: Floats, probability: float) -> Floats:
    return np.where(drawn[0] < probability, np.float32(0), images)


def _blur(images: Floats, _drawn: Floats, sigma: float) -> Floats:
    """Convolve every slice with a Gaussian; a reflected border keeps the mean."""
    blurred: Floats = ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="reflect")
    return blurred


def _contrast(images: Floats, _drawn: Floats, factor: float) -> Floats:
    """Move every value towards the mean of its channel over all slices.

    Over all of them: the slices of a volume, and the squares of a tile, stay of one brightness.
    """
    mean: Floats = images.mean((0, 1, 2), dtype=np.float64).astype(np.float32)
    return mean + np.float32(factor) * (images - mean)


def _gamma(images: Floats, _drawn: Floats, exponent: float) -> Floats:
    return images ** np.float32(exponent)


def _downsample(images: Floats, _drawn: Floats, factor: float) -> Floats:
    """Shrink every slice with antialiasing, then enlarge it to what it was."""
    height, width = images.shape[1:3]
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    if size == (height, width):
        return images
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    small = F.interpolate(planes, size, mode="bilinear", antialias=True)
    large = F.interpolate(small, (height, width), mode="bilinear")
    enlarged: Floats = large.permute(0, 2, 3, 1).numpy()
    return enlarged


def _bias_field(images: Floats, drawn: Floats, size: float) -> Floats:
    """Multiply by one smooth field over the volume, the same for every channel."""
    transform = _torchio("bias_field").BiasField([size * float(c) for c in drawn], _BIAS_ORDER)
    return _through_torchio(transform, images)


def _ghosting(images: Floats, drawn: Floats, strength: float) -> Floats:
    """Weaken every n-th plane of the spectrum along one axis of the slices, its middle excepted.

    A comb in the spectrum is n copies in the image, each of the n-th part of the strength; above a
    strength of 1 those planes change their sign.
    """
    count, axis = (int(number) for number in drawn)
    # TorchIO keeps a share of the spectrum's middle; of a small image that share would be
    # nothing, and with the middle the mean of the image would go.
    kept = max(0.02, 2 / images.shape[1 + axis])
    transform = _torchio("ghosting").Ghosting(count, axis, strength, kept)
    return _through_torchio(transform, images)


def _torchio(name: str) -> ModuleType:
    # Here and not above: TorchIO takes seconds to import, and most corruptions do without it.
    try:
        import torchio
    except ImportError as error:
        raise HarmosegError(
            f"corruption {name} is done by TorchIO, which is not installed; "
            "pip install 'harmoseg[corruptions]'"
        ) from error
    module: ModuleType = torchio
    return module


def _through_torchio(transform: Any, images: Floats) -> Floats:
    """Apply a TorchIO transform to the slices as one volume (C, H, W, S)."""
    volume = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 1, 2, 0)))
    # Every transform first asks the global generator whether to happen at all; its answer is
    # always yes, but the question must not move the generator of a training beside this.
    with torch.random.fork_rng(devices=[]):
        changed = transform(volume)
    applied: Floats = changed.numpy().transpose(3, 1, 2, 0)
    return applied


class _Effect(NamedTuple):
    """Draw and effect of a corruption.

    Corruptions of one `stream` share their draws, so that they can be compared pixel by pixel.
    """

    stream: str
    draw: Callable[[np.random.Generator, Shape], Floats]
    apply: Callable[[Floats, Floats, float], Floats]


_EFFECTS: dict[str, _Effect] = {
    "gaussian": _Effect(
        "gaussian",
        _draw_normal,
        lambda images, drawn, level: _add_noise(images, drawn, math.sqrt(level)),
    ),
    "gaussian_std": _Effect("gaussian", _draw_normal, _add_noise),
    "bernoulli": _Effect("bernoulli", _draw_pixels, _salt_and_pepper),
    "dropout": _Effect("bernoulli", _draw_pixels, _drop_pixels),
    "blur": _Effect("blur", _draw_nothing, _blur),
    "contrast": _Effect("contrast", _draw_nothing, _contrast),
    "gamma": _Effect("gamma", _draw_nothing, _gamma),
    "downsampling": _Effect("downsampling", _draw_nothing, _downsample),
    "bias_field": _Effect("bias_field", _draw_bias_field, _bias_field),
    "ghosting": _Effect("ghosting", _draw_ghosting, _ghosting),
}
