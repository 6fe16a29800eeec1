"""What Figs. 2, 3 and 8 are drawn from: closed forms, Parseval's theorem, chosen cases."""

from __future__ import annotations

import numpy as np
import pytest

from harmoseg import HarmosegError
from harmoseg.explain.slices import choose_slices, power_of_slices
from harmoseg.explain.spectra import (
    CHANGES,
    KINDS,
    Change,
    change_effects,
    change_mask,
    classes_in,
    map_correlation,
    power_of_planes,
    spectral_map,
)
from harmoseg.store.reading import open_store


def wave(cycles: int, size: int = 32) -> np.ndarray:
    return np.cos(2 * np.pi * cycles * np.arange(size) / size)[None].repeat(size, 0)


def test_a_wave_has_its_power_in_its_ring() -> None:
    planes = [5 + wave(3), 5 + wave(3) + 2 * wave(9)]
    found = power_of_planes("waves", planes)
    assert found.shares.shape == (2, 16)
    np.testing.assert_allclose(found.edges, np.arange(1, 17) / 32)
    np.testing.assert_allclose(found.shares[0], np.eye(16)[2], atol=1e-12)
    np.testing.assert_allclose(
        found.shares[1], 0.2 * np.eye(16)[2] + 0.8 * np.eye(16)[8], atol=1e-12
    )
    np.testing.assert_allclose(found.zero, [25 / 25.5, 25 / 27.5])
    np.testing.assert_allclose(found.cumulative[:, -1], 1)
    edges, octaves = found.octaves()
    np.testing.assert_allclose(edges, np.array([1, 2, 4, 8, 16]) / 32)
    np.testing.assert_allclose(octaves[1], [0, 0.2, 0, 0.8, 0], atol=1e-12)


@pytest.mark.parametrize("shape", [(32, 32), (31, 31), (24, 40), (15, 8)])
def test_shares_add_up_to_one_for_any_size(shape) -> None:
    planes = list(np.random.default_rng(0).random((3, *shape, 2)))
    for taper in (False, True):
        found = power_of_planes("noise", planes, taper=taper)
        np.testing.assert_allclose(found.shares.sum(1), 1)
        np.testing.assert_allclose(found.octaves()[1].sum(1), 1)
    expected = [
        np.square(p.mean((0, 1))).sum() * p[..., 0].size / np.square(p).sum() for p in planes
    ]
    np.testing.assert_allclose(found.zero, expected)


def test_brightness_and_contrast_change_no_share_and_flat_planes_have_none() -> None:
    plane = np.random.default_rng(0).random((16, 16))
    found = power_of_planes("x", [plane, 0.3 * plane + 0.5, np.full((16, 16), 0.7)])
    assert len(found.shares) == len(found.zero) == 2
    np.testing.assert_allclose(found.shares[0], found.shares[1])
    assert power_of_planes("x", [np.zeros((16, 16))]).shares.shape == (0, 8)


def test_a_taper_takes_the_jump_at_the_border_away() -> None:
    ramp = np.linspace(0, 1, 64)[None].repeat(64, 0)
    plain, tapered = (power_of_planes("x", [ramp], taper=taper) for taper in (False, True))
    assert plain.cumulative[0, 3] < 0.9 < 0.999 < tapered.cumulative[0, 3]


