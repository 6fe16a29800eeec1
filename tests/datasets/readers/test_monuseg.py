"""Outlines to masks: closed forms, the viewer's own areas, slips of the mouse."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import defusedxml.ElementTree as SafeTree
import numpy as np
import pytest

from harmoseg import HarmosegError
from harmoseg.datasets.readers.monuseg import rasterise

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "monuseg" / "train" / "annotations"

Points = Iterable[tuple[float, float]]


def region(points: Points, **told: float) -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points)
    attributes = "".join(f' {name}="{value}"' for name, value in told.items())
    return f"<Region{attributes}><Vertices>{vertices}</Vertices></Region>"


def filled(tmp_path: Path, *regions: str, side: int = 60) -> tuple[np.ndarray, str]:
    file = tmp_path / "tile.xml"
    file.write_text(
        f"<Annotations><Annotation><Regions>{''.join(regions)}</Regions></Annotation></Annotations>"
    )
    return rasterise(file, height=side, width=side)


def rectangle(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]


@pytest.mark.parametrize(
    ("corners", "columns", "rows"),
    [
        # Vertices are counted from the image's corner: pixel 10 lies between 10 and 11.
        ((10, 20, 30, 25), slice(10, 30), slice(20, 25)),
        ((10.4, 20.4, 30.4, 25.4), slice(10, 30), slice(20, 25)),
        ((10.6, 20.6, 30.6, 25.6), slice(11, 31), slice(21, 26)),
        # A centre on the edge belongs to one of two neighbours, here the right and lower one.
        ((10.5, 20.5, 30.5, 25.5), slice(10, 30), slice(20, 25)),
        ((-3, -2, 5, 4), slice(0, 5), slice(0, 4)),
        ((50, 55, 70, 61), slice(50, 60), slice(55, 60)),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_a_rectangle_holds_the_pixels_with_their_centre_in_it(
    tmp_path, corners, columns, rows, turn
) -> None:
    label, remark = filled(tmp_path, region(rectangle(*corners)[::turn]))
    wanted = np.zeros((60, 60), np.uint8)
    wanted[rows, columns] = 1
    assert np.array_equal(label, wanted) and label.dtype == np.uint8 and remark == ""


def test_neighbours_share_no_pixel_and_leave_none_out(tmp_path) -> None:
    corners = [(10, 10), (33.5, 12.5), (41, 44), (14.5, 40)]
    middle = (25.5, 24.5)  # a centre: every edge from the middle begins on it
    parts = [
        filled(tmp_path, region([corners[i - 1], corners[i], middle, corners[i - 1]]))[0]
        for i in range(4)
    ]
    whole, _ = filled(tmp_path, region([*corners, corners[0]]))
    assert np.array_equal(sum(parts), whole)


def test_convex_outlines_against_the_half_planes_of_their_edges(tmp_path) -> None:
    random = np.random.default_rng(0)
    centres = np.stack(np.meshgrid(np.arange(60), np.arange(60)), axis=-1) + 0.5
    for _ in range(50):
        angles = np.sort(random.uniform(0, 2 * np.pi, 12))
        x, y = random.uniform(15, 45, 2)
        wide, high = random.uniform(5, 20, 2)
        points = np.stack([x + wide * np.cos(angles), y + high * np.sin(angles)], axis=1)
        edges = np.roll(points, -1, axis=0) - points
        offsets = centres[:, :, None] - points
        inside = (edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0] > 0).all(axis=2)
        closed = [*points.tolist(), points[0].tolist()]
        assert np.array_equal(filled(tmp_path, region(closed))[0], inside)


def test_small_nuclei_have_their_area(tmp_path) -> None:
    random = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 60)
    ratios = []
    for _ in range(100):
        x, y = random.uniform(20, 40, 2)
        radius = random.uniform(4, 10)
        # As the viewer at a zoom of 5 rounds them.
        points = np.round([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).T
        area = abs(np.sum(points[:-1, 0] * points[1:, 1] - points[1:, 0] * points[:-1, 1])) / 2
        ratios.append(filled(tmp_path, region(points.tolist()))[0].sum() / area)
    assert np.median(ratios) == pytest.approx(1, abs=0.01)
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)


def test_an_outline_drawn_past_its_beginning_has_no_hole(tmp_path) -> None:
    twice = [*rectangle(10, 10, 30, 20), (30, 10), (30, 12), (10, 12)]
    once, _ = filled(tmp_path, region(rectangle(10, 10, 30, 20)))
    assert np.array_equal(filled(tmp_path, region(twice))[0], once)
    eight = [(10, 10), (20, 20), (20, 10), (10, 20)]
    assert filled(tmp_path, region(eight))[0].sum() == pytest.approx(50, abs=10)


def test_overlapping_regions_are_joined(tmp_path) -> None:
    label, _ = filled(
        tmp_path, region(rectangle(10, 10, 20, 20)), region(rectangle(15, 15, 25, 25))
    )
    assert label.max() == 1 and label.sum() == 100 + 100 - 25


# Three slips as they stand in published files: two clicks that moved, a line that ends far off.
SLIPS = [
    region([(66.7, 31.3), (67, 31.3)], Area=0.0, Length=0.3),
    region([(20, 30), (20.2, 30)]),
    region(
        [(30, 40), (30.5, 40), (31, 40), (32, 40.03), (33, 40.03), (34, 40), (35, 40)],
        Area=0.1,
        Length=5.1,
    ),
]
NUCLEUS = region(rectangle(10, 10, 20, 20), Area=100.0, Length=40.0)


def test_slips_of_the_mouse_are_passed_over_and_named(tmp_path) -> None:
    label, remark = filled(tmp_path, SLIPS[0], NUCLEUS, SLIPS[1], SLIPS[2])
    assert label.sum() == 100 and label[10:20, 10:20].all()
    assert remark.startswith("tile.xml: 3 region(s)") and "(region 1, 3, 4)" in remark


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (region([(10 + step, 10) for step in range(8)]), "an open outline"),
        (region([(10, 10), (17, 10)]), "2 vertices"),
        (region([(10, 10), (10.3, 10)], Area=80.0, Length=33.0), "2 vertices"),
        (region([(10, 10), (10.3, 10)], Length=33.0), "2 vertices"),
        (region([]), "0 vertices"),
        (region([(10, 10), (float("nan"), 10)]), "2 vertices"),
        (region([(10 + 0.5 * i, 10 + 0.05 * i * i) for i in range(20)]), "an open outline"),
    ],
)
def test_a_region_of_a_real_size_is_no_slip(tmp_path, damaged, message) -> None:
    with pytest.raises(HarmosegError, match=rf"tile\.xml: region 2: {message}"):
        filled(tmp_path, NUCLEUS, damaged)


@pytest.mark.parametrize("told", ["", "762,9", "0.0"])
def test_what_the_viewer_says_need_not_be_a_number(tmp_path, told) -> None:
    label, _ = filled(tmp_path, NUCLEUS.replace('"100.0"', f'"{told}"'))
    assert label.sum() == 100


@pytest.mark.skipif(not REAL.is_dir(), reason="the files are not there: ../shared/data/monuseg")
def test_filled_pixels_against_the_areas_in_published_files(tmp_path) -> None:
    files = sorted(REAL.glob("*.xml"))
    slips = 0
    for file in files:
        assert rasterise(file, height=1000, width=1000)[0].any()
        ratios = []
        for item in SafeTree.parse(file).getroot().iter("Region"):
            area = float(item.attrib["Area"])
            points = [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in item.iter("Vertex")]
            x, y = zip(*points, strict=True)
            slips += area < 0.2
            if area < 0.2 or min(x + y) < 0 or max(x + y) > 1000:
                continue
            left, top = int(min(x)), int(min(y))
            nucleus = region([(px - left, py - top) for px, py in points])
            side = int(max(max(x) - left, max(y) - top)) + 1
            ratios.append(filled(tmp_path, nucleus, side=side)[0].sum() / area)
        assert len(ratios) > 250
        assert np.median(ratios) == pytest.approx(1, abs=0.01), file.name
    assert len(files) == 5 and slips == 3
