"""Figures of a study: what is drawn is what was measured, and nothing breaks at the edges."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from harmoseg.evaluation.reading import CLEAN
from harmoseg.losses.controls import references_of
from harmoseg.report.figures.comparisons import difference_plot, paired_plot, training_curves
from harmoseg.report.figures.forest import colour_of, forest_plot, reach
from harmoseg.report.figures.ladders import (
    condition_figure,
    find_families,
    find_ladders,
    ladder_figure,
    weight_figure,
)
from harmoseg.report.figures.of_study import study_figures
from harmoseg.report.figures.reliability import calibration_error, pool_bins, reliability_figure
from harmoseg.report.figures.rings import (
    read_ring_curves,
    ring_figure,
    ring_places,
)
from harmoseg.report.figures.style import (
    GAIN,
    LOSS,
    UNDECIDED,
    method_styles,
    save_figure,
    shortened,
    text_width,
    wrapped,
)
from harmoseg.statistics.intervals import Estimate, estimate_mean
from harmoseg.study.estimates import estimate_point
from harmoseg.study.rings import ring_correlations, ring_table
from harmoseg.study.tables import Difference, paired_differences

MANY = (
    *("unet", "unet@sample", "unet+scc@sample", "unet+rings:0.1@sample", "unet+rings@sample"),
    *("unet+rings:1@sample", "unet+dice@sample", "unet+torch.nn.CrossEntropyLoss:0.5"),
)


def difference(task, method, reference, store, estimate, kind="without the term") -> Difference:
    return Difference(task, store, store, method, reference, kind, "DSC", estimate)


def differences(task: Any, store: str | None = None) -> list[Difference]:
    found = []
    for name in task.stores:
        for method in task.methods:
            for reference in references_of(method, task.methods)[:1]:
                if store not in (None, name):
                    continue
                ours, theirs = task.paired(method, reference.method, name, "DSC")
                estimate = (
                    estimate_mean(ours - theirs, task.groups(name), resamples=200)
                    if len(ours)
                    else Estimate(float("nan"), None, None, 0, 0, 0)
                )
                found.append(
                    difference(task.name, method, reference.method, name, estimate, reference.kind)
                )
    return found


def scores(methods=("unet", "unet+scc"), seeds=3, cases=6, step=2.0) -> dict[str, np.ndarray]:
    """Draw scores in points; every further method is `step` better."""
    random = np.random.default_rng(0)
    base = random.uniform(60, 80, cases)
    return {
        method: base + step * i + random.normal(0, 1, (seeds, cases))
        for i, method in enumerate(methods)
    }


def drawn(figure: Figure, colour: str, marker: str) -> list[list[float]]:
    """Give the places of the markers of a style, every axes' in the order they were drawn."""
    return [
        [float(v) for v in line.get_ydata()]
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == marker and to_hex(line.get_color()) == to_hex(colour)
    ]


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [item.get_text() for item in figure.findobj(lambda x: hasattr(x, "get_text"))]


def test_methods_keep_one_look_and_fourteen_are_told_apart() -> None:
    styles = method_styles([f"m{i}" for i in range(14)])
    assert len({(s.colour, s.marker) for s in styles.values()}) == 14
    assert len({(s.colour, s.line) for s in method_styles(MANY).values()}) == 8
    assert method_styles(MANY)["unet"] == method_styles(["unet"])["unet"]


def test_long_names_are_cut_in_the_middle_and_broken_at_signs() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 7) == "abc…ijk"
    assert wrapped("unet+rings:1@sample", 40) == "unet+rings:1@sample"
    assert wrapped("unet+rings:1@sample", 13) == "unet+rings:1\n@sample"
    assert text_width("$a$") > text_width("a") > text_width(" ") == 0


def test_the_means_of_seeds_end_where_the_first_seed_ends(make_task, tmp_path) -> None:
    task = make_task(scores(), logs=tmp_path, epochs={"unet": (4, 7, 6), "unet+scc": (1, 1, 1)})
    figure = training_curves(task, method_styles(task.methods))
    loss, dsc = figure.axes
    lines = [np.asarray(line.get_xydata()) for line in loss.lines]
    assert [len(line) for line in lines] == [4, 7, 6, 4, 1, 1, 1, 1]
    np.testing.assert_allclose(lines[3][:, 1], np.mean([line[:4, 1] for line in lines[:3]], 0))
    # Validated at every second epoch and at a run's last: epoch 4 of the first is in all three.
    mean = np.asarray(dsc.lines[3].get_xydata())
    np.testing.assert_allclose(mean, [[2, 49.0], [4, 74.0]])
    np.testing.assert_allclose(dsc.lines[1].get_xdata(), [2, 4, 6, 7])


