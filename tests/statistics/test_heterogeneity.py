"""Datasets and centres: pooled means against other implementations, the worst centre, few of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from harmoseg import HarmosegError, Scores, compare
from harmoseg.cli.main import main
from harmoseg.report.figures.forest import pooled_plot
from harmoseg.report.html import write_report
from harmoseg.scores.files import write_scores
from harmoseg.statistics.heterogeneity import (
    describe_centres,
    make_pooled_tables,
    measure_spread,
    pool_all,
    pool_datasets,
    pool_effects,
    ranking_stability,
    spread_table,
    too_few_datasets,
)
from harmoseg.statistics.intervals import estimate_mean
from harmoseg.statistics.tables import centre_table, worst_centre

EFFECTS = [0.42, 1.35, -0.31, 0.88, 2.10]
VARIANCES = [0.04, 0.09, 0.12, 0.05, 0.30]


def scores(datasets=4, gain=0.03, cases=20) -> Scores:
    random = np.random.default_rng(0)
    rows = [
        {"tested_on": f"d{k}", "method": m, "seed": str(s), "case": str(c), "DSC": 0.7 + value}
        for k, of_set in enumerate(random.normal(0, 0.01, datasets))
        for m, more in (("a", 0.0), ("b", gain + of_set), ("c", -0.05))
        for s in range(2)
        for c in range(cases)
        for value in [more + random.normal(0, 0.02)]
    ]
    return Scores.of(pd.DataFrame(rows))


def test_pooling_equals_statsmodels() -> None:
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    theirs = meta.combine_effects(
        np.array(EFFECTS), np.array(VARIANCES), method_re="iterated", use_t=True, atol=1e-8,
        maxiter=500,
    )  # fmt: skip
    mean, error, between, _ = pool_effects(EFFECTS, VARIANCES)
    assert mean == pytest.approx(theirs.mean_effect_re, abs=1e-6)
    assert between == pytest.approx(theirs.tau2, abs=1e-6)
    assert error == pytest.approx(theirs.sd_eff_w_re_hksj, abs=1e-6)


def test_pooling_equals_its_defining_equation_solved_otherwise() -> None:
    y, v = np.array(EFFECTS), np.array(VARIANCES)

    def gap(between):
        w = 1 / (v + between)
        return ((w * (y - np.average(y, weights=w)) ** 2).sum() - 4) ** 2

    between = optimize.minimize_scalar(gap, bounds=(0, 10), method="bounded",
                                       options={"xatol": 1e-10}).x  # fmt: skip
    mean, error, found, share = pool_effects(EFFECTS, VARIANCES)
    assert found == pytest.approx(between, abs=1e-6) and 0 < share < 1
    weights = 1 / (v + between)
    assert mean == pytest.approx(np.average(y, weights=weights), abs=1e-6)
    assert error == pytest.approx(weights.sum() ** -0.5, abs=1e-6)
    assert pool_effects([1, 1, 1], [1, 2, 4])[2] == 0


def test_a_new_dataset_lies_in_the_prediction_interval() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        true = random.normal(1, 1, 9)
        v = random.uniform(0.05, 0.2, 8)
        mean, error, between, _ = pool_effects(random.normal(true[:8], v**0.5), v)
        inside += abs(true[8] - mean) < 2.447 * np.sqrt(between + error**2)  # t(6)
    assert 0.92 < inside / 400 < 0.98


def test_datasets_of_a_comparison_are_pooled() -> None:
    found = compare(scores(), reference="a")
    pooled = pool_datasets(found, "b", "a")
    assert list(pooled.datasets) == ["d0", "d1", "d2", "d3"]
    assert pooled.predicted_low < pooled.low < pooled.mean < pooled.high < pooled.predicted_high
    assert pooled.mean == pytest.approx(3, abs=1.5)
    ranks = ranking_stability(found)
    assert ranks.loc["b", 1] > 0.95 and ranks.loc["c", 3] > 0.95
    np.testing.assert_allclose(ranks.sum(axis=1), 1)


def test_a_report_shows_the_mean_over_datasets(tmp_path, capsys) -> None:
    write_scores(scores(), tmp_path)
    words = [str(tmp_path), "--reference", "a", "--out", str(tmp_path / "out")]
    assert main(["compare", *words]) == 0
    pooled = pool_datasets(compare(scores(), reference="a"), "b", "a")
    assert pooled.sentence.startswith(f"Over 4 datasets, b minus a is {pooled.mean:+.1f} [")
    assert pooled.sentence in capsys.readouterr().out
    assert pooled.sentence in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    table = pd.read_csv(tmp_path / "out" / "tables" / "pooled.csv").set_index("method")
    assert table.loc["b", "predicted_high"] == pytest.approx(pooled.predicted_high)
    ranks = pd.read_csv(tmp_path / "out" / "tables" / "ranking.csv")
    np.testing.assert_allclose(ranks.groupby("method")["share"].sum(), 1)
    drawn = pooled_plot(pooled).axes[0]
    assert [label.get_text() for label in drawn.get_yticklabels()][-1] == "mean over datasets"
    assert len(drawn.get_yticklabels()) == 5
    assert (tmp_path / "out" / "figures" / "pooled-0.svg").is_file()


def test_networks_tested_on_several_datasets_count_once() -> None:
    """Only where a dataset was trained on itself, or nobody says, is it a dataset of its own."""
    frame = scores().frame.astype(object)
    shared = Scores.of(frame.assign(trained_on="d0"))
    assert pool_all(compare(shared, reference="a")) == []
    own = Scores.of(frame.assign(trained_on=frame["tested_on"]))
    assert {item.method for item in pool_all(compare(own, reference="a"))} == {"b", "c"}


def test_fewer_than_three_datasets_are_refused() -> None:
    found = compare(scores(datasets=2), reference="a")
    assert make_pooled_tables(found) == []
    assert "needs 3 datasets or more; there are 2" in too_few_datasets(found)
    with pytest.raises(HarmosegError, match="b and a have 2 dataset.s. with an interval in DSC"):
        pool_datasets(found, "b", "a")
    with pytest.raises(HarmosegError, match="2 datasets and 3 methods on all of them"):
        ranking_stability(found)
    with pytest.raises(HarmosegError, match="no variance above 0"):
        pool_effects([1, 2, 3], [1, 0, 1])


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
    assert ">Centres<" in page and "no interval" in page


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
