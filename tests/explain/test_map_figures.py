"""The paper's figures from plain values: what is on them, in which place."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from harmoseg.explain.cam import Explanation
from harmoseg.explain.map_figures import cam_figure, spectral_map_figure
from harmoseg.explain.slices import ShownSlice, power_of_slices
from harmoseg.explain.spectra import (
    CHANGES,
    KINDS,
    change_effects,
    map_correlation,
    power_of_planes,
    spectral_map,
)
from harmoseg.explain.spectrum_figures import power_share_figure, spatial_spectral_figure


def shown(channels: int = 3, size: int = 32) -> ShownSlice:
    random = np.random.default_rng(0)
    truth = np.zeros((size, size), np.uint8)
    truth[8:20, 10:22] = 1
    truth[22:26, 4:9] = 2
    image = random.integers(0, 256, (size, size, channels), dtype=np.uint8)
    return ShownSlice("a $case_1$ with a long name of its own", 3, image, truth, 0.8)


def explanation(predicted: np.ndarray, cams: Any = None) -> Explanation:
    """Explain `shown` by a network that predicts this."""
    correlation = map_correlation(predicted, shown().truth)
    return Explanation(predicted, spectral_map(predicted, [1, 2]), correlation, 1, cams or {})


def drawn(figure: Figure) -> str:
    """Draw a figure as SVG with its words as words."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg")
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_power_shares_are_the_heights_of_the_bars(channels) -> None:
    kinds = power_of_slices([shown(channels)] * 3)
    figure = power_share_figure(kinds, shown(channels), title="T & T")
    text = drawn(figure)
    left, right = figure.subfigs[1].axes
    heights = np.array([bar.get_height() for bar in left.patches]).reshape(3, -1)
    for row, kind in zip(heights, kinds, strict=True):
        np.testing.assert_allclose(row, kind.octaves()[1].mean(0))
    np.testing.assert_allclose(heights.sum(1), 1)
    for line, kind in zip(right.lines, kinds, strict=True):
        np.testing.assert_allclose(line.get_ydata(), 1 - kind.cumulative[:, :-1].mean(0))
    assert "images, tapered (n = 3; zero frequency: 7" in text and "masks (n = 6;" in text
    assert "T &amp; T" in text
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["32", "16", "8", "4", "2"]


def test_kinds_without_power_are_left_out() -> None:
    flat = power_of_planes("flat", [np.zeros((32, 32))])
    assert "flat (" not in drawn(power_share_figure([flat], shown()))
    kinds = [flat, power_of_planes("noise", [np.random.default_rng(0).random((32, 32))])]
    text = drawn(power_share_figure(kinds, shown()))
    assert "noise (n = 1" in text and "flat (" not in text


def test_changes_have_a_panel_a_kind_and_a_line_an_amount() -> None:
    mask = shown().truth == 1
    edges, effects = change_effects([mask])
    figure = spatial_spectral_figure(edges, effects, mask)
    drawn(figure)
    panels = figure.axes[: len(KINDS)]
    assert panels[0].get_title(loc="left") == "Shifted to the right"
    by_panel = [
        [line for line in axes.lines if not line.get_label().startswith("_")] for axes in panels
    ]
    assert [len(lines) for lines in by_panel] == [
        sum(e.change.kind == kind and e.masks > 0 for e in effects) for kind in KINDS
    ]
    np.testing.assert_allclose(by_panel[0][1].get_ydata(), effects[1].rings)
    assert by_panel[0][1].get_label() == f"2 px: {effects[1].spatial:.2f}"
    last = figure.axes[len(KINDS)]
    np.testing.assert_allclose(last.lines[0].get_xdata(), [e.spatial for e in effects[:5]])
    assert [line.get_label() for line in last.lines] == [*KINDS, "all frequencies"]
    assert effects[0].change == CHANGES[0]


def test_spectral_maps_stand_by_case_and_method_with_their_correlation() -> None:
    truth = shown().truth
    pred = np.roll(truth, 2, 0)
    pred[pred == 2] = 0
    slices = [replace(shown(), case=f"case {i}", plane=0) for i in range(2)]
    explained = {"unet": [explanation(pred)] * 2, "a_$b$": [explanation(truth)] * 2}
    figure = spectral_map_figure(slices, explained, title="t")
    text = drawn(figure)
    panels = [axes for axes in figure.axes if axes.images][:6]
    assert [axes.get_title() for axes in panels[:3]] == ["truth", "unet", "a_$b$"]
    assert panels[1].get_xlabel() == "r = 1.000 (1 of 2 classes)"
    assert panels[5].get_xlabel() == "r = 1.000" and panels[3].get_ylabel() == "case 1"
    np.testing.assert_array_equal(panels[0].images[0].get_array(), spectral_map(truth))
    # One range of colours in a row; the zero frequency lies at 0.
    assert len({axes.images[0].get_clim() for axes in panels[:3]}) == 1
    left, right, bottom, top = panels[0].images[0].get_extent()
    assert (left, right) == (-16.5 / 32, 15.5 / 32) and (bottom, top) == (15.5 / 32, -16.5 / 32)
    assert "averaged over classes" in text


def test_an_undefined_correlation_is_said_and_an_empty_map_drawn() -> None:
    found = explanation(np.zeros((32, 32), np.uint8))
    assert "r undefined" in drawn(spectral_map_figure([shown()], {"m": [found]}))


@pytest.mark.parametrize("channels", [1, 3])
def test_cams_lie_over_the_image_with_both_outlines(channels) -> None:
    item = shown(channels)
    cam = np.zeros((4, 4), np.float32)
    cam[1, 2] = 1
    other = (item.truth == 2).astype(np.uint8)
    explained = {
        "unet": [explanation(other, {"encoder": cam})] * 2,
        "none": [explanation(0 * other, {"decoder": np.zeros((32, 32), np.float32)})] * 2,
    }
    figure = cam_figure([item, item], explained, ("background", "x", "y"), title="t")
    text = drawn(figure)
    image, encoder, decoder = figure.axes[:3]
    assert image.get_ylabel().startswith("a $case_1") and image.get_ylabel().endswith(
        "\nplane 3, x"
    )
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        "image",
        "unet\nencoder",
        "none\ndecoder",
    ]
    drawn_cam = encoder.images[1]
    assert drawn_cam.get_array().shape == (32, 32) and drawn_cam.get_clim() == (0, 1)
    # The peak is in the second row and third column of four.
    row_index, column = np.unravel_index(drawn_cam.get_array().argmax(), (32, 32))
    assert 8 <= row_index < 16 and 16 <= column < 24
    assert drawn_cam.get_alpha().max() > 0.7 and drawn_cam.get_alpha().min() < 0.2
    assert drawn_cam.get_extent() == encoder.images[0].get_extent() == [0, 1, 0.8, 0]
    # The outline of the truth on the image, of the prediction on the map, none of an empty one.
    [outline] = image.collections
    vertices = np.concatenate([path.vertices for path in outline.get_paths()])
    np.testing.assert_allclose(vertices.min(0), [10 / 32, 8 / 32 * 0.8], atol=1e-9)
    np.testing.assert_allclose(vertices.max(0), [22 / 32, 20 / 32 * 0.8], atol=1e-9)
    assert len(encoder.collections) == 1 and not decoder.collections
    assert "Grad-CAM, share of its maximum" in text and "prediction" in text
