"""Intervals, tests and sentences: known answers, coverage, power, and no claim beyond them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import ttest_1samp, wilcoxon

from harmoseg.metrics import METRICS
from harmoseg.metrics.measures import known_measure
from harmoseg.statistics.blocks import Where
from harmoseg.statistics.comparison import Difference, count_false_marks
from harmoseg.statistics.intervals import (
    Design,
    Estimate,
    adjust_holm,
    estimate_mean,
    signed_rank_p,
    supported_best,
)
from harmoseg.statistics.printing import format_estimate, format_p
from harmoseg.statistics.sentences import describe_difference, sentence
from harmoseg.statistics.tables import difference_table


def bounds(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.mean, estimate.low, estimate.high


def crossed(random, seeds, cases, of_seeds, of_cases, rest):
    """Draw values (seeds, cases) whose mean has a variance of the three shares, and truth 0."""
    return (
        random.normal(0, np.sqrt(of_seeds * seeds), (seeds, 1))
        + random.normal(0, np.sqrt(of_cases * cases), (1, cases))
        + random.normal(0, np.sqrt(rest * seeds * cases), (seeds, cases))
    )


# -- the interval --------------------------------------------------------------------------------


def test_a_constant_has_no_spread() -> None:
    estimate = estimate_mean(np.full((3, 10), 4.0))
    assert bounds(estimate) == pytest.approx((4, 4, 4))
    assert (estimate.seeds, estimate.cases, estimate.dropped) == (3, 10, 0)
    assert estimate.detectable == pytest.approx(0, abs=1e-6)


def test_no_difference_at_all_is_no_difference() -> None:
    estimate = estimate_mean(np.zeros((3, 10)))
    assert bounds(estimate) == (0, 0, 0) and estimate.detectable == 0
    assert not estimate.excludes_zero
    assert describe_difference(estimate, "b", "a", "points").endswith(
        "over 3 seed(s) and 10 cases."
    )


def test_with_seeds_all_alike_it_is_the_t_interval_of_the_cases() -> None:
    values = np.tile(np.random.default_rng(0).normal(5, 2, 400), (2, 1))
    estimate = estimate_mean(values)
    expected = ttest_1samp(values[0], 0).confidence_interval()
    assert estimate.high - estimate.low == pytest.approx(expected.high - expected.low)
    assert (estimate.low, estimate.high) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_with_cases_all_alike_it_is_the_t_interval_of_the_seeds(seeds) -> None:
    of_seeds = np.random.default_rng(0).normal(5, 2, seeds)
    estimate = estimate_mean(np.tile(of_seeds[:, None], (1, 50)))
    expected = ttest_1samp(of_seeds, 0).confidence_interval()
    assert estimate.high - estimate.low == pytest.approx(expected.high - expected.low)


def test_it_is_never_narrower_than_for_the_same_networks_and_other_patients() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        values = crossed(random, 3, 40, 0.1, 0.1, 0.8)
        estimate = estimate_mean(values, resamples=200)
        fixed = ttest_1samp(values.mean(0), 0).confidence_interval()
        assert estimate.high - estimate.low >= (fixed.high - fixed.low) * (1 - 1e-9)


def test_variation_between_seeds_widens_the_interval() -> None:
    random = np.random.default_rng(0)
    cases = random.normal(0, 1, 200)
    alike = estimate_mean(np.tile(cases, (5, 1)))
    apart = estimate_mean(cases + random.normal(0, 1, (5, 1)))
    assert apart.high - apart.low > 3 * (alike.high - alike.low)


def test_it_leans_to_where_the_cases_have_their_tail() -> None:
    values = np.tile(np.random.default_rng(0).exponential(1, 60), (2, 1))
    estimate = estimate_mean(values)
    assert estimate.high - estimate.mean > 1.1 * (estimate.mean - estimate.low)


# Shares of the variance of the mean: between seeds, between cases, the rest.
DESIGNS = {
    "seeds": (0.90, 0.05, 0.05),
    "mostly seeds": (0.70, 0.20, 0.10),
    "mixed": (0.45, 0.45, 0.10),
    "mostly cases": (0.20, 0.60, 0.20),
    "cases": (0.00, 0.90, 0.10),
    "rest": (0.10, 0.10, 0.80),
}


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 10])
def test_intervals_cover_the_truth_as_often_as_they_say(name, seeds) -> None:
    trials = 20_000  # standard error 0.15 %
    for cases in (50, 120):
        of_seeds, of_cases, rest = DESIGNS[name]
        true = Design(
            seeds, cases, np.array(of_seeds + rest), np.array(of_cases + rest), np.array(rest)
        )
        errors = np.random.default_rng(1).normal(size=trials)
        covered = (np.abs(errors) <= true.repetitions(trials).half_width).mean()
        # Too wide where too little is known: two seeds, or noise that hides seeds and cases.
        widest = 0.985 if seeds == 2 else 0.975
        assert 0.935 < covered < (0.995 if name == "rest" else widest)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_no_mixture_of_sources_is_covered_too_seldom(seeds) -> None:
    trials = 10_000  # standard error 0.2 %
    errors = np.abs(np.random.default_rng(4).normal(size=trials))
    tenths = range(11)
    for cases in (12, 80):
        for a, b in ((a / 10, b / 10) for a in tenths for b in tenths if a + b <= 10):
            rest = max(1 - a - b, 0)
            squares = (np.array(square) for square in (a + rest, b + rest, rest))
            widths = Design(seeds, cases, *squares).repetitions(trials).half_width
            assert (errors <= widths).mean() > 0.935


@pytest.mark.parametrize("mix", [(0.9, 0.05, 0.05), (0.45, 0.45, 0.1), (0, 0.9, 0.1)])
def test_intervals_of_simulated_studies_cover_the_truth(mix) -> None:
    random = np.random.default_rng(1)
    trials = 600  # standard error 0.9 %
    hits = 0
    for _ in range(trials):
        estimate = estimate_mean(crossed(random, 3, 60, *mix), resamples=200)
        hits += estimate.low <= 0 <= estimate.high
    assert 0.93 < hits / trials < 0.98


def test_patients_of_unequal_size_are_covered_too() -> None:
    random = np.random.default_rng(2)
    names = [f"p{i}" for i in range(40) for _ in range(1 + i % 4)]
    sizes = 1 + np.arange(40) % 4
    hits = 0
    trials = 600
    for _ in range(trials):
        patients = np.repeat(random.normal(0, 1, 40), sizes)
        values = random.normal(0, 0.1, (4, 1)) + patients + random.normal(0, 0.5, (4, len(names)))
        estimate = estimate_mean(values, names, resamples=200)
        hits += estimate.low <= 0 <= estimate.high
    assert 0.93 < hits / trials < 0.98


def test_cases_of_one_patient_are_drawn_together() -> None:
    random = np.random.default_rng(0)
    patients = np.repeat(random.normal(0, 1, 40), 10)  # ten images alike of each of 40 patients
    values = np.tile(patients + random.normal(0, 0.01, 400), (2, 1))
    names = [f"p{i // 10}" for i in range(400)]
    apart, together = estimate_mean(values), estimate_mean(values, names)
    assert together.mean == pytest.approx(apart.mean)  # sums in two orders
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.1)


def test_sign_shift_scale_and_order_change_nothing_else() -> None:
    random = np.random.default_rng(0)
    values = crossed(random, 4, 60, 0.3, 0.5, 0.2)
    names = [f"p{i:02}" for i in range(60)]
    plain = estimate_mean(values, names)
    mean, low, high = bounds(plain)
    assert bounds(estimate_mean(values, names)) == (mean, low, high)
    assert bounds(estimate_mean(-values, names)) == pytest.approx((-mean, -high, -low))
    assert bounds(estimate_mean(values + 7, names)) == pytest.approx((mean + 7, low + 7, high + 7))
    assert bounds(estimate_mean(3 * values, names)) == pytest.approx((3 * mean, 3 * low, 3 * high))
    order = random.permutation(60)
    shuffled = estimate_mean(values[:, order], [names[i] for i in order])
    assert bounds(shuffled) == pytest.approx((mean, low, high))
    reseeded = estimate_mean(values[[2, 0, 3, 1]], names)
    assert reseeded.high - reseeded.low == pytest.approx(high - low)
    assert bounds(reseeded) == pytest.approx((mean, low, high), abs=0.05 * (high - low))
    for same in (estimate_mean(-values), estimate_mean(values + 7), shuffled, reseeded):
        assert same.detectable == pytest.approx(plain.detectable)


def test_undefined_cases_are_dropped_and_counted() -> None:
    values = np.array([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]])
    estimate = estimate_mean(values)
    assert (estimate.mean, estimate.cases, estimate.dropped) == (2, 2, 1)
    assert np.isnan(estimate_mean(np.full((2, 3), np.nan)).mean)


@pytest.mark.parametrize("shape", [(1, 50), (3, 1)])
def test_one_seed_or_one_case_has_no_interval(shape) -> None:
    estimate = estimate_mean(np.ones(shape))
    assert estimate.low is None and estimate.high is None and not estimate.excludes_zero
    assert estimate.detectable is None and signed_rank_p(np.ones(shape)) is None


def test_one_patient_has_no_interval_however_many_images() -> None:
    values = np.random.default_rng(0).normal(1, 1, (3, 50))
    assert estimate_mean(values, ["p"] * 50).low is None
    assert signed_rank_p(values, ["p"] * 50) is None


def test_a_constant_over_unequal_patients_is_its_own_interval() -> None:
    for size in (0.1, 0.7, 1 / 3, 1e-17):
        for patients in (3, 7, 11):
            names = [f"p{i}" for i in range(patients) for _ in range(1 + i % 4)]
            estimate = estimate_mean(np.full((3, len(names)), size), names, resamples=500)
            assert estimate.low == estimate.mean == estimate.high == round(size, 9)
            assert estimate.detectable == 0 and estimate.excludes_zero == (size > 1e-9)
            assert "-0" not in describe_difference(estimate, "b", "a", "points")


# -- the best method -----------------------------------------------------------------------------


def test_best_is_what_is_better_than_every_other_beyond_chance() -> None:
    random = np.random.default_rng(0)
    cases = random.normal(80, 10, 40)
    near, far, best = (cases + gain + random.normal(0, 0.5, (3, 40)) for gain in (0, -5, 2))
    assert supported_best({"near": near, "best": best, "far": far}) == "best"
    assert supported_best({"near": near, "best": best, "far": far}, lower_is_better=True) == "far"
    # The mean of one is higher, and the interval of the difference holds 0.
    twin = near + random.normal(0, 0.5, (3, 40))
    assert supported_best({"near": near, "twin": twin}) is None
    assert supported_best({"near": near, "far": far, "twin": twin}) is None


def test_nothing_is_best_without_evidence() -> None:
    low, high = np.full((3, 20), 50.0), np.full((3, 20), 60.0)
    assert supported_best({"low": low, "high": high}) == "high"
    assert supported_best({"low": low[:1], "high": high[:1]}) is None  # one seed
    assert supported_best({"low": low, "high": high}, ["p"] * 20) is None  # one patient
    assert supported_best({"high": high}) is None
    assert supported_best({}) is None
    assert supported_best({"high": high, "same": high}) is None
    assert supported_best({"low": low, "high": high, "unknown": np.full((3, 20), np.nan)}) is None


def test_best_is_judged_on_the_cases_that_both_have() -> None:
    ours, theirs = np.full((2, 10), 60.0), np.full((2, 10), 50.0)
    theirs[:, 0] = 1000  # undefined for the other
    ours[:, 0] = np.nan
    # By its own mean theirs is best, on the shared cases it is not: nothing is said.
    assert supported_best({"ours": ours, "theirs": theirs}) is None


# -- the smallest detectable difference ----------------------------------------------------------


@pytest.mark.parametrize(("seeds", "cases"), [(2, 60), (3, 60), (5, 120)])
@pytest.mark.parametrize("name", DESIGNS)
def test_the_detectable_difference_is_detected_in_four_of_five(name, seeds, cases) -> None:
    of_seeds, of_cases, rest = DESIGNS[name]
    true = Design(
        seeds, cases, np.array(of_seeds + rest), np.array(of_cases + rest), np.array(rest)
    )
    random = np.random.default_rng(3)
    trials = 20_000
    # The three mean squares from their own distribution, not by way of the code under test.
    free = seeds - 1, cases - 1, (seeds - 1) * (cases - 1)
    squares = of_seeds + rest, of_cases + rest, rest
    drawn = (
        square * random.chisquare(df, trials) / df for square, df in zip(squares, free, strict=True)
    )
    widths = Design(seeds, cases, *drawn).half_width
    seen = np.abs(random.normal(true.detectable(), 1, trials)) > widths
    assert seen.mean() == pytest.approx(0.80, abs=0.01)


def test_simulated_studies_show_the_detectable_difference_in_four_of_five() -> None:
    true = Design(4, 60, np.array(0.55), np.array(0.55), np.array(0.1))
    random = np.random.default_rng(0)
    trials = 600  # standard error 1.6 %
    effect = true.detectable()
    seen = sum(
        estimate_mean(effect + crossed(random, 4, 60, 0.45, 0.45, 0.1), resamples=200).excludes_zero
        for _ in range(trials)
    )
    assert seen / trials == pytest.approx(0.80, abs=0.05)


def test_with_many_cases_and_seeds_alike_it_is_the_textbook_value() -> None:
    values = np.tile(np.random.default_rng(0).normal(0, 2, 2000), (2, 1))
    expected = (1.960 + 0.842) * values[0].std(ddof=1) / np.sqrt(2000)
    assert estimate_mean(values, resamples=2000).detectable == pytest.approx(expected, rel=0.01)


# -- the test ------------------------------------------------------------------------------------


def test_p_is_the_signed_rank_test_of_means_over_seeds_and_within_patients() -> None:
    values = np.array([[1.0, 3.0, -2.0, 5.0, 4.0, 8.0], [3.0, 1.0, 0.0, 5.0, 8.0, 6.0]])
    assert signed_rank_p(values) == wilcoxon([2, 2, -1, 5, 6, 7]).pvalue
    names = ["a", "a", "b", "c", "d", "d"]
    # By hand: ranks 2, 1 (negative), 3, 4. A rank sum of 1 or less, on either side, happens in 2
    # of 16 sign patterns each.
    assert signed_rank_p(values, names) == wilcoxon([2, -1, 5, 6.5]).pvalue == 4 / 16
    assert signed_rank_p(np.full((2, 5), np.nan)) is None


def test_p_knows_no_sign_order_or_scale() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.3, 1, (3, 30))
    p = signed_rank_p(values)
    order = random.permutation(30)
    for same in (-values, 2 * values, values[:, order], values[[2, 0, 1]]):
        assert signed_rank_p(same) == pytest.approx(p)


def test_p_of_no_difference_is_one_and_rounding_makes_none() -> None:
    assert signed_rank_p(np.zeros((3, 10))) == 1
    # 0.1 + 0.2 - 0.3 is not 0 in floating point.
    assert signed_rank_p(np.array([[0.1] * 9, [0.2] * 9, [-0.3] * 9])) == 1


def test_few_patients_and_ties_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cases in (2, 3, 8, 13):
            assert 0 < signed_rank_p(np.tile(np.arange(cases) % 3 - 1.0, (2, 1))) <= 1


def test_p_is_small_as_often_as_it_says_under_networks_that_do_not_differ() -> None:
    random = np.random.default_rng(0)
    p = [signed_rank_p(random.standard_t(3, (2, 40))) for _ in range(1000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_holm_agrees_with_worked_examples() -> None:
    # The four hypotheses that textbooks go through: at 5 % the two smallest are rejected, then
    # 0.03 > 0.05 / 2 stops.
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # The example in the documentation of PValueAdjust.jl, an independent implementation.
    assert adjust_holm([0.05, 0.03, 0.01, 0.5]) == pytest.approx([0.1, 0.09, 0.04, 0.5])


def test_holm_rejects_what_the_steps_of_the_paper_reject() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        raw, level = random.uniform(0, 0.2, 5), random.uniform(0.01, 0.3)
        rejected = set()
        for step, i in enumerate(np.argsort(raw)):
            if raw[i] > level / (5 - step):
                break
            rejected.add(i)
        assert {i for i, p in enumerate(adjust_holm(raw.tolist())) if p <= level} == rejected


def test_holm_keeps_order_gaps_and_bounds() -> None:
    assert adjust_holm([None, 0.2, None]) == [None, 0.2, None]
    assert adjust_holm([]) == []
    raw = np.random.default_rng(0).uniform(size=20).tolist()
    adjusted = adjust_holm(raw)
    assert all(p <= q <= 1 for p, q in zip(raw, adjusted, strict=True))
    assert np.array_equal(np.argsort(raw), np.argsort(np.add(adjusted, np.multiply(raw, 1e-9))))


# -- the sentence --------------------------------------------------------------------------------


def test_nothing_to_score_is_said() -> None:
    nothing = estimate_mean(np.full((2, 3), np.nan))
    assert "no case could be scored" in describe_difference(nothing, "b", "a", "points")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (
            (-0.3, -1.1, 0.5),
            "No difference between b and a can be seen: -0.3 [-1.1, +0.5] points over 3 seed(s) and 120 cases; a difference of 1.2 or more would probably have been seen.",
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
    estimate = Estimate(*interval, 3, 120, 0, detectable=1.2)
    assert describe_difference(estimate, "b", "a", "points") == expected


@pytest.mark.parametrize(
    ("interval", "printed"),
    [
        ((0.02, 0.011, 0.03), "higher than a: +0.02 [+0.01, +0.03] points"),
        ((0.4, 0.003, 0.8), "higher than a: +0.400 [+0.003, +0.800] points"),
        ((-0.34, -0.341, -0.339), "lower than a: -0.340 [-0.341, -0.339] points"),
        ((-0.01, -0.04, 0.02), "can be seen: -0.01 [-0.04, +0.02] points"),
        ((0.1, 0.1, 0.1), "higher than a: +0.1 [+0.1, +0.1] points"),
        ((0.0, 0.0, 0.0), "can be seen: +0.0 [+0.0, +0.0] points"),
    ],
)
def test_small_differences_are_printed_with_the_decimals_they_need(interval, printed) -> None:
    estimate = Estimate(*interval, 3, 120, 0, detectable=0.034)
    assert printed in describe_difference(estimate, "b", "a", "points")
    value = printed.split(": ")[1].removesuffix(" points")
    assert format_estimate(estimate, DSC.decimals, signed=True) == value


def empty_truths(ours: list[float], theirs: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Give scores (3 seeds, 20 cases) of two methods alike, then cases with nothing to find."""
    plain = np.random.default_rng(0).normal(70, 5, (3, 20))
    return (
        np.hstack((plain, np.tile(np.array(ours), (3, 1)))),
        np.hstack((plain, np.tile(np.array(theirs), (3, 1)))),
    )


