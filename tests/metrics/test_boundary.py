"""Boundaries, boxes and bands of small masks, against erosions and distances by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from harmoseg import HarmosegError
from harmoseg.metrics import boundary_band
from harmoseg.metrics.boundary import boundary, bounding_box, pitch_of


@given(st.integers(0, 10**6), st.sampled_from([(7, 9), (1, 5), (4, 5, 6), (1, 1, 1)]))
@settings(max_examples=40, deadline=None)
def test_boundary_is_what_an_erosion_takes_away(seed, shape) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.8
    assert (boundary(mask) == mask ^ ndimage.binary_erosion(mask)).all()


def test_box_is_tight() -> None:
    mask = np.zeros((6, 7, 8), bool)
    assert bounding_box(mask) is None
    mask[2, 3, 1] = mask[4, 3, 7] = True
    assert bounding_box(mask) == (slice(2, 5), slice(3, 4), slice(1, 8))


def test_band_of_a_straight_edge() -> None:
    truth = np.zeros((4, 10), int)
    truth[:, 5:] = 2
    for width, columns in ((0, [4, 5]), (0.9, [4, 5]), (1, [3, 4, 5, 6]), (2, range(2, 8))):
        band = boundary_band(truth, width, spacing="pixel")
        assert np.flatnonzero(band[0]).tolist() == list(columns)
        assert (band == band[0]).all()
    in_mm = boundary_band(truth, 0.3, spacing=(1, 0.1))  # three columns more on either side
    assert np.flatnonzero(in_mm[0]).tolist() == list(range(1, 9))


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_band_equals_brute_force(seed) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, (6, 7)) * (random.random((6, 7)) < 0.3)
    pitch = random.uniform(0.5, 2, 2)
    padded = np.pad(truth, 1, mode="edge")
    touching = np.zeros(truth.shape, bool)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        touching |= truth != padded[dy : dy + 6, dx : dx + 7]
    band = boundary_band(truth, 1.7, spacing=pitch)
    for place in np.ndindex(truth.shape):
        gaps = (np.argwhere(touching) - place) * pitch
        expected = bool(len(gaps)) and np.hypot(*gaps.T).min() <= 1.7
        assert band[place] == expected


def test_one_label_has_no_band() -> None:
    assert not boundary_band(np.ones((5, 5), int), 3, spacing="pixel").any()


@pytest.mark.parametrize(
    "spacing", [("a", "b"), (1,), (1, 0), (1, -2), (1, np.nan), (1, np.inf), "mm", 1.0]
)
def test_wrong_spacing_is_named(spacing) -> None:
    with pytest.raises(HarmosegError, match="spacing"):
        pitch_of(spacing, 2)


def test_negative_width_is_named() -> None:
    with pytest.raises(HarmosegError, match="width of the band is -1"):
        boundary_band(np.ones((5, 5), int), -1, spacing="pixel")
