"""Seeds and cases that a study needs, from the variance that a pilot found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from harmoseg.errors import HarmosegError
from harmoseg.scores.table import Scores
from harmoseg.statistics.comparison import Comparison, Difference, compare
from harmoseg.statistics.intervals import Design, analyse_sample

SEEDS = (2, 3, 4, 5, 7, 10)
MOST_CASES = 100_000


@dataclass(frozen=True)
class Variances:
    """Variances of one difference, of one case under one seed, in printed units squared.

    `seeds` is between trainings, `cases` between patients, `rest` what is left.
    """

    seeds: float
    cases: float
    rest: float

    @classmethod
    def of(cls, design: Design) -> Variances:
        """Split the mean squares of a design into variances; a negative one counts as 0."""
        size = design.seeds * design.groups
        rest = float(design.residual) * size
        return cls(
            max(0.0, float(design.between_seeds) * size - rest) / design.groups,
            max(0.0, float(design.between_groups) * size - rest) / design.seeds,
            rest,
        )

    def design(self, seeds: int, cases: int) -> Design:
        """Return the design that a study of this size is expected to have."""
        size = seeds * cases
        squares = (self.rest + cases * self.seeds, self.rest + seeds * self.cases, self.rest)
        return Design(seeds, cases, *(np.asarray(square / size) for square in squares))


@dataclass(frozen=True, eq=False)
class Plan:
    """The seeds and cases that would show a difference with 80 % power.

    Args:
        difference: The comparison of the pilot that was planned from.
        variances: What its differences vary from.
        detect: The difference that is to be seen, in printed units.
        sizes: For every number of seeds the cases (patients) needed; None where no number is
            enough, since trainings vary too much.
        hours_per_run: Of one training; None where it is not known.
    """

    difference: Difference
    variances: Variances
    detect: float
    sizes: tuple[tuple[int, int | None], ...]
    hours_per_run: float | None = None

    def curve(self, seeds: int, cases: Sequence[int]) -> list[float]:
        """Return the difference that so many seeds and each number of cases would show."""
        return [self.variances.design(seeds, count).detectable() for count in cases]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per number of seeds: cases, and hours of both methods where known."""
        frame = pd.DataFrame(self.sizes, columns=["seeds", "cases"]).astype({"cases": "Int64"})
        if self.hours_per_run is not None:
            frame["hours"] = (2 * self.hours_per_run * frame["seeds"]).where(frame["cases"].notna())
        return frame

    @cached_property
    def sentences(self) -> list[str]:
        """Return what is needed, and what it was planned from, in plain words."""
        item, unit = self.difference, self.difference.measure.unit
        pilot = (
            f"Planned from {item.method} minus {item.reference}: {item.estimate.seeds} seeds, "
            f"{item.estimate.cases} cases. Standard deviation between trainings "
            f"{self.variances.seeds**0.5:.2g}, between patients {self.variances.cases**0.5:.2g}, "
            f"rest {self.variances.rest**0.5:.2g} {unit}."
        )
        what = f"a difference of {self.detect:g} {unit} of {item.measure.title}".replace("  ", " ")
        lines = [
            f"{seeds} seeds: {cases} cases show {what} with 80 % power."
            if cases is not None
            else f"{seeds} seeds: no number of cases shows {what}; trainings vary too much."
            for seeds, cases in self.sizes
        ]
        if self.hours_per_run is not None:
            lines.append(
                f"A training takes {self.hours_per_run:.2g} hours: both methods together "
                f"{2 * self.hours_per_run:.2g} hours per seed."
            )
        if item.estimate.seeds < 5:
            lines.append(
                "With so few seeds the pilot's variance between trainings is itself uncertain."
            )
        return [pilot, *lines]

    def __repr__(self) -> str:
        """Return the sentences."""
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{text}</p>" for text in self.sentences[:1])
        return said + str(self.to_frame().to_html(index=False))


def plan(
    scores: Scores | Comparison,
    *,
    detect: float,
    method: str | None = None,
    reference: str | None = None,
    primary: str | None = None,
    seeds: Sequence[int] = SEEDS,
    hours_per_run: float | None = None,
) -> Plan:
    """Plan a study: the seeds and cases whose interval would exclude 0 in 80 % of repetitions.

    Args:
        scores: The scores of a pilot, or their comparison.
        detect: The true difference that is to be seen, in printed units (points, mm).
        method: The method that is compared; the first one if not named.
        reference: What it is compared with.
        primary: The measure; DSC where it is there.
        seeds: The numbers of seeds to plan for, each 2 or more.
        hours_per_run: Of one training, for the cost.

    The variances are those of the pilot, estimated from at least two seeds and two patients; cases
    are counted as patients. Raises HarmosegError where the pilot is too small or `detect` is not
    above 0.
    """
    if not 0 < detect < float("inf"):
        raise HarmosegError(f"detect is {detect}, expected a difference above 0 in printed units")
    if wrong := [count for count in seeds if count < 2]:
        raise HarmosegError(f"seeds are {wrong[0]}, expected 2 or more: an interval needs two")
    found = scores if isinstance(scores, Comparison) else compare(
        scores, reference=reference, primary=primary
    )  # fmt: skip
    fitting = (
        item
        for item in found.headline
        if method in (None, item.method) and reference in (None, item.reference)
    )
    item = next(fitting, None)
    if item is None:
        raise HarmosegError(
            "no comparison to plan from: the pilot needs two methods on the same cases, and "
            f"method and reference among {', '.join(found.scores.values_of('method'))}"
        )
    design = analyse_sample(item.gaps)
    if design is None:
        raise HarmosegError(
            f"{item.method} and {item.reference} have {item.estimate.seeds} seed(s) and "
            f"{item.estimate.cases} cases in common; planning needs a pilot of two seeds and two "
            "patients or more, since one training does not show how much trainings vary"
        )
    variances = Variances.of(design)
    sizes = tuple((count, _cases_needed(variances, count, detect)) for count in seeds)
    if hours_per_run is not None and not 0 < hours_per_run < math.inf:
        raise HarmosegError(f"hours_per_run must be above 0, got {hours_per_run:g}")
    return Plan(item, variances, detect, sizes, hours_per_run)


def _cases_needed(variances: Variances, seeds: int, detect: float) -> int | None:
    """Return the fewest cases whose interval shows a difference; None where none are enough."""

    def is_enough(cases: int) -> bool:
        return variances.design(seeds, cases).detectable() <= detect

    if not is_enough(MOST_CASES):
        return None
    low, high = 1, 2
    while not is_enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
