"""How long runs take, from those that are finished. Light: the status command waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from harmoseg.errors import HarmosegError
from harmoseg.files import read_json


class Durations:
    """The seconds that finished runs took, dataset by dataset."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    def add_file(self, dataset: str, done: Path) -> None:
        """Take the seconds from a run's end mark, if they can be read there."""
        try:
            seconds = float(read_json(done, what="the end mark of a run")["seconds"])
        except (HarmosegError, KeyError, TypeError, ValueError):
            return  # an estimate is no reason to fail
        self._seconds.setdefault(dataset, []).append(seconds)

    def of(self, datasets: Sequence[str]) -> float | None:
        """Guess the seconds of a run on each of `datasets`, in sum; None before any has ended.

        A dataset without a finished run is taken for the mean of the others.
        """
        known = [fmean(seconds) for seconds in self._seconds.values()]
        if not known:
            return None
        means = {name: fmean(seconds) for name, seconds in self._seconds.items()}
        return sum(means.get(name, fmean(known)) for name in datasets)
