"""Thin structures: closed forms, and independent implementations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.losses.cldice import soft_skel
from skimage.measure import euler_number, label
from skimage.morphology import skeletonize

from harmoseg import HarmosegError
from harmoseg.metrics.thin import betti0_error, centreline_dice


def line(*, gap: int = 0, shift: int = 0, length: int = 40, ndim: int = 2) -> np.ndarray:
    """Draw a line of one pixel, which is its own skeleton, with a gap in its middle."""
    mask = np.zeros((12,) * (ndim - 1) + (60,), bool)
    at = (5 + shift, *(5,) * (ndim - 2))
    mask[(*at, slice(10, 10 + length))] = True
    mask[(*at, slice(30 - gap // 2, 30 - gap // 2 + gap))] = False
    return mask


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_gap_costs_its_share_of_the_length(ndim) -> None:
    truth, broken = line(ndim=ndim), line(gap=8, ndim=ndim)
    # Every predicted pixel lies in the truth; 32 of 40 true ones are found.
    assert centreline_dice(broken, truth) == pytest.approx(2 * 1 * 0.8 / 1.8)
    assert centreline_dice(truth, broken) == pytest.approx(2 * 1 * 0.8 / 1.8)
    assert betti0_error(broken, truth) == 1
    assert centreline_dice(truth, truth) == 1 and betti0_error(truth, truth) == 0


def test_a_line_beside_the_line_is_worth_nothing_and_a_broad_one_all() -> None:
    truth = line()
    assert centreline_dice(line(shift=1), truth) == 0
    broad = line() | line(shift=1) | line(shift=-1)
    assert centreline_dice(broad, truth) > 0.98  # its skeleton is the truth's but for an end


def test_empty_masks() -> None:
    nothing, truth = np.zeros((12, 60), bool), line()
    assert np.isnan(centreline_dice(nothing, nothing)) and np.isnan(betti0_error(nothing, nothing))
    assert centreline_dice(nothing, truth) == 0 == centreline_dice(truth, nothing)
    assert betti0_error(nothing, truth) == 1
    with pytest.raises(HarmosegError, match="expected two masks of one shape"):
        centreline_dice(nothing, truth[1:])


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    smooth = torch.nn.functional.avg_pool2d(
        torch.from_numpy(random.random((2, 1, 80, 90))), 7, 1, 3
    ).numpy()[:, 0]
    return smooth[0] > 0.5, 0.5 * (smooth[0] + smooth[1]) > 0.5


def flooded(mask: np.ndarray) -> int:
    """Count components by filling one after another, written down apart."""
    left = {tuple(pixel) for pixel in np.argwhere(mask)}
    count = 0
    while left:
        count += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            for dy, dx in itertools.product((-1, 0, 1), repeat=2):
                if (y + dy, x + dx) in left:
                    left.remove((y + dy, x + dx))
                    edge.append((y + dy, x + dx))
    return count


@pytest.mark.parametrize("seed", range(4))
def test_components_are_counted_as_by_flooding(seed) -> None:
    pred, truth = blobs(seed)
    assert betti0_error(pred, truth) == abs(flooded(pred) - flooded(truth))
    holes = label(~np.pad(truth, 1), connectivity=1).max() - 1
    assert flooded(truth) == euler_number(truth, connectivity=2) + holes


@pytest.mark.parametrize("seed", range(4))
def test_centreline_dice_is_the_formula_on_the_authors_other_skeleton(seed) -> None:
    """MONAI's soft skeleton of a hard mask is thicker, so the two agree to some points."""
    pred, truth = blobs(seed)
    soft = [
        soft_skel(torch.from_numpy(mask[None, None]).float(), 20)[0, 0].numpy() > 0.5
        for mask in (pred, truth)
    ]
    precision = (soft[0] & truth).sum() / soft[0].sum()
    sensitivity = (soft[1] & pred).sum() / soft[1].sum()
    expected = 2 * precision * sensitivity / (precision + sensitivity)
    assert centreline_dice(pred, truth) == pytest.approx(expected, abs=0.06)
    thin = [skeletonize(mask) for mask in (pred, truth)]
    counted = [(thin[0] & truth).sum() / thin[0].sum(), (thin[1] & pred).sum() / thin[1].sum()]
    assert centreline_dice(pred, truth) == pytest.approx(2 / (1 / counted[0] + 1 / counted[1]))
