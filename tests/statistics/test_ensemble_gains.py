"""Ensembles: their gain over their members, and risk-coverage against a direct computation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harmoseg import HarmosegError, compare
from harmoseg.scores.table import Scores
from harmoseg.statistics.ensemble_gains import (
    area_under_risk,
    describe_gains,
    ensemble_gains,
    ensemble_table,
    risk_coverage,
)


def test_risk_is_the_mean_over_the_most_confident_cases() -> None:
    random = np.random.default_rng(0)
    confidence, risk = random.random(30), random.random(30)
    order = sorted(range(30), key=lambda i: -confidence[i])
    expected = [np.mean([risk[i] for i in order[: n + 1]]) for n in range(30)]
    np.testing.assert_allclose(risk_coverage(confidence, risk), expected)
    assert area_under_risk(confidence, risk) == pytest.approx(np.mean(expected))
    assert area_under_risk(-risk, risk) <= area_under_risk(confidence, risk)
    assert area_under_risk(np.zeros(30), risk) == pytest.approx(risk.mean())


def test_cases_of_equal_confidence_count_as_the_mean_over_their_orders() -> None:
    confidence, risk = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([1.0, 5.0, 2.0, 7.0, 3.0])
    curves = []
    for order in itertools.permutations((1, 2, 3)):
        ordered = risk[[0, *order, 4]]
        curves.append(np.cumsum(ordered) / np.arange(1, 6))
    np.testing.assert_allclose(risk_coverage(confidence, risk), np.mean(curves, 0))


def test_what_is_no_list_of_cases_is_refused() -> None:
    with pytest.raises(HarmosegError, match="expected one of each for every case"):
        risk_coverage(np.zeros(2), np.zeros(3))


def ensembles(made, values: dict[str, np.ndarray], agreement: np.ndarray) -> Scores:
    frame = made.make_scores({f"{m} (ensemble of 3)": v for m, v in values.items()}).frame.copy()
    case = frame["case"].astype(str).str.removeprefix("case").astype(int).to_numpy()
    for name in ("agreement", "confidence"):
        frame[name] = np.where(frame["class"] == "background", np.nan, agreement[case])
    return Scores.of(frame)


def test_the_gain_is_paired_by_case_and_said_for_these_networks(made) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(60, 90, 40)
    single = base + random.normal(0, 2, (3, 40))
    scores = made.make_scores({"unet": single, "unet+scc": single + 1})
    whole = single.mean(0) + 2 + random.normal(0, 0.5, 40)
    found = ensembles(made, {"unet": whole[None], "unet+scc": whole[None]}, base / 100)
    comparison = compare(scores, reference="unet")
    plain, term = ensemble_gains(comparison, found)
    assert plain.members == 3 and plain.gain.mean == pytest.approx((whole - single.mean(0)).mean())
    difference = whole - single.mean(0)
    reach = 2.0227 * difference.std(ddof=1) / np.sqrt(40)  # Student's quantile of 39
    assert plain.gain.high == pytest.approx(plain.gain.mean + reach, abs=1e-3)
    assert term.gain.mean == pytest.approx(plain.gain.mean - 1)
    # The hard cases are those of least agreement: it orders nearly as the scores themselves do.
    assert plain.areas["best"] <= plain.areas["agreement"] < plain.areas["none"] - 2
    table = ensemble_table(comparison, found)
    assert table.rows[0][1] == "unet, 3" and len(table.records) == 2
    (sentence,) = describe_gains([plain, term])
    assert sentence.startswith("An ensemble of 3 networks of unet gives +2.")
    assert sentence.endswith("for these networks.")


def test_without_ensembles_there_is_no_table(made) -> None:
    scores = made.make_scores({"unet": np.full((3, 4), 80.0), "b": np.full((3, 4), 80.0)})
    other = made.make_scores({"c (ensemble of 3)": np.full((1, 4), 80.0)})
    assert ensemble_table(compare(scores, reference="unet"), other) is None
