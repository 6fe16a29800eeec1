"""The spectral correlation coefficient of two real masks, whole and ring by ring.

For real masks y and p with transforms Y and P, and weights w_k >= 0::

    SCC_w(p, y) = 2 sum_k w_k Re(Y_k conj(P_k)) / sum_k w_k (|Y_k|^2 + |P_k|^2)

With w = 1 this is eq. (2) of the paper, and Parseval's theorem removes the transform: the sums over
frequencies are the sums over pixels, ``2 <p, y> / (|p|^2 + |y|^2)``. That closed form is what runs
when no weights are given; weights of ones take the transform.

Sums over spectra have a backward of their own. For real masks the coefficients at k and -k are
conjugate, so half of the spectrum is transformed and each column counted as often as it stands in
the full one. Left to itself, PyTorch would go back through a full complex transform; the gradient
of such a sum is itself Hermitian, so one inverse half transform gives it
(docs/explanation/derivations.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harmoseg.spectrum.frequency import RingKind, Rings, hermitian_multiplicity, make_rings

Reduction = Literal["batch", "sample"]


class RingCorrelation(NamedTuple):
    """A correlation curve over rings.

    `correlation` and `power` are (C, rings) for ``reduction="batch"``, (B, C, rings) for
    ``"sample"``; `power` is the sum of |Y|^2 + |P|^2 over a ring, on the scale of sums over pixels.
    `frequency` (rings,) is the mean radial frequency, in cycles per pixel or, where a spacing was
    given, per unit of it.
    """

    correlation: Tensor
    frequency: Tensor
    power: Tensor


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
    pred, target = _prepared(pred, target, spatial_dims, reduction)
    if weights is None:
        cross, power = _sums_over_pixels(pred, target, spatial_dims)
    else:
        if weights.shape != pred.shape[2:]:
            raise ValueError(
                f"weights must hold one value per frequency, shape {tuple(pred.shape[2:])}, got "
                f"{tuple(weights.shape)}"
            )
        index = torch.zeros(weights.shape, dtype=torch.long, device=weights.device)
        partition = make_partition(index, weights.double(), device=pred.device, dtype=pred.dtype)
        cross, power = spectral_sums(pred, target, partition)
        cross, power = cross[..., 0], power[..., 0]
    if reduction == "batch":
        cross, power = cross.sum(0), power.sum(0)
    return correlation_ratio(cross, power)


def ring_correlation(
    pred: Tensor,
    target: Tensor,
    *,
    rings: RingKind | Rings = "octave",
    spacing: Sequence[float] | None = None,
    spatial_dims: int = 2,
    reduction: Reduction = "batch",
) -> RingCorrelation:
    """Correlate two real masks ring by ring: Fourier ring (shell) correlation.

    Shapes as in `spectral_correlation`. `rings` is ``"octave"``, ``"linear"`` (see `make_rings`)
    or a partition made beforehand; `spacing` is the pixel pitch along every axis.

    A ring that holds no more power than rounding leaves there has no correlation of its own: it
    is defined as 1, with zero gradient, like two empty masks.

    Raises ValueError when shapes do not fit. Source: Saxton and Baumeister, J. Microsc. 127
    (1982), in the normalisation of eq. 2 of the paper.
    """
    pred, target = _prepared(pred, target, spatial_dims, reduction)
    if not isinstance(rings, Rings):
        rings = make_rings(pred.shape[2:], kind=rings, spacing=spacing)
    elif rings.index.shape != pred.shape[2:]:
        raise ValueError(
            f"rings were made for masks of {tuple(rings.index.shape)}, got {tuple(pred.shape[2:])}"
        )
    ones = torch.ones(rings.index.shape, dtype=torch.float64)
    partition = make_partition(rings.index, ones, device=pred.device, dtype=pred.dtype)
    cross, power = spectral_sums(pred, target, partition)
    if reduction == "batch":
        cross, power = cross.sum(0), power.sum(0)
    frequency = torch.tensor(rings.frequency, dtype=pred.dtype, device=pred.device)
    return RingCorrelation(ring_ratio(cross, power), frequency, power)


def correlation_ratio(cross: Tensor, power: Tensor, floor: Tensor | float = 0.0) -> Tensor:
    """Divide ``2 * cross / power``, with 0/0 defined as 1 (perfect agreement, zero gradient).

    `cross` is the weighted sum of Re(Y conj(P)) and `power` that of |Y|^2 + |P|^2, any shape; power
    up to `floor` counts as none. The soft Dice coefficient has the same form and the same rule:
    `power` is then sum(p) + sum(y).
    """
    empty = power <= floor
    # The inner where keeps the division, and so its gradient, finite on the branch not taken.
    ratio = 2 * cross / torch.where(empty, 1.0, power)
    return torch.where(empty, 1.0, ratio)


def ring_ratio(cross: Tensor, power: Tensor) -> Tensor:
    """Divide ring sums (..., rings), leaving out rings that hold nothing but rounding.

    A transform leaves about eps^2 of the total power in rings that should be empty, where eps is
    the precision of the arithmetic. (32 eps)^2 lies a thousand times above that, and still below
    what a lesion of 3 x 3 pixels has in any ring of a 512 x 512 mask that is full otherwise.
    """
    floor = power.detach().sum(-1, keepdim=True) * (32 * torch.finfo(power.dtype).eps) ** 2
    return correlation_ratio(cross, power, floor)


def check_reduction(reduction: str) -> Reduction:
    """Return `reduction`, or raise ValueError unless it is "batch" or "sample"."""
    if reduction not in ("batch", "sample"):
        raise ValueError(f'reduction must be "batch" or "sample", got {reduction!r}')
    return cast(Reduction, reduction)


def _prepared(
    pred: Tensor, target: Tensor, spatial_dims: int, reduction: str
) -> tuple[Tensor, Tensor]:
    """Check the shapes and raise both masks to float32 at least."""
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
    check_reduction(reduction)
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    # Half-precision FFTs fail on many sizes, and a float16 sum over a full 512 x 512 mask
    # overflows. Autocast never lowers what is done from here on.
    return pred.to(dtype), target.to(dtype)


def _sums_over_pixels(pred: Tensor, target: Tensor, spatial_dims: int) -> tuple[Tensor, Tensor]:
    axes = tuple(range(-spatial_dims, 0))
    cross = (pred * target).sum(axes)
    power = pred.square().sum(axes) + target.square().sum(axes)
    return cross, power


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
