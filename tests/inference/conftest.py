"""Small models with random weights, saved as trained ones are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harmoseg.inference.saved_model import ModelInfo, save_model
from harmoseg.store.card import Card


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep tiny networks from waiting for one another's threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give a function that saves a model, once for equal arguments."""
    made: dict[str, Path] = {}

    def make(
        mode: str = "multiclass",
        channels: int = 1,
        size: int = 32,
        volumes: bool = False,
        seed: int = 0,
        **card: Any,
    ) -> Path:
        key = repr((mode, channels, size, volumes, seed, sorted(card.items())))
        if key not in made:
            names = ("background", "a", "b")[: 2 if mode == "binary" else 3]
            info = ModelInfo(
                "unet",
                # The smallest that there is: what it answers does not matter, that it does.
                "tu-test_resnet",
                Card("t", "T", "m", mode, names, channels=channels, **card),
                size,
                size,
                channels,
                volumes=volumes,
                options={"decoder_channels": (16, 16, 8, 8, 8)},
            )
            torch.manual_seed(seed)
            out = tmp_path_factory.mktemp("models") / "model"
            weights = info.build().state_dict()
            weights["segmentation_head.0.weight"] *= 20  # decided answers, as of a trained one
            save_model(out, info, weights)
            made[key] = out
        return made[key]

    return make
