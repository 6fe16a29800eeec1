"""The spectral map of a mask, and how it correlates with the truth's (Fig. 8 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.metrics import log_magnitude_correlation, mean_of_defined
from harmoseg.spectrum import log_magnitude

Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class MapCorrelation:
    """How the spectral maps of a prediction correlate with those of the truth.

    `per_class` has every foreground class that prediction or truth holds; NaN where one of the two
    holds none of it, since the map of an empty mask is flat. `mean` is over the `defined` ones,
    NaN where there are none.
    """

    per_class: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Average over the classes whose correlation is defined."""
        return float(mean_of_defined(np.asarray(list(self.per_class.values()), np.float64)))

    @property
    def defined(self) -> int:
        """Count the classes whose correlation is defined."""
        return sum(bool(np.isfinite(value)) for value in self.per_class.values())


def classes_in(label: Labels) -> list[int]:
    """List the foreground classes of a label map."""
    return [int(value) for value in np.unique(label) if value > 0]


def spectral_map(label: Labels, classes: list[int] | None = None) -> NDArray[np.float64]:
    """Return the centred log-magnitude log(1 + |P|) of a label map (H, W), zero in the middle.

    Of several classes it is the mean of the maps of each: of `classes` where they are given, so
    that a prediction is pictured by its truth's classes, else of those that the label map holds.
    Without any it is 0 everywhere.
    """
    wanted = classes_in(label) if classes is None else classes
    if label.ndim != 2:
        raise HarmosegError(f"a label map of shape {label.shape}, expected (H, W)")
    if not wanted:
        return np.zeros(label.shape)
    masks = torch.from_numpy(np.stack([label == value for value in wanted]))
    return np.asarray(log_magnitude(masks.double()).mean(0).numpy())


def map_correlation(pred: Labels, truth: Labels) -> MapCorrelation:
    """Correlate the spectral maps of two label maps, class by class.

    By `log_magnitude_correlation`, Pearson's r over the very values that the maps picture. The
    paper gives no formula for its "Corr."; the other candidate, `spectral_correlation` over all
    frequencies, is the Dice coefficient of two binary masks by Parseval's theorem, and so would
    say nothing of the spectra.
    """
    found = sorted({*classes_in(pred), *classes_in(truth)})
    return MapCorrelation(
        {value: log_magnitude_correlation(pred == value, truth == value) for value in found}
    )
