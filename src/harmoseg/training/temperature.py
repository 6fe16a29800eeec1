"""The temperature of a finished network, fitted on validation cases alone."""

from __future__ import annotations

import numpy as np

from harmoseg.inference.planes import batched
from harmoseg.inference.predictor import Predictor
from harmoseg.metrics.calibration import fit_temperature
from harmoseg.store.training_view import Part

_MOST_PIXELS = 2_000_000
"""More add no digit to one number; fewer are taken at even steps."""


def temperature_on(predictor: Predictor, part: Part) -> float | None:
    """Return the temperature that fits a part best, at training resolution; None without a case."""
    if not len(part):
        return None
    probabilities, truth = [], []
    pixels = len(part) * part.batch([0])[1].size
    step = -(-pixels // _MOST_PIXELS)
    for positions in batched(range(len(part))):
        images, labels = part.batch(positions)
        found = predictor.probabilities(predictor.prepare(images)).cpu().numpy()
        probabilities.append(found.swapaxes(0, 1).reshape(found.shape[1], -1)[:, ::step])
        truth.append(labels.reshape(-1)[::step])
    return fit_temperature(np.concatenate(probabilities, axis=1), np.concatenate(truth))
