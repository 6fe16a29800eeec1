"""Spectral fidelity: the agreement of prediction and truth, ring by ring of their spectra."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from harmoseg.errors import HarmosegError
from harmoseg.metrics.surface import Spacing, pitch_of
from harmoseg.spectrum import (
    RingKind,
    Rings,
    hermitian_multiplicity,
    make_rings,
    ring_ratio,
)

Mask = NDArray[np.bool_] | NDArray[np.integer[Any]] | NDArray[np.floating[Any]]

# Of the squared deviations of a map to its squares: below, all it varies by is rounding.
_FLAT = 1e-20


@dataclass(frozen=True, eq=False)
class RingFidelity:
    """The ring sums of a prediction and a truth, and the correlation curve they give.

    `frequency` (rings,) is the mean radial frequency of a ring in `unit`; `cross` and `power`
    (rings,) are the sums of Re(Y conj(P)) and of |Y|^2 + |P|^2 over it, on the scale of sums over
    pixels. Sums of cases of one shape and spacing can be added to pool them.
    """

    frequency: NDArray[np.float64]
    cross: NDArray[np.float64]
    power: NDArray[np.float64]
    unit: Literal["cycles/mm", "cycles/px"]

    def __add__(self, other: RingFidelity) -> RingFidelity:
        """Pool the sums of two cases; raises HarmosegError where their rings differ."""
        if self.unit != other.unit or not np.array_equal(self.frequency, other.frequency):
            raise HarmosegError(
                f"ring sums over {self.frequency.size} and {other.frequency.size} rings of cases "
                "that differ in shape or spacing cannot be added; average their curves instead"
            )
        return RingFidelity(
            self.frequency, self.cross + other.cross, self.power + other.power, self.unit
        )

    @property
    def correlation(self) -> NDArray[np.float64]:
        """Return the curve (rings,), in [-1, 1]; 1 in rings where neither mask has power."""
        return ring_ratio(torch.from_numpy(self.cross), torch.from_numpy(self.power)).numpy()

    def cutoff(self, threshold: float = 0.5) -> float:
        """Return the frequency, in `unit`, where the curve first falls below a threshold.

        Interpolated linearly between rings. A curve that never falls gives the frequency of the
        last ring, the finest detail that could be compared; one that starts below gives 0. NaN
        where both masks are empty. Raises HarmosegError for a threshold outside (0, 1).
        """
        if not 0 < threshold < 1:
            raise HarmosegError(f"threshold is {threshold}, expected a number between 0 and 1")
        if not self.power.any():
            return np.nan
        below = np.flatnonzero(self.correlation < threshold)
        if not below.size:
            return float(self.frequency[-1])
        i = int(below[0])
        if i == 0:
            return 0.0
        (high, low), (start, end) = self.correlation[i - 1 : i + 1], self.frequency[i - 1 : i + 1]
        return float(start + (end - start) * (high - threshold) / (high - low))


def ring_fidelity(
    pred: Mask, truth: Mask, *, spacing: Spacing, rings: RingKind | Rings = "linear"
) -> RingFidelity:
    """Correlate two masks or maps of probability of one case, ring by ring.

    `pred` and `truth` are (*S), 2-D or 3-D, `spacing` the pitch in mm along every axis or
    ``"pixel"``. `rings` is ``"linear"``, one cycle over the longest extent wide, ``"octave"``, or
    a partition made by `harmoseg.spectrum.make_rings` for this shape and spacing, which spares
    making it for every case. In float64. Raises HarmosegError for shapes, values or spacings that
    do not fit. The curve is that of `harmoseg.ring_correlation`.
    """
    spectra, shape = _half_spectra(pred, truth)
    return _ring_sums(spectra, _squares(spectra), shape, spacing, rings)


def log_magnitude_correlation(pred: Mask, truth: Mask) -> float:
    """Correlate the maps log(1 + |P|) of two masks over all frequencies: Pearson's r, in [-1, 1].

    `pred` and `truth` are (*S), 2-D or 3-D. This is our reading of the "Corr." printed in Fig. 8 of
    the paper, which gives no formula. It knows no phase: a mask anywhere in the image has the same
    map. NaN where a map is flat, as that of an empty mask is. Raises HarmosegError for shapes or
    values that do not fit.
    """
    spectra, shape = _half_spectra(pred, truth)
    return _correlate_maps(_squares(spectra), shape)


def spectral_fidelity(
    pred: Mask, truth: Mask, *, spacing: Spacing, rings: RingKind | Rings = "linear"
) -> tuple[RingFidelity, float]:
    """Return `ring_fidelity` and `log_magnitude_correlation` for one transform a mask."""
    spectra, shape = _half_spectra(pred, truth)
    squares = _squares(spectra)
    return _ring_sums(spectra, squares, shape, spacing, rings), _correlate_maps(squares, shape)


def _half_spectra(pred: Mask, truth: Mask) -> tuple[NDArray[np.complex128], tuple[int, ...]]:
    """Transform masks (*S) to halves of their spectra (2, *H), and return these and *S.

    The other half is a mirror image. By SciPy, in one thread: beside a network that has all cores,
    PyTorch's threads would wait for one another.
    """
    if np.shape(pred) != np.shape(truth):
        raise HarmosegError(
            f"prediction of shape {np.shape(pred)} and truth of shape {np.shape(truth)} differ; "
            "resize the prediction to the truth first"
        )
    if np.ndim(pred) not in (2, 3) or not np.size(pred):
        raise HarmosegError(
            f"masks of shape {np.shape(pred)} found, expected 2 or 3 axes and a pixel at least"
        )
    found = [np.array(mask, dtype=np.float64) for mask in (pred, truth)]
    for name, mask in zip(("prediction", "truth"), found, strict=True):
        if not (mask.min() >= 0 and mask.max() <= 1):  # NaN fails both comparisons
            raise HarmosegError(
                f"the {name} holds values {mask.min()} to {mask.max()}, expected a mask of 0 and "
                "1 or probabilities; pass one class of a label map at a time"
            )
    spectra = fft.rfftn(np.stack(found), axes=range(1, np.ndim(pred) + 1), norm="ortho")
    return np.asarray(spectra), np.shape(pred)


def _multiplicity(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return how often every column of a half spectrum occurs in the whole one."""
    return hermitian_multiplicity(shape[-1]).numpy()


