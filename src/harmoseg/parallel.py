"""The one way in which work is spread over threads: an ordered map that looks a little ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MOST_MEMORY = 1 << 30
"""Bytes that the items under way may take together: two long CTs."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int = 0,
    ahead: int = 2,
    memory: Callable[[Item], int] | None = None,
    eager: bool = False,
) -> Generator[Result]:
    """Apply `work` to the items in threads, and yield the results in order.

    Decoding, NumPy and PyTorch release Python's lock, so threads are enough. An error, or an
    interruption, that comes while an item is drawn is raised after the results of the items before
    it: what is done is not lost.

    Args:
        work: Function of one item. What it raises is raised here in its place in the order.
        items: Items, drawn one at a time. A generator is closed together with this one.
        threads: Number of threads; 0 takes one per core, from 2 to 8.
        ahead: Items beyond one per thread that may be under way, so that memory does not grow with
            the number of items.
        memory: Bytes that an item takes until its result is yielded. Fewer items are under way
            where they take more than `MOST_MEMORY` together.
        eager: Yield a result as soon as it is there, instead of drawing further items first. Use it
            where drawing an item takes long, such as a forward pass.
    """
    threads = threads or min(8, max(2, os.cpu_count() or 1))
    waiting: deque[tuple[Future[Result], int]] = deque()
    taken = 0
    failure: BaseException | None = None
    source = iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except BaseException as error:
                failure = error
                break
            size = 0 if memory is None else memory(item)
            while waiting and (
                len(waiting) >= threads + ahead
                or taken + size > MOST_MEMORY
                or (eager and waiting[0][0].done())
            ):
                future, freed = waiting.popleft()
                taken -= freed
                yield future.result()
            waiting.append((pool.submit(work, item), size))
            taken += size
        while waiting:
            yield waiting.popleft()[0].result()
        if failure is not None:
            raise failure
    finally:
        # After an error or an interruption, work that has not begun is dropped.
        pool.shutdown(cancel_futures=True)
        if isinstance(items, Generator):
            items.close()
