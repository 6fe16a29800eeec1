"""One sweep over the pixels for everything that the objective needs.

BCE (or cross-entropy), Dice and the full-spectrum correlation are all made of a few sums over the
same probabilities. They are taken together here, and gone back through together, with a backward
derived by hand: it keeps the probabilities and nothing else, and needs no more passes over memory
than BCE alone, once compiled (docs/explanation/derivations.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from harmoseg.losses.modes import Mode, Pair, class_mask

# F.softplus switches to its argument above the threshold; at 80 both agree to the last digit in
# float64 and exp(80) is still finite in float32.
_SOFTPLUS_THRESHOLD = 80.0


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
    """Take all sums in one sweep. Differentiable once, in the logits."""
    axes = tuple(range(2, pair.logits.ndim))
    function = _SoftmaxSweep if mode == "multiclass" else _SigmoidSweep
    pixel, cross, pred, square, _ = function.apply(*pair)
    if mode == "multiclass":
        truth = class_mask(pair.target, pair.logits.shape[1]).sum(axes).to(pixel.dtype)
        return Sums(pixel, cross, pred, square, truth, truth)  # one-hot: its own square
    return Sums(pixel, cross, pred, square, pair.target.sum(axes), pair.target.square().sum(axes))


class _SigmoidSweep(torch.autograd.Function):
    """The sums for channels that are binary problems; also returns p, for the backward alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
        axes = tuple(range(2, logits.ndim))
        # -log(p) y - log(1 - p) (1 - y) = softplus(z) - z y
        pixel = F.softplus(logits, threshold=_SOFTPLUS_THRESHOLD)
        pixel = pixel.addcmul_(logits, target, value=-1)
        if valid is not None:
            pixel = pixel.mul_(valid)
        pixel_sum = pixel.sum(axes)
        del pixel
        pred = torch.sigmoid(logits)
        if valid is not None:
            pred = pred.mul_(valid)
        cross = (pred * target).sum(axes)
        return pixel_sum, cross, pred.sum(axes), pred.square().sum(axes), pred

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _save(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, of_pixel, of_cross, of_pred, of_square = _saved(ctx, grads)
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
        truth = class_mask(target, logits.shape[1])
        log_pred = torch.log_softmax(logits, dim=1)
        # where, not a product: a logit far from the others has -inf here, and 0 * inf is NaN.
        pixel = torch.where(truth, log_pred, 0).sum(axes).neg()
        pred = log_pred.exp_()
        if valid is not None:
            pred = pred.mul_(valid)
        cross = torch.where(truth, pred, 0).sum(axes)
        return pixel, cross, pred.sum(axes), pred.square().sum(axes), pred

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _save(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, of_pixel, of_cross, of_pred, of_square = _saved(ctx, grads)
        truth = class_mask(target, pred.shape[1])
        # dL/dz_c = a_c - p_c sum_j a_j with a = p (A y + b + 2 c p) - g y.
        grad = torch.where(truth, of_cross, 0).add_(of_pred).addcmul_(pred, 2 * of_square)
        grad = grad.mul_(pred).sub_(torch.where(truth, of_pixel, 0))
        return grad.addcmul_(pred, grad.sum(1, keepdim=True), value=-1), None, None


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    pred = output[-1]
    ctx.mark_non_differentiable(pred)
    ctx.save_for_backward(pred, inputs[1])


def _saved(ctx: Any, grads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Give p, the target and the gradients of the four sums, those in a shape that broadcasts."""
    pred, target = ctx.saved_tensors
    shape = (*grads[0].shape, *[1] * (pred.ndim - 2))
    return (pred, target, *(grad.reshape(shape) for grad in grads[:4]))
