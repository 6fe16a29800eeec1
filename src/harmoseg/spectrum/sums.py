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
    """Which ring every coefficient of a half spectrum counts in, and how much.

    Both are (2 K, rings), a row for the real and one for the imaginary part of each of the K
    coefficients: `counted` holds weight times multiplicity, `folded` the weight alone.
    """

    counted: Tensor
    folded: Tensor


def make_partition(
    index: Tensor, weights: Tensor, *, device: torch.device, dtype: torch.dtype
) -> Partition:
    """Make a partition from full-spectrum grids (*S): the ring and the weight of every coefficient.

    Only the part of `weights` that is symmetric under k -> -k can act on real masks.
    """
    half = index.shape[-1] // 2 + 1
    axes = tuple(range(index.ndim))
    # Entry k of the mirrored grid is entry -k (mod n): flip, then roll the zero back in place.
    mirrored = torch.roll(torch.flip(weights, axes), [1] * index.ndim, axes)
    weight = ((weights + mirrored) / 2)[..., :half]
    multiplicity = hermitian_multiplicity(index.shape[-1]).to(weights.device).expand(weight.shape)
    members = torch.nn.functional.one_hot(index[..., :half].flatten())
    folded = (members * weight.reshape(-1, 1)).repeat_interleave(2, dim=0)
    counted = folded * multiplicity.reshape(-1, 1).repeat_interleave(2, dim=0)
    return Partition(counted.to(device, dtype), folded.to(device, dtype))


def spectral_sums(pred: Tensor, target: Tensor, partition: Partition) -> tuple[Tensor, Tensor]:
    """Sum w Re(Y conj(P)) and w (|Y|^2 + |P|^2) over every ring.

    `pred` and `target` are (B, C, *S), float32 or float64. Returns two tensors (B, C, rings), as
    for orthonormal transforms, so that with all weights 1 they add up to the sums over pixels.
    """
    # Autocast would round the sums, which are matrix products, to half precision.
    with torch.autocast(pred.device.type, enabled=False):
        cross, power, _, _ = _SpectralSums.apply(pred, target, *partition)
    return cross, power


class _SpectralSums(torch.autograd.Function):
    """The two sums; both transforms are outputs too, for the backward alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        pred: Tensor,
        target: Tensor,
        counted: Tensor,
        folded: Tensor,  # noqa: ARG004  (used by the backward)
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        p, y = _half_transform(pred), _half_transform(target)
        # Real arithmetic on the two parts, as eq. 2 is printed. A product with the partition sums
        # parts and rings at once; gathering ring by ring took four times as long.
        work = p * y
        cross = work @ counted
        power = work.copy_(p).mul_(p).addcmul_(y, y) @ counted
        return cross, power, p, y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pred, _, _, folded = inputs
        _, _, p, y = output
        ctx.mark_non_differentiable(p, y)
        # Otherwise PyTorch would fill arrays of zeros as the gradients of both transforms.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(p, y, folded)
        ctx.space = pred.shape[2:]

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_cross: Tensor | None, grad_power: Tensor | None, _p: None, _y: None
    ) -> tuple[Tensor | None, ...]:
        p, y, folded = ctx.saved_tensors
        zero = p.new_zeros(*p.shape[:2], folded.shape[1])
        of_cross = zero if grad_cross is None else grad_cross
        of_power = zero if grad_power is None else grad_power
        grads: list[Tensor | None] = [None] * 4
        # A backward may be called under autocast too.
        with torch.autocast(p.device.type, enabled=False):
            for place, (own, other) in enumerate(((p, y), (y, p))):
                if ctx.needs_input_grad[place]:
                    # Every coefficient takes the gradients of its ring's two sums.
                    half = (of_cross @ folded.T).mul_(other)
                    half = half.addcmul_(of_power @ folded.T, own, value=2)
                    grads[place] = _inverse(half, ctx.space)
        return tuple(grads)


def _half_transform(mask: Tensor) -> Tensor:
    """Transform (B, C, *S) to (B, C, 2 K): real and imaginary parts in turn."""
    axes = tuple(range(2, mask.ndim))
    # Orthonormal scaling keeps float32 far from its limits.
    parts = torch.view_as_real(torch.fft.rfftn(mask, dim=axes, norm="ortho"))
    return parts.flatten(2)


def _inverse(half: Tensor, space: torch.Size) -> Tensor:
    """Bring (B, C, 2 K) back to real (B, C, *S)."""
    shape = (*half.shape[:2], *space[:-1], space[-1] // 2 + 1, 2)
    axes = tuple(range(2, 2 + len(space)))
    spectrum = torch.view_as_complex(half.reshape(shape))
    mask: Tensor = torch.fft.irfftn(spectrum, s=tuple(space), dim=axes, norm="ortho")
    return mask
