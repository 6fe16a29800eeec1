"""Spectral maps and their correlation: closed forms, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest

from harmoseg import HarmosegError
from harmoseg.explain.spectra import classes_in, map_correlation, spectral_map


def label(size: int = 32) -> np.ndarray:
    found = np.zeros((size, size), np.uint8)
    found[4:12, 5:14] = 1
    found[18:30, 16:20] = 3
    return found


def test_the_map_is_numpys_centred_log_magnitude_averaged_over_classes() -> None:
    maps = [np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(label() == value)))) for value in (1, 3)]
    np.testing.assert_allclose(spectral_map(label()), np.mean(maps, 0), atol=1e-12)
    np.testing.assert_allclose(spectral_map(label(), [3]), maps[1], atol=1e-12)
    assert spectral_map(label())[16, 16] == spectral_map(label()).max()
    assert not spectral_map(np.zeros((8, 8), np.uint8)).any()
    with pytest.raises(HarmosegError, match=r"shape \(1, 8, 8\), expected \(H, W\)"):
        spectral_map(np.ones((1, 8, 8), np.uint8))


def test_the_correlation_is_pearsons_over_what_is_pictured() -> None:
    truth, pred = label(), np.roll(label(), 3, 0)
    pred[20:23, 3:6] = 1
    found = map_correlation(pred, truth)
    assert list(found.per_class) == classes_in(truth) == [1, 3]
    for value, r in found.per_class.items():
        pictured = [spectral_map(item, [value]).ravel() for item in (pred, truth)]
        assert r == pytest.approx(np.corrcoef(pictured)[0, 1], abs=1e-12)
    assert found.per_class[3] == pytest.approx(1, abs=1e-12)  # only moved: maps know no place
    assert found.mean == pytest.approx(np.mean(list(found.per_class.values())), abs=1e-12)
    assert found.defined == 2


def test_classes_of_one_side_only_are_undefined_and_counted() -> None:
    truth, pred = label(), label()
    pred[pred == 3] = 2
    found = map_correlation(pred, truth)
    assert list(found.per_class) == [1, 2, 3] and found.defined == 1
    assert np.isnan(found.per_class[2]) and np.isnan(found.per_class[3])
    assert found.mean == pytest.approx(1)
    empty = np.zeros_like(truth)
    assert np.isnan(map_correlation(empty, empty).mean)
    assert np.isnan(map_correlation(empty, truth).mean)
