"""`compare`: the same numbers as the studies have, words for every interval, no traceback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harmoseg import HarmosegError, Scores, compare, read_scores
from harmoseg.metrics import METRICS, aggregate
from harmoseg.scores.table import BACKGROUND
from harmoseg.statistics.blocks import Where
from harmoseg.statistics.intervals import Sample, estimate_mean, estimate_means
from harmoseg.statistics.printing import to_markdown
from harmoseg.statistics.tables import make_tables

PILOTS = Path(__file__).parents[2] / "results" / "pilots"


def made(gain: float = 0.0, seeds: int = 3, cases: int = 20, **columns: object) -> pd.DataFrame:
    """Make the methods ``unet`` and ``unet+scc``, which scores `gain` more."""
    random = np.random.default_rng(0)
    rows = [
        {"method": method, "seed": str(seed), "case": f"c{case:02d}", "DSC": base, "HD95_mm": 9 - base}
        for case in range(cases)
        for method, more in (("unet", 0.0), ("unet+scc", gain))
        for seed in range(seeds)
        for base in [float(np.clip(0.6 + more + random.normal(0, 0.02), 0, 1))]
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


@pytest.mark.parametrize("number", range(1, 7))
def test_the_pilots_are_judged_as_they_were(number) -> None:
    folder = PILOTS / f"table{number}"
    cases = read_scores(folder / "results.csv.gz").frame["case"].unique()
    patients = {case: case.split("_frame")[0] for case in cases}  # of ACDC; others name none
    found = compare(read_scores(folder / "results.csv.gz", groups=patients))
    keys = ["trained_on", "tested_on", "method"]
    names = ["DSC", "IoU", "SE", "SP"]

    old = pd.read_csv(folder / "tables" / "differences.csv")
    new = found.to_frame()
    new = new[(new["condition"] == "clean") & (new["class"] == "") & (new["subset"] == "")]
    both = old[old["metric"].isin(names)].merge(
        new, left_on=[*keys, "minus", "metric"], right_on=[*keys, "minus", "measure"],
        suffixes=("", "_new"), how="left",
    )  # fmt: skip
    assert len(both) and (both["kind"] == both["kind_new"]).all()
    for name in ("seeds", "cases", "left_out", "more_false_alarms", "fewer_false_alarms"):
        assert (both[name] == both[f"{name}_new"]).all()
    # results.csv has four digits.
    for name, allowed in (("mean", 0.02), ("low", 0.02), ("high", 0.02), ("p_holm", 0.01)):
        np.testing.assert_allclose(both[f"{name}_new"], both[name], rtol=0, atol=allowed)

    old = pd.read_csv(folder / "tables" / "means.csv")
    means = pd.DataFrame(make_tables(found)[0].records)
    means = means[(means["condition"] == "clean") & (means["class"] == "")]
    both = old[old["metric"].isin(names)].merge(
        means, left_on=[*keys, "metric"], right_on=[*keys, "measure"], suffixes=("", "_new")
    )
    assert len(both) == len(old[old["metric"].isin(names)])
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(both[f"{name}_new"], both[name], rtol=0, atol=0.02)


def test_full_precision_agrees_with_an_estimate_of_the_difference() -> None:
    found = compare(Scores.of(made(0.03)))
    (item,) = found.headline
    values = {
        method: made(0.03).query("method == @method").pivot(index="seed", columns="case")["DSC"]
        for method in ("unet", "unet+scc")
    }
    gap = 100 * (values["unet+scc"] - values["unet"]).to_numpy()
    alone = estimate_mean(gap, [f"c{i:02d}" for i in range(20)])
    # The same operations on the same numbers, divided and multiplied by 100 once more: rounding.
    assert [item.estimate.mean, item.estimate.low, item.estimate.high] == pytest.approx(
        [alone.mean, alone.low, alone.high], abs=1e-9
    )


def test_samples_estimated_together_are_those_estimated_alone() -> None:
    random = np.random.default_rng(1)
    samples = [Sample(random.normal(size=(3, 12))) for _ in range(5)]
    samples += [Sample(random.normal(size=(2, 12))), Sample(np.full((3, 4), np.nan))]
    together = estimate_means(samples)
    for sample, found in zip(samples, together, strict=True):
        alone = estimate_mean(sample.values)
        # A matrix product of several columns may sum in another order than one of a single column.
        for name in ("mean", "low", "high"):
            a, b = getattr(found, name), getattr(alone, name)
            assert a == b or a == pytest.approx(b, abs=1e-8, nan_ok=True)


def test_rows_in_any_order_give_the_same_words_and_numbers() -> None:
    frame = made(0.02)
    first = compare(Scores.of(frame)).to_frame()
    again = compare(Scores.of(frame.sample(frac=1, random_state=3))).to_frame()
    pd.testing.assert_frame_equal(first, again)


@pytest.mark.parametrize(
    ("gain", "margin", "word", "told"),
    [
        (0.05, None, "better", "scores higher than unet"),
        (-0.05, None, "worse", "scores lower than unet"),
        (0.0, None, "open", "No difference between"),
        (0.0, 3.0, "equivalent", "are equivalent within 3 points of DSC"),
        (0.05, 20.0, "equivalent", "though the interval excludes 0"),
    ],
)
def test_words_go_by_interval_and_margin(gain, margin, word, told) -> None:
    found = compare(Scores.of(made(gain)), margin=margin)
    (item,) = found.headline
    assert item.word == word and told.lower() in found.sentences[0].lower()


def test_where_smaller_is_better_the_word_turns() -> None:
    found = compare(Scores.of(made(0.05)), primary="HD95_mm", margin={"DSC": 1})
    (item,) = found.headline
    assert item.estimate.mean < 0 and item.word == "better" and item.margin is None
    assert "scores lower than unet (better: smaller is better)" in found.sentences[0]


def test_controls_come_from_the_grammar_a_mapping_or_the_reference() -> None:
    frame = made().assign(method=lambda t: t["method"].map({"unet": "A", "unet+scc": "B"}))
    scores = Scores.of(frame)
    assert [(d.method, d.reference, d.kind) for d in compare(scores).headline] == [
        ("B", "A", "no control")
    ]
    assert compare(scores, reference="B").headline[0].method == "A"
    named = compare(scores, controls={"A": "B"}).headline
    assert [(d.method, d.reference, d.kind) for d in named] == [("A", "B", "control")]
    with pytest.raises(HarmosegError, match="no method is named 'C'; found A, B"):
        compare(scores, reference="C")
    with pytest.raises(HarmosegError, match="no column holds the measure 'IoU'"):
        compare(scores, primary="IoU")
    with pytest.raises(HarmosegError, match="margin -1 of DSC; expected a number above 0"):
        compare(scores, margin=-1)


def test_methods_without_a_common_seed_are_paired_in_order_and_that_is_said() -> None:
    frame = made(0.05)
    frame.loc[frame["method"] == "unet+scc", "seed"] += "0"
    found = compare(Scores.of(frame))
    assert found.headline[0].in_order and "paired in order" in found.sentences[0]


def with_classes(missed: bool) -> pd.DataFrame:
    """Two classes with counts and background; the second is missed in one case where asked."""
    rows = []
    for seed, case in np.ndindex(2, 4):
        for method in ("unet", "unet+scc"):
            for name in ("x", "y", BACKGROUND):
                lost = missed and name == "y" and case == 0 and method == "unet+scc"
                tp = 0 if lost else 40 + seed + case + (name == "y")
                fn = 50 - tp
                rows.append(
                    {
                        "method": method, "seed": str(seed), "case": str(case), "class": name,
                        "DSC": 2 * tp / (2 * tp + fn), "HD95_mm": np.nan if lost else 3.0 + case,
                        "ECE": 0.1 * (1 + case), "TP": tp, "FP": 0, "FN": fn, "TN": 100,
                    }
                )  # fmt: skip
    frame = pd.DataFrame(rows)
    frame.loc[frame["class"] == BACKGROUND, ["DSC", "HD95_mm"]] = np.nan
    return frame


def test_a_mean_over_classes_never_hides_a_missed_one() -> None:
    found = compare(Scores.of(with_classes(missed=True)))
    (block,) = found.blocks
    distance = found.scores.measures["HD95_mm"]
    assert np.isnan(block.values("unet+scc", distance)[:, 0]).all()
    assert np.isfinite(block.values("unet", distance)).all()
    (item,) = found.find(measure=distance, where=Where())
    assert item.estimate.dropped == 1
    assert found.find(measure=distance, where=Where(label="x"))[0].estimate.dropped == 0


def test_a_measure_of_a_case_counts_once() -> None:
    found = compare(Scores.of(with_classes(missed=False)))
    ece = found.scores.measures["ECE"]
    assert not found.find(measure=ece, where=Where(label="x"))
    values = found.blocks[0].values("unet", ece)
    assert values.shape == (2, 4) and values[0].tolist() == pytest.approx([10, 20, 30, 40])


def test_aggregates_come_from_counts() -> None:
    found = compare(Scores.of(with_classes(missed=True)))
    table = {t.name: t for t in make_tables(found)}["aggregates"]
    counts = np.roll(found.blocks[0].counts("unet+scc"), 1, axis=2).astype(int)
    for record in table.records:
        if record["method"] == "unet+scc" and record["measure"] in METRICS:
            values = [
                aggregate(record["aggregate"], record["measure"], of_seed).value
                for of_seed in counts
            ]
            assert record["mean"] == pytest.approx(100 * np.mean(values), abs=1e-8)
    without = Scores.of(with_classes(True).drop(columns=["TP", "FP", "FN", "TN"]))
    assert "aggregates" not in {t.name for t in make_tables(compare(without))}


def test_centres_and_conditions_have_differences_of_their_own() -> None:
    frame = made(0.05)
    centre = frame["case"].str[-1].astype(int).map(lambda n: "north" if n % 2 else "south")
    frame = pd.concat([frame.assign(subset=centre, condition=c) for c in ("clean", "blur:1")])
    found = compare(Scores.of(frame))
    wheres = {item.where for item in found.differences}
    assert wheres == {Where(), Where("blur:1"), Where(subset="north"), Where(subset="south")}
    names = {table.name for table in make_tables(found)}
    assert {"differences-by-centre", "differences-by-condition"} <= names


@pytest.mark.parametrize(
    "frame",
    [
        made().query("method == 'unet'"),
        made(seeds=1),
        made(cases=1),
        made(DSC=np.nan),
        made(HD95_mm=np.inf),
        made(seeds=1, cases=1, DSC=np.nan),
    ],
    ids=["one method", "one seed", "one case", "undefined", "infinite", "nothing"],
)
def test_poor_tables_get_a_verdict_in_words(frame) -> None:
    found = compare(Scores.of(frame))
    assert found.sentences and all(text.strip() for text in found.sentences)
    for table in make_tables(found):
        assert to_markdown(table)
    assert found.to_markdown() and found.to_latex() and found._repr_html_()


def test_only_the_primary_measure_is_corrected() -> None:
    found = compare(Scores.of(made(0.05)))
    assert all((item.p_holm is not None) == item.primary for item in found.differences)
    assert replace(found.headline[0], p=None).p is None


def test_one_training_per_method_speaks_for_these_networks_alone() -> None:
    found = compare(Scores.of(made(0.05, seeds=1)))
    (item,) = found.headline
    gap = made(0.05, seeds=1).pivot(index="case", columns="method", values="DSC")
    gap = 100 * (gap["unet+scc"] - gap["unet"]).to_numpy()
    half = stats.t.ppf(0.975, 19) * gap.std(ddof=1) / np.sqrt(20)
    assert [item.estimate.low, item.estimate.high] == pytest.approx(
        [gap.mean() - half, gap.mean() + half]
    )
    assert item.word == "better" and item.verdict == "better for these networks"
    assert item.estimate.detectable is None and item.p is None
    assert "over 20 cases, for these networks." in found.sentences[0]
    assert "rest open, for these networks." in found.sentences[1]
    tables = make_tables(found)
    assert all("it speaks for these networks" in table.caption for table in tables)
    assert "better for these networks" in to_markdown(tables[1])
    assert set(found.to_frame()["word"]) == {"better for these networks"}


def test_the_interval_over_patients_counts_images_of_a_patient_once() -> None:
    values = np.repeat(np.random.default_rng(0).normal(1, 1, 12), 5)[None]
    (found,) = estimate_means(
        [Sample(values, [str(i // 5) for i in range(60)])], fixed_networks=True
    )
    (alone,) = estimate_means([Sample(values[:, ::5])], fixed_networks=True)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_one_run_under_two_names_is_named() -> None:
    frame = made(0.02)
    copy = frame[frame["method"] == "unet"].assign(method="unet2")
    scores = Scores.of(pd.concat([frame, copy]))
    notes = compare(scores, controls={"unet2": "unet", "unet+scc": "unet"}).notes
    assert len(notes) == 3 and "unet and unet2 have identical scores" in notes[0]
    seeds = pd.concat([frame, frame[frame["seed"] == "0"].assign(seed="9")])
    assert "Seeds 0 and 9 of unet have" in compare(Scores.of(seeds)).sentences[-2]


def test_cases_that_one_method_lacks_are_counted_and_left_out() -> None:
    frame = made(0.05)
    frame = frame[(frame["method"] != "unet") | (frame["case"] > "c03")]
    found = compare(Scores.of(frame))
    assert found.headline[0].estimate.cases == 16
    assert "4 of 20 cases have scores of one method only and are left out" in found.sentences[-1]
    frame = made(0.05).query("case < 'c05' or method == 'unet'")
    with pytest.raises(HarmosegError, match="have no case in common: unet.scc has c00, c01"):
        compare(Scores.of(frame[(frame["method"] != "unet") | (frame["case"] > "c04")]))


def test_a_class_without_a_row_is_a_failure_and_no_smaller_mean() -> None:
    frame = with_classes(missed=False).drop(columns=["TP", "FP", "FN", "TN"])
    lost = (frame["case"] == "0") & (frame["class"] == "y") & (frame["method"] == "unet")
    found = compare(Scores.of(frame[~lost & (frame["class"] != BACKGROUND)]), primary="DSC")
    assert found.headline[0].estimate.dropped == 1
    undefined = frame["DSC"].mask(lost)
    found = compare(Scores.of(frame.assign(DSC=undefined)[frame["class"] != BACKGROUND]))
    assert "In 1 cases unet+scc and unet are averaged over different classes" in found.notes[0]


@pytest.mark.parametrize(
    ("names", "shown"), [(("A", "B"), ""), (("unet", "unet+scc@sample"), "no control")]
)
def test_methods_of_other_people_are_not_told_that_they_lack_a_control(made, names, shown) -> None:
    values = np.random.default_rng(0).uniform(60, 90, (2, 6))
    first, second = names
    found = compare(made.make_scores({first: values, second: values + 5}), reference=first)
    (item,) = found.headline
    assert item.kind == "no control" and item.shown_kind == shown
    assert ("Not a control" in found.sentences[0]) == bool(shown)
