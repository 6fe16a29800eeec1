"""From images to probabilities: one network, its mirror images if asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import chain
from threading import Barrier
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmoseg.metrics import top_label
from harmoseg.store.card import TaskMode
from harmoseg.store.tensors import images_to_tensor, normalise

BATCH = 16
_FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""Axes of (B, C, H, W) that test-time augmentation flips; the first is the image as it is."""

_STREAMS = 4
"""Parts of a batch that go through the network beside one another, where there are cores for it."""

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network in evaluation mode on its device, and how it is asked.

    With `flips` probabilities are averaged over the image and its mirror images (test-time
    augmentation).
    """

    network: nn.Module
    mode: TaskMode
    device: str
    bf16: bool = False
    flips: bool = False

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Turn bytes (B, H, W, C) into what the network takes, on its device: (B, C, H, W)."""
        return normalise(images_to_tensor(images).to(self.device))

    def probabilities(self, prepared: Tensor) -> Tensor:
        """Predict (B, C, H, W): of the foreground alone for binary, else of every class."""
        return self._begin(prepared)()

    def in_order(
        self, batches: Iterable[tuple[Item, Tensor]]
    ) -> Iterator[tuple[Item, Tensor, float]]:
        """Predict batches of anything: yield it with its probabilities and the seconds they took.

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
        """Begin to predict; what is returned waits for it."""
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
        total: Tensor | None = None
        views = _FLIPS if self.flips else _FLIPS[:1]
        for axes in views:
            view = prepared.flip(axes).contiguous(memory_format=torch.channels_last)
            with (
                torch.inference_mode(),
                torch.autocast(self.device, torch.bfloat16, enabled=self.bf16),
            ):
                logits = self.network(view)
            logits = logits.float()
            found: Tensor = logits.sigmoid() if self.mode == "binary" else logits.softmax(1)
            found = found.flip(axes)
            total = found if total is None else total + found
        if total is None:
            raise RuntimeError("no view to predict")
        # Resizing a slice takes half as long where its channels lie one after another.
        mean: Tensor = total / len(views)
        return mean.contiguous()


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
    """Give ``cuda`` where there is one, unless ``cpu`` is asked for."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked


def decide(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give every pixel of (C, H, W) its class: (H, W)."""
    if len(probabilities) == 1:
        return np.asarray(probabilities[0] > 0.5, np.uint8)
    return top_label(probabilities)[0]


def batched(items: Iterable[Item], size: int = BATCH) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`, the last of which may be shorter."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
