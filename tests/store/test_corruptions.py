"""Corruptions: what a level means, what a draw depends on, and that more is worse."""

from __future__ import annotations

import builtins
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harmoseg import HarmosegError
from harmoseg.store.corruptions import KINDS, LADDERS, Corruption, corrupt, parse_corruption

SLICES = (2, 64, 80, 3)
TORCHIO = ("bias_field", "ghosting")


def picture(shape: tuple[int, ...] = SLICES) -> np.ndarray:
    """Smooth blobs and an edge, the same in every slice: neither flat nor noise."""
    y, x = np.mgrid[: shape[1], : shape[2]]
    plane = 110 + 60 * np.sin(x / 6) * np.cos(y / 9) + 40 * (np.hypot(x - 40, y - 30) < 15)
    image = np.broadcast_to(plane[None, :, :, None], shape).copy()
    if shape[3] == 3:
        image *= np.array([1.0, 0.9, 0.7])
    return image.astype(np.uint8)


def damaged(text: str, images: np.ndarray | None = None, case: str = "a", seed: int = 0):
    images = picture() if images is None else images
    return corrupt(images, parse_corruption(text), case=case, seed=seed)


def grey(level: int = 128) -> np.ndarray:
    return np.full((4, 128, 128, 3), level, np.uint8)


# What a level means.


@pytest.mark.parametrize(
    ("text", "variance"), [("gaussian:0.01", 0.01), ("gaussian_std:0.1", 0.01)]
)
def test_the_variance_of_gaussian_noise_is_its_level(text, variance) -> None:
    difference = (damaged(text, grey()).astype(float) - 128) / 255
    assert difference.var() == pytest.approx(variance, rel=0.02)
    assert abs(difference.mean()) < 0.002
    # Channels are noisy independently.
    assert abs(np.corrcoef(difference[..., 0].ravel(), difference[..., 1].ravel())[0, 1]) < 0.02


def test_two_spellings_of_one_noise_are_one_noise() -> None:
    assert np.array_equal(damaged("gaussian:0.01"), damaged("gaussian_std:0.1"))


@pytest.mark.parametrize("level", [0.01, 0.1])
def test_the_share_of_bernoulli_pixels_is_its_level(level) -> None:
    found = damaged(f"bernoulli:{level}", grey())
    hit = (found != 128).any(-1)
    assert hit.mean() == pytest.approx(level, rel=0.15)
    assert set(np.unique(found)) == {0, 128, 255}
    assert (found == found[..., :1]).all()  # all channels together
    assert (found[hit] == 255).mean() == pytest.approx(0.5, abs=0.07)


def test_dropout_blackens_the_pixels_that_bernoulli_hits() -> None:
    salted, dropped = damaged("bernoulli:0.05", grey()), damaged("dropout:0.05", grey())
    assert set(np.unique(dropped)) == {0, 128}
    assert np.array_equal(salted != 128, dropped != 128)


def test_blur_spreads_a_point_by_its_sigma_and_keeps_the_mean() -> None:
    point = np.zeros((1, 65, 65, 1), np.uint8)
    point[0, 32, 32] = 255
    blurred = damaged("blur:1", point)[0, :, :, 0].astype(float)
    # A Gaussian of sigma 1 has 1 / (2 pi) of its mass in the middle pixel, nearly.
    assert blurred.max() / 255 == pytest.approx(1 / (2 * np.pi), rel=0.02)
    for name in ("blur:4", "downsampling:4"):
        assert damaged(name).mean() == pytest.approx(picture().mean(), abs=0.6)


def test_contrast_scales_the_deviation_and_keeps_the_mean_of_every_channel() -> None:
    images, found = picture().astype(float), damaged("contrast:0.5").astype(float)
    for channel in range(3):
        assert found[..., channel].mean() == pytest.approx(images[..., channel].mean(), abs=0.5)
        assert found[..., channel].std() == pytest.approx(
            0.5 * images[..., channel].std(), rel=0.01
        )
    assert len(np.unique(damaged("contrast:0")[..., 0])) == 1


def test_contrast_keeps_the_slices_of_a_volume_apart() -> None:
    images = np.stack([np.full((8, 8, 1), value, np.uint8) for value in (0, 200)])
    assert np.unique(damaged("contrast:0.5", images)).tolist() == [50, 150]


def test_gamma_is_a_power() -> None:
    assert np.unique(damaged("gamma:2", grey(128))).tolist() == [round(255 * (128 / 255) ** 2)]


def test_downsampling_removes_the_finest_stripes() -> None:
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, ::2] = 200
    inner = damaged("downsampling:4", stripes)[0, :, 8:-8].astype(int)
    assert np.ptp(inner) < 25 and abs(inner.mean() - 100) < 3


