"""What memory a training is said to need, and what is said where it runs out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from harmoseg import HarmosegError
from harmoseg.store.training_view import open_training_view
from harmoseg.training import memory
from harmoseg.training.experiment import Experiment, resolve_experiment
from harmoseg.training.memory import estimate_memory, explaining_lack_of_memory, saved_bytes
from harmoseg.training.network import TrainedNetwork, model_info
from harmoseg.training.options import TrainingOptions
from harmoseg.training.run import train

TINY = TrainingOptions(
    encoder="resnet18", epochs=1, batch_size=4, validation_fraction=0.25, precision="fp32"
)


@pytest.fixture(scope="module")
def network(binary_store) -> TrainedNetwork:
    view = open_training_view(binary_store, validation_fraction=0.25)
    experiment = resolve_experiment("unet", 0, TINY, view)
    return TrainedNetwork(experiment, model_info(experiment, view))


def test_what_is_saved_for_backward_is_counted_once() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    images = torch.zeros(3, 1, 8, 8)
    # Both convolutions keep their inputs; ReLU keeps its output, which is the second's input.
    weights = 4 * (4 * 9 + 2 * 4)
    assert saved_bytes(lambda: layers(images)) == 4 * 3 * 64 * (1 + 4) + weights


def test_the_estimate_grows_by_the_same_for_every_image(network) -> None:
    parameters = sum(value.nbytes for value in network.parameters())
    two, three, nine = (estimate_memory(network, batch) for batch in (2, 3, 9))
    assert two > 3 * parameters
    assert three > two
    assert nine - two == pytest.approx(7 * (three - two), rel=1e-6)


def test_the_estimate_leaves_the_network_as_it_was(network) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    estimate_memory(network, 4)
    assert network.training and network.network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(value.grad is None for value in network.parameters())


@pytest.fixture
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Every further thread sums the weights' gradients in memory of its own: with images of this size as
# much as a third of all, with real ones little.
@pytest.mark.usefixtures("_one_thread")
def test_the_estimate_is_near_what_training_takes(network) -> None:
    batch = 32
    images = torch.zeros(batch, 3, 32, 32, dtype=torch.uint8)[:, : network.experiment.channels]
    labels = torch.zeros(batch, 32, 32, dtype=torch.long)
    events = []
    with torch.profiler.profile(profile_memory=True) as profile:
        network.loss(network.logits(images), labels).backward()
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            events.append((event.start_ns(), event.nbytes()))
    current = peak = 0
    for _, size in sorted(events):
        current += size
        peak = max(peak, current)
    network.zero_grad()
    parameters = sum(value.nbytes for value in network.parameters())
    taken = peak + 2 * parameters  # the parameters themselves, and their momenta
    # Above what PyTorch hands out, for a process takes more than that, and not far above.
    assert taken < estimate_memory(network, batch) < 1.8 * taken


def test_the_line_is_printed_and_too_little_is_warned_of(
    binary_store, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("harmoseg.training.run.tell_memory", memory.tell_memory)
    train(binary_store, tmp_path / "a", method="unet", seed=0, options=TINY)
    said = capsys.readouterr().err
    assert re.match(r"about 0\.[23] GB of memory for batch 4\n", said) and "warning" not in said
    monkeypatch.setattr(memory, "available_memory", lambda: 10_000_000)
    train(binary_store, tmp_path / "b", method="unet", seed=0, options=TINY)
    assert (
        "warning: only 10.0 MB of memory are free, this will probably not fit; use --batch-size 2 "
        "with --accumulate 2, a smaller --size at harmoseg prepare, or an encoder smaller than "
        "resnet18" in capsys.readouterr().err
    )


def test_free_memory_is_the_least_of_machine_and_container(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.available_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2000 kB\n")
    assert memory.available_memory() == 2_048_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("500000\n")
    assert memory.available_memory() == 2_048_000
    (tmp_path / "memory.max").write_text("1500000\n")
    assert memory.available_memory() == 1_000_000


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    ],
)
def test_running_out_of_memory_says_what_to_do(network, error) -> None:
    experiment = with_batch(network.experiment, 8)
    with (
        pytest.raises(
            HarmosegError,
            match="out of memory with batch_size 8 of 32 x 32 and encoder resnet18; in a new "
            "folder, use --batch-size 4 with --accumulate 2, a smaller --size .* encoder smaller",
        ),
        explaining_lack_of_memory(experiment),
    ):
        raise error


def test_the_smallest_batch_is_not_made_smaller(network) -> None:
    with (
        pytest.raises(HarmosegError, match="in a new folder, use a smaller --size"),
        explaining_lack_of_memory(with_batch(network.experiment, 2)),
    ):
        raise MemoryError


def test_other_errors_pass(network) -> None:
    with (
        pytest.raises(RuntimeError, match="shapes"),
        explaining_lack_of_memory(network.experiment),
    ):
        raise RuntimeError("shapes do not fit")


def test_a_real_lack_of_memory_is_recognised(network) -> None:
    with pytest.raises(HarmosegError), explaining_lack_of_memory(network.experiment):
        torch.empty(2**60, dtype=torch.uint8)


def with_batch(experiment: Experiment, batch_size: int) -> Experiment:
    return replace(experiment, options=replace(experiment.options, batch_size=batch_size))
