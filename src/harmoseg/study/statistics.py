"""Whether a difference is real: a bootstrap over seeds and cases, said in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_CHUNK = 500
_LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % confidence interval, and what it rests on.

    `low` and `high` are None where the interval is not available: with fewer than two seeds
    nothing is known of how much training itself varies, with fewer than two groups (patients)
    nothing of how much patients do. `cases` counts the cases that were scored under every seed;
    `dropped` those left out because some value is undefined.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    cases: int
    dropped: int

    @property
    def excludes_zero(self) -> bool:
        """Say whether the interval is there and lies on one side of 0."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


def estimate_mean(
    values: NDArray[np.float64],
    groups: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Estimate the mean of values (seeds, cases), NaN where undefined.

    The interval is the percentile interval of a bootstrap that draws seeds and groups of cases
    anew, each with replacement: it speaks for other trainings and for other patients. `groups`
    names the patient of every case; without it every case is a patient. The interval is the same
    at every call. With two or three seeds it is still too narrow for the variation between
    trainings.
    """
    seeds = values.shape[0]
    complete = np.isfinite(values).all(axis=0)
    kept = values[:, complete]
    cases = kept.shape[1]
    mean = float(kept.mean()) if cases else float("nan")
    labels = np.arange(values.shape[1]) if groups is None else np.asarray(groups)
    members = np.unique(labels[complete], return_inverse=True)[1]
    low = high = None
    if seeds >= 2 and cases and members.max() >= 1:
        means = _resampled_means(kept, members, resamples)
        tail = (1 - _LEVEL) / 2
        low, high = (float(bound) for bound in np.quantile(means, (tail, 1 - tail)))
    return Estimate(mean, low, high, seeds, cases, int((~complete).sum()))


def describe_difference(difference: Estimate, better: str, reference: str, unit: str) -> str:
    """Say in one sentence whether `better` scores higher than `reference`.

    `difference` is that of `better` minus `reference`, in `unit`.
    """
    if not difference.cases:
        return f"Not known whether {better} differs from {reference}: no case could be scored."
    over = f"over {difference.seeds} seed(s) and {difference.cases} cases"
    value = f"{difference.mean:+.1f}"
    if difference.low is None or difference.high is None:
        return (
            f"Not known whether {better} differs from {reference}: {value} {unit} {over}; an "
            "interval needs two seeds and two patients or more."
        )
    value = f"{value} [{difference.low:+.1f}, {difference.high:+.1f}] {unit} {over}"
    if not difference.excludes_zero:
        return f"No difference between {better} and {reference} can be seen: {value}."
    direction = "higher" if difference.mean > 0 else "lower"
    return f"{better} scores {direction} than {reference}: {value}."


def _resampled_means(
    values: NDArray[np.float64], members: NDArray[np.intp], resamples: int
) -> NDArray[np.float64]:
    """Draw means of values (seeds, cases), case i belonging to group members[i]."""
    seeds, groups = values.shape[0], int(members.max()) + 1
    sizes = np.bincount(members)
    sums = np.stack([np.bincount(members, weights=row) for row in values])
    random = np.random.default_rng(0)
    means = []
    # In chunks: the draws of all resamples at once would not fit for large test sets.
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds
        of_groups = random.multinomial(groups, np.full(groups, 1 / groups), size=count)
        totals = np.einsum("rs,sg,rg->r", of_seeds, sums, of_groups, optimize=True)
        means.append(totals / (of_groups @ sizes))
    return np.concatenate(means)
