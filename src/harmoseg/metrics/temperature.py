"""One temperature for all probabilities of a network: fitted, and applied.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2. Softmax of logits over
a temperature T is the softmax power p^(1/T) of the probabilities, so probabilities are enough, and
what was averaged or resized before can be rescaled all the same. Labels stay what they are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from harmoseg.errors import HarmosegError

LEAST = float(np.finfo(np.float32).eps)
"""Probabilities are kept this far from 0: one of exactly 0 or 1 would have no logit."""
_RANGE = (0.05, 20.0)
"""Temperatures that are tried; a network that is never wrong would want 0."""


def rescale(probabilities: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float32]:
    """Return the probabilities (C, *S) under a temperature, of the same shape.

    One channel is the probability of foreground, several are those of all classes. 1 changes
    nothing but probabilities within 1.2e-7 of 0 and 1. Raises HarmosegError for a temperature that
    is not above 0.
    """
    if not 0 < temperature < math.inf:
        raise HarmosegError(f"temperature is {temperature}, expected a number above 0")
    scaled = _log_odds(probabilities) / temperature
    if len(probabilities) == 1:
        return np.asarray(1 / (1 + np.exp(-scaled)), np.float32)
    scaled -= scaled.max(0)
    np.exp(scaled, out=scaled)
    return np.asarray(scaled / scaled.sum(0), np.float32)


def fit_temperature(
    probabilities: NDArray[np.floating[Any]], truth: NDArray[np.integer[Any]]
) -> float:
    """Return the temperature between 0.05 and 20 with the least negative log-likelihood.

    `probabilities` are (C, n), `truth` (n,) holds class indices. In float64, to four digits; the
    likelihood has one minimum. Raises HarmosegError without a pixel.
    """
    if not truth.size:
        raise HarmosegError("no pixel to fit a temperature to; give validation cases")
    odds = _log_odds(np.asarray(probabilities, np.float64))
    if len(odds) == 1:
        odds = np.concatenate([np.zeros_like(odds), odds])
    right = np.take_along_axis(odds, truth[None].astype(np.intp), 0)[0]

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        return float((np.logaddexp.reduce(odds * inverse, 0) - right * inverse).mean())

    low, high = (math.log(bound) for bound in _RANGE)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-5})
    # Rounded: the sum over pixels depends on the processor in its last digits.
    return float(f"{math.exp(found.x):.4g}")


def _log_odds(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return what the logits are up to a constant: log p, or log(p / (1 - p)) of one channel."""
    kept = np.clip(probabilities, LEAST, 1 - LEAST)
    odds: NDArray[np.floating[Any]] = np.log(kept)
    return odds - np.log1p(-kept) if len(kept) == 1 else odds
