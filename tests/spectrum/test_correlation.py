"""The spectral correlation coefficient: closed form, transform, and what must be true of both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmoseg import spectral_correlation
from harmoseg.spectrum import hermitian_multiplicity

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=3)


def random_pair(size: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3, *size)
    pred = torch.rand(shape, generator=generator, dtype=torch.float64)
    return pred, (torch.rand(shape, generator=generator, dtype=torch.float64) > 0.5).double()


def reference(
    pred: np.ndarray, target: np.ndarray, weights: np.ndarray, axes: tuple[int, ...]
) -> np.ndarray:
    """Eq. (2) as printed, over the full complex spectrum, in NumPy."""
    p, y = np.fft.fftn(pred, axes=axes), np.fft.fftn(target, axes=axes)
    axes = (0, *axes)
    cross = (weights * (y.real * p.real + y.imag * p.imag)).sum(axes)
    return 2 * cross / (weights * (np.abs(y) ** 2 + np.abs(p) ** 2)).sum(axes)


@given(SIZES, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_closed_form_equals_printed_equation(size: list[int], seed: int) -> None:
    pred, target = random_pair(size, seed)
    found = spectral_correlation(pred, target, spatial_dims=len(size))
    axes = tuple(range(2, 2 + len(size)))
    expected = reference(pred.numpy(), target.numpy(), np.ones(size), axes)
    # Up to 1,458 terms of at most 1 in float64 (1e-16); a correlation may be near 0.
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-13)


@given(SIZES, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_weighted_form_equals_printed_equation(size: list[int], seed: int) -> None:
    pred, target = random_pair(size, seed)
    weights = np.random.default_rng(seed).random(size) + 0.1
    found = spectral_correlation(
        pred, target, weights=torch.from_numpy(weights), spatial_dims=len(size)
    )
    axes = tuple(range(2, 2 + len(size)))
    expected = reference(pred.numpy(), target.numpy(), weights, axes)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("reduction", ["batch", "sample"])
@pytest.mark.parametrize("size", [(8,), (7, 6), (5, 4, 3)])
def test_flat_weights_change_neither_value_nor_gradient(size, reduction) -> None:
    pred, target = random_pair(list(size), 0)
    gradients, values = [], []
    for weights in (None, torch.ones(size, dtype=torch.float64)):
        leaf = pred.clone().requires_grad_()
        value = spectral_correlation(
            leaf, target, weights=weights, spatial_dims=len(size), reduction=reduction
        )
        value.sum().backward()
        values.append(value.detach())
        gradients.append(leaf.grad)
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-14)


@given(SIZES, st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_gradients_of_both_forms_agree(size: list[int], seed: int) -> None:
    pred, target = random_pair(size, seed)
    gradients = []
    for weights in (None, torch.ones(size, dtype=torch.float64)):
        leaf = pred.clone().requires_grad_()
        value = spectral_correlation(leaf, target, weights=weights, spatial_dims=len(size))
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        gradients.append(gradient)
    assert (gradients[0] - gradients[1]).norm() <= 1e-12 * gradients[0].norm() + 1e-300


@given(SIZES, st.integers(0, 10**6), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_bounds_symmetry_and_shifts(size: list[int], seed: int, shift: int) -> None:
    pred, target = random_pair(size, seed)
    pred = pred - 0.5
    axes = tuple(range(2, 2 + len(size)))
    value = spectral_correlation(pred, target, spatial_dims=len(size))
    assert (value.abs() <= 1 + 1e-12).all()
    swapped = spectral_correlation(target, pred, spatial_dims=len(size))
    shifts = [shift] * len(size)
    moved = [torch.roll(mask, shifts, axes) for mask in (pred, target)]
    torch.testing.assert_close(swapped, value, rtol=1e-12, atol=1e-14)
    shifted = spectral_correlation(*moved, spatial_dims=len(size))
    torch.testing.assert_close(shifted, value, rtol=1e-11, atol=1e-13)


def test_identity_gives_one_and_opposition_minus_one() -> None:
    _, target = random_pair([6, 5], 1)
    assert torch.allclose(spectral_correlation(target, target), torch.ones(3, dtype=torch.float64))
    opposed = spectral_correlation(-target, target)
    assert torch.allclose(opposed, -torch.ones(3, dtype=torch.float64))


def test_is_symmetric_and_bounded() -> None:
    pred, target = random_pair([6, 5], 2)
    pred = pred - 0.5
    value = spectral_correlation(pred, target)
    torch.testing.assert_close(value, spectral_correlation(target, pred))
    assert (value.abs() <= 1).all()


def test_circular_shift_and_quarter_turn_change_nothing() -> None:
    pred, target = random_pair([6, 6], 3)
    value = spectral_correlation(pred, target)
    shifted = [torch.roll(mask, (2, 3), (2, 3)) for mask in (pred, target)]
    turned = [torch.rot90(mask, 1, (2, 3)) for mask in (pred, target)]
    torch.testing.assert_close(spectral_correlation(*shifted), value)
    torch.testing.assert_close(spectral_correlation(*turned), value)


def test_two_empty_masks_agree_without_gradient() -> None:
    pred = torch.zeros(2, 1, 4, 4, requires_grad=True)
    for weights in (None, torch.ones(4, 4)):
        value = spectral_correlation(pred, torch.zeros(2, 1, 4, 4), weights=weights)
        assert value.item() == 1
        (gradient,) = torch.autograd.grad(value.sum(), pred)
        assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype) -> None:
    full = torch.ones(1, 1, 512, 512, dtype=dtype)  # 262144 > 65504, float16's largest
    value = spectral_correlation(full, full)
    assert value.dtype == torch.float32
    assert value.item() == 1


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_multiplicities_add_up_to_the_length(length) -> None:
    assert hermitian_multiplicity(length).sum().item() == length


def test_wrong_shapes_say_what_was_found() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"one shape, got \(1, 1, 4, 4\) and \(1, 1, 4, 5\)"):
        spectral_correlation(mask, torch.zeros(1, 1, 4, 5))
    with pytest.raises(ValueError, match="3 spatial axes"):
        spectral_correlation(mask, mask, spatial_dims=3)
    with pytest.raises(ValueError, match=r"shape \(4, 4\), got \(4, 3\)"):
        spectral_correlation(mask, mask, weights=torch.ones(4, 3))
    with pytest.raises(ValueError, match="got 'mean'"):
        spectral_correlation(mask, mask, reduction="mean")
