"""What a study says while it runs: how far it is, and about how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from harmoseg.messages import LOGGER
from harmoseg.progress import format_time
from harmoseg.study.jobs import Work
from harmoseg.study.status import Durations
from harmoseg.training.run import DONE_FILE


class Progress:
    """Count the works of a study, and tell each that ends."""

    def __init__(self, works: Sequence[Work], done: Sequence[Work]) -> None:
        names = {work.name for work in done}
        self.left = [work for work in works if work.name not in names]
        self._total = len(works)
        self._ended = len(done)
        self._started = time.monotonic()
        self._durations = Durations()
        for work in done:
            self._durations.add_file(work.stores[0].name, work.folder / DONE_FILE)
        self._waiting = list(self.left)

    def begin(self) -> None:
        """Log the number of runs to do."""
        if self._total:
            LOGGER.info(
                "%d runs, %d finished earlier%s", self._total, self._ended, self._estimate()
            )

    def ended(self, work: Work, failure: str | None) -> None:
        """Log a run that has ended, well or not."""
        self._ended += 1
        self._waiting = [other for other in self._waiting if other.name != work.name]
        state = "done"
        if failure is not None:
            state = f"FAILED: {failure}"
        else:
            self._durations.add_file(work.stores[0].name, work.folder / DONE_FILE)
        LOGGER.info(
            "[%d/%d] %s: %s, seed %d: %s%s",
            *(self._ended, self._total, work.stores[0].name, work.method, work.seed),
            *(state, self._estimate()),
        )

    def _estimate(self) -> str:
        if not self._waiting:
            return ""
        spent = time.monotonic() - self._started
        fresh = len(self.left) - len(self._waiting)
        guess = self._durations.of([work.stores[0].name for work in self._waiting])
        if guess is None:
            return ""
        # What was measured of whole runs includes their evaluation and the other jobs beside them.
        share = self._durations.of(
            [work.stores[0].name for work in self.left if work not in self._waiting]
        )
        if fresh and share:
            guess *= spent / share
        return f"; about {format_time(guess)} left"
