"""Centres: the worst one named, how much they differ, and the edges of having few."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harmoseg import HarmosegError
from harmoseg.report.html import write_report
from harmoseg.scores.table import Scores
from harmoseg.statistics.centres import (
    centre_table,
    describe_centres,
    measure_spread,
    spread_table,
    worst_centre,
)
from harmoseg.statistics.comparison import compare
from harmoseg.statistics.intervals import estimate_mean
from harmoseg.statistics.pooling import pool_effects

CENTRES = tuple(f"C{i}" for i in range(1, 7))
"""Six, as PolypGen has."""


def frame(
    gains: dict[str, float], cases: dict[str, int] | None = None, seeds: int = 3, noise: float = 1.0
) -> pd.DataFrame:
    """Make scores of two methods: the second gains in every centre what `gains` says."""
    random = np.random.default_rng(0)
    rows = []
    for centre, gain in gains.items():
        for case in range((cases or {}).get(centre, 15)):
            base = random.uniform(60, 80)
            for seed in range(seeds):
                shared = base + random.normal(0, 1)
                for method, add in (("unet", 0.0), ("unet+scc", gain + random.normal(0, noise))):
                    rows.append(
                        {
                            "method": method,
                            "seed": seed,
                            "case": f"{centre}-{case}",
                            "subset": centre,
                            "tested_on": "polypgen",
                            "DSC": (shared + add) / 100,
                        }
                    )
    return pd.DataFrame(rows)


def test_the_worst_centre_is_named_with_its_interval() -> None:
    gains = dict(zip(CENTRES, (2, 2, 2, -6, 2, 3), strict=True))
    table = frame(gains)
    comparison = compare(Scores.of(table))
    (spread,) = measure_spread(comparison)
    assert list(spread.centres) == list(CENTRES) and spread.worst.where.subset == "C4"
    wide = table.pivot_table(index=["seed", "case"], columns="method", values="DSC") * 100
    of_worst = (wide["unet+scc"] - wide["unet"]).unstack("case").filter(like="C4")
    expected = estimate_mean(of_worst.to_numpy())
    got = spread.worst.estimate
    assert (got.mean, got.low, got.high) == pytest.approx(
        (expected.mean, expected.low, expected.high), abs=1e-6
    )
    (sentence,) = describe_centres(comparison)
    assert "worst in C4, " in sentence and "(15 cases)" in sentence
    assert sum(gains.values()) > 0 > got.high  # better on the whole, worse there


def test_heterogeneity_is_that_of_the_random_effects_mean() -> None:
    alike = compare(Scores.of(frame(dict.fromkeys(CENTRES, 2.0))))
    unlike = compare(Scores.of(frame(dict(zip(CENTRES, (8, -8, 4, -4, 6, -6), strict=True)))))
    (same,), (other,) = measure_spread(alike), measure_spread(unlike)
    assert same.inconsistency < 0.5 and other.inconsistency > 0.9
    # Differences of +-8, +-4 and +-6 have a standard deviation of 6.8.
    assert other.between == pytest.approx(6.8, abs=0.5)
    low, high = other.predicted
    assert low < -8 and high > 8
    effects = [item.estimate.mean for item in other.centres.values()]
    spread = np.std(effects, ddof=1) ** 2
    assert pool_effects(effects, [1e-9] * 6)[2] == pytest.approx(spread, rel=1e-6)
    assert other.between**2 == pytest.approx(spread, rel=0.05)


def test_every_measure_is_there_by_centre_and_the_worst_is_bold() -> None:
    table = frame(dict(zip(CENTRES, (2, 2, 2, -6, 2, 3), strict=True)))
    table["IoU"] = table["DSC"] / (2 - table["DSC"])
    comparison = compare(Scores.of(table))
    found = centre_table(comparison)
    assert len(found.rows) == 2 * 6 and {row["measure"] for row in found.records} == {"DSC", "IoU"}
    means = table.groupby(["method", "subset"])["DSC"].mean()
    for row, column in found.bold:
        method, centre = found.rows[row][1:3]
        assert column == 4 and centre == means[method].idxmin()
    (block,) = comparison.blocks
    assert worst_centre(comparison, block, "unet+scc").estimate.mean == pytest.approx(
        100 * means["unet+scc"].min()
    )


def test_one_centre_only_has_no_such_part(tmp_path) -> None:
    comparison = compare(Scores.of(frame({"C1": 2.0})))
    assert measure_spread(comparison) == [] and describe_centres(comparison) == []
    assert centre_table(comparison) is None and spread_table(comparison) is None
    write_report(comparison, tmp_path / "report.html")
    assert ">Centres<" not in (tmp_path / "report.html").read_text()


def test_a_centre_with_one_patient_has_no_interval_and_is_said(tmp_path) -> None:
    gains = dict(zip(CENTRES, (2, 2, 2, -30, 2, 3), strict=True))
    comparison = compare(Scores.of(frame(gains, {"C4": 1})))
    (spread,) = measure_spread(comparison)
    assert spread.without_interval == ["C4"]
    assert spread.worst.where.subset != "C4"  # a single patient is no finding
    assert describe_centres(comparison)[0].endswith("as from one patient: C4.")
    write_report(comparison, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert ">Centres<" in page and "interval not available" in page


def test_two_centres_have_a_worst_one_and_no_heterogeneity() -> None:
    (spread,) = measure_spread(compare(Scores.of(frame({"A": 2.0, "B": -2.0}))))
    assert spread.worst.where.subset == "B"
    assert (spread.between, spread.inconsistency, spread.predicted) == (None, None, None)


def test_a_subset_that_differs_between_runs_is_refused() -> None:
    table = frame({"C1": 2.0, "C2": 2.0})
    table.loc[(table["case"] == "C1-0") & (table["seed"] == 2), "subset"] = "C2"
    with pytest.raises(HarmosegError, match=r"'C1-0' has more than one subset \(centre\): 'C1'"):
        Scores.of(table)
    parts = [Scores.of(part) for _, part in table.groupby("seed")]
    with pytest.raises(HarmosegError, match="'C1-0' has more than one subset"):
        Scores.concat(parts)
