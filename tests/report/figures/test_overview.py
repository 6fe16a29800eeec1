"""Figures of a comparison: what is drawn is what was measured, and nothing breaks at the edges."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from harmoseg.metrics.measures import known_measure
from harmoseg.report.figures.cases import difference_plot, paired_plot
from harmoseg.report.figures.curves import (
    reliability_figure,
    ring_figure,
    ring_places,
    training_curves,
)
from harmoseg.report.figures.forest import colour_of, forest_plot, reach
from harmoseg.report.figures.ladders import (
    condition_figure,
    find_families,
    find_ladders,
    ladder_figure,
    weight_figure,
)
from harmoseg.report.figures.overview import comparison_figures
from harmoseg.report.figures.style import (
    GAIN,
    LOSS,
    UNDECIDED,
    method_styles,
    place_dots,
    save_figure,
    shortened,
    text_width,
    to_png,
    wrapped,
)
from harmoseg.report.gallery import Gallery
from harmoseg.scores.table import CLEAN, RESCALED, Scores
from harmoseg.statistics.blocks import Where
from harmoseg.statistics.comparison import Difference, compare
from harmoseg.statistics.curves import pooled_bins, ring_correlations, ring_curves, ring_table
from harmoseg.statistics.intervals import Estimate, estimate_mean

MANY = (
    *("unet", "unet@sample", "unet+scc@sample", "unet+rings:0.1@sample", "unet+rings@sample"),
    *("unet+rings:1@sample", "unet+dice@sample", "unet+torch.nn.CrossEntropyLoss:0.5"),
)


def difference(block, method, reference, estimate, kind="without the term", measure="DSC"):
    known = known_measure(measure)
    return Difference(block, method, reference, kind, known, Where(), estimate, primary=True)


def made_blocks(made, count: int = 1) -> list[Any]:
    given = {"unet": [[50.0] * 6], "unet+scc": [[60.0] * 6]}
    names = [f"t{i}" for i in range(count)]
    return [made.make_comparison(given, name=name).blocks[0] for name in names]


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


def test_the_means_of_seeds_end_where_the_first_seed_ends(made) -> None:
    epochs = {"unet": (4, 7, 6), "unet+scc": (1, 1, 1)}
    figure = training_curves(made.make_logs(epochs), list(epochs), method_styles(list(epochs)))
    loss, dsc = figure.axes
    lines = [np.asarray(line.get_xydata()) for line in loss.lines]
    assert [len(line) for line in lines] == [4, 7, 6, 4, 1, 1, 1, 1]
    np.testing.assert_allclose(lines[3][:, 1], np.mean([line[:4, 1] for line in lines[:3]], 0))
    # Validated at every second epoch and at a run's last: epoch 4 of the first is in all three.
    mean = np.asarray(dsc.lines[3].get_xydata())
    np.testing.assert_allclose(mean, [[2, 49.0], [4, 74.0]])
    np.testing.assert_allclose(dsc.lines[1].get_xdata(), [2, 4, 6, 7])


def test_runs_without_validation_are_told(made) -> None:
    logs = made.make_logs({"unet": (2, 2)}, validated=False)
    figure = training_curves(logs, ["unet"], method_styles(["unet"]))
    assert len(figure.axes) == 1
    assert "Training loss (no part of the data validated)" in texts(figure)


def test_pairs_are_drawn_where_they_are_and_counted(made) -> None:
    given = {"unet": [[50, 60, 70, 80, np.nan]], "unet+scc": [[55, 58, 70, 90, 50]]}
    figure, dots = paired_plot(made.make_comparison(given).headline)
    higher, lower, same = figure.axes[0].lines[1:]
    np.testing.assert_allclose(higher.get_xydata(), [[50, 55], [80, 90]])
    np.testing.assert_allclose(lower.get_xydata(), [[60, 58]])
    np.testing.assert_allclose(same.get_xydata(), [[70, 70]])
    assert {"▲ 2", "▼ 1", "= 1"} <= set(texts(figure))
    assert dots[0].cases == ["case0", "case1", "case2", "case3"]  # the fifth is undefined


def test_a_dot_is_found_in_the_picture_where_it_was_drawn(made) -> None:
    base = np.linspace(50, 90, 6)[None]
    gain = np.asarray([[9.0, -7, 5, -4, 2, 1]])
    for plot in (paired_plot, difference_plot):
        figure, dots = plot(made.make_comparison({"unet": base, "unet+scc": base + gain}).headline)
        picture = np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("RGB")).astype(int)
        found = place_dots(figure, dots)
        assert found["cases"] == [f"case{i}" for i in range(6)]
        assert found["methods"] == ["unet+scc"]
        height, width = picture.shape[:2]
        for x, y, case, _ in found["dots"]:
            pixel = picture[round(y * height - 0.5), round(x * width - 0.5)]
            blue = pixel[2] - pixel[0]  # gains are blue, losses orange
            assert (blue > 40) == (gain[0, case] > 0) and (blue < -40) == (gain[0, case] < 0)


def test_scores_near_100_are_told_apart_and_low_ones_to_scale(made) -> None:
    near = made.make_comparison({"unet": [[60, 90, 95]], "unet+scc": [[55, 91, 99]]})
    figure, _ = paired_plot(near.headline)
    places = figure.axes[0].transData.transform([[60, 0], [80, 0], [90, 0], [100, 0]])[:, 0]
    gaps = np.diff(places)
    assert (gaps > 0).all() and gaps[2] > gaps[0]
    low = made.make_comparison({"unet": [[0, 10, 35]], "unet+scc": [[0, 12, 30]]})
    (axes,) = paired_plot(low.headline)[0].axes
    assert axes.get_xscale() == "linear" and 40 <= axes.get_xlim()[1] < 42


def test_differences_of_cases_are_means_over_the_seeds_both_have(made) -> None:
    given = {"unet": [[50, 60], [52, 60]], "unet+scc": [[55, 61], [90, 90]]}
    comparison = made.make_comparison(given, seeds={"unet": (0, 1), "unet+scc": (1, 2)})
    figure, _ = difference_plot(comparison.headline)
    # Seed 1 is the second row of the one and the first of the other.
    np.testing.assert_allclose(np.sort(figure.axes[0].collections[0].get_offsets()[:, 0]), [1, 3])


def test_the_forest_has_every_number_and_its_colour(made) -> None:
    found = [
        item
        for name, step in (("a", 9), ("b", -9))
        for item in made.make_comparison(scores(step=step), name=name).headline
    ]
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


def test_colours_follow_the_word(made) -> None:
    (block,) = made_blocks(made)

    def colour(estimate: Estimate, measure: str = "DSC") -> str:
        return colour_of(difference(block, "unet+scc", "unet", estimate, measure=measure))

    assert colour(Estimate(1, 0.5, 2, 3, 9, 0)) == GAIN
    assert colour(Estimate(-1, -2, -0.5, 3, 9, 0)) == LOSS
    assert colour(Estimate(-1, -2, -0.5, 3, 9, 0), "HD95_mm") == GAIN
    assert colour(Estimate(1, -0.5, 2, 3, 9, 0)) == UNDECIDED
    assert colour(Estimate(9, None, None, 1, 9, 0)) == UNDECIDED


def test_one_wide_interval_does_not_squeeze_the_others(made) -> None:
    (block,) = made_blocks(made)
    narrow = [difference(block, f"m{i}", "c", Estimate(1, -1, 2, 3, 9, 0)) for i in range(9)]
    wide = difference(block, "w", "c", Estimate(1, -40, 50, 2, 9, 0))
    limit = reach([*narrow, wide])
    assert 2 < limit < 5
    figure = forest_plot([*narrow, wide])
    arrows = [x for x in figure.axes[0].lines if x.get_marker() in ("<", ">")]
    assert [line.get_xdata()[0] for line in arrows] == [-limit, limit]
    assert any("[\N{MINUS SIGN}40.0, +50.0]" in text for text in texts(figure))


def test_forty_rows_keep_their_height_and_names_their_place(made) -> None:
    blocks = made_blocks(made, 4)
    rows = [
        difference(
            blocks[i // 10],
            f"method-{i}" * 8,
            "control" * 9,
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


def test_rings_without_power_are_left_out_and_not_counted_as_perfect() -> None:
    given = np.array([[[0.9, np.nan], [0.5, 0.2]], [[np.nan, np.nan]] * 2])
    cross, power = np.nan_to_num(given), 2.0 * np.isfinite(given)
    found = ring_correlations(cross, power)
    np.testing.assert_allclose(found, [[0.7, 0.2], [np.nan, np.nan]])
    np.testing.assert_allclose(ring_correlations(cross, power + 1e-29)[0], [0.7, 0.2])


def test_ring_curves_are_the_means_of_cases_and_paired_gains(made) -> None:
    random = np.random.default_rng(0)
    given = {m: random.uniform(0.2, 0.9, (6, 1, 4)) for m in ("unet", "unet+scc")}
    given["unet"][2, 0, 3] = np.nan
    comparison = made.make_comparison(scores(), rings=given)
    curves = ring_curves(comparison.scores, comparison.blocks[0])
    found = curves.estimates("unet")
    np.testing.assert_allclose([x.mean for x in found], np.nanmean(given["unet"][:, 0], 0))
    assert [x.dropped for x in found] == [0, 0, 0, 1]
    gains = curves.gains("unet+scc", "unet")
    np.testing.assert_allclose(
        [x.mean for x in gains], np.nanmean(given["unet+scc"] - given["unet"], axis=(0, 1))
    )
    styles = method_styles(comparison.methods)
    figure = ring_figure(curves, comparison.headline, styles)
    points = drawn(figure, styles["unet"].colour, styles["unet"].marker)
    np.testing.assert_allclose(np.concatenate(points), [x.mean for x in found])
    assert {"0 (area)", "1/2", "1/8"} <= set(texts(figure))


def test_each_kind_of_control_has_a_panel_of_ring_gains(made) -> None:
    random = np.random.default_rng(0)
    methods = ("unet", "unet@sample", "unet+scc:1", "unet+rings:1")
    rings = {m: random.uniform(0.2, 0.9, (6, 1, 4)) for m in methods}
    comparison = made.make_comparison(scores(methods), rings=rings)
    curves = ring_curves(comparison.scores, comparison.blocks[0])
    styles, found = method_styles(methods), comparison.headline
    assert {item.kind for item in found} == {
        *("without the term", "overlap term instead", "no control")
    }
    figure = ring_figure(curves, found, styles)
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
        expected = [x.mean for x in curves.gains("unet+rings:1", reference)]
        np.testing.assert_allclose(np.concatenate(points), expected)
    assert "Difference to the reference" not in panels
    alone = ring_figure(curves, [item for item in found if item.kind == "no control"], styles)
    assert [axes.get_title(loc="left") for axes in alone.axes] == [
        *("Ring correlation", "Difference to the reference")
    ]


def test_small_ring_gains_keep_their_sign(made) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(0.2, 0.9, (20, 1, 4))
    rings = {"unet": base, "unet+scc": base - 4e-4 + random.normal(0, 1e-4, base.shape)}
    (row,) = ring_table(made.make_comparison(scores(cases=20), rings=rings)).rows
    for cell in row[3:]:
        assert re.fullmatch(r"-0\.000\d+ \[-0\.000\d+, -0\.000\d+\]", cell)
        assert all(float(number) < 0 for number in re.findall(r"[-+][\d.]+", cell))


def test_rings_stand_an_octave_apart_and_zero_before_them() -> None:
    places = ring_places(np.array([0, 0.125, 0.25, 0.5]))
    np.testing.assert_allclose(places, [-5, -3, -2, -1])


def test_pooled_bins_are_those_of_all_pixels(made) -> None:
    one, two = made.make_bins(), made.make_bins(0.5)
    one.loc[0, ["count", "confidence_sum", "right_sum"]] = 0
    two[["count", "confidence_sum", "right_sum"]] *= 3
    table = made.make_scores({"unet": [[50.0] * 3, [60.0] * 3]})
    keys = {"trained_on": "made", "method": "unet", "tested_on": "made", "condition": CLEAN}
    bins = [part.assign(**keys, seed=str(i), case="case1") for i, part in enumerate((one, two))]
    table = Scores.of(table.frame, bins=pd.concat(bins))
    pooled = pooled_bins(table, compare(table).blocks[0], "unet")
    assert pooled.count.tolist() == [3000, *[4000] * 9]
    np.testing.assert_allclose(pooled.confidence, np.linspace(0.05, 0.95, 10))
    shares = np.linspace(0.05, 0.95, 10)
    wanted = [0.025, *(0.25 * shares[1:] + 0.75 * 0.5 * shares[1:])]
    np.testing.assert_allclose(pooled.frequency, wanted)
    gaps = np.abs(pooled.frequency - pooled.confidence)
    np.testing.assert_allclose(pooled.error, 100 * np.average(gaps, weights=pooled.count))
    assert np.isnan(replace(pooled, count=np.zeros(10)).error)


def test_reliability_draws_the_bins_and_tells_the_error(made) -> None:
    bins = {"unet": made.make_bins(0.8), "unet+scc": made.make_bins(1.0)}
    also = {f"other{i}": scores() for i in range(3)}
    comparison = made.make_comparison(scores(), bins=bins, also=also)
    styles = method_styles(comparison.methods)
    figure = reliability_figure(comparison.scores, comparison.blocks, styles)
    unet, scc = figure.axes[0].lines[1:]
    np.testing.assert_allclose(unet.get_ydata(), bins["unet"]["right_sum"] / 1000)
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


def test_weights_are_drawn_from_the_plain_method_on(made) -> None:
    comparison = made.make_comparison(scores(MANY), also={"other": scores(MANY, cases=4)})
    styles = method_styles(comparison.methods)
    families = find_families(comparison.methods)
    figure = weight_figure(comparison, comparison.blocks, families, styles)
    for axes, block in zip(figure.axes, comparison.blocks, strict=False):
        for place, method in enumerate(MANY[1:2] + MANY[3:6]):
            (line,) = (x for x in axes.lines if x.get_marker() == styles[method].marker)
            wanted = block.values(method, comparison.primary).mean()
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


def test_conditions_of_others_stand_alone() -> None:
    assert find_ladders(("scanner B", "gaussian:0.01")) == ([], ["scanner B", "gaussian:0.01"])


def test_corruptions_are_drawn_at_their_scores(made) -> None:
    given = scores()
    names = ("gaussian:0.002", "gaussian:0.05", "blur:1.5")
    damaged = {name: {m: v - 5 * i for m, v in given.items()} for i, name in enumerate(names)}
    comparison = made.make_comparison(given, damaged=damaged)
    (block,) = comparison.blocks
    styles = method_styles(comparison.methods)
    ladders, single = find_ladders(names)
    figure = ladder_figure(comparison, block, ladders, styles)
    for method, style in styles.items():
        wanted = [
            block.values(method, comparison.primary, condition=name).mean()
            for name in (CLEAN, *names[:2])
        ]
        points = drawn(figure, style.colour, style.marker)
        np.testing.assert_allclose(np.concatenate(points), wanted)
    figure = condition_figure(comparison, block, single, styles)
    lines = [x for x in figure.axes[0].lines if x.get_marker() == styles["unet"].marker]
    np.testing.assert_allclose(
        [x.get_xdata()[0] for x in lines], [given["unet"].mean(), given["unet"].mean() - 10]
    )
    assert "blur:1.5" in texts(figure)


def test_an_interval_ends_where_scores_end(made) -> None:
    comparison = made.make_comparison({"unet": [[100, 100, 90], [100, 95, 60]]})
    (block,) = comparison.blocks
    figure = condition_figure(comparison, block, (), method_styles(["unet"]))
    bar = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 2)
    assert bar.get_xdata()[1] == 100
    values = block.values("unet", comparison.primary)
    assert estimate_mean(values, block.group_codes).high > 100


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
def test_every_figure_stands_at_the_edges(made, name) -> None:
    values = CASES[name]["scores"]
    damaged = dict.fromkeys(("gaussian:0.01", "gaussian:0.02", "blur:1.5"), values)
    seeds = CASES[name].get("seeds")
    comparison = made.make_comparison(values, damaged=damaged, name="$a$_b", seeds=seeds)
    gallery = Gallery((made.make_gallery_part(comparison, name="$a$_b"),))
    logs = made.make_logs(dict.fromkeys(values, (5,)), trained_on="$a$_b")
    found = comparison_figures(comparison, gallery, logs)
    for item in found:
        item.figure.draw_without_rendering()
        assert re.fullmatch(r"[a-z0-9-]+", item.name) and item.caption.endswith(".")
    kinds = {item.name for item in found}
    assert {"a-b-training", "a-b-reliability", "a-b-rings-a-b", "a-b-ladders-a-b"} <= kinds
    assert ("gains" in kinds) == (name != "one method")
    assert ("a-b-cases-a-b" in kinds) == (name != "nothing defined")


def test_many_methods_and_sets_have_their_own_names(made) -> None:
    parts = [
        made.make_scores(scores(MANY, 1, 3), name="d a", also={"d+a": scores(MANY, 1, 3)}),
        made.make_scores(scores(("unet",), 1, 3), name="d_a", classes=("x", "y")),
    ]
    logs = [made.make_logs({"unet": (3,)}, trained_on=name) for name in ("d a", "d_a")]
    found = comparison_figures(compare(Scores.concat(parts)), None, pd.concat(logs))
    names = [item.name for item in found]
    assert len(set(names)) == len(names) and names[0] == "gains"
    assert "d-a-weights" in names and "d-a-training-2" in names
    caption = next(item.caption for item in found if item.name == "gains")
    assert re.search(r"\d+ comparisons on 2 test sets", caption)
    assert not any("conditions" in name or "ladders" in name for name in names)


def test_figures_of_a_bare_table_need_nothing_else() -> None:
    frame = pd.DataFrame(
        [
            {"method": m, "seed": s, "case": f"c{c}", "HD95_mm": 5.0 + c + s + (m == "a")}
            for m in "ab"
            for s in range(3)
            for c in range(6)
        ]
    )
    found = comparison_figures(compare(Scores.of(frame), reference="a"))
    assert [item.name for item in found] == ["gains", "pairs", "differences"]
    assert "all cases" in found[1].title
    written = texts(found[0].figure)
    assert "difference in mm of HD95" in written and "◂ method better" in written


def test_files_are_the_same_bytes_and_names_are_text(made, tmp_path) -> None:
    comparison = made.make_comparison(scores(), name="a$b$c", also={"<x>": scores()})
    styles = method_styles(comparison.methods)
    curves = ring_curves(comparison.scores, comparison.blocks[0])
    saved = []
    for name in ("one", "two"):
        figure = ring_figure(curves, [], styles)
        picture = save_figure(figure, tmp_path / "new" / f"v1.{name}")
        assert picture == (tmp_path / "new" / f"v1.{name}.png").read_bytes()
        saved.append((picture, (tmp_path / "new" / f"v1.{name}.svg").read_bytes()))
    assert saved[0] == saved[1]
    figure = reliability_figure(comparison.scores, comparison.blocks, styles)
    save_figure(figure, tmp_path / "r")
    drawing = (tmp_path / "r.svg").read_text(encoding="utf-8")
    assert "a$b$c</text>" in drawing and "&lt;x&gt;</text>" in drawing
    assert not re.search(r"<dc:date>|matplotlib\.org|Matplotlib v", drawing)


def test_the_diagram_of_two_errors_a_method_has_room_for_them(made) -> None:
    """Warnings are errors here, that of a layout without room among them."""
    methods = [f"method-{name}" for name in "abcdef"]
    after = made.make_bins(0.9)
    after["convention"] += RESCALED
    scores = made.make_scores(
        {method: np.full((2, 4), 80.0) for method in methods},
        also={"other": {method: np.full((2, 4), 70.0) for method in methods}},
        bins={method: pd.concat([made.make_bins(0.8), after]) for method in methods},
    )
    comparison = compare(scores, reference="method-a")
    figure = reliability_figure(scores, comparison.blocks, method_styles(methods))
    to_png(figure)
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())]
    texts = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert texts.count("ECE 10.00, then 5.00") == 12
