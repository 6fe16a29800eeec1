"""The corruptions themselves: what is drawn for one, and how a draw and a level are applied.

Images are float32 (S, H, W, C) in [0, 1], the slices of one case. A draw does not know the level,
so that all levels of a corruption damage the same places. Nothing is clipped here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from harmoseg.errors import HarmosegError

Floats = NDArray[np.float32]
Drawn = NDArray[np.float32]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Drawn]
Apply = Callable[[Floats, Drawn, float], Floats]

_BIAS_ORDER = 3
_BIAS_COEFFICIENTS = 20
"""Monomials x^i y^j z^k with i + j + k of at most `_BIAS_ORDER`."""

_GHOSTS = (4, 10)
"""Smallest and largest number of ghosts, as TorchIO draws them."""


def draw_nothing(random: np.random.Generator, shape: tuple[int, ...]) -> Drawn:
    """Draw for what has no chance in it."""
    del random, shape
    return np.zeros(0, np.float32)


def draw_normal(random: np.random.Generator, shape: tuple[int, ...]) -> Drawn:
    """Draw a standard normal value for every pixel and channel."""
    return random.standard_normal(shape, dtype=np.float32)


def draw_pixels(random: np.random.Generator, shape: tuple[int, ...]) -> Drawn:
    """Draw two uniform values per pixel (2, S, H, W, 1): whether it is hit, and what it becomes."""
    return random.random((2, *shape[:3], 1), dtype=np.float32)


def draw_bias_field(random: np.random.Generator, shape: tuple[int, ...]) -> Drawn:
    """Draw the coefficients of a polynomial in [-1, 1], the constant one 0."""
    del shape
    coefficients = random.uniform(-1, 1, _BIAS_COEFFICIENTS).astype(np.float32)
    # TorchIO draws that one too; but a brightness that is the same everywhere is no field.
    coefficients[0] = 0
    return coefficients


def draw_ghosting(random: np.random.Generator, shape: tuple[int, ...]) -> Drawn:
    """Draw the number of ghosts and the axis (0 rows, 1 columns) along which they appear."""
    del shape
    low, high = _GHOSTS
    return np.array([random.integers(low, high + 1), random.integers(2)], np.float32)


def add_noise(images: Floats, drawn: Drawn, deviation: float) -> Floats:
    """Add the draw, scaled to a standard deviation."""
    return images + np.float32(deviation) * drawn


def salt_and_pepper(images: Floats, drawn: Drawn, probability: float) -> Floats:
    """Set pixels to 0 or 1, as likely the one as the other."""
    return np.where(drawn[0] < probability, (drawn[1] < 0.5).astype(np.float32), images)


def drop_pixels(images: Floats, drawn: Drawn, probability: float) -> Floats:
    """Set pixels to 0."""
    return np.where(drawn[0] < probability, np.float32(0), images)


def blur(images: Floats, drawn: Drawn, sigma: float) -> Floats:
    """Convolve every slice with a Gaussian; a reflected border keeps the mean."""
    del drawn
    blurred: Floats = ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="reflect")
    return blurred


def contrast(images: Floats, drawn: Drawn, factor: float) -> Floats:
    """Move every value towards the mean of its channel over all slices.

    Over all of them: the slices of a volume, and the squares of a tile, stay of one brightness.
    """
    del drawn
    mean: Floats = images.mean((0, 1, 2), dtype=np.float64).astype(np.float32)
    return mean + np.float32(factor) * (images - mean)


def gamma(images: Floats, drawn: Drawn, exponent: float) -> Floats:
    """Raise every value to a power."""
    del drawn
    return images ** np.float32(exponent)


def downsample(images: Floats, drawn: Drawn, factor: float) -> Floats:
    """Shrink every slice with antialiasing, then enlarge it to what it was."""
    del drawn
    height, width = images.shape[1:3]
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    if size == (height, width):
        return images
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    small = F.interpolate(planes, size, mode="bilinear", antialias=True)
    large = F.interpolate(small, (height, width), mode="bilinear")
    enlarged: Floats = large.permute(0, 2, 3, 1).numpy()
    return enlarged


def bias_field(images: Floats, drawn: Drawn, size: float) -> Floats:
    """Multiply by one smooth field over the volume, the same for every channel."""
    transform = _torchio("bias_field").BiasField([size * float(c) for c in drawn], _BIAS_ORDER)
    return _through_torchio(transform, images)


def ghosting(images: Floats, drawn: Drawn, strength: float) -> Floats:
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