@pytest.mark.parametrize(
    "text",
    [
        *("gaussian:0", "gaussian_std:0", "bernoulli:0", "dropout:0", "blur:0", "contrast:1"),
        *("gamma:1", "downsampling:1", "bias_field:0", "ghosting:0"),
    ],
)
def test_the_weakest_level_changes_nothing(text) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 31, 3)).astype(np.uint8)
    assert np.array_equal(damaged(text, images), images)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", TORCHIO)
def test_slices_and_channels_of_a_volume_share_one_draw(name, channels) -> None:
    images = np.repeat(picture((1, 64, 80, 1)), 6, axis=0).repeat(channels, axis=3)
    found = damaged(f"{name}@5", images)
    assert (found == found[..., :1]).all()
    apart = np.concatenate([damaged(f"{name}@5", images[i : i + 1]) for i in range(6)])
    if name == "ghosting":  # along rows or columns: every slice has the ghosts it has alone
        assert np.abs(found.astype(int) - apart).max() <= 1
    else:  # one field in three dimensions: smooth from slice to slice, and not the same in all
        assert not np.array_equal(found, apart)
        means = found.mean((1, 2, 3))
        assert len(set(means)) == 6 and np.abs(np.diff(means)).max() < np.ptp(means)


def test_a_bias_field_is_smooth_and_positive() -> None:
    ratio = damaged("bias_field:0.3", grey(60)).astype(float) / 60
    assert ratio.min() > 0
    for axis in (1, 2):
        assert np.abs(np.diff(ratio, axis=axis)).max() < 0.1 * np.ptp(ratio)
    assert np.ptp(ratio) > 0.3


# What a draw depends on.


@pytest.mark.parametrize("name", KINDS)
def test_the_same_words_do_the_same_damage_and_leave_the_input(name) -> None:
    images = picture()
    kept = images.copy()
    images.setflags(write=False)  # as a memory map is
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = damaged(f"{name}@4", images)
    np.random.default_rng(1).random(7)
    assert np.array_equal(first, damaged(f"{name}@4", images))
    assert np.array_equal(images, kept)
    assert torch.equal(state, torch.get_rng_state())
    assert first.dtype == np.uint8 and first.shape == images.shape


@pytest.mark.parametrize("name", ["gaussian", "bernoulli", "bias_field"])
def test_case_and_seed_change_the_draw_and_the_order_of_cases_does_not(name) -> None:
    cases = ["a", "b", "A", "a "]
    forth = {case: damaged(name, case=case) for case in cases}
    back = {case: damaged(name, case=case) for case in reversed(cases)}
    assert all(np.array_equal(forth[case], back[case]) for case in cases)
    different = [*forth.values(), damaged(name, seed=1)]
    assert len({found.tobytes() for found in different}) == len(different)


def test_ghosts_differ_in_number_and_direction_between_cases() -> None:
    found = {damaged("ghosting", case=str(i)).tobytes() for i in range(30)}
    assert 7 <= len(found) <= 14  # 4 to 10 ghosts, along rows or columns


def test_another_process_damages_the_same_way() -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from harmoseg.store.corruptions import *\n"
        "images = np.arange(2 * 16 * 16 * 3).reshape(2, 16, 16, 3).astype(np.uint8)\n"
        "for name in ('gaussian', 'bernoulli', 'ghosting'):\n"
        "    found = corrupt(images, parse_corruption(name), case='é', seed=3)\n"
        "    print(hashlib.sha256(found.tobytes()).hexdigest())\n"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_levels_of_noise_are_one_pattern_scaled() -> None:
    weak, strong = (
        damaged(f"gaussian_std:{level}", grey()).astype(float) - 128 for level in (0.02, 0.04)
    )
    assert np.abs(strong - 2 * weak).max() <= 1.5  # three roundings of half a grey level


@pytest.mark.parametrize("name", ["bernoulli", "dropout"])
def test_pixels_hit_at_a_lower_level_are_hit_at_a_higher_one(name) -> None:
    hits = [damaged(f"{name}:{level}", grey()) for level in LADDERS[name]]
    for weak, strong in itertools.pairwise(hits):
        assert np.array_equal(weak[weak != 128], strong[weak != 128])
        assert (strong != 128).sum() > (weak != 128).sum()


# Ladders, and the range of what comes out.