def test_runs_without_validation_are_told(make_task, tmp_path) -> None:
    task = make_task(scores(), logs=tmp_path)
    for run in task.runs:
        (run.folder / "log.csv").write_text("epoch,train_total\n1,2.0\n2,1.0\n")
    figure = training_curves(task, method_styles(task.methods))
    assert len(figure.axes) == 1
    assert "Training loss (no part of the data validated)" in texts(figure)


def test_pairs_are_drawn_where_they_are_and_counted(make_task) -> None:
    given = {"unet": [[50, 60, 70, 80, np.nan]], "unet+scc": [[55, 58, 70, 90, 50]]}
    task = make_task(given)
    figure = paired_plot(task, differences(task))
    higher, lower, same = figure.axes[0].lines[1:]
    np.testing.assert_allclose(higher.get_xydata(), [[50, 55], [80, 90]])
    np.testing.assert_allclose(lower.get_xydata(), [[60, 58]])
    np.testing.assert_allclose(same.get_xydata(), [[70, 70]])
    assert {"▲ 2", "▼ 1", "= 1"} <= set(texts(figure))


def test_scores_near_100_are_told_apart_and_low_ones_to_scale(make_task) -> None:
    task = make_task({"unet": [[60, 90, 95]], "unet+scc": [[55, 91, 99]]})
    figure = paired_plot(task, differences(task))
    places = figure.axes[0].transData.transform([[60, 0], [80, 0], [90, 0], [100, 0]])[:, 0]
    gaps = np.diff(places)
    assert (gaps > 0).all() and gaps[2] > gaps[0]
    task = make_task({"unet": [[0, 10, 35]], "unet+scc": [[0, 12, 30]]})
    (axes,) = paired_plot(task, differences(task)).axes
    assert axes.get_xscale() == "linear" and 40 <= axes.get_xlim()[1] < 42


def test_differences_of_cases_are_means_over_the_seeds_both_have(make_task) -> None:
    given = {"unet": [[50, 60], [52, 60]], "unet+scc": [[55, 61], [90, 90]]}
    task = make_task(given, seeds={"unet": (0, 1), "unet+scc": (1, 2)})
    figure = difference_plot(task, differences(task))
    # Seed 1 is the second row of the one and the first of the other.
    np.testing.assert_allclose(np.sort(figure.axes[0].collections[0].get_offsets()[:, 0]), [1, 3])


def test_the_forest_has_every_number_and_its_colour(make_task) -> None:
    tasks = [make_task(scores(seeds=s, step=d), name=n) for n, s, d in (("a", 3, 9), ("b", 3, -9))]
    found = [item for task in tasks for item in differences(task)]
    figure = forest_plot(found)
    axes = figure.axes[0]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(
        [line.get_xdata()[0] for line in points], [item.estimate.mean for item in found]
    )
    assert [line.get_color() for line in points] == [GAIN, LOSS]
    bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 1.8]
    np.testing.assert_allclose(bars, [(x.estimate.low, x.estimate.high) for x in found])
    written = texts(figure)
    assert {"a: trained and tested", "b: trained and tested", "3, 6"} <= set(written)
    for item in found:
        mean = f"{item.estimate.mean:+.1f}".replace("-", "\N{MINUS SIGN}")
        assert any(text.startswith(f"{mean} [") for text in written)


def test_colours_follow_the_interval() -> None:
    assert colour_of(Estimate(1, 0.5, 2, 3, 9, 0)) == GAIN
    assert colour_of(Estimate(-1, -2, -0.5, 3, 9, 0)) == LOSS
    assert colour_of(Estimate(1, -0.5, 2, 3, 9, 0)) == UNDECIDED
    assert colour_of(Estimate(9, None, None, 1, 9, 0)) == UNDECIDED


def test_one_wide_interval_does_not_squeeze_the_others() -> None:
    narrow = [difference("a", f"m{i}", "c", "s", Estimate(1, -1, 2, 3, 9, 0)) for i in range(9)]
    wide = difference("a", "w", "c", "s", Estimate(1, -40, 50, 2, 9, 0))
    limit = reach([*narrow, wide])
    assert 2 < limit < 5
    figure = forest_plot([*narrow, wide])
    arrows = [x for x in figure.axes[0].lines if x.get_marker() in ("<", ">")]
    assert [line.get_xdata()[0] for line in arrows] == [-limit, limit]
    assert any("[\N{MINUS SIGN}40.0, +50.0]" in text for text in texts(figure))


