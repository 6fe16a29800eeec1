"""The phantom: made images with the difficulties that the paper speaks of, from a seed.

Each image is a body with an organ, a vessel that enters it and lesions inside it. Size, shape,
place and texture vary widely within a class; spots that look like lesions but lie outside of the
organ are background, so that only the relation between structures tells them apart. Domain B
shows the same anatomy through another scanner: contrast, blur, shading and noise are shifted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harmoseg.datasets.catalogue import load_card
from harmoseg.errors import HarmosegError
from harmoseg.store.layout import Case
from harmoseg.store.tiling import Sample, cut
from harmoseg.store.writing import writing_store

Domain = Literal["A", "B"]
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Random = np.random.Generator

_ORGAN, _VESSEL, _LESION = 1, 2, 3
_TRAIN_SHARE = 0.6


@dataclass(frozen=True)
class PhantomOptions:
    """Options of the phantom.

    Args:
        out: The store to write.
        mode: binary (lesion against the rest) or multiclass (organ, vessel and lesion).
        domain: A, with training and test images, or B, the shifted acquisition, for testing only.
        count: Number of images.
        size: Side of the images, in pixels.
        seed: What the images are made from; domain B never repeats an image of domain A.
        overwrite: Replace the store if it exists.
    """

    out: Path
    mode: Literal["binary", "multiclass"] = "multiclass"
    domain: Domain = "A"
    count: int = 200
    size: int = 96
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raise HarmosegError naming the first option that cannot be."""
        for name, least in (("count", 2), ("size", 16), ("seed", 0)):
            if getattr(self, name) < least:
                raise HarmosegError(f"{name} must be {least} or more, got {getattr(self, name)}")


def prepare_phantom(options: PhantomOptions) -> None:
    """Make a phantom store; see `PhantomOptions`."""
    card = load_card(f"phantom-{options.mode}")
    shape = (options.size, options.size, 1)
    with writing_store(options.out, card, shape=shape, overwrite=options.overwrite) as writer:
        for number in range(options.count):
            image, label = phantom_image(
                number, size=options.size, domain=options.domain, seed=options.seed
            )
            if options.mode == "binary":
                label = (label == _LESION).astype(np.uint8)
            trained = options.domain == "A" and number < _TRAIN_SHARE * options.count
            name = f"{options.domain}{number:05d}"
            case = Case(
                case=name,
                group=name,
                split="train" if trained else "test",
                subset="",
                slices=1,
                depth=1,
                height=options.size,
                width=options.size,
            )
            sample = Sample(image[None, ..., None], label[None])
            writer.add(case, cut(sample, size=options.size), sample.label)
        writer.finish({"domain": options.domain, "seed": options.seed})


