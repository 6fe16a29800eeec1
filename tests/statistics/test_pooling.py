"""Several datasets: the mean, its intervals and the ranking, against other implementations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from harmoseg import HarmosegError, Scores, compare
from harmoseg.cli.main import main
from harmoseg.report.figures.forest import pooled_plot
from harmoseg.scores.files import write_scores
from harmoseg.statistics.pooled_tables import make_pooled_tables, too_few_datasets
from harmoseg.statistics.pooling import (
    pool_all,
    pool_datasets,
    pool_effects,
    ranking_stability,
)

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
