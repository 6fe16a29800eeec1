"""Frequencies, rings and windows of a transform, and the power of spectra.

Grids have the order of `torch.fft.fftfreq` on every axis. Frequencies are in cycles per pixel, or
in cycles per unit of `spacing` (mm) where that is given, so that on an anisotropic grid a ring is
round in the patient and not in the array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

RingKind = Literal["octave", "linear"]
Window = Literal["low", "mid", "high"]

_WINDOW_EDGES = {"low": (0.0, 1 / 16), "mid": (1 / 16, 1 / 4), "high": (1 / 4, math.inf)}
"""In cycles per pixel: details above 16 pixels, from 4 to 16 pixels, below 4 pixels."""

# Frequencies on an edge are computed as quotients and square roots, and may miss it by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Rings:
    """A partition of a spectrum into radial rings.

    `index` is the ring of every coefficient, (*S) in the order of fftfreq. `edges` holds the lower
    edge of every ring, `frequency` the mean radial frequency of its coefficients, and `size` how
    many it has; the sizes add up to the number of pixels.
    """

    index: Tensor
    edges: tuple[float, ...]
    frequency: tuple[float, ...]
    size: tuple[int, ...]

    def __len__(self) -> int:
        """Count the rings."""
        return len(self.edges)


def radial_frequency(shape: Sequence[int], *, spacing: Sequence[float] | None = None) -> Tensor:
    """Return the radial frequency of every coefficient, (*S) float64.

    In cycles per pixel, or per unit of `spacing`, one value per axis. Raises ValueError for sizes
    below 1, and for spacings that are not positive or not one per axis.
    """
    pitch = _checked_spacing(shape, spacing)
    axes = [
        torch.fft.fftfreq(length, d, dtype=torch.float64)
        for length, d in zip(shape, pitch, strict=True)
    ]
    total = torch.zeros(tuple(shape), dtype=torch.float64)
    for i, axis in enumerate(axes):
        total += axis.square().reshape(_along(i, len(axes)))
    return total.sqrt()


def make_rings(
    shape: Sequence[int],
    *,
    kind: RingKind = "octave",
    spacing: Sequence[float] | None = None,
) -> Rings:
    """Partition the spectrum of masks of `shape` (*S) into rings.

    With f0 one cycle over the longest extent: ring 0 holds the zero frequency alone; ``"octave"``
    rings then reach from f0 to 2 f0, 2 f0 to 4 f0 and so on, ``"linear"`` rings are f0 wide. The
    last ring takes all that lies above, the corners included. Rings that hold no coefficient are
    left out. Raises ValueError for an unknown kind and as `radial_frequency` does.
    """
    if kind not in get_args(RingKind):
        raise ValueError(f"rings must be one of {', '.join(get_args(RingKind))}, got {kind!r}")
    pitch = _checked_spacing(shape, spacing)
    radius = radial_frequency(shape, spacing=spacing)
    lowest = 1 / max(length * d for length, d in zip(shape, pitch, strict=True))
    # No axis reaches beyond its own Nyquist frequency; what lies further out are corners.
    highest = max(1 / (2 * d) for d in pitch)
    steps = radius / lowest
    if kind == "octave":
        raw = torch.floor(torch.log2(steps.clamp_min(0.5)) + _ROUNDING) + 1
        top = math.floor(math.log2(max(1.0, highest / lowest)) + _ROUNDING) + 1
    else:
        raw = torch.floor(steps + _ROUNDING)
        top = max(1, math.floor(highest / lowest + _ROUNDING))
    present, index = torch.unique(raw.clamp_max(top).long(), return_inverse=True)
    size = torch.bincount(index.flatten())
    mean = torch.bincount(index.flatten(), weights=radius.flatten()) / size
    edges = [
        0.0 if ring == 0 else lowest * (2.0 ** (ring - 1) if kind == "octave" else ring)
        for ring in present.tolist()
    ]
    return Rings(index, tuple(edges), tuple(mean.tolist()), tuple(size.tolist()))


def window_weights(
    window: Window, shape: Sequence[int], *, spacing: Sequence[float] | None = None
) -> Tensor:
    """Return weights (*S), 1 inside a window and 0 outside; the three windows share the spectrum.

    ``"low"`` keeps details larger than 16 pixels (below 1/16 cycles per pixel), ``"mid"`` those of
    4 to 16 pixels, ``"high"`` the rest. Where `spacing` is given, a pixel is the finest of them.
    Raises ValueError for an unknown window and as `radial_frequency` does.
    """
    if window not in _WINDOW_EDGES:
        raise ValueError(f"window must be one of {', '.join(_WINDOW_EDGES)}, got {window!r}")
    pixel = min(_checked_spacing(shape, spacing))
    radius = radial_frequency(shape, spacing=spacing) * pixel + _ROUNDING
    low, high = _WINDOW_EDGES[window]
    return ((radius >= low) & (radius < high)).double()


def hermitian_multiplicity(length: int) -> Tensor:
    """Count how often each column of a half spectrum stands in the full one.

    `length` is the length of the last spatial axis. Returns (length // 2 + 1,) float64: 2 for
    interior columns, 1 for the zero-frequency column and, when `length` is even, the Nyquist
    column. The counts add up to `length`.
    """
    counts = torch.full((length // 2 + 1,), 2.0, dtype=torch.float64)
    counts[0] = 1.0
    if length % 2 == 0:
        counts[-1] = 1.0
    return counts


def power_spectrum(mask: Tensor, *, spatial_dims: int = 2) -> Tensor:
    """Return |P|^2 of a mask (..., *S) at every frequency, in the order of `torch.fft.fftfreq`.

    Scaled so that it adds up to the sum of squares over the pixels. float32 at least.
    """
    axes = tuple(range(-spatial_dims, 0))
    dtype = torch.promote_types(mask.dtype, torch.float32)
    parts = torch.view_as_real(torch.fft.fftn(mask.to(dtype), dim=axes, norm="ortho"))
    power: Tensor = parts.square().sum(-1)
    return power


def log_magnitude(mask: Tensor, *, spatial_dims: int = 2) -> Tensor:
    """Return log(1 + |P|) of a mask (..., *S), the zero frequency in the middle, as it is pictured.

    |P| is the magnitude of the plain, unscaled transform.
    """
    axes = tuple(range(-spatial_dims, 0))
    count = torch.Size(mask.shape[-spatial_dims:]).numel()
    magnitude = (power_spectrum(mask, spatial_dims=spatial_dims) * count).sqrt()
    shifted: Tensor = torch.fft.fftshift(torch.log1p(magnitude), dim=axes)
    return shifted


def _along(axis: int, count: int) -> tuple[int, ...]:
    return tuple(-1 if i == axis else 1 for i in range(count))


def _checked_spacing(shape: Sequence[int], spacing: Sequence[float] | None) -> tuple[float, ...]:
    if not shape or min(shape) < 1:
        raise ValueError(f"shape must have axes of length 1 or more, got {tuple(shape)}")
    if spacing is None:
        return (1.0,) * len(shape)
    if len(spacing) != len(shape):
        raise ValueError(
            f"spacing must have one value for each of the {len(shape)} spatial axes, got "
            f"{tuple(spacing)}"
        )
    if not all(0 < d < math.inf for d in spacing):
        raise ValueError(f"spacing must be positive and finite, got {tuple(spacing)}")
    return tuple(float(d) for d in spacing)
