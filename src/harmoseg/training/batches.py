"""Batches of a store's part, in an order that only seed and epoch determine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from harmoseg.errors import HarmosegError
from harmoseg.parallel import ordered_map
from harmoseg.store.training_view import Part
from harmoseg.store.transforms import images_to_tensor
from harmoseg.training.ranks import rank, world_size

Batch = tuple[Any, ...]
"""Images (B, C, H, W) uint8, labels (B, H, W) uint8, and the number of the case of each (B,).

Where a loss takes maps of the truth, they are the fourth; images and labels are augmented then.
"""
Prepare = Callable[[int, int, Batch], Callable[[], Batch]]
"""Function of epoch, number in the epoch and batch; returns the call that adds maps in a thread."""


class BatchDataset(Dataset[Batch]):
    """Fetch a whole batch with one indexed read of the memory map."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def __getitem__(self, positions: list[int]) -> Batch:
        """Fetch the slices at these positions."""
        images, labels = self._part.batch(positions)
        owners = torch.from_numpy(self._part.owners[positions])
        return images_to_tensor(images), torch.from_numpy(labels), owners


class ShuffledBatches(Sampler[list[int]]):
    """Draw full batches in a new order every epoch; the remainder of an epoch is left out.

    The order is a function of seed and epoch alone, so that a run that was interrupted continues
    with the batches it would have had. Lightning calls `set_epoch`. Of several processes each has
    its share of every batch.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self._count = count
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0
        self.skipped = 0

    def skip(self, batches: int) -> None:
        """Skip the first batches of the next epoch: they were trained on already."""
        self.skipped = batches

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self._count // self._batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of positions."""
        generator = seeded_generator(self._seed, self.epoch)
        order = torch.randperm(self._count, generator=generator).tolist()
        first, self.skipped = self.skipped, 0
        for number in range(first, len(self)):
            start = number * self._batch_size
            yield order[start + rank() : start + self._batch_size : world_size()]


class TrainingLoader(DataLoader[Batch]):
    """Load shuffled batches; a checkpoint keeps how many of an epoch are done.

    `prepare`, where it is set, adds maps to a batch in other threads, a few batches ahead.
    """

    prepare: Prepare | None = None

    def __init__(self, part: Part, batches: ShuffledBatches) -> None:
        # No worker processes: reading a memory map takes less time than passing a batch between
        # processes.
        super().__init__(BatchDataset(part), sampler=batches, batch_size=None)
        self._batches = batches
        self.done = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # its own type is private
        """Yield batches."""
        if self.prepare is None:
            return super().__iter__()
        return ordered_map(lambda add_maps: add_maps(), self._prepared(), ahead=0)

    def _prepared(self) -> Iterator[Callable[[], Batch]]:
        # Looked up at the first batch, as the sampler does, which then forgets what it skips.
        epoch, first = self._batches.epoch, self._batches.skipped
        for number, batch in enumerate(super().__iter__(), first):
            yield self.prepare(epoch, number, batch)  # type: ignore[misc]  # set: see __iter__

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches of the epoch that are done."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next epoch after the batches that are done."""
        self._batches.skip(state["done"])


def training_loader(part: Part, batch_size: int, seed: int, *, ranks: int = 1) -> TrainingLoader:
    """Load shuffled batches.

    Raises HarmosegError where there are fewer cases than one batch, and where a batch cannot be
    shared equally by the `ranks`.
    """
    if len(part) < batch_size:
        raise HarmosegError(
            f"batch_size {batch_size} is larger than the training part, which has {len(part)} "
            f"slice(s) after validation was carved from it; use --batch-size {max(2, len(part))} "
            "or less, or add data"
        )
    if batch_size % ranks:
        raise HarmosegError(
            f"batch_size {batch_size} cannot be shared equally by {ranks} devices; use a multiple "
            f"of {ranks}"
        )
    return TrainingLoader(part, ShuffledBatches(len(part), batch_size, seed))


class OrderedBatches(Sampler[list[int]]):
    """Go through all slices once, in order; of `ranks` processes each has every so many batches."""

    def __init__(self, count: int, batch_size: int, ranks: int) -> None:
        # A process without any batch would not be there when all of them sum up.
        size = max(1, min(batch_size, count // ranks))
        self._batches = [
            list(range(start, min(start + size, count))) for start in range(0, count, size)
        ]

    def __len__(self) -> int:
        """Count this process's batches."""
        return len(self._batches[rank() :: world_size()])

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of positions."""
        yield from self._batches[rank() :: world_size()]


def validation_loader(part: Part, batch_size: int, *, ranks: int = 1) -> DataLoader[Batch] | None:
    """Load all cases of a part once, in order; None where it has none.

    Raises HarmosegError where there are fewer slices than `ranks`.
    """
    if not len(part):
        return None
    if len(part) < ranks:
        raise HarmosegError(
            f"the validation part has {len(part)} slice(s), fewer than the {ranks} devices; use "
            "fewer devices, or a larger validation_fraction"
        )
    sampler = OrderedBatches(len(part), batch_size, ranks)
    return DataLoader(BatchDataset(part), sampler=sampler, batch_size=None)


def seeded_generator(seed: int, epoch: int, step: int = 0) -> torch.Generator:
    """Make a generator whose draws depend on these three numbers and nothing else."""
    # Spread apart by primes: neighbouring seeds would otherwise share draws of other epochs.
    mixed = seed * 1_000_003 + epoch * 7_919 + step * 104_729 + 1
    return torch.Generator().manual_seed(mixed % 2**63)
