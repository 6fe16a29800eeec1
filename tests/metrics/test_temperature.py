"""The temperature: against a direct minimisation on logits in float64, and what it never changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from harmoseg import HarmosegError
from harmoseg.metrics.temperature import fit_temperature, rescale


def made(classes: int, factor: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits, labels by their softmax, and make the logits too large by a factor."""
    random = np.random.default_rng(classes)
    logits = random.normal(0, 1.5, (classes, count))
    p = expit(logits) if classes == 1 else softmax(logits, 0)
    if classes == 1:
        truth = (random.random(count) < p[0]).astype(np.uint8)
    else:
        truth = (random.random(count) > p.cumsum(0)).sum(0).astype(np.uint8)
    return factor * logits, truth


def direct(logits: np.ndarray, truth: np.ndarray) -> float:
    """Minimise the loss of PyTorch over the inverse temperature by Newton's steps on a grid."""
    z, y = torch.tensor(logits.T), torch.tensor(truth).long()
    best = 1.0
    for width in (4.0, 0.4, 0.04, 0.004, 0.0004):
        grid = best * np.exp(np.linspace(-1, 1, 41) * np.log1p(width))
        losses = [
            torch.nn.functional.binary_cross_entropy_with_logits(z[:, 0] / t, y.double()).item()
            if z.shape[1] == 1
            else torch.nn.functional.cross_entropy(z / t, y).item()
            for t in grid
        ]
        best = float(grid[int(np.argmin(losses))])
    return best


@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_the_temperature_is_that_of_a_direct_minimisation(classes, factor) -> None:
    logits, truth = made(classes, factor)
    p = expit(logits) if classes == 1 else softmax(logits, 0)
    found = fit_temperature(p, truth)
    assert found == pytest.approx(direct(logits, truth), rel=1e-3)
    assert found == pytest.approx(factor, rel=0.06)  # labels were drawn by the logits before


@pytest.mark.parametrize("classes", [1, 3])
def test_rescaled_probabilities_are_those_of_logits_over_the_temperature(classes) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (classes, 6, 7))
    of = expit if classes == 1 else lambda z: softmax(z, 0)
    np.testing.assert_allclose(rescale(of(logits), 1.7), of(logits / 1.7), atol=1e-6)
    np.testing.assert_allclose(rescale(of(logits), 1.0), of(logits), atol=1e-6)
    assert rescale(of(logits), 3.0).dtype == np.float32
    labels = (of(logits) > 0.5) if classes == 1 else of(logits).argmax(0)
    after = (rescale(of(logits), 3.0) > 0.5) if classes == 1 else rescale(of(logits), 3.0).argmax(0)
    assert np.array_equal(labels, after)


@pytest.mark.parametrize("classes", [1, 3])
def test_a_probability_of_exactly_0_or_1_stays_finite(classes) -> None:
    p = np.zeros((classes, 2), np.float32)
    p[0, 0] = p[-1, 1] = 1
    found = rescale(p, 2.0)
    assert np.isfinite(found).all() and found[0, 0] > 0.99
    assert np.isfinite(fit_temperature(p, np.array([0, 1])))


def test_wrong_input_is_named() -> None:
    with pytest.raises(HarmosegError, match="temperature is 0.0, expected a number above 0"):
        rescale(np.ones((1, 2)), 0.0)
    with pytest.raises(HarmosegError, match="no pixel to fit"):
        fit_temperature(np.ones((1, 0)), np.zeros(0, int))