def disc(size: int = 64, radius: int = 12, at: tuple[int, int] = (30, 26)) -> np.ndarray:
    y, x = np.ogrid[:size, :size]
    return (y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2


def test_the_changes_are_what_they_say() -> None:
    mask = disc()
    shifted = change_mask(mask, Change("shift", 4))
    assert (shifted == disc(at=(30, 30))).all()
    # The border is where things are lost, not where they come in again.
    assert change_mask(disc(at=(30, 60)), Change("shift", 8))[:, :8].sum() == 0
    for amount in (1, 4, 8):
        larger, smaller = (change_mask(mask, Change(kind, amount)) for kind in ("dilate", "erode"))
        inside, outside = disc(radius=12 - amount), disc(radius=12 + amount)
        assert abs(int(larger.sum()) - int(outside.sum())) < 0.1 * outside.sum()
        assert abs(int(smaller.sum()) - int(inside.sum())) < 0.15 * inside.sum() + 8
        assert (larger & mask == mask).all() and (smaller & mask == smaller).all()
        blob = change_mask(mask, Change("blob", amount)) & ~mask
        assert blob.sum() == disc(radius=amount).sum()
        assert not (change_mask(mask, Change("dilate", 1)) & blob).any()
    square = np.zeros((64, 64), bool)
    square[20:40, 20:40] = True
    rounded = change_mask(square, Change("smooth", 2))
    assert not rounded[20, 20] and rounded[30, 20] and 380 < rounded.sum() < 400
    # Masks that reach the border are not eroded there.
    half = np.zeros((32, 32), bool)
    half[:, :16] = True
    assert (change_mask(half, Change("erode", 3))[:, :13]).all()
    assert change_mask(np.ones((32, 32), bool), Change("erode", 3)).all()
    assert change_mask(~disc(radius=6), Change("blob", 8)) is None


def test_over_all_frequencies_the_change_is_that_of_dice() -> None:
    edges, effects = change_effects([disc(), disc(radius=5), np.zeros((64, 64), bool)])
    assert [effect.change for effect in effects] == list(CHANGES)
    assert len(edges) == len(effects[0].rings) == 7 and edges[0] == 0
    for effect in effects:
        assert effect.masks == 2
        assert effect.spectrum == pytest.approx(effect.spatial, abs=1e-12)
    by_name = {(effect.change.kind, effect.change.amount): effect for effect in effects}
    # A shift changes places alone, and the more the finer the detail.
    shift = by_name["shift", 2]
    assert shift.magnitude == pytest.approx(0, abs=1e-9)
    assert shift.rings[0] == pytest.approx(0, abs=1e-12)
    assert (np.diff(shift.rings[:5]) > 0).all()
    # By theory a coefficient at k turns by 2 pi k d: 1 - cos(2 pi d / 64) in the lowest of a disc.
    assert 0 < shift.rings[1] < 1 - np.cos(2 * np.pi * 2 / 64)
    for kind in KINDS:
        amounts = [effect.spatial for effect in effects if effect.change.kind == kind]
        assert amounts == sorted(amounts), kind


def test_what_cannot_be_changed_is_refused_or_left_out() -> None:
    with pytest.raises(HarmosegError, match="no mask has any foreground"):
        change_effects([np.zeros((8, 8), bool)])
    with pytest.raises(HarmosegError, match="shift by 0, expected 1 pixel or more"):
        change_mask(disc(), Change("shift", 0))
    _, [effect] = change_effects([~disc(radius=6)], [Change("blob", 30)])
    assert effect.masks == 0 and np.isnan(effect.spatial) and np.isnan(effect.rings).all()
    _, [gone] = change_effects([disc(radius=3)], [Change("erode", 8)])
    assert gone.spatial == 1 and np.isnan(gone.magnitude) and (gone.rings == 1).all()


def test_cases_are_spread_by_size_or_named(binary_store) -> None:
    store = open_store(binary_store)
    shown = choose_slices(store, "train", ["3"])
    sizes = [item.truth.mean() for item in shown]
    assert len(shown) == 3 and sizes == sorted(sizes) and sizes[0] > 0
    names = [item.name for item in shown][::-1]
    assert [item.name for item in choose_slices(store, "train", names)] == names
    assert len(choose_slices(store, "train", ["999"])) <= len(store.cases_of("train"))
    assert shown[0].image.shape == (32, 32, 3) or shown[0].image.shape == (32, 32, 1)
    assert shown[0].aspect == 1 and shown[0].largest_class == 1
    kinds = power_of_slices(shown)
    assert [kind.kind for kind in kinds] == ["images", "images, tapered", "masks"]
    assert all(len(kind.shares) == 3 for kind in kinds)


def test_cases_that_are_not_there_are_named(binary_store) -> None:
    store = open_store(binary_store)
    name = store.cases[store.cases_of("train")[0]].case
    with pytest.raises(
        HarmosegError, match=f"case '{name}' is of the split train, not test; pass --s"
    ):
        choose_slices(store, "test", [name])
    with pytest.raises(HarmosegError, match=rf"no case '{name}x'; did you mean '"):
        choose_slices(store, "train", [f"{name}x"])
    for cases in (["0"], []):
        with pytest.raises(
            HarmosegError, match="nothing to show; give names of cases of the split"
        ):
            choose_slices(store, "test", cases)


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
