"""Sums over pixels, samples, classes and processes, and their means.

BCE (or cross-entropy), Dice and the full-spectrum correlation are all made of a few sums over the
same probabilities. They are taken together in one sweep, and gone back through together, with a
backward derived by hand: it keeps the probabilities and nothing else, and needs no more passes over
memory than BCE alone, once compiled (docs/explanation/derivations.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harmoseg.losses.modes import Mode, Pair
from harmoseg.spectrum import Reduction

_BLOCK = 1024
"""Pixels that are added one after the other when classes are summed."""

_BACKWARD_VALUES = 2**20
"""Values of a gradient that are computed at once for large images: 4 MiB in float32."""


class Sums(NamedTuple):
    """Sums over the valid pixels of every sample and channel, each (B, C).

    `pixel` sums -log of the probability of the truth: the binary cross-entropy of a channel, or,
    for ``"multiclass"``, the cross-entropy of the pixels of a class. `cross` = sum(p y), `pred` =
    sum(p), `pred_square` = sum(p^2), `truth` = sum(y), `truth_square` = sum(y^2).
    """

    pixel: Tensor
    cross: Tensor
    pred: Tensor
    pred_square: Tensor
    truth: Tensor
    truth_square: Tensor


def sweep(mode: Mode, pair: Pair) -> Sums:
    """Return all sums, taken in one sweep. They can be differentiated once, in the logits."""
    axes = tuple(range(2, pair.logits.ndim))
    function = _SoftmaxSweep if mode == "multiclass" else _SigmoidSweep
    pixel, cross, pred, square, _ = function.apply(*pair)
    if mode == "multiclass":
        counted = torch.ones_like(pair.logits[:, :1]) if pair.valid is None else pair.valid
        truth = _sum_by_class(counted, pair.target, pair.logits.shape[1])
        return Sums(pixel, cross, pred, square, truth, truth)  # one-hot: its own square
    return Sums(pixel, cross, pred, square, pair.target.sum(axes), _sum_of_squares(pair.target))


class _SigmoidSweep(torch.autograd.Function):
    """The sums for channels that are binary problems; also returns p, for the backward alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
        axes = tuple(range(2, logits.ndim))
        pred = torch.sigmoid(logits)
        if valid is not None:
            pred = pred.mul_(valid)
        # -log(p) y - log(1 - p) (1 - y) = softplus(z) - z y, where softplus(z) = log(1 + exp(z))
        # = max(z, 0) - log max(p, 1 - p) and max(p, 1 - p) = |p - 1/2| + 1/2: exact where p
        # saturates, several times as fast as PyTorch's own softplus on a CPU, and 0 at ignored
        # pixels, where z and p are. One array serves for all sums: on a CPU the first touch of
        # new memory takes longer than the arithmetic.
        work = logits.clamp_min(0).addcmul_(logits, target, value=-1)
        pixel = work.sum(axes)
        pixel = pixel - work.copy_(pred).sub_(0.5).abs_().add_(0.5).log_().sum(axes)
        cross = work.copy_(pred).mul_(target).sum(axes)
        return pixel, cross, pred.sum(axes), _sum_of_squares(pred), pred

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _save(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        pred, target, _ = ctx.saved_tensors
        of_pixel, of_cross, of_pred, of_square = _of_sums(pred, grads)
        # dL/dz = (a y + b + 2 c p) p (1 - p) + g (p - y); at ignored pixels p and y are 0, and so
        # is all of this. In place: the gradient is the only new array.
        grad = torch.mul(pred, 2 * of_square).add_(of_pred).addcmul_(target, of_cross)
        grad = grad.mul_(pred).addcmul_(grad, pred, value=-1)
        grad = grad.addcmul_(pred, of_pixel).addcmul_(target, of_pixel, value=-1)
        return grad, None, None


class _SoftmaxSweep(torch.autograd.Function):
    """The sums for classes that exclude each other; also returns p, for the backward alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
        axes = tuple(range(2, logits.ndim))
        classes = logits.shape[1]
        pred = torch.softmax(logits, dim=1)
        # -log p_c = log sum_j exp(z_j) - z_c, and the largest p is exp(max z) over that sum: this
        # is exact where p underflows, and saves a pass of logarithms or exponentials.
        log_sum = logits.amax(1, keepdim=True) - pred.amax(1, keepdim=True).log_()
        of_truth = log_sum.sub_(logits.gather(1, target))
        if valid is not None:
            pred, of_truth = pred.mul_(valid), of_truth.mul_(valid)
        pixel = _sum_by_class(of_truth, target, classes)
        cross = _sum_by_class(pred.gather(1, target), target, classes)
        return pixel, cross, pred.sum(axes), _sum_of_squares(pred), pred

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _save(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        pred, target, valid = ctx.saved_tensors
        of_sums = _of_sums(pred, grads)
        length = pred[0, 0].numel()
        step = max(1, _BACKWARD_VALUES // pred.shape[1])
        if length <= step or torch.compiler.is_compiling():
            return _softmax_gradient(pred, target, valid, of_sums), None, None
        # Part by part, so that nothing but the gradient is as large as the logits.
        grad = torch.empty_like(pred)
        wholes = [grad, pred, target] if valid is None else [grad, pred, target, valid]
        for sample in range(len(pred)):
            flat = [x[sample : sample + 1].flatten(2) for x in wholes]
            sums = [x[sample : sample + 1].flatten(2) for x in of_sums]
            for start in range(0, length, step):
                out, p, y, *v = (x[..., start : start + step] for x in flat)
                out.copy_(_softmax_gradient(p, y, v[0] if v else None, sums))
        return grad, None, None


def _softmax_gradient(
    pred: Tensor, target: Tensor, valid: Tensor | None, of_sums: list[Tensor]
) -> Tensor:
    of_pixel, of_cross, of_pred, of_square = of_sums
    # dL/dz_c = a_c - p_c sum_j a_j with a = p (A y + b + 2 c p) - g y; y is 1 in one place.
    grad = torch.mul(pred, 2 * of_square).add_(of_pred).mul_(pred)
    of_pixel = _of_class(of_pixel, target)
    if valid is not None:
        of_pixel = of_pixel * valid
    correction = _of_class(of_cross, target).mul_(pred.gather(1, target)).sub_(of_pixel)
    grad = grad.scatter_add_(1, target, correction)
    return grad.addcmul_(pred, grad.sum(1, keepdim=True), value=-1)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    pred = output[-1]
    ctx.mark_non_differentiable(pred)
    # Otherwise PyTorch would fill an array of zeros as the gradient of what is kept.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(pred, *inputs[1:])


def _of_sums(pred: Tensor, grads: tuple[Tensor | None, ...]) -> list[Tensor]:
    """Return the gradients of the four sums in a shape that broadcasts, 0 for an unused sum."""
    shape = (*pred.shape[:2], *[1] * (pred.ndim - 2))
    return [pred.new_zeros(shape) if grad is None else grad.reshape(shape) for grad in grads[:4]]


def _sum_by_class(values: Tensor, target: Tensor, classes: int) -> Tensor:
    """Sum (B, 1, *S) over the pixels of every class: (B, C).

    Block by block: a scatter adds pixel after pixel, and in float32 one long sum would lose digits
    and, at 2^24 pixels, stop growing.
    """
    values, target = values.flatten(1), target.flatten(1)
    whole = values.shape[1] // _BLOCK * _BLOCK
    sums = _scatter_blocks(values[:, :whole], target[:, :whole], _BLOCK, classes)
    if whole < values.shape[1]:
        rest = values.shape[1] - whole
        sums = sums + _scatter_blocks(values[:, whole:], target[:, whole:], rest, classes)
    return sums


def _scatter_blocks(values: Tensor, target: Tensor, length: int, classes: int) -> Tensor:
    blocks = (len(values), values.shape[1] // length)
    sums = values.new_zeros(*blocks, classes)
    sums = sums.scatter_add_(2, target.reshape(*blocks, length), values.reshape(*blocks, length))
    return sums.sum(1)


def _of_class(values: Tensor, target: Tensor) -> Tensor:
    """Return the value of every pixel's class: (B, C, 1, ...) to (B, 1, *S)."""
    return values.flatten(1).gather(1, target.flatten(1)).reshape(target.shape)


def _sum_of_squares(values: Tensor) -> Tensor:
    """Sum the squares of (B, C, *S) to (B, C), without an array of squares."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=tuple(range(2, values.ndim)))
    return norm * norm


@dataclass(frozen=True)
class Averaging:
    """How values per sample and class become one number.

    `reduction` ``"batch"`` sums overlaps over the batch first, ``"sample"`` averages over samples
    last. `background` says whether class 0 of a multiclass problem counts. `across_ranks` sums over
    all processes of a distributed training too, so that the batch is the global one.
    """

    mode: Mode
    reduction: Reduction
    background: bool
    across_ranks: bool

    def pool(self, *sums: Tensor) -> tuple[Tensor, ...]:
        """Sum (B, C, ...) over the batch where the reduction says so."""
        if self.reduction == "sample":
            return sums
        return tuple(self.over_ranks(value.sum(0)) for value in sums)

    def over_ranks(self, value: Tensor) -> Tensor:
        """Sum over the processes of a distributed training, if asked to and if there are any."""
        return sum_over_ranks(value) if self.across_ranks else value

    def over_classes(self, values: Tensor, class_weights: Tensor | None) -> Tensor:
        """Average (C,) or (B, C) over the classes that count, weighted, then over samples."""
        if self.mode == "multiclass" and not self.background:
            values = values[..., 1:]
            class_weights = None if class_weights is None else class_weights[1:]
        return class_mean(values, class_weights)


def class_mean(values: Tensor, class_weights: Tensor | None) -> Tensor:
    """Average (..., C) over the classes, weighted where weights are given, then over the rest."""
    if class_weights is None:
        return values.mean()
    weights = class_weights.to(values.dtype)
    return ((values * weights).sum(-1) / weights.sum()).mean()


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum a tensor over all processes; unchanged where there is only one.

    Every process sees the same sum, so the gradient of one's own part is the sum of what all of
    them send back.
    """
    if not torch.distributed.is_initialized():
        return value
    total: Tensor = _SumOverRanks.apply(value)
    return total


class _SumOverRanks(torch.autograd.Function):
    # PyTorch's own differentiable form is deprecated without a public successor.
    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total
