"""Checkpointing: less memory, and nothing else."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from harmoseg import create_model

NETWORKS = {
    "unet": {},
    "transunet": {"depth": 3, "width": 32, "heads": 4, "decoder_channels": (16, 16, 8, 8)},
}


def build(name: str, encoder: str = "resnet18", *, checkpointing: bool):
    torch.manual_seed(0)
    return create_model(
        name, encoder=encoder, classes=2, checkpointing=checkpointing, **NETWORKS[name]
    )


def train_once(network, size: int = 32, passes: int = 1) -> int:
    """Take one step; return the bytes kept for the gradients, each storage once."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = network(images).square().mean()
    for part in range(passes):
        loss.backward(retain_graph=part < passes - 1)
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    return sum(size for place, size in kept.items() if place not in weights)


@pytest.mark.parametrize(
    ("name", "encoder", "size"),
    [
        ("unet", "resnet18", 64),
        ("transunet", "resnet18", 64),
        ("unet", "densenet121", 32),  # layers that add to a list of features
        ("transunet", "efficientnet-b0", 32),  # stochastic depth, momentum of its own
        ("unet", "tu-convnext_atto", 32),
    ],
)
def test_gradients_and_statistics_are_those_without(name, encoder, size) -> None:
    plain = build(name, encoder, checkpointing=False)
    frugal = build(name, encoder, checkpointing=True)
    assert list(plain.state_dict()) == list(frugal.state_dict())
    full, reduced = train_once(plain, size), train_once(frugal, size)
    # Exactly: what is computed again is computed by the same operations.
    for (key, one), two in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=0, msg=key)
    for (key, one), two in zip(plain.named_buffers(), frugal.buffers(), strict=True):
        assert torch.equal(one, two), key
    assert reduced < full / 2


def test_statistics_are_counted_once_however_many_backward_passes() -> None:
    network = build("unet", checkpointing=True)
    train_once(network, passes=2)
    counts = {k: int(v) for k, v in network.named_buffers() if k.endswith("num_batches_tracked")}
    assert set(counts.values()) == {1}


def test_without_gradients_nothing_is_kept_or_changed() -> None:
    network = build("transunet", checkpointing=True).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        found = network(images)
    torch.testing.assert_close(found, network(images).detach())


def test_a_network_with_it_can_be_copied_and_pickled() -> None:
    network = build("unet", checkpointing=True).eval()
    images = torch.rand(1, 3, 32, 32)
    other = copy.deepcopy(network)
    block = other.encoder.layer1[0]
    assert block.forward.block is block  # its own, not the original's
    again = pickle.loads(pickle.dumps(network))  # noqa: S301
    for made in (other, again):
        torch.testing.assert_close(made(images), network(images))