def _ring_sums(
    spectra: NDArray[np.complex128],
    squares: NDArray[np.float64],
    shape: tuple[int, ...],
    spacing: Spacing,
    rings: RingKind | Rings,
) -> RingFidelity:
    pitch = pitch_of(spacing, len(shape))
    if not isinstance(rings, Rings):
        rings = make_rings(shape, kind=rings, spacing=pitch)
    elif rings.index.shape != shape:
        raise HarmosegError(
            f"rings made for masks of {tuple(rings.index.shape)} do not fit {shape}"
        )
    often = _multiplicity(shape)
    index = rings.index[..., : len(often)].numpy().ravel()

    def add_up(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(index, (values * often).ravel(), len(rings)), np.float64)

    p, y = spectra
    cross = add_up(p.real * y.real + p.imag * y.imag)
    power = add_up(squares[0] + squares[1])
    unit: Literal["cycles/mm", "cycles/px"] = "cycles/px" if spacing == "pixel" else "cycles/mm"
    return RingFidelity(np.asarray(rings.frequency), cross, power, unit)


def _correlate_maps(squares: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    count = math.prod(shape)
    # |P| of the plain, unscaled transform, as it is pictured.
    maps = np.log1p(np.sqrt(squares * count)).reshape(2, -1)
    weights = np.broadcast_to(_multiplicity(shape), squares.shape[1:]).ravel()
    lengths = np.square(maps) @ weights
    maps -= (maps @ weights / count)[:, None]
    spread = np.square(maps) @ weights
    if (spread <= _FLAT * lengths).any():
        return np.nan
    return float((maps[0] * maps[1]) @ weights / np.sqrt(spread.prod()))


def _squares(spectra: NDArray[np.complex128]) -> NDArray[np.float64]:
    return np.square(spectra.real) + np.square(spectra.imag)