def test_forty_rows_keep_their_height_and_names_their_place() -> None:
    rows = [
        difference(
            f"t{i // 10}",
            f"method-{i}" * 8,
            "control" * 9,
            "s",
            Estimate(i, i - 1, i + 1, 3, 9, 0),
        )
        for i in range(40)
    ]
    figure = forest_plot(rows)
    assert 7.5 < figure.get_figheight() < 11 and figure.get_figwidth() < 10
    figure.draw_without_rendering()
    boxes = [
        item.get_window_extent()
        for item in figure.axes[0].texts
        if item.get_text().startswith(("method-", "control"))
    ]
    width = figure.get_figwidth() * figure.dpi
    assert len(boxes) == 80
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)
    overlaps = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    assert not overlaps


def test_rings_without_power_are_left_out_and_not_counted_as_perfect(made_studies) -> None:
    rings = made_studies.make_rings(2, 2, [[[0.9, np.nan], [0.5, 0.2]], [[np.nan, np.nan]] * 2])
    found = ring_correlations(rings)
    np.testing.assert_allclose(found, [[0.7, 0.2], [np.nan, np.nan]])
    noise = replace(rings, power=rings.power + 1e-29)
    np.testing.assert_allclose(ring_correlations(noise)[0], [0.7, 0.2])


def test_ring_curves_are_the_means_of_cases_and_paired_gains(make_task, made_studies) -> None:
    random = np.random.default_rng(0)
    given = {m: random.uniform(0.2, 0.9, (6, 1, 4)) for m in ("unet", "unet+scc")}
    given["unet"][2, 0, 3] = np.nan
    rings = {m: made_studies.make_rings(6, 1, values) for m, values in given.items()}
    task = make_task(scores(), rings=rings)
    curves = read_ring_curves(task, "made")
    found = curves.estimates("unet", (0, 1, 2))
    np.testing.assert_allclose([x.mean for x in found], np.nanmean(given["unet"][:, 0], 0))
    assert [x.dropped for x in found] == [0, 0, 0, 1]
    gains = curves.gains("unet+scc", "unet", (0, 1))
    np.testing.assert_allclose(
        [x.mean for x in gains], np.nanmean(given["unet+scc"] - given["unet"], axis=(0, 1))
    )
    styles = method_styles(task.methods)
    figure = ring_figure(task, "made", differences(task), styles)
    points = drawn(figure, styles["unet"].colour, styles["unet"].marker)
    np.testing.assert_allclose(np.concatenate(points), [x.mean for x in found])
    assert {"0 (area)", "1/2", "1/8"} <= set(texts(figure))


def test_each_kind_of_control_has_a_panel_of_ring_gains(make_task, made_studies) -> None:
    random = np.random.default_rng(0)
    methods = ("unet", "unet@sample", "unet+scc:1", "unet+rings:1")
    rings = {m: made_studies.make_rings(6, 1, random.uniform(0.2, 0.9, (6, 1, 4))) for m in methods}
    task = make_task(scores(methods), rings=rings)
    curves, styles = read_ring_curves(task, "made"), method_styles(methods)
    estimate = Estimate(1, 0, 2, 3, 6, 0)
    found = [
        difference("made", method, reference.method, "made", estimate, reference.kind)
        for method in methods
        for reference in references_of(method, methods)
    ]
    assert {item.kind for item in found} == {
        *("without the term", "overlap term instead", "no control")
    }
    figure = ring_figure(task, "made", found, styles)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    style = styles["unet+rings:1"]
    for title, reference in (
        ("Gain over the same without the term", "unet"),
        ("Gain over an overlap term of that weight", "unet+scc:1"),
    ):
        points = [
            line.get_ydata()
            for line in panels[title].lines
            if line.get_marker() == style.marker
            and to_hex(line.get_color()) == style.colour.lower()
        ]
        expected = [x.mean for x in curves.gains("unet+rings:1", reference, (0, 1, 2))]
        np.testing.assert_allclose(np.concatenate(points), expected)
    assert "Difference to the first method" not in panels
    alone = ring_figure(task, "made", [item for item in found if item.kind == "no control"], styles)
    assert [axes.get_title(loc="left") for axes in alone.axes] == [
        *("Ring correlation", "Difference to the first method")
    ]


def test_small_ring_gains_keep_their_sign(make_task, made_studies, make_study) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(0.2, 0.9, (20, 1, 4))
    rings = {
        "unet": made_studies.make_rings(20, 1, base),
        "unet+scc": made_studies.make_rings(
            20, 1, base - 4e-4 + random.normal(0, 1e-4, base.shape)
        ),
    }
    study = make_study(make_task(scores(cases=20), rings=rings))
    headline = [item for item in paired_differences(study) if item.metric == "DSC"]
    (row,) = ring_table(study, headline).rows
    for cell in row[3:]:
        assert re.fullmatch(r"-0\.000\d+ \[-0\.000\d+, -0\.000\d+\]", cell)
        assert all(float(number) < 0 for number in re.findall(r"[-+][\d.]+", cell))


