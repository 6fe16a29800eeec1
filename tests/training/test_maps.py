"""Losses that take a map of the truth, the epoch or the step, in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harmoseg.training.batches import TrainingLoader
from harmoseg.training.network import TrainedNetwork
from harmoseg.training.options import Execution, TrainingOptions
from harmoseg.training.run import train

TINY = TrainingOptions(
    encoder="tu-test_resnet", epochs=2, batch_size=3, validation_fraction=0, select="last"
)
METHOD = "unet+boundary:0.01+skeleton-recall:0.5"


def trained(store: Path, out: Path, method: str = METHOD) -> dict[str, torch.Tensor]:
    train(
        store, out, method=method, seed=0, options=TINY, execution=Execution(checkpoint_minutes=0)
    )
    return load_file(out / "weights.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_maps_made_beside_the_network_are_those_of_the_loss(
    binary_store, tmp_path, monkeypatch
) -> None:
    beside = trained(binary_store, tmp_path / "beside")
    with monkeypatch.context() as patch:
        # In the loss itself, after augmentation on the network's device.
        patch.setattr(TrainingLoader, "__iter__", torch.utils.data.DataLoader.__iter__)
        assert same(beside, trained(binary_store, tmp_path / "inside"))
    without = trained(binary_store, tmp_path / "without", "unet")
    assert not same(beside, without)


@pytest.mark.parametrize("stop", [(0, 1), (1, 0)])
def test_a_run_with_maps_that_was_interrupted_within_an_epoch_ends_as_any_other(
    binary_store, tmp_path, monkeypatch, stop
) -> None:
    step = TrainedNetwork.training_step

    def interrupted(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == stop:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TrainedNetwork, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(binary_store, tmp_path / "run")
    assert same(trained(binary_store, tmp_path / "whole"), trained(binary_store, tmp_path / "run"))


SCHEDULED = """
SEEN = []
def ramp(logits, target, epoch, epochs, step, steps):
    SEEN.append((epoch, epochs, step, steps))
    return epoch / epochs * (logits.sigmoid() - target).square().mean()
def weighted(prediction, weights, target):
    return (weights * (prediction - target).square()).mean()
def near(masks):
    return 1.0 + masks
"""


def test_a_loss_is_given_epoch_and_step(binary_store, tmp_path, monkeypatch) -> None:
    (tmp_path / "scheduled_1.py").write_text(SCHEDULED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import scheduled_1  # type: ignore[import-not-found]

    method = "unet+scheduled_1.ramp(schedule=[epoch,epochs,step,steps]):1"
    train(
        binary_store,
        tmp_path / "run",
        method=method,
        seed=0,
        options=replace(TINY, batch_size=4, validation_fraction=0.25),
    )
    # 20 images, 12 of them for training; of these a quarter validates.
    training = [moment for moment in scheduled_1.SEEN if moment[1] == 2 and moment[3] == 4]
    assert training == [
        (0, 2, 0, 4),
        (0, 2, 1, 4),
        (0, 2, 1, 4),
        (1, 2, 2, 4),
        (1, 2, 3, 4),
        (1, 2, 3, 4),
    ]
