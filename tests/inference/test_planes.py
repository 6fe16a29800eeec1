"""Windows: where they lie, and that sliding ones are MONAI's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from harmoseg.errors import HarmosegError
from harmoseg.inference.planes import batched, cut_windows, gaussian, predict_planes
from harmoseg.inference.predictor import Predictor
from harmoseg.inference.saved_model import ModelInfo
from harmoseg.store.card import Card
from harmoseg.store.tiling import Sample, cut


def network(channels: int, classes: int) -> nn.Module:
    """Make a network whose answer depends on where in a window a pixel lies."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2), nn.Tanh(), nn.Conv2d(6, classes, 5, padding=2)
    ).eval()


def info(channels: int, mode: str, *, tile: int = 0, height: int = 32, width: int = 24):
    names = ("background", "a", "b")[: 2 if mode == "binary" else 3]
    card = Card("t", "T", "m", mode, names, channels=channels, tile=tile)
    return ModelInfo("unet", "resnet18", card, height, width, channels)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
@pytest.mark.parametrize(
    ("height", "width"), [(70, 61), (32, 24), (33, 24), (64, 48), (20, 61), (70, 11), (13, 7)]
)
def test_sliding_windows_are_monais(height, width, overlap) -> None:
    check_against_monai(height, width, overlap, channels=1, mode="multiclass")


def test_sliding_windows_that_move_by_a_pixel_are_monais() -> None:
    check_against_monai(36, 27, 0.99, channels=1, mode="multiclass")


@pytest.mark.parametrize("flips", [False, True])
def test_sliding_windows_are_monais_in_colour_and_flipped(flips) -> None:
    check_against_monai(50, 45, 0.5, channels=3, mode="binary", flips=flips)


def check_against_monai(height, width, overlap, *, channels, mode, flips=False) -> None:
    model = info(channels, mode)
    asked = Predictor([network(channels, model.channels_out)], mode, "cpu", flips=flips)
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (2, height, width, channels), np.uint8)
    windows = cut_windows(image, (model.height, model.width), overlap=overlap)
    planes = predict_planes(asked, [(None, image.shape, windows)], weigh=gaussian)
    found = np.stack([plane.probabilities for plane in planes])
    with torch.inference_mode():
        expected = sliding_window_inference(
            asked.prepare(image), (32, 24), 3, asked.probabilities, overlap, mode="gaussian"
        )
    assert found.shape == (2, model.channels_out, height, width)
    assert np.abs(found - expected.numpy()).max() < 1e-5


def test_whole_windows_are_the_slices_of_a_store() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3), np.uint8)
    label = np.zeros(image.shape[:3], np.uint8)
    for tile in (0, 32):
        windows = cut_windows(image, (32, 32), tile=tile)
        stored = cut(Sample(image, label), size=32, tile=tile)
        assert np.array_equal(np.stack([item.image for item in windows]), stored.images)
        places = [(w.plane, w.top, w.left, w.height, w.width) for w in windows]
        assert places == [(s.plane, s.top, s.left, s.height, s.width) for s in stored.slices]


def test_flips_are_the_mean_over_mirror_images() -> None:
    asked = Predictor([network(1, 3)], "multiclass", "cpu", flips=True)
    images = torch.rand(2, 1, 20, 28)
    plain = Predictor(asked.networks, "multiclass", "cpu")
    expected = sum(
        plain.probabilities(images.flip(axes)).flip(axes) for axes in ([], [2], [3], [2, 3])
    )
    assert torch.allclose(asked.probabilities(images), expected / 4, atol=1e-6)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    members = [network(1, 3), nn.Sequential(nn.Conv2d(1, 3, 3, padding=1)).eval()]
    images = torch.rand(2, 1, 20, 28)
    alone = [Predictor([member], "multiclass", "cpu").probabilities(images) for member in members]
    together = Predictor(members, "multiclass", "cpu").probabilities(images)
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2)
    with pytest.raises(HarmosegError, match="one network or more"):
        Predictor([], "multiclass", "cpu")


def test_batches_are_whole_but_the_last() -> None:
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []
