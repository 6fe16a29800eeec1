"""The page of a verification: one file, escaped, with the pictures that it speaks of."""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.datasets.checks import Finding
from harmoseg.datasets.scan import View
from harmoseg.datasets.verifying import Verification, verify
from harmoseg.explain.verification import draw_thumbnail, write_verification
from harmoseg.store.layout import Slice


@pytest.fixture(scope="module")
def verification(phantom_store: Path) -> Verification:
    return verify(phantom_store)


def page_of(verification: Verification, folder: Path) -> str:
    write_verification(verification, folder / "new" / "page.html")
    return (folder / "new" / "page.html").read_text(encoding="utf-8")


def pictures_in(page: str) -> list[np.ndarray]:
    data = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(item)))) for item in data]


def test_one_file_with_a_sample_of_every_split(verification, tmp_path) -> None:
    page = page_of(verification, tmp_path)
    pictures = pictures_in(page)
    assert len(pictures) == 20 == page.count("<img")
    for picture in pictures:
        assert picture.shape == (208, 208, 3) and len(np.unique(picture)) > 20
    assert "A sample of train" in page and "A sample of test" in page
    assert "http" not in re.sub(r"data:[^\"]*", "", page) and "<script" not in page
    assert 'class="verdict fine"' in page and "verified: 0 error(s)" in page
    assert "prefers-color-scheme: dark" in page


def test_findings_are_shown_side_by_side(verification, tmp_path) -> None:
    found = Finding(
        "warning", "near-duplicates across splits", ("A", "B"), "alike", "look", ((0, 0), (15, 0))
    )
    page = page_of(replace(verification, findings=(found,)), tmp_path)
    assert 'class="pair"' in page and len(pictures_in(page)) == 22
    assert 'class="verdict warning"' in page and "<td>look</td>" in page


def test_many_findings_are_cut_and_counted(verification, tmp_path) -> None:
    found = Finding("note", "empty masks", ("A",), "empty", "nothing", ((0, 0),))
    page = page_of(replace(verification, findings=(found,) * 310), tmp_path)
    assert "10 more are in the JSON file" in page
    assert "270 more findings have pictures that are not shown" in page


def test_names_from_outside_are_escaped(verification, tmp_path) -> None:
    card = replace(verification.card, title="<script>alert(1)</script>")
    cases = tuple(
        replace(case, item=replace(case.item, case=f"<b>{case.item.case}"))
        for case in verification.cases
    )
    hostile = replace(verification, card=card, cases=cases)
    page = page_of(hostile, tmp_path)
    assert "<script>" not in page and "&lt;script&gt;" in page and "<b>" not in page


def test_what_cannot_be_read_is_said_and_not_drawn(phantom_store, tmp_path) -> None:
    store = tmp_path / "store"
    shutil.copytree(phantom_store, store)
    for file in sorted((store / "native").iterdir())[:12]:
        file.write_bytes(b"")
    page = page_of(verify(store), tmp_path)
    assert "cannot be drawn" in page and len(pictures_in(page)) == 8


def test_what_did_not_open_has_a_page_too(phantom_store, tmp_path) -> None:
    store = tmp_path / "store"
    shutil.copytree(phantom_store, store)
    (store / "cases.csv").unlink()
    page = page_of(verify(store), tmp_path)
    assert 'class="verdict error"' in page and "cases.csv: no such file" in page
    assert "<img" not in page


def test_an_outline_lies_inside_of_its_class_and_the_picture_has_the_source_s_shape() -> None:
    label = np.zeros((2, 50, 100), np.uint8)
    label[1, 10:30, 20:60] = 2
    view = View(np.full((1, 64, 64, 3), 90, np.uint8), label, (Slice(1, 0, 0, 50, 100, 0),), (), ())
    drawn = draw_thumbnail(view, 0, ["#000000", "#FF0000"])
    assert drawn.shape == (104, 208, 3)
    rows, columns = np.nonzero((drawn == (255, 0, 0)).all(-1))
    scale = 2.08
    assert abs(rows.min() - 10 * scale) <= 1 and abs(rows.max() - 30 * scale) <= 2
    assert abs(columns.min() - 20 * scale) <= 1 and abs(columns.max() - 60 * scale) <= 2
    assert not (drawn[62, 125] == (255, 0, 0)).all() and (drawn == 90).all(-1).mean() > 0.9


def test_the_page_is_an_html_file(verification, tmp_path) -> None:
    with pytest.raises(HarmosegError, match=r"ends in \.html"):
        write_verification(verification, tmp_path / "page.pdf")