def phantom_image(
    number: int, *, size: int, domain: Domain, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make one image (size, size) and its labels: 0 background, 1 organ, 2 vessel, 3 lesion.

    The same arguments give the same pixels.
    """
    random = np.random.default_rng((seed, ord(domain), number))
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, size)], indexing="ij")
    body = _blob(random, x, y, centre=(0, 0), radius=0.85, roughness=0.06)
    angle = random.uniform(0, 2 * np.pi)
    place = random.uniform(0.1, 0.4) * np.array([np.cos(angle), np.sin(angle)])
    radius = random.uniform(0.22, 0.5)
    organ = _blob(random, x, y, (place[0], place[1]), radius, roughness=0.25) & body
    vessel = _vessel(random, x, y, place, radius) & body
    lesions = np.zeros_like(organ)
    for _ in range(random.integers(1, 4)):
        lesions |= _lesion(random, x, y, place, radius * random.uniform(0.1, 0.75), radius) & organ
    decoys = np.zeros_like(organ)
    for _ in range(random.integers(1, 5)):
        decoys |= _lesion(random, x, y, np.zeros(2), random.uniform(0.3, 0.8), 0.4) & body & ~organ
    label = np.where(organ, _ORGAN, 0)
    label[vessel] = _VESSEL
    label[lesions] = _LESION
    image = _paint(random, body, label, decoys & (label == 0))
    image = _acquire(random, image, x, y, domain)
    return np.rint(image * 255).astype(np.uint8), label.astype(np.uint8)


def _blob(
    random: Random, x: Array, y: Array, centre: tuple[float, float], radius: float, roughness: float
) -> Mask:
    """Draw a star-shaped region: an ellipse whose radius is disturbed by a few harmonics."""
    dx, dy = x - centre[0], y - centre[1]
    stretch, turn = random.uniform(0.7, 1.4), random.uniform(0, np.pi)
    u = (dx * np.cos(turn) + dy * np.sin(turn)) * stretch
    v = (dy * np.cos(turn) - dx * np.sin(turn)) / stretch
    direction = np.arctan2(v, u)
    limit = np.full_like(x, radius)
    for order in range(2, 8):
        amplitude = radius * roughness * random.normal() / order
        limit += amplitude * np.cos(order * direction + random.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(u, v) < limit)


def _vessel(random: Random, x: Array, y: Array, place: Array, radius: float) -> Mask:
    """Draw a bent tube of changing width from outside into the organ."""
    direction = random.uniform(0, 2 * np.pi)
    along = (x - place[0]) * np.cos(direction) + (y - place[1]) * np.sin(direction)
    across = (y - place[1]) * np.cos(direction) - (x - place[0]) * np.sin(direction)
    bend = random.normal(0, 0.12) * np.sin(along * random.uniform(3, 7) + random.uniform(0, 6))
    width = random.uniform(0.025, 0.07) * (1 + 0.4 * np.sin(9 * along + random.uniform(0, 6)))
    inside = (along > -0.3 * radius) & (along < radius + random.uniform(0.1, 0.5))
    return np.asarray(inside & (np.abs(across - bend) < width))


def _lesion(
    random: Random, x: Array, y: Array, origin: Array, distance: float, scale: float
) -> Mask:
    angle = random.uniform(0, 2 * np.pi)
    centre = (origin[0] + distance * np.cos(angle), origin[1] + distance * np.sin(angle))
    # Log-uniform: most lesions are small, a few are large.
    radius = scale * 0.12 * np.exp(random.uniform(0, 1.3))
    return _blob(random, x, y, centre, radius, roughness=0.4)


def _paint(random: Random, body: Mask, label: NDArray[np.int_], decoys: Mask) -> Array:
    """Return an image in which every structure has its own brightness and texture."""
    image = np.where(body, random.uniform(0.3, 0.42), 0.04)
    means = {_ORGAN: (0.42, 0.58), _VESSEL: (0.6, 0.8), _LESION: (0.2, 0.42)}
    size = label.shape[0]
    for value, (low, high) in means.items():
        texture = _texture(random, label.shape, random.uniform(0.004, 0.03) * size)
        brightness = random.uniform(low, high) + random.uniform(0.02, 0.07) * texture
        image = np.where(label == value, brightness, image)
    image = np.where(decoys, random.uniform(0.2, 0.5), image)
    return image + np.where(body, 0.03 * _texture(random, label.shape, 0.05 * size), 0)


def _texture(random: Random, shape: tuple[int, ...], grain: float) -> Array:
    """Return noise of unit deviation, smooth over `grain` pixels."""
    noise = _smooth(random.normal(size=shape), grain, mode="wrap")
    return np.asarray(noise / noise.std())


def _acquire(random: Random, image: Array, x: Array, y: Array, domain: Domain) -> Array:
    """Look at the anatomy through scanner A, or through B with its other contrast and noise."""
    size = image.shape[0]
    if domain == "A":
        blur, gamma, noise, shading = 0.008, random.uniform(0.9, 1.1), 0.04, 0.1
    else:
        blur, gamma, noise, shading = 0.014, random.uniform(1.3, 1.7), 0.08, 0.35
    slope = random.normal(size=2)
    slope *= shading / np.hypot(*slope)
    image = image * (1 + slope[0] * x + slope[1] * y)
    image = _smooth(np.clip(image, 0, None), blur * size) ** gamma
    return np.clip(image + random.normal(0, noise, image.shape), 0, 1)


def _smooth(image: Array, sigma: float, *, mode: Literal["reflect", "wrap"] = "reflect") -> Array:
    # Here and not above: the command line knows the phantom's options whatever it prepares, and
    # SciPy takes a good part of a second to load.
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(image, sigma, mode=mode))
