"""What comes behind the network: planes are put together, decided and handed over to be written."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Semaphore

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harmoseg.inference.decoding import Case
from harmoseg.inference.output_folder import Row
from harmoseg.inference.predictor import decide
from harmoseg.inference.stitching import Canvas, Weights
from harmoseg.inference.windows import Window

_BATCHES_BEHIND = 4
"""Predicted batches that may wait to be put together."""
_CASES_BEHIND = 8
"""Cases that may wait to be written."""


@dataclass
class Planes:
    """The planes of a case (D, H, W, C), put together one after the other.

    `label` is (D, H, W); `kept` are the probabilities (D, C, H, W) where they are to be kept.
    """

    shape: tuple[int, ...]
    weigh: Weights
    keep: bool
    kept: NDArray[np.float32] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.label: NDArray[np.uint8] = np.empty(self.shape[:3], np.uint8)
        self._canvas: Canvas | None = None
        self._plane = 0

    def add(self, window: Window, probabilities: Tensor) -> None:
        """Add a window's probabilities (C, h, w); windows come in order of their planes."""
        if window.plane != self._plane:
            self.finish()
            self._plane = window.plane
        if self._canvas is None:
            _, height, width, _ = self.shape
            self._canvas = Canvas(height, width, self.weigh)
        self._canvas.add(window, probabilities)

    def finish(self) -> None:
        """Decide the plane whose windows have all been added."""
        if self._canvas is None:
            raise RuntimeError("a plane without windows")
        probabilities = self._canvas.finish()
        self._canvas = None
        self.label[self._plane] = decide(probabilities)
        if self.keep:
            if self.kept is None:
                self.kept = np.empty((self.shape[0], *probabilities.shape), np.float32)
            self.kept[self._plane] = probabilities


@dataclass
class Pending:
    """A case between the network and the disk; `seconds` is what was spent on it so far."""

    case: Case
    planes: Planes
    seconds: float
    left: int = field(init=False)

    def __post_init__(self) -> None:
        """Wait for all windows."""
        self.left = len(self.case.windows)


class Behind:
    """What comes behind the network: one thread puts planes together, others write cases."""

    def __init__(self, write: Callable[[Pending], Row], record: Callable[[Row], None]) -> None:
        self._write = write
        self._record = record
        self._together = ThreadPoolExecutor(1)
        self._writers = ThreadPoolExecutor(min(4, max(2, os.cpu_count() or 1)))
        self._batches: deque[Future[None]] = deque()
        self._rows: SimpleQueue[Future[Row]] = SimpleQueue()
        self._places = Semaphore(_CASES_BEHIND)

    def __enter__(self) -> Behind:
        """Take it as it is."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for what is under way; on an error drop what was not begun."""
        failed = kind is not None
        try:
            while self._batches and not failed:
                self._batches.popleft().result()
        finally:
            self._together.shutdown(cancel_futures=True)
            self._writers.shutdown(cancel_futures=failed)
        # Also on an error: what was written is done, and is not predicted again.
        self._collect()

    def add(
        self, batch: Sequence[tuple[Pending, Window]], probabilities: Tensor, share: float
    ) -> None:
        """Hand over a batch, with the seconds that each of its windows took the network.

        Waits where too much is under way. Raises what went wrong behind.
        """
        self._batches.append(self._together.submit(self._put, batch, probabilities, share))
        while len(self._batches) > _BATCHES_BEHIND or self._batches[0].done():
            self._batches.popleft().result()
            if not self._batches:
                break
        self._collect()

    def _put(
        self, batch: Sequence[tuple[Pending, Window]], predicted: Tensor, share: float
    ) -> None:
        for (item, window), probabilities in zip(batch, predicted, strict=True):
            started = time.perf_counter()
            item.planes.add(window, probabilities)
            item.left -= 1
            if item.left == 0:
                item.planes.finish()
            item.seconds += share + time.perf_counter() - started
            if item.left == 0:
                self._places.acquire()
                future = self._writers.submit(self._write, item)
                future.add_done_callback(self._written)
                if len(item.planes.label) > 1:
                    wait([future])  # one volume at a time: probabilities may take gigabytes

    def _written(self, future: Future[Row]) -> None:
        self._places.release()
        self._rows.put(future)

    def _collect(self) -> None:
        while True:
            try:
                future = self._rows.get_nowait()
            except Empty:
                return
            if not future.cancelled():
                self._record(future.result())