def test_rings_stand_an_octave_apart_and_zero_before_them() -> None:
    places = ring_places(np.array([0, 0.125, 0.25, 0.5]))
    np.testing.assert_allclose(places, [-5, -3, -2, -1])


def test_pooled_bins_are_those_of_all_pixels(made_studies) -> None:
    one, two = made_studies.make_bins(), made_studies.make_bins(0.5)
    one.count[0], one.confidence[0], one.frequency[0] = 0, np.nan, np.nan
    two.count[:] = 3000
    pooled = pool_bins([one, two])
    assert pooled.count.tolist() == [3000, *[4000] * 9]
    np.testing.assert_allclose(
        pooled.confidence, one.confidence[1:].tolist()[:0] + two.confidence.tolist()
    )
    wanted = [0.025, *(0.25 * one.frequency[1:] + 0.75 * two.frequency[1:])]
    np.testing.assert_allclose(pooled.frequency, wanted)
    gaps = np.abs(pooled.frequency - pooled.confidence)
    np.testing.assert_allclose(
        calibration_error(pooled), 100 * np.average(gaps, weights=pooled.count)
    )
    empty = replace(one, count=np.zeros(10, np.int64))
    assert np.isnan(calibration_error(pool_bins([empty])))


def test_reliability_draws_the_bins_and_tells_the_error(make_task, made_studies) -> None:
    bins = {"unet": made_studies.make_bins(0.8), "unet+scc": made_studies.make_bins(1.0)}
    also = {f"other{i}": scores() for i in range(3)}
    task = make_task(scores(), bins=bins, also=also)
    figure = reliability_figure(task, method_styles(task.methods))
    unet, scc = figure.axes[0].lines[1:]
    np.testing.assert_allclose(unet.get_ydata(), bins["unet"].frequency)
    np.testing.assert_allclose(scc.get_xydata()[:, 0], scc.get_ydata())
    assert {"ECE 10.00", "ECE 0.00", "other2", "share of foreground"} <= set(texts(figure))


def test_families_need_three_weights_and_know_their_plain_method() -> None:
    (family,) = find_families(MANY)
    assert family.title == "unet+rings:λ@sample" and family.plain == "unet@sample"
    assert list(family.members.items()) == [
        (0.1, "unet+rings:0.1@sample"),
        (0.2, "unet+rings@sample"),
        (1.0, "unet+rings:1@sample"),
    ]
    assert find_families(MANY[:5]) == []
    assert find_families(MANY[2:])[0].plain is None


def test_weights_are_drawn_from_the_plain_method_on(make_task) -> None:
    task = make_task(scores(MANY), also={"other": scores(MANY, cases=4)})
    styles = method_styles(task.methods)
    figure = weight_figure(task, find_families(task.methods), styles)
    for axes, store in zip(figure.axes, task.stores, strict=False):
        for place, method in enumerate(MANY[1:2] + MANY[3:6]):
            (line,) = (x for x in axes.lines if x.get_marker() == styles[method].marker)
            wanted = task.values(method, store, "DSC").mean()
            np.testing.assert_allclose(line.get_xydata(), [[place, wanted]])
        assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "0.1", "0.2", "1"]


def test_ladders_go_from_mild_to_bad() -> None:
    conditions = ("gaussian:0.05", "contrast:0.2", "gaussian:0.002", "contrast:0.8", "blur:1.5")
    ladders, single = find_ladders(conditions)
    assert [ladder.conditions for ladder in ladders] == [
        ("gaussian:0.002", "gaussian:0.05"),
        ("contrast:0.8", "contrast:0.2"),
    ]
    assert single == ["blur:1.5"]


def test_corruptions_are_drawn_at_their_scores(make_task) -> None:
    given = scores()
    names = ("gaussian:0.002", "gaussian:0.05", "blur:1.5")
    damaged = {name: {m: v - 5 * i for m, v in given.items()} for i, name in enumerate(names)}
    task = make_task(given, damaged=damaged)
    styles = method_styles(task.methods)
    ladders, single = find_ladders(task.conditions)
    figure = ladder_figure(task, "made", ladders, styles)
    for method, style in styles.items():
        wanted = [
            task.values(method, "made", "DSC", condition=name).mean()
            for name in (CLEAN, *names[:2])
        ]
        points = drawn(figure, style.colour, style.marker)
        np.testing.assert_allclose(np.concatenate(points), wanted)
    figure = condition_figure(task, "made", single, styles)
    lines = [x for x in figure.axes[0].lines if x.get_marker() == styles["unet"].marker]
    np.testing.assert_allclose(
        [x.get_xdata()[0] for x in lines], [given["unet"].mean(), given["unet"].mean() - 10]
    )
    assert "blur:1.5" in texts(figure)


