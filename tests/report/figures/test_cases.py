"""Pictures of cases: the right cases, outlines where they belong, errors in boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from harmoseg.metrics.measures import known_measure
from harmoseg.report.figures.cases import (
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    choose_cases,
    class_figure,
    error_boxes,
    overlay_figure,
)

DSC = known_measure("DSC")


def test_best_median_and_worst_count_methods_alike(made) -> None:
    base = np.arange(0, 100, 10.0)
    given = {"unet": np.stack([base, base, base]), "unet+scc": base[None, ::-1] / 2}
    comparison = made.make_comparison(given)
    part = made.make_gallery_part(comparison)
    chosen = choose_cases(comparison.blocks[0], part, DSC)
    assert [item.why for item in chosen] == ["best"] * 2 + ["median"] * 2 + ["worst"] * 2
    # Three seeds of one method weigh no more than the one of the other.
    assert [item.case.name for item in chosen] == [f"case{i}" for i in (9, 8, 5, 4, 1, 0)]
    assert chosen[0].scores == {"unet": 90.0, "unet+scc": 0.0}


def test_few_cases_are_shown_once_and_undefined_or_unpictured_ones_never(made) -> None:
    comparison = made.make_comparison({"unet": [[10, np.nan, 30, 20]]})
    part = made.make_gallery_part(comparison)
    bare = (*part.cases[:3], replace(part.cases[3], labels={}))
    chosen = choose_cases(comparison.blocks[0], replace(part, cases=bare), DSC)
    assert [(item.why, item.case.name) for item in chosen] == [("best", "case2"), ("best", "case0")]
    nothing = made.make_comparison({"unet": [[np.nan]]})
    part = made.make_gallery_part(nothing)
    assert choose_cases(nothing.blocks[0], part, DSC) == []


def test_outlines_lie_where_they_belong(made) -> None:
    comparison = made.make_comparison({"unet": [[50.0] * 6]})
    label = np.zeros((24, 24), np.uint8)
    label[4:12, 8:16] = 1
    part = made.make_gallery_part(comparison)
    cases = tuple(replace(case, labels={("unet", "0"): label}) for case in part.cases)
    chosen = choose_cases(comparison.blocks[0], replace(part, cases=cases), DSC, per_group=1)
    axes = overlay_figure(comparison.blocks[0], chosen, DSC).axes[1]
    paths = {}
    for contour in axes.collections:
        points = np.concatenate([path.vertices for path in contour.get_paths()])
        colour = tuple(np.round(255 * contour.get_edgecolor()[0][:3]).astype(int))
        paths[colour] = (*points.min(0), *points.max(0))
    codes = {
        name: tuple(int(code[i : i + 2], 16) for i in (1, 3, 5))
        for name, code in (("truth", TRUTH_COLOUR), ("prediction", PREDICTION_COLOUR))
    }
    # The centre of a pixel is a whole number, so its edges lie half a pixel around.
    np.testing.assert_allclose(paths[codes["prediction"]], (7.5, 3.5, 15.5, 11.5))
    y, x = np.nonzero(chosen[0].case.truth)
    edges = (x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5)
    np.testing.assert_allclose(paths[codes["truth"]], edges)


@pytest.mark.parametrize("size", [24, 512])
def test_boxes_surround_errors_and_not_outlines(size) -> None:
    truth = np.zeros((size, size), np.uint8)
    truth[size // 4 : size // 2, size // 4 : size // 2] = 1
    assert error_boxes(truth, truth) == []
    assert error_boxes(truth, np.roll(truth, 1, 0)) == []
    wrong = truth.copy()
    wrong[-size // 6 :, : size // 6] = 2
    ((top, left, height, width),) = error_boxes(truth, wrong)
    margin = max(1, round(size / 100))
    assert (left, top + height) == (0, size)
    assert top == size - -(-size // 6) - margin and width == size // 6 + margin
    assert height == size - top


def test_boxes_are_few_and_the_largest_first() -> None:
    wrong = np.zeros((256, 256), np.uint8)
    for i in range(12):
        wrong[20 * i : 20 * i + 8 + i % 5, 5:20] = 1
    boxes = error_boxes(np.zeros_like(wrong), wrong)
    assert len(boxes) == 8
    assert [box[2] for box in boxes] == sorted((box[2] for box in boxes), reverse=True)


def test_classes_have_their_colours_and_errors_their_boxes(made) -> None:
    classes = ("a", "b", "c")
    scores = {"unet": [[50.0] * 6], "unet+scc": [[60.0] * 6]}
    comparison = made.make_comparison(scores, classes=classes)
    part = made.make_gallery_part(comparison, classes=classes)
    cases = []
    for case in part.cases:
        wrong = case.truth.copy()
        wrong[:5, :7] = 2
        labels = {("unet", "0"): case.truth, ("unet+scc", "0"): wrong}
        cases.append(replace(case, labels=labels))
    part = replace(part, cases=tuple(cases))
    chosen = choose_cases(comparison.blocks[0], part, DSC, per_group=1)
    figure = class_figure(comparison.blocks[0], chosen, DSC, part)
    assert len(figure.axes) == 4 * len(chosen)
    boxes = [
        [patch for patch in axes.patches if isinstance(patch, Rectangle)] for axes in figure.axes
    ]
    assert [len(found) for found in boxes] == [0, 0, 0, 1] * len(chosen)
    assert boxes[3][0].get_bbox().bounds == (-0.5, -0.5, 8, 6)
    assert [text.get_text() for text in figure.legends[0].texts] == ["a", "b", "c"]
    truth, same = (figure.axes[i].images[-1].get_array() for i in (1, 2))
    np.testing.assert_array_equal(truth, same)
    assert len(np.unique(truth[..., :3][truth[..., 3] > 0], axis=0)) == 3