@pytest.mark.parametrize("name", KINDS)
def test_every_step_of_a_ladder_is_worse(name) -> None:
    images = picture().astype(float)
    errors = [np.sqrt(((damaged(f"{name}@{i}") - images) ** 2).mean()) for i in range(1, 6)]
    assert errors[0] > 0
    assert all(weak < strong for weak, strong in itertools.pairwise(errors)), errors


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_image_is_damaged_like_any_other(name, level) -> None:
    images = np.full((1, 33, 48, 1), level, np.uint8)
    found = damaged(f"{name}@5", images)
    if name in {"blur", "contrast", "downsampling", "ghosting"}:  # nothing there to lose
        assert np.array_equal(found, images)
    assert found.shape == images.shape


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 5, 3), (1, 17, 7, 1)])
@pytest.mark.parametrize("name", KINDS)
def test_any_size_will_do(name, shape) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert damaged(f"{name}@5", images).shape == shape


def test_noise_is_clipped_not_wrapped() -> None:
    found = damaged("gaussian:0.05", np.array([0, 255], np.uint8).reshape(1, 1, 2, 1).repeat(99, 1))
    assert found[:, :, 0].max() < 200 and found[:, :, 1].min() > 55


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_ladders_are_in_range_and_hold_the_default(kind) -> None:
    assert len(kind.ladder) == 5 and kind.default in kind.ladder
    assert all(kind.low <= level <= kind.high for level in kind.ladder)


@pytest.mark.parametrize("name", ["gaussian", "gaussian_std", "bernoulli", "dropout"])
def test_the_level_of_the_paper_is_the_default(name) -> None:
    assert parse_corruption(name) == Corruption(name, 0.01)


@pytest.mark.parametrize("name", KINDS)
def test_the_table_of_the_documents_is_that_of_the_code(name) -> None:
    kind = KINDS[name]
    page = Path(__file__).parents[2] / "docs" / "reference" / "corruptions.md"
    rows = [line.split("|")[1:-1] for line in page.read_text(encoding="utf-8").splitlines()]
    severities, bounds = next(
        (row[4], row[3]) for row in rows if len(row) == 5 and row[0].strip() == f"`{name}`"
    )
    assert tuple(map(float, severities.replace("*", "").split(","))) == kind.ladder
    assert float(severities.split("**")[1]) == kind.default
    assert bounds.strip() == f"{kind.low:g} to {kind.high:g}"


# How a corruption is written.


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("gaussian", "gaussian:0.01"),
        ("gaussian:1e-2", "gaussian:0.01"),
        ("gaussian@3", "gaussian:0.01"),
        ("gaussian:0.00001", "gaussian:0.00001"),
        ("contrast:1", "contrast:1"),
        ("downsampling@2", "downsampling:2"),
    ],
)
def test_spellings_have_one_canonical_form(text, canonical) -> None:
    assert str(parse_corruption(text)) == canonical
    assert parse_corruption(canonical) == parse_corruption(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "gausian",
            r"unknown corruption 'gausian'; did you mean 'gaussian'\? Known: gaussian, .*gho",
        ),
        ("", r"unknown corruption ''"),
        ("gaussian:2", r"level 2 is out of range; the level is the variance .* from 0 to 1"),
        ("gaussian:-0.1", "level -0.1 is out of range"),
        ("gaussian:nan", "level nan is out of range"),
        ("gamma:0", "exponent .* from 0.1 to 10"),
        ("downsampling:0.5", "factor by which both sides shrink, from 1 to 100"),
        ("blur:inf", "sigma in pixels"),
        ("gaussian:", "'' is no number; write for example gaussian:0.01, the variance"),
        ("gaussian:strong", "'strong' is no number"),
        ("gaussian@6", r"severity '6' found; expected 1 to 5, which stand for the levels 0.002"),
        ("gaussian@0", "severity '0' found"),
        ("gaussian@", "severity '' found"),
        ("nois@2", "unknown corruption 'nois'"),
    ],
)
def test_what_is_no_corruption_is_named(text, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        parse_corruption(text)


@pytest.mark.parametrize(
    "images", [np.zeros((4, 8, 8, 1), np.float32), np.zeros((8, 8, 3), np.uint8)]
)
def test_what_is_no_stack_of_slices_is_named(images) -> None:
    with pytest.raises(HarmosegError, match="found; expected bytes of shape"):
        damaged("blur", images)


@pytest.mark.parametrize("name", TORCHIO)
def test_without_torchio_the_cure_is_said_and_the_others_work(name, monkeypatch) -> None:
    real = builtins.__import__

    def without(module: str, *rest):
        if module == "torchio":
            raise ImportError
        return real(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(HarmosegError, match=r"TorchIO, .* pip install 'harmoseg\[corruptions\]'"):
        damaged(name)
    damaged("gaussian")
