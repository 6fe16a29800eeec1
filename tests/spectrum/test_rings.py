"""Ring correlation against the printed definition, and what must be true of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmoseg import make_rings, power_spectrum, ring_correlation, spectral_correlation
from harmoseg.spectrum import log_magnitude

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=3)


def pair(size, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pred = torch.rand((2, 3, *size), generator=generator, dtype=torch.float64)
    return pred, (torch.rand(pred.shape, generator=generator) > 0.5).double()


@given(SIZES, st.integers(0, 10**6), st.sampled_from(["octave", "linear"]))
@settings(max_examples=60, deadline=None)
def test_every_ring_equals_the_full_transform(size, seed, kind) -> None:
    pred, target = pair(size, seed)
    axes = tuple(range(2, 2 + len(size)))
    p, y = np.fft.fftn(pred.numpy(), axes=axes), np.fft.fftn(target.numpy(), axes=axes)
    rings = make_rings(size, kind=kind)
    found = ring_correlation(pred, target, rings=kind, spatial_dims=len(size), reduction="sample")
    for ring in range(len(rings)):
        inside = rings.index.numpy() == ring
        cross = ((y * p.conj()).real * inside).sum(axes)
        power = ((np.abs(y) ** 2 + np.abs(p) ** 2) * inside).sum(axes)
        np.testing.assert_allclose(
            found.correlation[..., ring], 2 * cross / power, rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(found.power[..., ring], power / np.prod(size), rtol=1e-9)


@given(SIZES, st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_power_weighted_mean_of_rings_is_the_full_correlation(size, seed) -> None:
    pred, target = pair(size, seed)
    found = ring_correlation(pred, target, spatial_dims=len(size))
    mean = (found.correlation * found.power).sum(-1) / found.power.sum(-1)
    full = spectral_correlation(pred, target, spatial_dims=len(size))
    torch.testing.assert_close(mean, full, rtol=1e-12, atol=1e-13)


def test_a_band_limited_change_changes_its_ring_alone() -> None:
    x = torch.arange(32, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * 5 * x / 32).expand(1, 1, 32, 32)  # 5 cycles: ring [4, 8)
    _, target = pair((32, 32))
    target = target[:1, :1]
    found = ring_correlation(target + 0.1 * wave, target)
    changed = (1 - found.correlation[0]).abs() > 1e-9
    assert changed.nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("size", [(7,), (6, 5), (4, 3, 2), (1, 1)])
def test_gradients_agree_with_finite_differences(size) -> None:
    pred, target = pair(size)

    def curve(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ring_correlation(p, y, spatial_dims=len(size)).correlation

    assert torch.autograd.gradcheck(curve, (pred.requires_grad_(), target.requires_grad_()))


def test_a_ring_without_power_agrees_without_gradient() -> None:
    # Two constant masks: all power lies at frequency zero, rounding elsewhere.
    pred = torch.full((1, 1, 30, 30), 0.7, requires_grad=True)
    found = ring_correlation(pred, torch.ones(1, 1, 30, 30))
    assert (found.correlation[0, 1:] == 1).all()
    found.correlation[0, 1:].sum().backward()
    assert (pred.grad == 0).all()
    empty = torch.zeros(1, 1, 8, 8)
    assert (ring_correlation(empty, empty).correlation == 1).all()


def test_frequencies_are_per_millimetre_where_a_spacing_is_given() -> None:
    pred, target = pair((16, 16))
    pixel = ring_correlation(pred, target).frequency
    millimetre = ring_correlation(pred, target, spacing=(0.5, 0.5)).frequency
    torch.testing.assert_close(millimetre, 2 * pixel)


def test_rings_made_for_another_size_are_refused() -> None:
    pred, target = pair((8, 8))
    with pytest.raises(ValueError, match=r"made for masks of \(4, 4\), got \(8, 8\)"):
        ring_correlation(pred, target, rings=make_rings((4, 4)))


@pytest.mark.parametrize("size", [(8,), (7, 6), (3, 4, 5)])
def test_power_adds_up_to_the_sum_of_squares(size) -> None:
    pred, _ = pair(size)
    power = power_spectrum(pred, spatial_dims=len(size))
    torch.testing.assert_close(power.sum(), pred.square().sum())


def test_log_magnitude_is_numpys() -> None:
    pred, _ = pair((7, 6))
    expected = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(pred.numpy()), axes=(-2, -1))))
    np.testing.assert_allclose(log_magnitude(pred).numpy(), expected, rtol=1e-10, atol=1e-12)
