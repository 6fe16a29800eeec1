"""Measures of thin structures such as vessels, where a break matters more than its few pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harmoseg.errors import HarmosegError

_Mask = NDArray[np.bool_] | NDArray[np.integer]


def centreline_dice(pred: _Mask, truth: _Mask) -> float:
    """Return the centreline Dice (clDice) of two masks (*S), 2-D or 3-D, in [0, 1].

    The harmonic mean of the share of the predicted skeleton that lies in the truth, and of the
    share of the true skeleton that lies in the prediction: Shit et al., clDice, CVPR 2021, eq. (3).
    Skeletons are those of `skimage.morphology.skeletonize`. NaN where both masks are empty, 0 where
    one is. Raises HarmosegError for shapes that differ.
    """
    pred, truth = _checked(pred, truth)
    if not (pred.any() or truth.any()):
        return np.nan
    if not (pred & truth).any():
        return 0.0
    precision = truth[_skeleton(pred)].mean()
    sensitivity = pred[_skeleton(truth)].mean()
    total = precision + sensitivity
    return float(2 * precision * sensitivity / total) if total else 0.0


def betti0_error(pred: _Mask, truth: _Mask) -> float:
    """Return how far the numbers of connected components of two masks (*S) are apart.

    The absolute difference of their Betti numbers of dimension 0. Pixels that share a corner are
    connected. NaN where both masks are empty. Raises HarmosegError for shapes that differ.
    """
    pred, truth = _checked(pred, truth)
    if not (pred.any() or truth.any()):
        return np.nan
    corners = np.ones((3,) * pred.ndim)
    found, expected = (ndimage.label(mask, structure=corners)[1] for mask in (pred, truth))
    return float(abs(found - expected))


def _skeleton(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # Here: the library takes a second to import, and most data hold no thin structures.
    from skimage.morphology import skeletonize

    skeletonised: Callable[[NDArray[np.bool_]], NDArray[Any]] = skeletonize
    return np.asarray(skeletonised(mask) > 0)


def _checked(pred: _Mask, truth: _Mask) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if pred.shape != truth.shape or pred.ndim not in (2, 3):
        raise HarmosegError(
            f"prediction of shape {pred.shape} and truth of shape {truth.shape}, expected two "
            "masks of one shape with 2 or 3 axes"
        )
    return pred > 0, truth > 0
