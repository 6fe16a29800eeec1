"""What is said where memory runs out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from harmoseg import HarmosegError
from harmoseg.store.training_view import open_training_view
from harmoseg.training.experiment import Experiment, resolve_experiment
from harmoseg.training.interrupts import explaining_lack_of_memory
from harmoseg.training.options import TrainingOptions

TINY = TrainingOptions(
    encoder="resnet18", epochs=1, batch_size=4, validation_fraction=0.25, precision="fp32"
)


@pytest.fixture(scope="module")
def experiment(binary_store) -> Experiment:
    view = open_training_view(binary_store, validation_fraction=0.25)
    return resolve_experiment("unet", 0, TINY, view)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    ],
)
def test_running_out_of_memory_says_what_to_do(experiment, error) -> None:
    with (
        pytest.raises(
            HarmosegError,
            match="out of memory with batch_size 8 of 32 x 32 and encoder resnet18; in a new "
            "folder, use --batch-size 4 with --accumulate 2, a smaller --size .* encoder smaller",
        ),
        explaining_lack_of_memory(with_batch(experiment, 8)),
    ):
        raise error


def test_the_smallest_batch_is_not_made_smaller(experiment) -> None:
    with (
        pytest.raises(HarmosegError, match="in a new folder, use a smaller --size"),
        explaining_lack_of_memory(with_batch(experiment, 2)),
    ):
        raise MemoryError


def test_other_errors_pass(experiment) -> None:
    with (
        pytest.raises(RuntimeError, match="shapes"),
        explaining_lack_of_memory(experiment),
    ):
        raise RuntimeError("shapes do not fit")


def test_a_real_lack_of_memory_is_recognised(experiment) -> None:
    with pytest.raises(HarmosegError), explaining_lack_of_memory(experiment):
        torch.empty(2**60, dtype=torch.uint8)


def with_batch(experiment: Experiment, batch_size: int) -> Experiment:
    return replace(experiment, options=replace(experiment.options, batch_size=batch_size))
