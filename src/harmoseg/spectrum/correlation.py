"""The spectral correlation coefficient of two real masks.

For real masks y and p with transforms Y and P, and weights w_k >= 0::

    SCC_w(p, y) = 2 sum_k w_k Re(Y_k conj(P_k)) / sum_k w_k (|Y_k|^2 + |P_k|^2)

With w = 1 this is eq. (2) of the paper, and Parseval's theorem removes the transform: the sums over
frequencies are the sums over pixels, ``2 <p, y> / (|p|^2 + |y|^2)``. That closed form is what runs
when no weights are given; weights of ones take the transform and serve as its reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["batch", "sample"]


def spectral_correlation(
    pred: Tensor,
    target: Tensor,
    *,
    weights: Tensor | None = None,
    spatial_dims: int = 2,
    reduction: Reduction = "batch",
) -> Tensor:
    """Correlate two real masks over their spectra (eq. 2 of the paper, weighted).

    Shapes: `pred` and `target` are (B, C, *S) with `spatial_dims` spatial axes of any length;
    `weights` is None (the full spectrum; no transform is run) or (*S), one weight >= 0 per
    frequency in the order of `torch.fft.fftfreq`. Only the part of `weights` that is symmetric
    under k -> -k can act on real masks.

    Returns values in [-1, 1], 1 at identity: (C,) for ``reduction="batch"``, where the sums run
    over frequencies and batch as eq. 2 is printed, (B, C) for ``"sample"``. Where neither mask has
    power at any weighted frequency the correlation is 0/0; it is defined as 1, with zero gradient.

    The sums are taken in float32, or in float64 when an input is float64.

    Raises ValueError when shapes do not fit.
    """
    _check(pred, target, weights, spatial_dims, reduction)
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    # float32 at least: half-precision FFTs fail on many sizes, and a float16 sum over a full
    # 512 x 512 mask overflows. Autocast never lowers the operations below.
    pred, target = pred.to(dtype), target.to(dtype)
    if weights is None:
        cross, power = _sums_over_pixels(pred, target, spatial_dims)
    else:
        cross, power = _sums_over_frequencies(pred, target, weights, spatial_dims)
    if reduction == "batch":
        cross, power = cross.sum(0), power.sum(0)
    return correlation_ratio(cross, power)


def correlation_ratio(cross: Tensor, power: Tensor) -> Tensor:
    """Divide ``2 * cross / power``, with 0/0 defined as 1 (perfect agreement, zero gradient).

    `cross` is the weighted sum of Re(Y conj(P)) and `power` that of |Y|^2 + |P|^2, any shape.
    The soft Dice coefficient has the same form and the same rule: `power` is then sum(p) + sum(y).
    """
    empty = power <= 0
    # The inner where keeps the division, and so its gradient, finite on the branch not taken.
    ratio = 2 * cross / torch.where(empty, torch.ones_like(power), power)
    return torch.where(empty, torch.ones_like(power), ratio)


def hermitian_multiplicity(length: int, *, device: torch.device | None = None) -> Tensor:
    """Count how often each column of a half spectrum stands in the full one.

    `length` is the length of the last spatial axis. Returns (length // 2 + 1,): 2 for interior
    columns, 1 for the zero-frequency column and, when `length` is even, the Nyquist column. The
    counts add up to `length`.
    """
    counts = torch.full((length // 2 + 1,), 2.0, device=device)
    counts[0] = 1.0
    if length % 2 == 0:
        counts[-1] = 1.0
    return counts


def _sums_over_pixels(pred: Tensor, target: Tensor, spatial_dims: int) -> tuple[Tensor, Tensor]:
    axes = _spatial_axes(spatial_dims)
    cross = (pred * target).sum(axes)
    power = pred.square().sum(axes) + target.square().sum(axes)
    return cross, power


def _sums_over_frequencies(
    pred: Tensor, target: Tensor, weights: Tensor, spatial_dims: int
) -> tuple[Tensor, Tensor]:
    axes = _spatial_axes(spatial_dims)
    half = _half_spectrum(weights.to(pred.dtype), spatial_dims)
    # Orthonormal scaling keeps the sums of both forms equal and float32 far from its limits.
    p = torch.view_as_real(torch.fft.rfftn(pred, dim=axes, norm="ortho"))
    y = torch.view_as_real(torch.fft.rfftn(target, dim=axes, norm="ortho"))
    # Real arithmetic on the two parts: Re(Y conj(P)) = Re Y Re P + Im Y Im P, as eq. 2 is printed.
    cross = ((p * y).sum(-1) * half).sum(axes)
    power = ((p.square() + y.square()).sum(-1) * half).sum(axes)
    return cross, power


def _half_spectrum(weights: Tensor, spatial_dims: int) -> Tensor:
    """Fold full-spectrum weights (*S) onto the half spectrum (*S[:-1], S[-1] // 2 + 1)."""
    axes = tuple(range(spatial_dims))
    # Entry k of the mirrored grid is entry -k (mod n): flip, then roll the zero back in place.
    mirrored = torch.roll(torch.flip(weights, axes), [1] * spatial_dims, axes)
    half = ((weights + mirrored) / 2)[..., : weights.shape[-1] // 2 + 1]
    return half * hermitian_multiplicity(weights.shape[-1], device=weights.device)


def _spatial_axes(spatial_dims: int) -> tuple[int, ...]:
    return tuple(range(-spatial_dims, 0))


def _check(
    pred: Tensor, target: Tensor, weights: Tensor | None, spatial_dims: int, reduction: str
) -> None:
    if pred.shape != target.shape:
        raise ValueError(
            f"pred and target must have one shape, got {tuple(pred.shape)} "
            f"and {tuple(target.shape)}"
        )
    if pred.ndim != spatial_dims + 2:
        raise ValueError(
            f"expected (batch, channel, *space) with {spatial_dims} spatial axes, got "
            f"{tuple(pred.shape)}; set spatial_dims to the number of axes behind the channel"
        )
    if weights is not None and weights.shape != pred.shape[2:]:
        raise ValueError(
            f"weights must hold one value per frequency, shape {tuple(pred.shape[2:])}, got "
            f"{tuple(weights.shape)}"
        )
    check_reduction(reduction)


def check_reduction(reduction: str) -> None:
    """Raise ValueError unless `reduction` is "batch" or "sample"."""
    choices: Sequence[str] = ("batch", "sample")
    if reduction not in choices:
        raise ValueError(f'reduction must be "batch" or "sample", got {reduction!r}')