def test_false_alarms_that_pairing_drops_are_told() -> None:
    right, wrong = [np.nan] * 20, [0.0] * 20
    for ours, theirs, counts, guilty in (
        (wrong, right, (20, 0), "b marks something where there is nothing in more runs than a"),
        (right, wrong, (0, 20), "a marks something where there is nothing in more runs than b"),
    ):
        b, a = empty_truths(ours, theirs)
        assert count_false_marks(b, a) == counts
        estimate = estimate_mean(b - a)
        found = [difference("b", "a", "x", m, estimate, 1.0, counts) for m in METRICS]
        assert sentence(found[0]) == (
            "On x: no difference between b and a can be seen: +0.0 [+0.0, +0.0] points of DSC over "
            "3 seed(s) and 20 cases; 20 cases left out, undefined under some run; on 20 of them "
            f"{guilty}. Its control: the same without the term."
        )
        table = tabulate(found)
        assert column(table, "DSC left out") == [f"20 ({counts[0]} / {counts[1]})"]
        assert "does not count this against it" in table.caption


def test_false_alarms_are_counted_by_runs_and_only_among_cases_left_out() -> None:
    nan = np.nan
    ours = np.array([[0, 0, 0, nan, nan, 50.0], [0, nan, nan, nan, nan, 60.0]])
    theirs = np.array([[0, 0, nan, 0, nan, 40.0], [0, 0, 0, nan, nan, 50.0]])
    # Both always; theirs more; as often; theirs more; none; something to find.
    assert count_false_marks(ours, theirs) == (0, 2)
    assert count_false_marks(theirs, ours) == (2, 0)
    assert estimate_mean(ours - theirs).dropped == 4


