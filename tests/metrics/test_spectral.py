"""Ring curves against `ring_correlation`, cutoffs of known curves, and log-magnitude maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmoseg import HarmosegError, ring_correlation
from harmoseg.metrics import RingFidelity, log_magnitude_correlation, ring_fidelity
from harmoseg.spectrum import make_rings


def disc(size: int = 64, shift: int = 0, radius: float = 14) -> np.ndarray:
    y, x = np.ogrid[:size, :size]
    return np.hypot(y - size / 2, x - size / 2 - shift) < radius


def curve(*correlation: float) -> RingFidelity:
    """Make ring sums with a known curve at frequencies 0, 0.1, 0.2 ..."""
    values = np.array(correlation)
    return RingFidelity(np.arange(values.size) / 10, values, np.full(values.size, 2.0), "cycles/px")


@given(st.integers(0, 10**6), st.sampled_from([(16, 16), (15, 9), (8, 7, 6)]))
@settings(max_examples=30, deadline=None)
def test_curve_equals_ring_correlation(seed, shape) -> None:
    random = np.random.default_rng(seed)
    p, y = random.random((2, *shape))
    pitch = tuple(random.uniform(0.5, 3, len(shape)))
    for kind in ("linear", "octave"):
        found = ring_fidelity(p, y, spacing=pitch, rings=kind)
        expected = ring_correlation(
            *(torch.from_numpy(mask)[None, None] for mask in (p, y)),
            rings=kind,
            spacing=pitch,
            spatial_dims=len(shape),
        )
        assert found.correlation == pytest.approx(expected.correlation[0].numpy(), abs=1e-9)
        assert found.power == pytest.approx(expected.power[0].numpy(), rel=1e-9)
        assert found.frequency == pytest.approx(expected.frequency.numpy())


def test_a_mask_correlates_fully_with_itself() -> None:
    found = ring_fidelity(disc(), disc(), spacing="pixel")
    assert found.correlation == pytest.approx(1)
    assert found.cutoff() == found.frequency[-1] > 0.5
    assert log_magnitude_correlation(disc(), disc()) == pytest.approx(1)


def test_ring_sums_add_up_to_sums_over_pixels() -> None:
    found = ring_fidelity(disc(), disc(shift=3), spacing="pixel")
    assert found.cross.sum() == pytest.approx((disc() & disc(shift=3)).sum())
    assert found.power.sum() == pytest.approx(disc().sum() + disc(shift=3).sum())


def test_finer_details_of_a_larger_shift_are_lost_earlier() -> None:
    cutoffs = [ring_fidelity(disc(shift=s), disc(), spacing="pixel").cutoff() for s in (1, 2, 4, 8)]
    assert cutoffs == sorted(cutoffs, reverse=True) and len(set(cutoffs)) == 4


def test_frequencies_are_in_the_unit_of_spacing() -> None:
    in_px = ring_fidelity(disc(shift=4), disc(), spacing="pixel")
    in_mm = ring_fidelity(disc(shift=4), disc(), spacing=(0.5, 0.5))
    assert (in_px.unit, in_mm.unit) == ("cycles/px", "cycles/mm")
    assert in_mm.cutoff() == pytest.approx(2 * in_px.cutoff())


def test_cutoff_of_known_curves() -> None:
    assert curve(1, 0.9, 0.7, 0.3).cutoff() == pytest.approx(0.25)
    assert curve(1, 0.4, 0.9, 0.3).cutoff() == pytest.approx(0.1 * 0.5 / 0.6)  # the first fall
    assert curve(0.4, 1, 1).cutoff() == 0
    assert curve(1, 0.9, 0.8).cutoff() == pytest.approx(0.2)
    assert curve(1, 0.9, 0.8).cutoff(0.85) == pytest.approx(0.15)


def test_empty_masks() -> None:
    nothing = np.zeros((64, 64))
    both = ring_fidelity(nothing, nothing, spacing="pixel")
    assert (both.correlation == 1).all() and np.isnan(both.cutoff())
    miss = ring_fidelity(nothing, disc(), spacing="pixel")
    assert miss.cutoff() == 0
    assert np.isnan(log_magnitude_correlation(nothing, disc()))
    assert np.isnan(log_magnitude_correlation(nothing, nothing))
    point = np.zeros((64, 64))
    point[5, 7] = 1  # its magnitude is 1 at every frequency
    assert np.isnan(log_magnitude_correlation(point, disc()))


def test_log_magnitude_knows_no_place_but_the_curve_does() -> None:
    moved = np.roll(disc(), 20, 1)
    assert log_magnitude_correlation(moved, disc()) == pytest.approx(1)
    assert ring_fidelity(moved, disc(), spacing="pixel").cutoff() < 0.05
    other = disc(radius=9)
    expected = np.corrcoef(
        *(np.log1p(np.abs(np.fft.fft2(mask))).ravel() for mask in (other, disc()))
    )
    assert log_magnitude_correlation(other, disc()) == pytest.approx(expected[0, 1])


def test_cases_are_pooled_by_their_sums() -> None:
    rings = make_rings((64, 64), kind="linear")
    one = ring_fidelity(disc(shift=2), disc(), spacing="pixel", rings=rings)
    other = ring_fidelity(np.zeros((64, 64)), disc(), spacing="pixel", rings=rings)
    both = one + other
    assert both.correlation == pytest.approx(2 * one.cross / (one.power + other.power))
    with pytest.raises(HarmosegError, match="shape or spacing cannot be added"):
        one + ring_fidelity(disc(32), disc(32), spacing="pixel")
    with pytest.raises(HarmosegError, match="shape or spacing cannot be added"):
        one + ring_fidelity(disc(), disc(), spacing=(2, 2))


def test_wrong_input_is_named() -> None:
    cases = [
        ((disc(), disc(32)), {}, r"\(64, 64\) and truth of shape \(32, 32\)"),
        ((disc()[0], disc()[0]), {}, "expected 2 or 3 axes"),
        ((disc() * np.nan, disc()), {}, "prediction holds values nan"),
        ((disc(), disc() * 3), {}, "truth holds values 0.0 to 3.0"),
        ((disc(), disc()), {"spacing": (1, -1)}, "spacing"),
        ((disc(), disc()), {"spacing": (1, 0)}, "spacing"),
        ((disc(), disc()), {"rings": make_rings((32, 32))}, r"\(32, 32\) do not fit \(64, 64\)"),
    ]
    for masks, keywords, match in cases:
        with pytest.raises(HarmosegError, match=match):
            ring_fidelity(*masks, **{"spacing": "pixel", **keywords})
    with pytest.raises(HarmosegError, match="threshold is 1"):
        curve(1, 0.4).cutoff(1)
