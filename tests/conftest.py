"""Small datasets that the tests make for themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def folder_data(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Make a folder of images and one of masks: discs of changing size on noise."""

    def make(
        count: int = 8, size: int = 40, suffix: str = "", name: str = "case"
    ) -> tuple[Path, Path]:
        images, masks = tmp_path / "images", tmp_path / "masks"
        images.mkdir()
        masks.mkdir()
        random = np.random.default_rng(0)
        y, x = np.mgrid[:size, :size]
        for i in range(count):
            disc = np.hypot(x - size / 2, y - size / 2 - i % 3) < size / 6 + i % 5
            noise = random.integers(0, 80, (size, size, 3))
            image = (noise + 120 * disc[..., None]).astype(np.uint8)
            Image.fromarray(image).save(images / f"{name}{i}.png")
            Image.fromarray((disc * 255).astype(np.uint8)).save(masks / f"{name}{i}{suffix}.png")
        return images, masks

    return make


@pytest.fixture(scope="session")
def phantom_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare a small multiclass phantom once for all tests that only read it."""
    out = tmp_path_factory.mktemp("stores") / "phantom"
    prepare_phantom(PhantomOptions(out, count=20, size=32))
    return out


@pytest.fixture(scope="session")
def binary_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare a small binary phantom once for all tests that only read it."""
    out = tmp_path_factory.mktemp("stores") / "phantom-binary"
    prepare_phantom(PhantomOptions(out, mode="binary", count=20, size=32))
    return out
