"""The phantom: the same from the same seed, and as varied as it says."""

from __future__ import annotations

import numpy as np

from harmoseg.datasets.phantom import phantom_image
from harmoseg.store.reading import open_store


def images(domain: str, count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    pairs = [phantom_image(i, size=48, domain=domain, seed=0) for i in range(count)]
    return np.stack([image for image, _ in pairs]), np.stack([label for _, label in pairs])


def test_same_seed_same_pixels() -> None:
    for one, two in zip(
        *[phantom_image(3, size=48, domain="A", seed=5) for _ in range(2)], strict=True
    ):
        assert np.array_equal(one, two)
    assert not np.array_equal(*[phantom_image(3, size=48, domain="A", seed=s)[0] for s in (5, 6)])


def test_every_class_varies_widely_in_size() -> None:
    _, labels = images("A")
    for value in (1, 2, 3):
        sizes = (labels == value).sum((1, 2))
        assert (sizes > 0).mean() > 0.9
        assert np.percentile(sizes, 90) > 2 * np.percentile(sizes, 10)


def test_lesions_are_not_told_by_brightness_alone() -> None:
    pictures, labels = images("A")
    best = 0.0
    for low in range(40, 120, 10):
        for high in range(low + 10, 160, 10):
            found = (pictures > low) & (pictures < high)
            truth = labels == 3
            best = max(best, 2 * (found & truth).sum() / (found.sum() + truth.sum()))
    assert best < 0.35


def test_domain_b_is_darker_and_noisier() -> None:
    (a, _), (b, _) = images("A"), images("B")
    assert b.mean() < 0.8 * a.mean()
    corner = (slice(None), slice(0, 6), slice(0, 6))
    assert b[corner].std() > 1.3 * a[corner].std()


def test_stores_of_both_modes(phantom_store, binary_store) -> None:
    many, two = open_store(phantom_store), open_store(binary_store)
    assert many.info.counts == {"train": 12, "test": 8} == two.info.counts
    assert np.array_equal(many.labels == 3, two.labels == 1)
