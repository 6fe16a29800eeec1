"""A network asked by several threads at a time, against the same network asked by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from harmoseg import create_model
from harmoseg.inference.predictor import Predictor


@pytest.fixture
def _four_threads(_one_thread: None) -> Iterator[None]:
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(1)


def batches() -> list[tuple[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(f"{n}", torch.randn(n, 3, 32, 32, generator=generator)) for n in (4, 1, 7, 2)]


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
@pytest.mark.usefixtures("_four_threads")
def test_parts_of_a_batch_are_predicted_as_the_batch_is(mode: str) -> None:
    outputs = 1 if mode == "binary" else 3
    network = create_model("unet", encoder="resnet18", classes=outputs).eval()
    many = Predictor([network], mode, "cpu", flips=True)
    found = list(many.in_order(batches()))
    assert torch.get_num_threads() == 4  # what the threads set for themselves stays there
    torch.set_num_threads(1)
    assert [name for name, _, _ in found] == ["4", "1", "7", "2"]
    for (_, prepared), (_, probabilities, seconds) in zip(batches(), found, strict=True):
        alone = many.probabilities(prepared)
        assert probabilities.shape == (len(prepared), 1, outputs, 32, 32)
        torch.testing.assert_close(probabilities[:, 0], alone, rtol=0, atol=1e-5)
        assert seconds > 0


@pytest.mark.usefixtures("_four_threads")
def test_what_goes_wrong_in_a_part_is_raised() -> None:
    class Fails(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise ValueError(f"no {len(images)}")

    with pytest.raises(ValueError, match="no 1"):
        list(Predictor([Fails()], "binary", "cpu").in_order(batches()))
