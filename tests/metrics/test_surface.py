"""Surface distances: closed forms, brute force, MedPy and MONAI, every empty case; boundaries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medpy.metric import binary as medpy
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from monai.metrics import compute_surface_dice as monai_surface_dice
from scipy import ndimage

from harmoseg import HarmosegError
from harmoseg.metrics import (
    boundary_band,
    class_surface_distances,
    hausdorff,
    nearest,
    surface_distances,
)
from harmoseg.metrics.surface import boundary, bounding_box, pitch_of

TREE = {"_FEW_QUERIES": 10**9}
TREE_OF_FEW_SEEDS = {"_FEW_QUERIES": 10**9, "_MANY_SEEDS": 1}
TRANSFORM = {"_FEW_QUERIES": 0, "_QUERIES_PER_PIXEL": 0}
SPARSE_PARTS = {**TRANSFORM, "_PART": 4, "_DENSE": 1}
DENSE = {**TRANSFORM, "_DENSE": 0}
STRATEGIES = {
    "tree": TREE,
    "tree of few seeds": TREE_OF_FEW_SEEDS,
    "transform": TRANSFORM,
    "transform, sparse, in parts": SPARSE_PARTS,
    "transform, dense": DENSE,
}


def ball(shape: tuple[int, ...], centre, radius, pitch=None) -> np.ndarray:
    pitch = (1,) * len(shape) if pitch is None else pitch
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    square = sum(((g - c) * d) ** 2 for g, c, d in zip(grid, centre, pitch, strict=True))
    return square <= radius**2


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 9, random.integers(2, 4)))
    pred, truth = (random.random(shape) < random.uniform(0.05, 0.9) for _ in range(2))
    pred.flat[random.integers(pred.size)] = truth.flat[random.integers(truth.size)] = True
    return pred, truth, tuple(random.uniform(0.3, 4, len(shape)).round(2).tolist())


def brute_force(of: np.ndarray, to: np.ndarray, pitch) -> np.ndarray:
    def surface(mask):
        outside = ~np.pad(mask, 1)
        touches = np.zeros_like(outside)
        for axis in range(mask.ndim):
            touches |= np.roll(outside, 1, axis) | np.roll(outside, -1, axis)
        return np.argwhere(mask & touches[(slice(1, -1),) * mask.ndim]) * pitch

    gaps = surface(of)[:, None] - surface(to)[None]
    return np.sqrt((gaps**2).sum(-1)).min(1)


# Closed forms.


@pytest.mark.parametrize("pitch", [(1, 1), (0.5, 2)])
@pytest.mark.parametrize("definition", ["pooled", "max"])
def test_box_shifted_along_an_axis(pitch, definition) -> None:
    truth, pred = np.zeros((2, 40, 60), bool)
    truth[10:30, 10:30] = True
    pred[10:30, 14:34] = True
    distances = surface_distances(pred, truth, spacing=pitch)
    # The far side lies 4 pixels away; its corners too, so nothing is further.
    assert distances.hausdorff(100, definition=definition) == pytest.approx(4 * pitch[1])
    assert hausdorff(pred, truth, spacing=pitch, percentile=0) == 0


def test_nested_balls_differ_by_their_radii() -> None:
    pitch = (3, 0.8, 0.8)
    inner = ball((60, 160, 160), (30, 80, 80), 30, pitch)
    outer = ball((60, 160, 160), (30, 80, 80), 45, pitch)
    distances = surface_distances(inner, outer, spacing=pitch)
    # A surface lies within half a pixel's diagonal of the sphere.
    slack = math.hypot(*pitch)
    assert distances.hausdorff(100) == pytest.approx(15, abs=slack)
    assert distances.assd() == pytest.approx(15, abs=slack / 2)
    assert distances.surface_dice(15 - 1.1 * slack) == 0
    assert distances.surface_dice(15 + 1.1 * slack) == 1


def test_two_points() -> None:
    pred, truth = np.zeros((2, 9, 9, 9), bool)
    pred[1, 1, 1] = truth[4, 5, 1] = True
    distances = surface_distances(pred, truth, spacing=(1, 1, 7))
    assert distances.pred_to_truth.tolist() == distances.truth_to_pred.tolist() == [5]
    assert (distances.unit, distances.empty) == ("mm", "neither")
    assert surface_distances(pred, truth, spacing="pixel").unit == "px"
    assert surface_distances(pred, truth, spacing=(2, 2, 2)).assd() == 10


def test_identical_masks_are_at_distance_0() -> None:
    mask = ball((30, 40), (15, 20), 9)
    distances = surface_distances(mask, mask, spacing=(0.7, 1.3))
    assert distances.hausdorff(100) == distances.assd() == 0
    assert distances.surface_dice(0) == 1


def test_definitions_part_on_a_far_false_positive() -> None:
    truth = ball((200, 200), (80, 80), 40)
    pred = truth | ball((200, 200), (180, 180), 8)
    distances = surface_distances(pred, truth, spacing="pixel")
    # The blob is a sixth of the predicted surface and a twelfth of both together.
    pooled, largest = (distances.hausdorff(95, definition=d) for d in ("pooled", "max"))
    assert 85 < pooled < largest < distances.hausdorff(100) < 110
    assert distances.hausdorff(90) == 0 < distances.hausdorff(90, definition="max")
    assert distances.hausdorff(100) == distances.hausdorff(100, definition="max")


def test_tolerance_is_not_missed_by_rounding() -> None:
    pred, truth = np.zeros((2, 1, 9), bool)
    pred[0, 0] = truth[0, 3] = True
    distances = surface_distances(pred, truth, spacing=(0.1, 0.1))
    assert distances.assd() > 0.3
    assert distances.surface_dice(0.3) == 1


# Independent implementations.


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_every_strategy_equals_brute_force(strategy, seed) -> None:
    pred, truth, pitch = random_masks(seed)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in strategy.items():
            patch.setattr(nearest, name, value)
        distances = surface_distances(pred, truth, spacing=pitch)
    assert distances.pred_to_truth == pytest.approx(brute_force(pred, truth, pitch), abs=1e-12)
    assert distances.truth_to_pred == pytest.approx(brute_force(truth, pred, pitch), abs=1e-12)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_pooled_equals_medpy(seed) -> None:
    pred, truth, pitch = random_masks(seed)
    distances = surface_distances(pred, truth, spacing=pitch)
    assert distances.hausdorff() == pytest.approx(medpy.hd95(pred, truth, pitch), abs=1e-9)
    assert distances.hausdorff(100) == pytest.approx(medpy.hd(pred, truth, pitch), abs=1e-9)
    assert distances.assd() == pytest.approx(medpy.assd(pred, truth, pitch), abs=1e-9)


# MONAI passes an argument that MONAI has deprecated.
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_max_equals_monai(seed) -> None:
    pred, truth, pitch = random_masks(seed)
    distances = surface_distances(pred, truth, spacing=pitch)
    p, y = (torch.from_numpy(mask)[None, None] for mask in (pred, truth))
    keywords = {"include_background": True, "spacing": list(pitch)}
    for percentile in (95, 50, 100):
        found = distances.hausdorff(percentile, definition="max")
        theirs = compute_hausdorff_distance(p, y, percentile=percentile, **keywords).item()
        assert found == pytest.approx(theirs, rel=1e-6, abs=1e-6)  # MONAI's are float32
    assd = compute_average_surface_distance(p, y, symmetric=True, **keywords).item()
    # The mean of up to 1,000 float32 distances.
    assert distances.assd() == pytest.approx(assd, rel=1e-5, abs=1e-6)
    # No distance of pixels with sides of whole hundredths: rounding decides about none.
    threshold = 1.5003
    dice = monai_surface_dice(p, y, class_thresholds=[threshold], **keywords).item()
    assert distances.surface_dice(threshold) == pytest.approx(dice, abs=1e-6)


def test_noise_equals_medpy_in_a_volume() -> None:
    random = np.random.default_rng(0)
    truth = ball((20, 60, 50), (9, 25, 25), 12, (2, 1, 1))
    pred = random.random(truth.shape) < 0.15
    for spacing in ((2, 1, 1), (0.5, 1, 1)):
        assert hausdorff(pred, truth, spacing=spacing) == pytest.approx(
            medpy.hd95(pred, truth, spacing), abs=1e-9
        )
    # Fewest planes along the last axis.
    turned, noise = np.moveaxis(truth, 0, 2), np.moveaxis(pred, 0, 2)
    assert hausdorff(noise, turned, spacing=(1, 1, 2)) == pytest.approx(
        hausdorff(pred, truth, spacing=(2, 1, 1)), abs=1e-12
    )


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_classes_equal_their_masks(seed) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 9, random.integers(2, 4)))
    pred, truth = random.integers(0, 5, (2, *shape)) * (random.random((2, *shape)) < 0.4)
    pitch = tuple(random.uniform(0.5, 3, len(shape)))
    found = class_surface_distances(pred.astype(np.uint8), truth, 6, spacing=pitch)
    assert list(found) == [1, 2, 3, 4, 5]
    for c, distances in found.items():
        alone = surface_distances(pred == c, truth == c, spacing=pitch)
        assert distances.empty == alone.empty
        assert distances.diagonal == alone.diagonal
        assert distances.pred_to_truth == pytest.approx(alone.pred_to_truth, abs=1e-12)
        assert distances.truth_to_pred == pytest.approx(alone.truth_to_pred, abs=1e-12)


# Empty masks.

NOTHING = np.zeros((30, 40), bool)
SOMETHING = ball((30, 40), (15, 20), 9)
SHIFTED = np.roll(SOMETHING, 3, 1)
# pred, truth, which is empty, whether both are
EMPTIES = [
    (NOTHING, SOMETHING, "pred", False),
    (SOMETHING, NOTHING, "truth", False),
    (NOTHING, NOTHING, "both", True),
]


@pytest.mark.parametrize(("pred", "truth", "empty", "both"), EMPTIES)
def test_rules_for_empty_masks(pred, truth, empty, both) -> None:
    distances = surface_distances(pred, truth, spacing=(2, 1))
    assert distances.empty == empty
    assert distances.diagonal == pytest.approx(math.hypot(60, 40))
    for definition in ("pooled", "max"):
        for percentile in (95, 100):
            found = {
                rule: distances.hausdorff(percentile, definition=definition, on_empty=rule)
                for rule in ("nan", "diagonal", "transunet")
            }
            assert math.isnan(found["nan"])
            assert found["diagonal"] == (0 if both else distances.diagonal)
            assert found["transunet"] == 0
    assert math.isnan(distances.assd()) and math.isnan(distances.surface_dice(2))
    assert distances.assd(on_empty="diagonal") == (0 if both else distances.diagonal)
    assert distances.surface_dice(2, on_empty="diagonal") == both


def test_rules_leave_masks_alone_that_are_not_empty() -> None:
    distances = surface_distances(SHIFTED, SOMETHING, spacing="pixel")
    rules = ("nan", "diagonal", "transunet")
    assert len({distances.hausdorff(on_empty=rule) for rule in rules}) == 1


def test_diagonal_is_the_penalty_of_brats() -> None:
    empty, full = np.zeros((240, 240, 155), bool), np.zeros((240, 240, 155), bool)
    full[0, 0, 0] = True
    penalty = hausdorff(empty, full, spacing=(1, 1, 1), on_empty="diagonal")
    assert penalty == pytest.approx(373.1287, abs=1e-4)


# Wrong input.


def test_wrong_masks_are_named() -> None:
    square = np.ones((4, 4), int)
    with pytest.raises(HarmosegError, match=r"\(4, 4\) and truth of shape \(4, 5\)"):
        surface_distances(square, np.ones((4, 5), int), spacing="pixel")
    with pytest.raises(HarmosegError, match=r"shape \(1, 1, 4, 4\) found, expected 2 or 3"):
        surface_distances(square[None, None], square[None, None], spacing="pixel")
    with pytest.raises(HarmosegError, match="threshold probabilities"):
        surface_distances(square * 0.5, square, spacing="pixel")
    with pytest.raises(HarmosegError, match="truth holds values 1 to 3, expected a mask"):
        surface_distances(square, square + np.eye(4, dtype=int) * 2, spacing="pixel")
    with pytest.raises(HarmosegError, match="prediction holds labels 2 to 2, expected 0 to 1"):
        class_surface_distances(square * 2, square, 2, spacing="pixel")
    with pytest.raises(HarmosegError, match="truth holds labels -1"):
        class_surface_distances(square, -square, 2, spacing="pixel")


@pytest.mark.parametrize("spacing", [(1,), (1, 0), (-1, 1), (1, np.nan), "px"])
def test_wrong_spacing_is_named(spacing) -> None:
    with pytest.raises(HarmosegError, match="spacing"):
        hausdorff(SOMETHING, SHIFTED, spacing=spacing)


@pytest.mark.parametrize("pred", [SOMETHING, NOTHING])
def test_wrong_words_and_numbers_are_named(pred) -> None:
    distances = surface_distances(pred, SHIFTED, spacing="pixel")
    for percentile in (-1, 101, np.nan):
        with pytest.raises(HarmosegError, match="percentile"):
            distances.hausdorff(percentile)
    with pytest.raises(HarmosegError, match="definition is 'mean', expected one of pooled, max"):
        distances.hausdorff(definition="mean")
    with pytest.raises(HarmosegError, match="on_empty is 'zero'"):
        distances.hausdorff(on_empty="zero")
    with pytest.raises(HarmosegError, match="tolerance is -1, expected 0 or more px"):
        distances.surface_dice(-1)
    # The published script knows neither of the two.
    with pytest.raises(HarmosegError, match="on_empty is 'transunet', expected one of nan, diag"):
        distances.assd(on_empty="transunet")
    with pytest.raises(HarmosegError, match="on_empty is 'transunet', expected one of nan, diag"):
        distances.surface_dice(1, on_empty="transunet")


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
def test_a_wrong_pitch_is_named(spacing) -> None:
    with pytest.raises(HarmosegError, match="spacing"):
        pitch_of(spacing, 2)


def test_negative_width_is_named() -> None:
    with pytest.raises(HarmosegError, match="width of the band is -1"):
        boundary_band(np.ones((5, 5), int), -1, spacing="pixel")
