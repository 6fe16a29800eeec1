"""From images to probabilities to labels: a network or several, and their mirror images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import chain
from threading import Barrier
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmoseg.errors import HarmosegError
from harmoseg.metrics import top_label
from harmoseg.store.card import TaskMode
from harmoseg.store.transforms import images_to_tensor, normalise


def probabilities_of(logits: Tensor, mode: TaskMode) -> Tensor:
    """Return probabilities (B, C, H, W): of the foreground for binary, else of every class."""
    return logits.sigmoid() if mode == "binary" else logits.softmax(1)


def labels_of(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return the class indices of probabilities (C, ...).

    One channel is foreground above 0.5; of several channels the most probable one counts.
    """
    if len(probabilities) == 1:
        return np.asarray(probabilities[0] > 0.5, np.uint8)
    return top_label(probabilities)[0]


def mean_of_members(probabilities: Tensor) -> Tensor:
    """Average probabilities (networks, ...) over the networks; those of one are not copied."""
    return probabilities.mean(0) if len(probabilities) > 1 else probabilities[0]


def labels_of_logits(logits: Tensor, mode: TaskMode) -> Tensor:
    """Return the class indices (B, H, W) of logits (B, C, H, W)."""
    return (logits[:, 0] > 0).long() if mode == "binary" else logits.argmax(1)


BATCH = 16
_FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""Axes of (B, C, H, W) that test-time augmentation flips; the first is the image as it is."""

_STREAMS = 4
"""Parts of a batch that go through the network beside one another, where there are cores for it."""

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Predictor:
    """Networks in evaluation mode on one device.

    Args:
        networks: Members of an ensemble, or one network. Their probabilities are averaged.
        mode: Task, which says what logits become.
        device: ``cpu`` or ``cuda``.
        bf16: Predict under bfloat16 autocast.
        flips: Average over the image and its mirror images (test-time augmentation).
    """

    networks: Sequence[nn.Module]
    mode: TaskMode
    device: str
    bf16: bool = False
    flips: bool = False

    def __post_init__(self) -> None:
        """Move the networks to the device, and put them into evaluation mode.

        Raises HarmosegError without a network.
        """
        if not self.networks:
            raise HarmosegError("a predictor needs one network or more, got none")
        for network in self.networks:
            network.to(self.device).eval()

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Turn bytes (B, H, W, C) into what the network takes, on its device: (B, C, H, W)."""
        return normalise(images_to_tensor(images).to(self.device))

    def probabilities(self, prepared: Tensor) -> Tensor:
        """Predict (B, C, H, W): of the foreground alone for binary, else of every class."""
        return self._begin(prepared)().mean(1)

    def in_order(
        self, batches: Iterable[tuple[Item, Tensor]]
    ) -> Iterator[tuple[Item, Tensor, float]]:
        """Predict batches of anything: yield it with its probabilities and the seconds they took.

        Probabilities are those of every network, (B, networks, C, H, W).
        Every batch is begun before the one before it is handed out, so that no core waits.
        """
        before: tuple[Item, Callable[[], Tensor], float] | None = None
        free = 0.0
        for batch in chain(batches, (None,)):
            begun = time.perf_counter()
            following = None if batch is None else (batch[0], self._begin(batch[1]), begun)
            if before is not None:
                item, found, since = before
                probabilities = found()
                done = time.perf_counter()
                yield item, probabilities, done - max(since, free)
                free = done
            before = following

    def _begin(self, prepared: Tensor) -> Callable[[], Tensor]:
        """Begin to predict; the function that is returned waits for the result."""
        threads = torch.get_num_threads() if self.device == "cpu" else 1
        streams = min(threads, _STREAMS, len(prepared))
        if streams < 2:
            found = self._predict(prepared)
            return lambda: found
        # Threads that each take a part of the batch wait for nobody; those that share every layer
        # wait for one another at each of its many steps, which costs a sixth of the speed.
        workers = _workers(streams, threads // streams)
        parts = [workers.submit(self._predict, part) for part in prepared.chunk(streams)]
        return lambda: torch.cat([part.result() for part in parts])

    def _predict(self, prepared: Tensor) -> Tensor:
        # Resizing a slice takes half as long where its channels lie one after another.
        return torch.stack([self._of_member(net, prepared) for net in self.networks], 1)

    def _of_member(self, network: nn.Module, prepared: Tensor) -> Tensor:
        views = _FLIPS if self.flips else _FLIPS[:1]
        total = torch.zeros(())
        for axes in views:
            logits = self._logits(network, prepared.flip(axes))
            found = probabilities_of(logits, self.mode).flip(axes)
            total = found if axes == () else total + found
        return total / len(views)

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        with (
            torch.inference_mode(),
            torch.autocast(self.device, torch.bfloat16, enabled=self.bf16),
        ):
            logits: Tensor = network(images.contiguous(memory_format=torch.channels_last))
        return logits.float()


@cache
def _workers(streams: int, threads: int) -> ThreadPoolExecutor:
    """Start `streams` threads in each of which PyTorch has `threads` threads of its own."""
    before = torch.get_num_threads()
    started = Barrier(streams + 1)

    def start() -> None:
        torch.set_num_threads(threads)
        started.wait()

    workers = ThreadPoolExecutor(streams, initializer=start)
    for _ in range(streams):
        workers.submit(int)
    started.wait()
    # Each thread has a number of its own, and later ones take the last that was set.
    torch.set_num_threads(before)
    return workers


def choose_device(asked: str = "auto") -> str:
    """Return ``cuda`` where there is one, unless ``cpu`` is asked for."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