def test_what_is_left_out_is_said_whatever_else_is_said() -> None:
    for estimate, start in (
        (Estimate(0.5, None, None, 1, 9, 1), "Not known whether b differs from a: +0.5 points"),
        (Estimate(np.nan, None, None, 3, 0, 1), "Not known whether b differs from a: no case"),
        (Estimate(2.0, 1.0, 3.0, 3, 9, 1), "b scores higher than a: "),
        (Estimate(0.5, -1.0, 3.0, 3, 9, 1, 4.0), "No difference between b and a can be seen: "),
    ):
        sentence = describe_difference(estimate, "b", "a", "points")
        assert sentence.startswith(start)
        assert sentence.endswith("; 1 case left out, undefined under some run.")
        table = tabulate([difference("b", "a", "x", m, estimate) for m in METRICS])
        assert column(table, "DSC left out") == ["1"]
        assert "In parentheses" not in table.caption


def test_one_seed_is_no_evidence_however_clear_it_looks() -> None:
    values = np.random.default_rng(0).normal(30, 0.1, (1, 500))
    estimate, p = estimate_mean(values), signed_rank_p(values)
    found = [difference("b", "a", "x", metric, estimate, p) for metric in METRICS]
    assert sentence(found[0]) == (
        "On x: not known whether b differs from a: +30.0 points of DSC over 1 seed(s) and 500 "
        "cases; an interval needs two seeds and two patients or more. Its control: the same "
        "without the term."
    )
    table = tabulate(found)
    assert set(column(table, "DSC")) == {"+30.0 (no interval)"}
    assert column(table, "DSC p (Holm)") == ["none"]
    assert "No p-value from one seed" in table.caption and "Wilcoxon" not in table.caption


