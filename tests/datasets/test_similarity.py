"""Copies are found through what is done to copies; what merely looks alike is left alone."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageFilter

from harmoseg.datasets.phantom import phantom_image
from harmoseg.datasets.similarity import (
    LEAST_CORRELATION,
    MOST_BITS,
    Fingerprint,
    Fingerprints,
    find_copies,
    fingerprint,
)

Bytes = np.ndarray


@cache
def texture(seed: int, size: int = 256, slope: float = 1.5) -> Bytes:
    """Make an image whose power falls with frequency as that of natural images does."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1
    waves = np.fft.fft2(random.normal(size=(size, size))) * frequency**-slope
    image = np.fft.ifft2(waves).real
    image = (image - image.mean()) / image.std() * 45 + 120
    return np.clip(image, 0, 255).astype(np.uint8)[..., None]


def rough(seed: int) -> Bytes:
    return texture(seed, slope=1)


def smooth(seed: int) -> Bytes:
    return texture(seed, slope=2)


@cache
def phantom(seed: int) -> Bytes:
    return phantom_image(seed, size=256, domain="A", seed=0)[0][..., None]


def head(seed: int) -> Bytes:
    """Make a slice of a head: the same bright skull every time, another brain inside."""
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, 256)], indexing="ij")
    radius = np.hypot(x / 0.7, y / 0.85)
    image = np.where(radius < 1, 0.35 * texture(seed, slope=1.2)[..., 0], 0.0)
    image[(radius > 1) & (radius < 1.08)] = 230
    noise = np.random.default_rng(seed + 1000).normal(0, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)[..., None]


def picture(image: Bytes) -> Image.Image:
    return Image.fromarray(image[..., 0])


def array(image: Image.Image) -> Bytes:
    return np.asarray(image)[..., None]


def jpeg(quality: int) -> Callable[[Bytes], Bytes]:
    def change(image: Bytes) -> Bytes:
        stream = io.BytesIO()
        picture(np.ascontiguousarray(image)).save(stream, "JPEG", quality=quality)
        return array(Image.open(stream))

    return change


def resized(width: int, height: int) -> Callable[[Bytes], Bytes]:
    return lambda image: array(picture(image).resize((width, height), Image.Resampling.BICUBIC))


def scaled(factor: float, shift: float = 0) -> Callable[[Bytes], Bytes]:
    return lambda image: np.clip(factor * image.astype(float) + shift, 0, 255).astype(np.uint8)


# What the module says that it is built for, at full strength.
CHANGES: dict[str, Callable[[Bytes], Bytes]] = {
    "jpeg 75": jpeg(75),
    "jpeg 30": jpeg(30),
    "quarter": resized(64, 64),
    "double": resized(512, 512),
    "aspect": resized(200, 300),
    "brighter": scaled(1.25),
    "darker": scaled(0.75),
    "lighter": scaled(1, 30),
    "flatter": scaled(0.6, 50),
    "gamma": lambda image: (255 * (image / 255) ** 0.8).astype(np.uint8),
    "blur": lambda image: array(picture(image).filter(ImageFilter.GaussianBlur(2.56))),
    "noise": lambda image: np.clip(
        image + np.random.default_rng(0).normal(0, 10, image.shape), 0, 255
    ).astype(np.uint8),
    "one pixel aside": lambda image: np.roll(image, 1, axis=1),
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned": lambda image: np.rot90(image),
    "turned back and recompressed": lambda image: jpeg(50)(np.rot90(image, 3)),
    "transposed": lambda image: image.transpose(1, 0, 2),
    "in colour": lambda image: np.repeat(image, 3, axis=2),
}


def collect(images: list[Bytes]) -> Fingerprints:
    found = Fingerprints()
    for number, image in enumerate(images):
        mark = fingerprint(image)
        assert mark is not None
        found.add((number, 0), mark)
    return found


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("make", [rough, texture, smooth, phantom, head])
def test_a_changed_copy_is_found_and_nothing_else(make, name) -> None:
    originals = [make(seed) for seed in range(5)]
    pairs = list(find_copies(collect(originals), collect([CHANGES[name](i) for i in originals])))
    assert sorted((pair.left, pair.right) for pair in pairs) == [(i, i) for i in range(5)]
    assert all(pair.bits <= MOST_BITS for pair in pairs)
    assert all(LEAST_CORRELATION <= pair.correlation <= 1 + 1e-5 for pair in pairs)


@pytest.mark.parametrize("make", [texture, phantom, head])
def test_different_images_are_no_copies(make) -> None:
    left, right = (collect([make(s) for s in range(start, start + 40)]) for start in (0, 40))
    assert list(find_copies(left, right)) == []


def test_a_shared_outline_does_not_make_the_detail_alike() -> None:
    one, other = (fingerprint(head(seed)) for seed in (0, 1))
    assert one is not None and other is not None
    ours, theirs = one.detail.astype(float), other.detail.astype(float)
    correlation = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert correlation < 0.8


def test_neighbouring_slices_of_a_volume_are_no_copies() -> None:
    # A texture that changes along the third axis as fast as along the others.
    random = np.random.default_rng(0)
    axes = np.meshgrid(*3 * [np.fft.fftfreq(64)], indexing="ij")
    frequency = np.sqrt(sum(axis**2 for axis in axes))
    frequency[0, 0, 0] = 1
    volume = np.fft.ifftn(np.fft.fftn(random.normal(size=(64, 64, 64))) * frequency**-2).real
    volume = np.clip(volume / volume.std() * 40 + 120, 0, 255).astype(np.uint8)
    slices = [plane[..., None] for plane in volume[::4]]
    assert list(find_copies(collect(slices[::2]), collect(slices[1::2]))) == []


@pytest.mark.parametrize("level", [0, 255])
def test_what_shows_nothing_has_no_fingerprint(level) -> None:
    assert fingerprint(np.full((50, 70, 3), level, dtype=np.uint8)) is None
    ramp = np.tile(np.linspace(60, 90, 256), (256, 1)).round().astype(np.uint8)[..., None]
    assert fingerprint(ramp) is None


def test_a_pair_comes_once_in_its_best_position() -> None:
    image = texture(3)
    symmetric = np.maximum(image, image[:, ::-1])
    pairs = list(find_copies(collect([symmetric]), collect([symmetric])))
    assert len(pairs) == 1 and pairs[0].correlation == pytest.approx(1)


def test_twenty_thousand_slices_in_bounded_memory() -> None:
    random = np.random.default_rng(0)

    def draw(count: int) -> Fingerprints:
        prints = Fingerprints()
        hashes = random.integers(0, 256, (count, 32), dtype=np.uint8)
        details = random.integers(-127, 128, (count, 768)).astype(np.int8)
        for number in range(count):
            prints.add((number, 0), Fingerprint(hashes[number], details[number]))
        return prints

    left, right = draw(16_000), draw(4_000)
    copied = Fingerprint(np.zeros(32, np.uint8), np.full(768, 7, np.int8))
    left.add((16_000, 0), copied)
    right.add((4_000, 0), copied)
    tracemalloc.start()
    pairs = list(find_copies(left, right))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(pair.left, pair.right) for pair in pairs] == [(16_000, 4_000)]
    # All distances at once would be 256 MB for each of the eight positions.
    assert peak < 120 * 2**20
