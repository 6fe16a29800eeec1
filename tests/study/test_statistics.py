"""The bootstrap: known answers, coverage, and sentences that claim no more than it shows."""

from __future__ import annotations

import numpy as np
import pytest

from harmoseg.study.statistics import Estimate, describe_difference, estimate_mean


def test_a_constant_has_no_spread() -> None:
    estimate = estimate_mean(np.full((3, 10), 4.0))
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((4, 4, 4))
    assert (estimate.seeds, estimate.cases, estimate.dropped) == (3, 10, 0)


def test_interval_of_one_source_of_variation_equals_theory() -> None:
    values = np.tile(np.random.default_rng(0).normal(5, 2, 400), (2, 1))  # seeds all alike
    estimate = estimate_mean(values)
    half = 1.96 * values[0].std() / 20
    assert estimate.low == pytest.approx(estimate.mean - half, abs=0.02)
    assert estimate.high == pytest.approx(estimate.mean + half, abs=0.02)


def test_variation_between_seeds_widens_the_interval() -> None:
    random = np.random.default_rng(0)
    cases = random.normal(0, 1, 200)
    alike = estimate_mean(np.tile(cases, (5, 1)))
    apart = estimate_mean(cases + random.normal(0, 1, (5, 1)))
    assert apart.high - apart.low > 3 * (alike.high - alike.low)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    hits = 0
    trials = 300
    for _ in range(trials):
        seeds, cases = random.normal(0, 0.5, (20, 1)), random.normal(0, 1, (1, 60))
        estimate = estimate_mean(seeds + cases + random.normal(0, 0.3, (20, 60)), resamples=400)
        hits += estimate.low <= 0 <= estimate.high
    assert 0.91 < hits / trials < 0.98


def test_cases_of_one_patient_are_drawn_together() -> None:
    random = np.random.default_rng(0)
    patients = np.repeat(random.normal(0, 1, 40), 10)  # ten images alike of each of 40 patients
    values = np.tile(patients + random.normal(0, 0.01, 400), (2, 1))
    names = [f"p{i // 10}" for i in range(400)]
    apart, together = estimate_mean(values), estimate_mean(values, names)
    assert together.mean == apart.mean
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.1)


def test_undefined_cases_are_dropped_and_counted() -> None:
    values = np.array([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]])
    estimate = estimate_mean(values)
    assert (estimate.mean, estimate.cases, estimate.dropped) == (2, 2, 1)
    assert np.isnan(estimate_mean(np.full((2, 3), np.nan)).mean)


@pytest.mark.parametrize("shape", [(1, 50), (3, 1)])
def test_one_seed_or_one_case_has_no_interval(shape) -> None:
    estimate = estimate_mean(np.ones(shape))
    assert estimate.low is None and estimate.high is None and not estimate.excludes_zero


def test_nothing_to_score_is_said() -> None:
    nothing = estimate_mean(np.full((2, 3), np.nan))
    assert "no case could be scored" in describe_difference(nothing, "b", "a", "points")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (
            (-0.3, -1.1, 0.5),
            "No difference between b and a can be seen: -0.3 [-1.1, +0.5] points over 3 seed(s) and 120 cases.",
        ),
        (
            (1.2, 0.4, 2.0),
            "b scores higher than a: +1.2 [+0.4, +2.0] points over 3 seed(s) and 120 cases.",
        ),
        (
            (-1.2, -2.0, -0.4),
            "b scores lower than a: -1.2 [-2.0, -0.4] points over 3 seed(s) and 120 cases.",
        ),
        (
            (0.5, None, None),
            "Not known whether b differs from a: +0.5 points over 3 seed(s) and 120 cases; an interval needs two seeds and two patients or more.",
        ),
    ],
)
def test_sentences(interval, expected) -> None:
    assert describe_difference(Estimate(*interval, 3, 120, 0), "b", "a", "points") == expected