# -- the table -----------------------------------------------------------------------------------


DSC = known_measure("DSC")


def difference(method, reference, store, metric, estimate, p=None, marks=(0, 0)) -> Difference:
    block = SimpleNamespace(place=store, trained_on=store, tested_on=store, sets={})
    measure, primary = known_measure(metric), metric == "DSC"
    found = Difference(
        block, method, reference, "without the term", measure, Where(), estimate, primary
    )
    return replace(found, p=p if primary else None, false_marks=marks)


def tabulate(items):
    """Make the table of differences; p-values are corrected for all of them, as `compare` does."""
    corrected = adjust_holm([item.p for item in items])
    items = [replace(item, p_holm=p) for item, p in zip(items, corrected, strict=True)]
    comparison = SimpleNamespace(
        primary=DSC,
        measures=tuple(map(known_measure, METRICS)),
        margins={},
        differences=items,
        blocks=(),
        find=lambda **_: items,
    )
    return difference_table(comparison)


def column(table, name) -> list[str]:
    return [row[table.header.index(name)] for row in table.rows]


def test_the_table_corrects_the_headline_for_all_comparisons() -> None:
    estimate = Estimate(0.5, -0.2, 1.2, 3, 120, 0, detectable=1.04)
    rows = [
        difference(method, "unet", "kvasir", metric, estimate, p if metric == "DSC" else 0.5)
        for method, p in (("a", 0.01), ("b", 0.04), ("c", 0.03), ("d", 0.0001))
        for metric in METRICS
    ]
    table = tabulate(rows)
    assert column(table, "DSC p (Holm)") == ["0.030", "0.060", "0.060", "<0.001"]
    assert column(table, "DSC detectable") == ["1.0"] * 4
    assert "mean over 3 seeds, Holm-corrected over the 4 comparison(s)" in table.caption
    assert "not for training again" in table.caption


def test_one_seed_has_no_p_and_the_table_says_why() -> None:
    values = np.random.default_rng(0).normal(5, 1, (1, 50))
    estimate, p = estimate_mean(values), signed_rank_p(values)
    table = tabulate([difference("a", "unet", "x", m, estimate, p) for m in METRICS])
    assert column(table, "DSC p (Holm)") == column(table, "DSC detectable") == ["none"]
    assert "No p-value from one seed" in table.caption


def test_one_patient_has_no_p_and_the_table_says_why() -> None:
    estimate = estimate_mean(np.random.default_rng(0).normal(5, 1, (3, 50)), ["p"] * 50)
    table = tabulate([difference("b", "a", "x", m, estimate) for m in METRICS])
    assert "No p-value: it needs two seeds and two patients" in table.caption
    assert "Wilcoxon" not in table.caption


def test_nothing_to_compare_makes_an_empty_table() -> None:
    assert tabulate([]).rows == ()


def test_p_values_are_never_printed_as_zero() -> None:
    written = [format_p(p) for p in (1.0, 0.0316, 0.0009, 0.0, None)]
    assert written == ["1.000", "0.032", "<0.001", "<0.001", "none"]
