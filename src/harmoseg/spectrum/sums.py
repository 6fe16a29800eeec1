"""Sums over the spectra of two real masks, ring by ring, with a backward of their own.

For real masks the coefficients at k and -k are conjugate, so half of the spectrum is transformed
and each column counted as often as it stands in the full one. Left to itself, PyTorch would go
back through a full complex transform; the gradient of such a sum is itself Hermitian, so one
inverse half transform gives it (docs/explanation/derivations.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harmoseg.spectrum.frequency import hermitian_multiplicity


class Partition(NamedTuple):
    """How the coefficients of a half spectrum, flattened to (K,), are summed.

    `ring` is the ring of every coefficient, `order` lists the coefficients ring by ring and
    `lengths` says how many each ring has. `factor` is the weight of every coefficient and
    `counted` that weight times its multiplicity.
    """

    ring: Tensor
    order: Tensor
    lengths: tuple[int, ...]
    factor: Tensor
    counted: Tensor


def make_partition(index: Tensor, weights: Tensor) -> Partition:
    """Make a partition from full-spectrum grids (*S): the ring and the weight of every coefficient.

    Only the part of `weights` that is symmetric under k -> -k can act on real masks.
    """
    half = index.shape[-1] // 2 + 1
    axes = tuple(range(index.ndim))
    # Entry k of the mirrored grid is entry -k (mod n): flip, then roll the zero back in place.
    mirrored = torch.roll(torch.flip(weights, axes), [1] * index.ndim, axes)
    factor = ((weights + mirrored) / 2)[..., :half]
    multiplicity = hermitian_multiplicity(index.shape[-1]).to(weights.device)
    ring = index[..., :half].flatten()
    return Partition(
        ring,
        torch.argsort(ring, stable=True),
        tuple(torch.bincount(ring).tolist()),
        factor.flatten(),
        (factor * multiplicity).flatten(),
    )


def spectral_sums(pred: Tensor, target: Tensor, partition: Partition) -> tuple[Tensor, Tensor]:
    """Sum w Re(Y conj(P)) and w (|Y|^2 + |P|^2) over every ring.

    `pred` and `target` are (B, C, *S), float32 or float64. Returns two tensors (B, C, rings), as
    for orthonormal transforms, so that with all weights 1 they add up to the sums over pixels.
    """
    device, dtype = pred.device, pred.dtype
    cross, power, _, _ = _SpectralSums.apply(
        pred,
        target,
        partition.ring.to(device),
        partition.order.to(device),
        partition.lengths,
        partition.factor.to(device, dtype),
        partition.counted.to(device, dtype),
    )
    return cross, power


class _SpectralSums(torch.autograd.Function):
    """The two sums; both transforms are outputs too, for the backward alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        pred: Tensor,
        target: Tensor,
        ring: Tensor,  # noqa: ARG004  (used by the backward)
        order: Tensor,
        lengths: tuple[int, ...],
        factor: Tensor,  # noqa: ARG004  (used by the backward)
        counted: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        p, y = _half_transform(pred), _half_transform(target)
        # Real arithmetic on the two parts, as eq. 2 is printed; torch.compile cannot fuse complex.
        cross = (p[..., 0] * y[..., 0] + p[..., 1] * y[..., 1]) * counted
        power = (p.square() + y.square()).sum(-1) * counted
        return _sum_rings(cross, order, lengths), _sum_rings(power, order, lengths), p, y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pred, _, ring, _, _, factor, _ = inputs
        _, _, p, y = output
        ctx.mark_non_differentiable(p, y)
        ctx.save_for_backward(p, y, ring, factor)
        ctx.space = pred.shape[2:]

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_cross: Tensor, grad_power: Tensor, _p: Tensor, _y: Tensor
    ) -> tuple[Tensor | None, ...]:
        p, y, ring, factor = ctx.saved_tensors
        of_cross = (grad_cross[..., ring] * factor)[..., None]
        of_power = (2 * grad_power[..., ring] * factor)[..., None]
        grads: list[Tensor | None] = [None] * 7
        for place, (own, other) in enumerate(((p, y), (y, p))):
            if ctx.needs_input_grad[place]:
                grads[place] = _inverse(of_cross * other + of_power * own, ctx.space)
        return tuple(grads)


def _half_transform(mask: Tensor) -> Tensor:
    """Transform (B, C, *S) to (B, C, K, 2): real and imaginary part of the half spectrum."""
    axes = tuple(range(2, mask.ndim))
    # Orthonormal scaling keeps float32 far from its limits.
    parts = torch.view_as_real(torch.fft.rfftn(mask, dim=axes, norm="ortho"))
    return parts.flatten(2, -2)


def _inverse(half: Tensor, space: torch.Size) -> Tensor:
    """Bring (B, C, K, 2) back to real (B, C, *S)."""
    shape = (*half.shape[:2], *space[:-1], space[-1] // 2 + 1)
    axes = tuple(range(2, 2 + len(space)))
    spectrum = torch.view_as_complex(half.contiguous()).reshape(shape)
    mask: Tensor = torch.fft.irfftn(spectrum, s=tuple(space), dim=axes, norm="ortho")
    return mask


def _sum_rings(values: Tensor, order: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Sum (B, C, K) over the rings: gathered ring by ring, so that each is one contiguous sum.

    No scatter (whose order, and so the last digits, vary on a GPU) and no matrix product (which
    autocast and TF32 would round).
    """
    if len(lengths) == 1:
        return values.sum(-1, keepdim=True)
    pieces = torch.split(values[..., order], list(lengths), dim=-1)
    return torch.stack([piece.sum(-1) for piece in pieces], dim=-1)