def test_an_interval_ends_where_scores_end(make_task) -> None:
    task = make_task({"unet": [[100, 100, 90], [100, 95, 60]]})
    figure = condition_figure(task, "made", (), method_styles(task.methods))
    bar = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 2)
    assert bar.get_xdata()[1] == 100
    assert estimate_point(task.values("unet", "made", "DSC"), task.groups("made")).high > 100


def predictions_of(task: Any, store: str, _: Any) -> Any:
    labels = task.stores[store].labels
    return lambda _, number: np.roll(labels[number], 2, 0)


def all_figures(study: Any) -> list[Any]:
    found = [item for task in study.tasks for item in differences(task)]
    return study_figures(study, found, predictions=predictions_of)


CASES = {
    "one seed": {"scores": scores(seeds=1)},
    "one method": {"scores": scores(("unet",))},
    "missing seeds": {
        "scores": {"unet": scores()["unet"], "unet+scc": scores()["unet+scc"][:1]},
        "seeds": {"unet": (0, 2, 3), "unet+scc": (1,)},
    },
    "nothing defined": {"scores": {m: np.full((2, 4), np.nan) for m in ("unet", "unet+scc")}},
    "one case": {"scores": scores(cases=1)},
    "partly undefined": {
        "scores": {m: np.where(v > 75, np.nan, v) for m, v in scores(cases=9).items()}
    },
}


@pytest.mark.parametrize("name", CASES)
def test_every_figure_stands_at_the_edges(make_task, make_study, tmp_path, name) -> None:
    values = CASES[name]["scores"]
    damaged = dict.fromkeys(("gaussian:0.01", "gaussian:0.02", "blur:1.5"), values)
    task = make_task(
        values, damaged=damaged, logs=tmp_path, name="$a$_b", seeds=CASES[name].get("seeds")
    )
    found = all_figures(make_study(task))
    for item in found:
        item.figure.draw_without_rendering()
        assert re.fullmatch(r"[a-z0-9-]+", item.name) and item.caption.endswith(".")
    kinds = {item.name.split("-")[-1] if item.name == "gains" else item.name for item in found}
    assert {"a-b-training", "a-b-reliability", "a-b-rings-a-b", "a-b-ladders-a-b"} <= kinds
    assert ("gains" in kinds) == (name != "one method")


def test_a_study_of_many_methods_and_tasks_has_its_own_names(
    make_task, make_study, tmp_path
) -> None:
    tasks = [
        make_task(scores(MANY, 1, 3), logs=tmp_path, name="d a", also={"d+a": scores(MANY, 1, 3)}),
        make_task(scores(("unet",), 1, 3), logs=tmp_path, name="d_a", classes=("x", "y")),
    ]
    found = all_figures(make_study(*tasks))
    names = [item.name for item in found]
    assert len(set(names)) == len(names) and names[0] == "gains"
    assert "d-a-weights" in names and "d-a-training-2" in names
    caption = next(item.caption for item in found if item.name == "gains")
    assert "14 comparisons on 2 test sets" in caption
    assert not any("conditions" in name or "ladders" in name for name in names)


def test_files_are_the_same_bytes_and_names_are_text(make_task, tmp_path) -> None:
    task = make_task(scores(), name="a$b$c", also={"<x>": scores()})
    styles = method_styles(task.methods)
    saved = []
    for name in ("one", "two"):
        figure = ring_figure(task, "made" if "made" in task.stores else "a$b$c", [], styles)
        picture = save_figure(figure, tmp_path / "new" / f"v1.{name}")
        assert picture == (tmp_path / "new" / f"v1.{name}.png").read_bytes()
        saved.append((picture, (tmp_path / "new" / f"v1.{name}.svg").read_bytes()))
    assert saved[0] == saved[1]
    save_figure(reliability_figure(task, styles), tmp_path / "r")
    drawing = (tmp_path / "r.svg").read_text(encoding="utf-8")
    assert "a$b$c</text>" in drawing and "&lt;x&gt;</text>" in drawing
    assert not re.search(r"<dc:date>|matplotlib\.org|Matplotlib v", drawing)
