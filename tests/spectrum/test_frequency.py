"""Grids, rings and windows: every coefficient once, and where it belongs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmoseg.spectrum import make_rings, radial_frequency, window_weights

SHAPES = st.lists(st.integers(1, 20), min_size=1, max_size=3)


@given(SHAPES, st.sampled_from(["octave", "linear"]), st.floats(0.2, 5))
@settings(max_examples=80, deadline=None)
def test_rings_partition_the_spectrum(shape, kind, first_spacing) -> None:
    spacing = [first_spacing, 1.0, 0.7][: len(shape)]
    rings = make_rings(shape, kind=kind, spacing=spacing)
    assert sum(rings.size) == math.prod(shape)
    assert torch.bincount(rings.index.flatten()).tolist() == list(rings.size)
    assert rings.size[0] == 1 and rings.frequency[0] == 0  # the zero frequency alone
    assert list(rings.edges) == sorted(rings.edges)
    radius = radial_frequency(shape, spacing=spacing)
    for ring in range(len(rings)):
        inside = radius[rings.index == ring]
        assert inside.min() >= rings.edges[ring] * (1 - 1e-6)
        if ring + 1 < len(rings):
            assert inside.max() < rings.edges[ring + 1] * (1 + 1e-6)


def test_octaves_of_the_papers_size() -> None:
    rings = make_rings((224, 224))
    cycles = [round(edge * 224, 6) for edge in rings.edges]  # per image
    assert cycles == [0, 1, 2, 4, 8, 16, 32, 64]


def test_linear_rings_are_one_cycle_wide() -> None:
    rings = make_rings((9, 9), kind="linear")
    assert [round(edge * 9, 6) for edge in rings.edges] == [0, 1, 2, 3, 4]


def test_radial_frequency_is_numpys() -> None:
    found = radial_frequency((6, 5), spacing=(2.0, 0.5)).numpy()
    expected = np.hypot(*np.meshgrid(np.fft.fftfreq(6, 2.0), np.fft.fftfreq(5, 0.5), indexing="ij"))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_spacing_makes_rings_round_in_physical_space() -> None:
    # 40 x 20 pixels of 1 x 2 mm cover 40 x 40 mm: the same physical frequencies on both axes.
    rings = make_rings((40, 20), spacing=(1.0, 2.0))
    assert torch.equal(rings.index[:11, 0], rings.index[0, :11])


@pytest.mark.parametrize("shape", [(32, 32), (17,), (8, 9, 10)])
def test_windows_share_the_spectrum(shape) -> None:
    total = sum(window_weights(window, shape) for window in ("low", "mid", "high"))
    assert (total == 1).all()


def test_windows_hold_the_details_they_name() -> None:
    radius = radial_frequency((64,))
    for window, low, high in (("low", 0, 1 / 16), ("mid", 1 / 16, 1 / 4), ("high", 1 / 4, 1)):
        inside = radius[window_weights(window, (64,)) == 1]
        assert inside.min() == pytest.approx(low)
        assert inside.max() < high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_rings((4, 4), kind="log"), "one of octave, linear, got 'log'"),
        (lambda: make_rings((0, 4)), "length 1 or more"),
        (lambda: radial_frequency((4, 4), spacing=(1.0,)), "2 spatial axes, got"),
        (lambda: radial_frequency((4,), spacing=(0.0,)), "positive and finite"),
        (lambda: window_weights("middle", (4,)), "one of low, mid, high, got 'middle'"),
    ],
)
def test_mistakes_are_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
