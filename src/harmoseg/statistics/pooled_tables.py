"""Tables over several datasets: pooled differences, and how stable the ranking is."""

from __future__ import annotations

from harmoseg.errors import HarmosegError
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.pooling import FEWEST, pool_all, ranking_stability
from harmoseg.statistics.printing import Table

_RESAMPLES = 2000


def make_pooled_tables(comparison: Comparison) -> list[Table]:
    """Return the tables over datasets; none where fewer than three have the same comparison."""
    return [table for table in (pooled_table(comparison), ranking_table(comparison)) if table.rows]


def pooled_table(comparison: Comparison) -> Table:
    """Return the random-effects mean of every difference of the primary measure."""
    found = pool_all(comparison)
    measure = comparison.primary
    digits = measure.decimals
    rows = tuple(
        (
            item.method,
            item.reference,
            str(len(item.datasets)),
            f"{item.mean:+.{digits}f} [{item.low:+.{digits}f}, {item.high:+.{digits}f}]",
            f"[{item.predicted_low:+.{digits}f}, {item.predicted_high:+.{digits}f}]",
            f"{item.between**0.5:.{digits}f}",
            f"{100 * item.inconsistency:.0f} %",
        )
        for item in found
    )
    records = tuple(
        {
            "method": item.method,
            "reference": item.reference,
            "measure": measure.name,
            "unit": measure.unit,
            "datasets": len(item.datasets),
            "mean": item.mean,
            "low": item.low,
            "high": item.high,
            "predicted_low": item.predicted_low,
            "predicted_high": item.predicted_high,
            "between": item.between,
            "inconsistency": item.inconsistency,
        }
        for item in found
    )
    header = (
        "method", "minus", "datasets", measure.heading, "on a further dataset",
        "SD between datasets", "I squared",
    )  # fmt: skip
    caption = (
        f"Random-effects mean of the paired differences in {measure.title} over datasets (Paule "
        "and Mandel; interval of Hartung and Knapp). On a further dataset: the 95 % prediction "
        "interval of the true difference on another dataset of this kind. I squared: the share of "
        "the variation that is not chance within datasets."
    )
    return Table("pooled", "Over all datasets", caption, header, rows, records=records)


def ranking_table(comparison: Comparison) -> Table:
    """Return how often each method has each rank; without rows where it cannot be said."""
    title = "How stable the ranking is"
    measure = comparison.primary.title
    caption = (
        f"Share of {_RESAMPLES} resamples of datasets, patients and trainings in which a method "
        f"has a rank by its mean {measure} over datasets; 1 is best."
    )
    try:
        shares = ranking_stability(comparison, _RESAMPLES)
    except HarmosegError:  # fewer than three datasets, or than two methods on all of them
        return Table("ranking", title, caption, ("method",), ())
    header = ("method", *(f"rank {rank}" for rank in shares.columns))
    rows = tuple(
        (str(method), *(f"{100 * share:.0f} %" for share in row))
        for method, row in zip(shares.index, shares.to_numpy(), strict=True)
    )
    records = tuple(
        {"method": method, "rank": int(rank), "share": float(shares.loc[method, rank])}
        for method in shares.index
        for rank in shares.columns
    )
    return Table("ranking", title, caption, header, rows, records=records)


def too_few_datasets(comparison: Comparison) -> str:
    """Return why two datasets have no mean over datasets; empty where that is no question."""
    count = len({block.tested_on for block in comparison.blocks})
    if count != FEWEST - 1:
        return ""
    return f"A mean over datasets needs {FEWEST} datasets or more; there are {count}."
