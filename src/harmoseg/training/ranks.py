"""Several processes that share every batch: who has which part, and what they agree on."""

from __future__ import annotations

import os
from typing import Any, cast

import torch
from torch import Tensor, nn

from harmoseg.losses.sums import sum_over_ranks


def world_size() -> int:
    """Count the processes that train together; 1 without distributed training."""
    return torch.distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Return the rank of this process, from 0."""
    return torch.distributed.get_rank() if _together() else 0


def process_number() -> int:
    """Return the rank of this process, also before the processes are connected.

    Read from what torchrun, Lightning or SLURM tell the processes that they start.
    """
    # SLURM last: what Lightning starts within a task has that task's number too.
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def summed(value: Tensor) -> Tensor:
    """Sum a tensor over the processes, without gradient."""
    if not _together():
        return value
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total


def largest(value: int, device: torch.device) -> int:
    """Return the largest of the processes' values, so that all of them decide alike."""
    if not _together():
        return value
    found = torch.tensor(value, device=device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return int(found)


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Synchronise batch normalisation over the batches of all processes.

    Keeps parameters, statistics and their names. PyTorch's own layer works on accelerators only.
    """
    if device.type != "cpu":
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm  # PyTorch: untyped
        return cast(nn.Module, convert(network))
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(network, name, SynchronisedBatchNorm.like(child))
        else:
            synchronise_batch_norm(child, device)
    return network


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes, on processors.

    Images (B, C, H, W), of the same number in every process.
    """

    @classmethod
    def like(cls, layer: nn.BatchNorm2d) -> SynchronisedBatchNorm:
        """Make one with a layer's parameters and statistics."""
        made = cls(
            layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
        )
        made._parameters, made._buffers = layer._parameters, layer._buffers
        made.training = layer.training
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if not self.training or not _together():
            return super().forward(input)
        wide = input if input.dtype == torch.float64 else input.float()
        count = wide.numel() // wide.shape[1] * world_size()
        shape = (1, -1, 1, 1)
        # In two passes: a difference of large sums would leave little of a small variance.
        mean = sum_over_ranks(wide.sum((0, 2, 3))) / count
        centred = wide - mean.view(shape)
        variance = sum_over_ranks(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach() * (count / max(1, count - 1)))
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        normalised: Tensor = centred * scale.view(shape)
        if self.affine:
            normalised = normalised + self.bias.view(shape)
        return normalised.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats:
            return
        statistics = cast(Any, self)
        with torch.no_grad():
            statistics.num_batches_tracked += 1
            share = self.momentum
            if share is None:
                share = 1 / float(statistics.num_batches_tracked)
            statistics.running_mean.lerp_(mean, share)
            statistics.running_var.lerp_(variance, share)


def _together() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
