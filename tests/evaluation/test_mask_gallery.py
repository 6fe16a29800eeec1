"""Pictures of scored masks: kept beside the scores, and shown by the report."""

from __future__ import annotations

import json
import re

import nibabel
import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError, compare, read_scores, score, write_report
from harmoseg.cli.main import main
from harmoseg.report.gallery import GALLERY_FILE, Gallery


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path):
    """Six pictures of 400 x 300 with two labels, coloured images, two methods."""
    y, x = np.mgrid[:300, :400]
    for case in range(6):
        for name, shift in (("truth", 0), ("a", 9), ("b", 3)):
            labels = np.uint8(np.hypot(y - 150, x - 180 - shift) < 60 + case)
            labels[120:150, 150 + shift : 190] = 2
            save(tmp_path / name / f"{case}.png", labels)
        image = np.stack([y // 2, x // 2, y * 0 + case], axis=-1).astype(np.uint8)
        save(tmp_path / "images" / f"{case}_0000.png", image)
    return tmp_path


def payload(report):
    text = report.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)
    return None if found is None else json.loads(found[1])


def test_one_command_shows_cases_in_the_report(folders) -> None:
    out = folders / "out"
    words = [f"a={folders / 'a'}", f"b={folders / 'b'}", "--truth", str(folders / "truth")]
    words += ["--reference", "a", "--classes", "organ", "lesion"]
    assert main(["compare", *words, "--images", str(folders / "images"), "--out", str(out)]) == 0
    shown = payload(out / "report.html")
    assert shown["classes"] == ["organ", "lesion"] and shown["methods"] == ["a", "b"]
    assert len(shown["cases"]) == 6
    assert (shown["cases"][0]["height"], shown["cases"][0]["width"]) == (240, 320)
    assert all(run[0]["score"] is not None for case in shown["cases"] for run in case["runs"])
    # The folder of scores has the pictures; a further report is made of it.
    again = folders / "again"
    assert main(["compare", str(out), "--reference", "b", "--out", str(again)]) == 0
    assert len(payload(again / "report.html")["cases"]) == 6


def test_pictures_are_what_was_scored(folders) -> None:
    given = ({"a": folders / "a"}, folders / "truth")
    with pytest.raises(HarmosegError, match="name one with out"):
        score(*given, gallery=True)
    score(*given, images=folders / "images", out=folders / "out")
    part = Gallery.read(folders / "out").part("", "")
    case = part.cases[2]
    assert (case.name, case.note, case.aspect) == ("2", "", 0.75)
    assert case.image.shape == (240, 320, 3) and case.image[..., 2].max() == 2
    image = np.asarray(Image.open(folders / "images" / "2_0000.png"))
    np.testing.assert_allclose(case.image[120, 160], image[150, 200], atol=1)
    for labels, source in ((case.truth, "truth"), (case.labels["a", "0"], "a")):
        full = np.asarray(Image.open(folders / source / "2.png"))
        shares = [(labels == k).mean() - (full == k).mean() for k in range(3)]
        np.testing.assert_allclose(shares, 0, atol=2e-3)
    score(*given, gallery=True, out=folders / "black")
    assert not Gallery.read(folders / "black").parts[0].cases[0].image.any()
    scores = score({"a": folders / "a", "b": folders / "b"}, folders / "truth")
    write_report(compare(scores, reference="a"), folders / "plain.html")
    assert payload(folders / "plain.html") is None


def test_a_volume_shows_its_fullest_plane_in_proportion(tmp_path) -> None:
    labels = np.zeros((5, 20, 30), np.uint8)
    labels[1, 5:10, 5:10] = labels[3, 4:15, 6:20] = 1
    image = np.arange(5 * 20 * 30, dtype=np.int16).reshape(5, 20, 30) - 900
    for name, voxels in (("truth/x", labels), ("a/x", labels), ("images/x_0000", image)):
        file = tmp_path / f"{name}.nii.gz"
        file.parent.mkdir()
        made = nibabel.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([0.5, 1.5, 4, 1]))
        nibabel.save(made, file)
    score({"a": tmp_path / "a"}, tmp_path / "truth", images=tmp_path / "images", out=tmp_path / "o")
    (case,) = Gallery.read(tmp_path / "o").parts[0].cases
    assert case.note == "plane 4" and case.aspect == pytest.approx(20 * 1.5 / (30 * 0.5))
    np.testing.assert_array_equal(case.truth, labels[3])
    np.testing.assert_array_equal(case.labels["a", "0"], labels[3])
    expected = 255.0 * (image[3] - image[3, 0, 0]) / 2998
    np.testing.assert_allclose(case.image[..., 0] - float(case.image[0, 0, 0]), expected, atol=4)


def test_images_and_files_that_do_not_fit_are_refused(folders) -> None:
    given = ({"a": folders / "a"}, folders / "truth")
    for place in (folders / "images").iterdir():
        save(place, np.zeros((10, 12, 3), np.uint8))
    with pytest.raises(HarmosegError, match="0_0000.png: 10 x 12, its mask .* is 300 x 400"):
        score(*given, images=folders / "images", out=folders / "out")
    save(folders / "other" / "z.png", np.zeros((10, 12), np.uint8))
    with pytest.raises(HarmosegError, match="none is of a case: the cases are 0, 1, 2, 3 and 2"):
        score(*given, images=folders / "other", out=folders / "out")
    (folders / GALLERY_FILE).write_bytes(b"PK")
    with pytest.raises(HarmosegError, match="damaged .*; score the masks again"):
        Gallery.read(folders)


def test_a_results_folder_of_nnunet_is_scored_with_pictures(tmp_path, capsys) -> None:
    """Two trainers with two folds each: folds are one run, and the report shows every case."""
    y, x = np.mgrid[:48, :64]
    results = tmp_path / "nnUNet_results" / "Dataset007_Disc"
    for case in range(6):
        for shift, trainer in ((0, ""), (4, "nnUNetTrainer"), (2, "nnUNetTrainerOther")):
            labels = np.uint8(np.hypot(y - 24, x - 28 - shift) < 8 + case)
            folder = f"{trainer}__nnUNetPlans__2d/fold_{case % 2}/validation"
            place = results / folder if trainer else tmp_path / "labelsTr"
            save(place / f"disc_{case}.png", labels)
            if trainer:
                maps = np.stack([1 - labels, labels]).astype(np.float32)[:, None]
                np.savez(place / f"disc_{case}.npz", probabilities=maps)
        save(tmp_path / "imagesTr" / f"disc_{case}_0000.png", 20 * labels + np.uint8(9))
    words = [str(results), "--truth", str(tmp_path / "labelsTr"), "--reference", "nnUNetTrainer"]
    words += ["--images", str(tmp_path / "imagesTr"), "--out", str(tmp_path / "out")]
    assert main(["compare", *words]) == 0
    assert "for these networks" in capsys.readouterr().out
    scores = read_scores(tmp_path / "out")
    assert scores.values_of("method") == ["nnUNetTrainer", "nnUNetTrainerOther"]
    assert scores.values_of("tested_on") == ["Dataset007_Disc"]
    assert scores.values_of("seed") == ["cv"] and len(scores.values_of("case")) == 6
    assert scores.frame["ECE"].notna().all() and scores.frame["HD95_pooled_px"].max() > 0
    shown = payload(tmp_path / "out" / "report.html")
    assert [case["name"] for case in shown["cases"]] == [f"disc_{case}" for case in range(6)]
