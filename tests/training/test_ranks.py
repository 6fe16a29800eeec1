"""Several processes train what one would."""

from __future__ import annotations

import csv
import os
import socket
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harmoseg import HarmosegError
from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.training.batches import OrderedBatches, ShuffledBatches
from harmoseg.training.options import Execution, TrainingOptions
from harmoseg.training.ranks import SynchronisedBatchNorm, synchronise_batch_norm
from harmoseg.training.run import train


def join(rank: int, folder: str) -> None:
    """Join two processes through a file: a port may be taken by another test."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}.rendezvous", rank=rank, world_size=2
    )


def normalise(rank: int, folder: str) -> None:
    join(rank, folder)
    torch.manual_seed(0)
    images = 3 * torch.randn(4, 3, 5, 5, dtype=torch.float64) + 1
    weights = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    single = nn.BatchNorm2d(3).double()
    nn.init.uniform_(single.weight)
    joint = nn.Sequential(nn.BatchNorm2d(3).double())
    joint[0].load_state_dict(single.state_dict())
    synchronise_batch_norm(joint, torch.device("cpu"))
    assert isinstance(joint[0], SynchronisedBatchNorm)
    whole, part = images.clone().requires_grad_(), images[rank::2].clone().requires_grad_()
    (single(whole) * weights).sum().backward()
    (joint(part) * weights[rank::2]).sum().backward()
    torch.testing.assert_close(part.grad, whole.grad[rank::2])
    for name, value in single.state_dict().items():
        torch.testing.assert_close(joint[0].state_dict()[name], value)
    Path(folder, f"compared{rank}").touch()
    torch.distributed.destroy_process_group()


def test_batch_norm_over_two_processes_is_that_of_one(tmp_path, in_two_processes) -> None:
    in_two_processes(normalise, str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def train_as(
    rank: int, port: int, store: Path, out: Path, method: str, options: TrainingOptions
) -> None:
    # Lightning takes a process with these for one of those that it has started itself.
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    train(store, out, method=method, seed=0, options=options, execution=Execution(devices=2))


@pytest.mark.parametrize("method", ["unet+scc", "unet+scc@sample"])
def test_two_processes_have_the_losses_of_one(tmp_path, in_two_processes, method) -> None:
    store = tmp_path / "store"
    # At 96 px the deepest maps have nine places: with one, batch normalisation would make much of
    # what rounding leaves.
    prepare_phantom(PhantomOptions(store, mode="binary", count=24, size=96))
    options = TrainingOptions(
        encoder="resnet18",
        epochs=2,  # of two steps each
        batch_size=4,
        learning_rate=0.001,
        validation_fraction=0.25,
        precision="fp32",
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    in_two_processes(train_as, port, store, tmp_path / "two", method, options)
    train(store, tmp_path / "one", method=method, seed=0, options=options)
    one, two = (log_of(tmp_path / name) for name in ("one", "two"))
    assert len(one["train_total"]) == 2
    for name in ("train_total", "train_pixel", "train_dice", "train_spectral"):
        # Some 25 layers, each of sums of up to 4,608 products: a pass is off by about
        # sqrt(25 * 4608) float32 roundings of 6e-8, which four steps do not enlarge yet (ten make
        # 50 times as much of them). Without joint statistics of the batch the first epoch differs
        # by 6e-4, without joint overlaps by 1.4e-4.
        np.testing.assert_allclose(two[name], one[name], rtol=2e-5)
    # Its batches are smaller, so the loss of the validation part is pooled otherwise; counts are not.
    np.testing.assert_allclose(two["val_dsc"], one["val_dsc"], atol=1e-3)


def log_of(run: Path) -> dict[str, list[float]]:
    with (run / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def share(rank: int, folder: str) -> None:
    join(rank, folder)
    batches = [list(ShuffledBatches(13, 4, seed=3)), list(OrderedBatches(13, 4, 2))]
    torch.save(batches, Path(folder, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


def test_samples_are_shared_without_repeats(tmp_path, in_two_processes) -> None:
    in_two_processes(share, str(tmp_path))
    shuffled, ordered = zip(
        *(torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)), strict=True
    )
    for whole, first, second in zip(ShuffledBatches(13, 4, seed=3), *shuffled, strict=True):
        assert sorted(whole) == sorted(first + second)
    assert sorted(chain(*ordered[0], *ordered[1])) == list(range(13))


def test_more_devices_than_there_are(binary_store, tmp_path) -> None:
    with pytest.raises(HarmosegError, match=r"devices: 999 asked for, this machine has \d+ "):
        train(
            binary_store,
            tmp_path / "run",
            method="unet",
            seed=0,
            options=TrainingOptions(encoder="resnet18"),
            execution=Execution(devices=999),
        )
    assert not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_shared(binary_store, tmp_path) -> None:
    with pytest.raises(HarmosegError, match="batch_size 5 cannot be shared equally by 2 devices"):
        train(
            binary_store,
            tmp_path / "run",
            method="unet",
            seed=0,
            options=TrainingOptions(encoder="resnet18", batch_size=5),
            execution=Execution(devices=2),
        )
