"""Pictures of cases: the right cases, outlines where they belong, errors in boxes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from harmoseg.report.figures.overlays import (
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    choose_cases,
    class_figure,
    error_boxes,
    overlay_figure,
    resized,
)


def test_best_median_and_worst_count_methods_alike(make_task) -> None:
    base = np.arange(0, 100, 10.0)
    given = {"unet": np.stack([base, base, base]), "unet+scc": base[None, ::-1] / 2}
    chosen = choose_cases(make_task(given), "made")
    assert [item.why for item in chosen] == ["best"] * 2 + ["median"] * 2 + ["worst"] * 2
    # Three seeds of one method weigh no more than the one of the other.
    assert [item.number for item in chosen] == [9, 8, 5, 4, 1, 0]
    np.testing.assert_allclose(chosen[0].score, 45)


def test_few_cases_are_shown_once_and_undefined_ones_never(make_task) -> None:
    chosen = choose_cases(make_task({"unet": [[10, np.nan, 30]]}), "made")
    assert [(item.why, item.number) for item in chosen] == [("best", 2), ("best", 0)]
    assert choose_cases(make_task({"unet": [[np.nan]]}), "made") == []


def test_outlines_lie_where_they_belong_at_any_resolution(make_task) -> None:
    task = make_task({"unet": [[50.0] * 6]})
    store = task.stores["made"]
    coarse = np.zeros((6, 6), np.uint8)
    coarse[1:3, 2:4] = 1  # rows 4 to 12, columns 8 to 16 of 24
    chosen = choose_cases(task, "made", per_group=1)
    figure = overlay_figure(task, "made", chosen, lambda *_: coarse)
    axes = figure.axes[1]
    paths = {}
    for contour in axes.collections:
        points = np.concatenate([path.vertices for path in contour.get_paths()])
        colour = tuple(np.round(255 * contour.get_edgecolor()[0][:3]).astype(int))
        paths[colour] = (*points.min(0), *points.max(0))
    codes = {
        name: tuple(int(code[i : i + 2], 16) for i in (1, 3, 5))
        for name, code in (("truth", TRUTH_COLOUR), ("prediction", PREDICTION_COLOUR))
    }
    np.testing.assert_allclose(paths[codes["prediction"]], (8, 4, 16, 12))
    y, x = np.nonzero(store.labels[chosen[0].number])
    np.testing.assert_allclose(paths[codes["truth"]], (x.min(), y.min(), x.max() + 1, y.max() + 1))


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


def test_labels_are_brought_to_a_size_by_the_nearest_pixel() -> None:
    label = np.array([[0, 1], [2, 3]], np.uint8)
    np.testing.assert_array_equal(resized(label, (4, 4)), np.kron(label, np.ones((2, 2))))
    np.testing.assert_array_equal(resized(resized(label, (6, 4)), (2, 2)), label)


def test_classes_have_their_colours_and_errors_their_boxes(make_task) -> None:
    scores = {"unet": [[50.0] * 6], "unet+scc": [[60.0] * 6]}
    task = make_task(scores, classes=("a", "b", "c"))
    store = task.stores["made"]

    def predict(method: str, number: int) -> np.ndarray:
        label = store.labels[number].copy()
        if method == "unet+scc":
            label[:5, :7] = 2
        return label

    chosen = choose_cases(task, "made", per_group=1)
    figure = class_figure(task, "made", chosen, predict)
    assert len(figure.axes) == 4 * len(chosen)
    boxes = [
        [patch for patch in axes.patches if isinstance(patch, Rectangle)] for axes in figure.axes
    ]
    assert [len(found) for found in boxes] == [0, 0, 0, 1] * len(chosen)
    assert boxes[3][0].get_bbox().bounds == (0, 0, 8, 6)
    assert [text.get_text() for text in figure.legends[0].texts] == ["a", "b", "c"]
    truth, same = (figure.axes[i].images[-1].get_array() for i in (1, 2))
    np.testing.assert_array_equal(truth, same)
    assert len(np.unique(truth[..., :3][truth[..., 3] > 0], axis=0)) == 3
