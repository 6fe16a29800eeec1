"""Progress of long work: a bar in a terminal, a line every half minute in a log file."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, TextIO

EVERY_SECONDS = 30.0
_PLURALS = {"case": "cases", "batch": "batches"}


class Progress:
    """Show the progress of work with a known number of parts, on standard error.

    In a terminal a bar is drawn. Elsewhere a line is written every half minute, also while no part
    ends, with what is done, how long it took, and about how long the rest takes. Nothing is shown
    where the logger ``harmoseg`` was set to warnings alone.
    """

    def __init__(
        self,
        total: int,
        what: str,
        unit: Literal["case", "batch"] = "case",
        *,
        done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        every: float = EVERY_SECONDS,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._total, self._what, self._unit = total, what, unit
        self._done = self._before = done
        self._clock, self._every = clock, every
        self._started = clock()
        self._ended = threading.Event()
        self._bar: Any = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        """Begin to show progress."""
        self._started = self._clock()
        if logging.getLogger("harmoseg").level > logging.INFO:
            return self
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total, initial=self._done, desc=self._what, unit=self._unit,
                file=self._stream, leave=False,
            )  # fmt: skip
        else:
            self._thread = threading.Thread(target=self._tell_from_time_to_time, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show no more."""
        self._ended.set()
        if self._bar is not None:
            self._bar.close()
        if self._thread is not None:
            self._thread.join()

    def update(self, count: int = 1) -> None:
        """Count parts that are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)

    def line(self) -> str:
        """Return how far the work is, in one line."""
        spent = self._clock() - self._started
        parts = f"{self._done} of {self._total} {_PLURALS[self._unit]}"
        text = f"{self._what}: {parts} in {format_time(spent)}"
        fresh = self._done - self._before
        if fresh and self._done < self._total:
            left = spent / fresh * (self._total - self._done)
            text += f", about {format_time(left)} left"
        return text

    def _tell_from_time_to_time(self) -> None:
        while not self._ended.wait(self._every):
            print(f"  {self.line()}", file=self._stream, flush=True)


def format_time(seconds: float) -> str:
    """Format a duration for people: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
