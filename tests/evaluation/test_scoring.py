"""Folders of masks against truth: the numbers of independent libraries, and errors that name files."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from medpy.metric import binary as medpy
from PIL import Image

from harmoseg import HarmosegError, compare, read_scores, score
from harmoseg.cli.main import main
from harmoseg.evaluation import mask_scores, scoring
from harmoseg.evaluation.case_scores import Measuring

CHASE = Path(__file__).parents[3] / "shared" / "data" / "chase-db1"


def disc(size=32, shift=0, radius=8):
    y, x = np.mgrid[:size, :size]
    return (np.hypot(y - 15, x - 15 - shift) < radius).astype(np.uint8)


def save(path, labels, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path, **how)


def write_nifti(path, labels, spacing=(1.0, 1.0, 1.0), origin=0.0):
    """Write (D, H, W) labels with spacing along D, H, W."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = origin
    nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), affine), path)


@pytest.fixture
def folders(tmp_path):
    """Three cases of two labels; methods a (two trainings) and b shift them."""
    for case in range(3):
        truth = disc() + disc(radius=4 - case)
        save(tmp_path / "truth" / f"{case}_mask.png", truth)
        for method, seed, shift in (("a", "seed0", 1), ("a", "seed1", 2), ("b", "", 3)):
            pred = disc(shift=shift) + disc(shift=shift, radius=3)
            save(tmp_path / method / seed / f"{case}.png", pred)
    return tmp_path


def test_scores_equal_an_independent_implementation(folders) -> None:
    scores = score(
        {"a": folders / "a", "b": folders / "b"}, folders / "truth", classes=["organ", "tumour"]
    )
    assert scores.values_of("seed") == ["0", "1"] and scores.classes == ["organ", "tumour"]
    for case in range(3):
        truth = np.asarray(Image.open(folders / "truth" / f"{case}_mask.png"))
        pred = np.asarray(Image.open(folders / "a" / "seed1" / f"{case}.png"))
        for label, name in ((1, "organ"), (2, "tumour")):
            keys = {"method": "a", "seed": "1", "case": str(case), "class": name}
            row = scores.select(**keys).frame.iloc[0]
            ours, theirs = pred == label, truth == label
            assert row["DSC"] == pytest.approx(medpy.dc(ours, theirs))
            assert row["IoU"] == pytest.approx(medpy.jc(ours, theirs))
            assert row["HD_px"] == pytest.approx(medpy.hd(ours, theirs, connectivity=2))
            assert row["HD95_pooled_px"] == pytest.approx(medpy.hd95(ours, theirs, connectivity=2))
            assert (row["TP"], row["FN"]) == ((ours & theirs).sum(), (~ours & theirs).sum())
    assert compare(scores, reference="b").blocks[0].has_background


@pytest.mark.parametrize("white", [1, 255])
def test_black_and_white_means_the_same_however_white_is_stored(tmp_path, white) -> None:
    save(tmp_path / "truth" / "1.png", disc() * 255)
    save(tmp_path / "a" / "1.png", disc(shift=2) * np.uint8(white))
    save(tmp_path / "b" / "1.tif", disc(shift=2) * np.uint8(white))
    scores = score({"a": tmp_path / "a", "b": tmp_path / "b"}, tmp_path / "truth")
    assert scores.classes == ["foreground"]
    expected = medpy.dc(disc(shift=2), disc())
    np.testing.assert_allclose(scores.select(**{"class": "foreground"}).frame["DSC"], expected)


def test_volumes_are_measured_at_their_spacing(tmp_path) -> None:
    truth = np.zeros((4, 20, 24), np.uint8)
    truth[1:3, 5:12, 6:15] = 1
    pred = np.roll(truth, 2, axis=2)
    spacing = (3.0, 0.5, 0.8)
    write_nifti(tmp_path / "truth" / "x.nii.gz", truth, spacing)
    write_nifti(tmp_path / "a" / "x.nii.gz", pred.astype(np.float32), spacing)
    scores = score({"a": tmp_path / "a"}, tmp_path / "truth")
    row = scores.select(**{"class": "foreground"}).frame.iloc[0]
    assert row["HD_mm"] == pytest.approx(1.6) and row["DSC"] == pytest.approx(medpy.dc(pred, truth))
    assert row["ASSD_mm"] == pytest.approx(
        np.mean(np.r_[medpy.__surface_distances(pred, truth, spacing, 3),
                      medpy.__surface_distances(truth, pred, spacing, 3)]), abs=1e-6
    )  # fmt: skip
    in_pixels = score({"a": tmp_path / "a"}, tmp_path / "truth", spacing="pixel")
    assert in_pixels.select(**{"class": "foreground"}).frame["HD_px"].iloc[0] == 2


def test_files_of_single_classes_and_colours_are_label_maps(folders) -> None:
    classes = {"organ": 1, "tumour": 2}
    expected = score({"b": folders / "b"}, folders / "truth", classes=classes).frame
    colours = {"organ": "#ff0000", "tumour": "#0000ff"}
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    for source, kind in (("truth", "truth"), ("b", "b")):
        for file in sorted((folders / source).iterdir()):
            labels = np.asarray(Image.open(file))
            save(folders / "colour" / kind / file.name, palette[labels])
            for name, label in classes.items():
                case = file.stem.removesuffix("_mask")
                at = f"{name}/{case}.png" if kind == "truth" else f"{case}_{name}.png"
                save(folders / "single" / kind / at, (labels == label) * np.uint8(255))
    single = folders / "single"
    found = score({"b": single / "b"}, single / "truth", classes=list(classes), per_class=True)
    np.testing.assert_array_equal(found.frame["DSC"], expected["DSC"])
    colour = folders / "colour"
    found = score({"b": colour / "b"}, colour / "truth", classes=colours)
    np.testing.assert_array_equal(found.frame["HD_px"], expected["HD_px"])
    with pytest.raises(HarmosegError, match="other colours, the first #0000ff"):
        score({"b": colour / "b"}, colour / "truth", classes={"organ": "#ff0000"})
    with pytest.raises(HarmosegError, match="names no class; expected one of organ as its folder"):
        score({"b": folders / "b"}, folders / "truth", classes=["organ"], per_class=True)


def test_patients_and_centres_come_from_tables_patterns_and_mappings(folders) -> None:
    table = folders / "cases.csv"
    table.write_text("case,group,subset\n0,p,x\n1,p,x\n2,q,y\n")
    scores = score(
        {"b": folders / "b"},
        folders / "truth",
        groups=table,
        subsets={"0": "x", "1": "x", "2": "y"},
    )
    assert scores.values_of("group") == ["p", "q"] and scores.values_of("subset") == ["x", "y"]
    scores = score({"b": folders / "b"}, folders / "truth", groups=r"^(\d)")
    assert scores.values_of("group") == ["0", "1", "2"]
    with pytest.raises(HarmosegError, match="group pattern 'x' does not fit 0, 1, 2"):
        score({"b": folders / "b"}, folders / "truth", groups="x")
    with pytest.raises(HarmosegError, match="no group is given for 2 cases: 1, 2"):
        score({"b": folders / "b"}, folders / "truth", groups={"0": "p"})


def test_interrupted_scoring_continues(folders, monkeypatch) -> None:
    seen: list[str] = []

    def interrupted(case, **named):
        seen.append(case)
        if case == "2" and seen.count("2") == 1:
            raise KeyboardInterrupt
        return mask_scores.score_case(case, **named)

    monkeypatch.setattr(scoring, "score_case", interrupted)
    given = ({"b": folders / "b"}, folders / "truth")
    with pytest.raises(KeyboardInterrupt):
        score(*given, out=folders / "out")
    assert not (folders / "out" / "scores.csv").exists()
    found = score(*given, out=folders / "out")
    assert sorted(seen) == ["0", "1", "2", "2"]
    np.testing.assert_array_equal(found.frame["DSC"], score(*given).frame["DSC"])
    np.testing.assert_array_equal(read_scores(folders / "out").frame["DSC"], found.frame["DSC"])
    with pytest.raises(HarmosegError, match="exists"):
        score(*given, out=folders / "out")
    assert [p.name for p in (folders / "out").iterdir()] == ["scores.csv"]


def refused(folders, message, truth="truth", **how) -> None:
    with pytest.raises(HarmosegError, match=message):
        score({"b": folders / "b"}, folders / truth, **how)


def test_masks_that_do_not_fit_are_refused_by_name(folders) -> None:
    refused(folders, "the predictions are the truth itself", truth="b")
    refused(folders, "lies inside", truth=".")
    refused(folders, "truth .*absent: no such folder", truth="absent")
    refused(folders, "spacing .* has 3 numbers, the mask has 2 axes", spacing=(1, 1, 1))
    refused(folders, "classes background; expected distinct", classes=["background"])
    refused(folders, "class 'x' is 'red', expected a label above 0", classes={"x": "red"})
    refused(folders, "label 2, expected 0, 1; declare", classes=["organ"])
    save(folders / "b" / "9.png", disc())
    refused(folders, "1 predictions have no truth: 9; complete them")
    assert (
        len(score({"b": folders / "b"}, folders / "truth", unmatched="skip").values_of("case")) == 3
    )
    (folders / "b" / "9.png").unlink()
    (folders / "b" / "1.png").unlink()
    refused(folders, "1 cases of the truth have no prediction: 1")
    save(folders / "b" / "1.png", disc() * 3)
    refused(folders, "1.png: label 3, which no truth has; expected 0, 1, 2")
    save(folders / "b" / "1.png", disc() * 255)
    refused(folders, "1.png: 0 and 255 in this file, labels up to 2 in others")
    save(folders / "b" / "1.png", disc(size=30))
    refused(folders, "sizes differ: .*1.png is 30 x 30, .*1_mask.png is 32 x 32")
    save(folders / "b" / "1_pred.png", disc())
    refused(folders, "two files of case '1', 1.png and 1_pred.png")


def test_names_that_never_match_are_shown(folders) -> None:
    for case in range(3):
        (folders / "b" / f"{case}.png").rename(folders / "b" / f"x{case}.png")
    refused(folders, "no case in common: .* has 0, 1, 2, .* has x0, x1, x2")
    with pytest.raises(HarmosegError, match="method 'b' has no folder"):
        score({"b": []}, folders / "truth")


def test_other_affines_are_refused(tmp_path) -> None:
    labels = np.zeros((3, 8, 8), np.uint8)
    labels[1, 2:5, 2:5] = 1
    write_nifti(tmp_path / "truth" / "x.nii.gz", labels)
    write_nifti(tmp_path / "a" / "x.nii.gz", labels, origin=5.0)
    with pytest.raises(HarmosegError, match="affines differ: .* up to 5 mm apart; resample"):
        score({"a": tmp_path / "a"}, tmp_path / "truth")
    write_nifti(tmp_path / "c" / "x.nii.gz", labels.astype(np.int16) - 1)
    for pair in (("a", "c"), ("c", "a")):
        with pytest.raises(HarmosegError, match=r"c/x\.nii\.gz: label -1, expected 0"):
            score({"a": tmp_path / pair[0]}, tmp_path / pair[1])
    write_nifti(tmp_path / "b" / "x.nii.gz", labels + np.float32(0.5))
    with pytest.raises(HarmosegError, match="no whole numbers, expected labels"):
        score({"b": tmp_path / "b"}, tmp_path / "truth")


def test_the_command_scores_what_the_function_does(folders, capsys) -> None:
    out = folders / "out"
    words = [f"a={folders / 'a'}", f"b={folders / 'b'}", "--truth", str(folders / "truth")]
    words += ["--classes", "organ=1", "tumour=2", "--groups", r"(\d)", "--out", str(out)]
    assert main(["score", *words]) == 0
    told = capsys.readouterr()
    assert "3 cases, 2 methods" in told.err and "next: harmoseg compare" in told.out
    found = score(
        {"a": folders / "a", "b": folders / "b"},
        folders / "truth",
        classes={"organ": 1, "tumour": 2},
    )
    np.testing.assert_array_equal(read_scores(out).frame["DSC"], found.frame["DSC"])
    assert main(["score", str(folders / "a"), f"b={folders / 'b'}", "--truth", "x"]) == 2
    assert "expected NAME=FOLDER" in capsys.readouterr().err


def test_a_damaged_journal_is_not_used(folders) -> None:
    (folders / "out").mkdir()
    (folders / "out" / ".scored.jsonl").write_text(json.dumps({"key": "x"}) + '\n{"key": "y", "fou')
    assert len(score({"b": folders / "b"}, folders / "truth", out=folders / "out")) == 9


@pytest.mark.skipif(not CHASE.is_dir(), reason=f"no {CHASE}: the second observer of CHASE_DB1")
def test_a_second_observer_is_scored_as_published() -> None:
    scores = score({"observer": f"{CHASE}/*_2ndHO.png"}, f"{CHASE}/*_1stHO.png")
    dice = scores.select(**{"class": "foreground"}).frame["DSC"]
    assert len(dice) == 28
    assert (dice.mean(), dice.iloc[-8:].mean()) == pytest.approx((0.777, 0.798), abs=5e-4)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_scores_equal_those_of_monai(tmp_path) -> None:
    """A second reference: MONAI's Dice, IoU, Hausdorff and surface distances, by class."""
    metrics = pytest.importorskip("monai.metrics")
    import torch

    spacing = (2.5, 0.7, 0.9)
    z, y, x = np.mgrid[:9, :40, :44]
    truth = np.uint8(np.hypot(y - 20, x - 18) < 9) * np.uint8(abs(z - 4) < 3)
    truth[2:5, 14:18, 30:37] = 2
    pred = np.roll(truth, (1, 2, -1), axis=(0, 1, 2))
    pred[3, 30:33, 5:9] = 1
    for name, labels in (("truth", truth), ("a", pred)):
        write_nifti(tmp_path / name / "x.nii.gz", labels, spacing)
    how = Measuring(definition="max")
    scores = score({"a": tmp_path / "a"}, tmp_path / "truth", measuring=how)
    hot = [
        torch.from_numpy(np.stack([labels == k for k in (0, 1, 2)]))[None].float()
        for labels in (pred, truth)
    ]
    common = {"include_background": False}
    expected = {
        "DSC": metrics.compute_dice(*hot, **common),
        "IoU": metrics.compute_iou(*hot, **common),
        "HD_mm": metrics.compute_hausdorff_distance(*hot, spacing=spacing, **common),
        "HD95_max_mm": metrics.compute_hausdorff_distance(
            *hot, spacing=spacing, percentile=95, **common
        ),
        "ASSD_mm": metrics.compute_average_surface_distance(
            *hot, spacing=spacing, symmetric=True, **common
        ),
        "SE": metrics.compute_confusion_matrix_metric(
            "sensitivity", metrics.get_confusion_matrix(*hot, **common)
        ),
    }
    for place, label in enumerate(("1", "2")):
        row = scores.select(**{"class": label}).frame.iloc[0]
        for name, found in expected.items():
            assert row[name] == pytest.approx(float(found[0, place]), abs=2e-6), name


def test_an_affine_without_scale_is_that_of_the_header(tmp_path) -> None:
    """As in ACDC, whose affines have no scale; nnU-Net writes predictions with the scale."""
    labels = np.zeros((3, 8, 8), np.uint8)
    labels[1, 2:5, 2:5] = 1
    write_nifti(tmp_path / "a" / "x.nii.gz", labels, (10.0, 1.5, 1.5))
    image = nibabel.Nifti1Image(labels.transpose(2, 1, 0), np.eye(4))
    image.header.set_zooms((1.5, 1.5, 10.0))
    (tmp_path / "truth").mkdir()
    nibabel.save(image, tmp_path / "truth" / "x.nii.gz")
    row = score({"a": tmp_path / "a"}, tmp_path / "truth").select(**{"class": "foreground"}).frame
    assert row["DSC"].iloc[0] == 1 and row["HD_mm"].iloc[0] == 0


def test_damaged_masks_and_those_of_other_kinds_are_named(folders) -> None:
    (folders / "b" / "1.png").write_bytes(b"\x89PNG and no more")
    refused(folders, "1.png")
    (folders / "b" / "1.png").unlink()
    write_nifti(folders / "b" / "1.nii.gz", np.ones((3, 8, 8), np.uint8))
    whole = (folders / "b" / "1.nii.gz").read_bytes()
    (folders / "b" / "1.nii.gz").write_bytes(whole[: len(whole) // 2])
    refused(folders, "1.nii.gz: cannot be (read as NIfTI|decoded)")
    empty = folders / "empty"
    empty.mkdir()
    with pytest.raises(HarmosegError, match="predictions of b .*: none in it; expected files"):
        score({"b": empty}, folders / "truth")


def mean_dice(found) -> dict[str, float]:
    rows = found.frame[found.frame["class"] != "background"]
    return {str(name): part["DSC"].mean() for name, part in rows.groupby("class", observed=True)}


def with_palette(path, labels, *colours) -> None:
    picture = Image.fromarray(labels, mode="P")
    picture.putpalette([part for colour in colours for part in colour])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)


def test_a_palette_of_black_and_white_means_what_is_seen(tmp_path) -> None:
    """White at 0 in all files, or in some (as adaptive palettes have it), at 1, and at 3."""
    kinds = {"first": 0, "second": 1, "later": 3, "some": None}
    for case in range(2):
        save(tmp_path / "truth" / f"{case}.png", disc() * 255)
        for kind, place in kinds.items():
            white = case if place is None else place
            colours = [WHITE if value == white else BLACK for value in range(4)]
            black = 1 if white == 0 else 0
            labels = np.where(disc(shift=2), white, black).astype(np.uint8)
            for folder in (tmp_path / kind, tmp_path / "single" / kind / "polyp"):
                with_palette(folder / f"{case}.png", labels, *colours)
        save(tmp_path / "single" / "truth" / "polyp" / f"{case}.png", disc() * 255)
    expected = pytest.approx(medpy.dc(disc(shift=2), disc()))
    for kind in kinds:
        assert mean_dice(score({"a": tmp_path / kind}, tmp_path / "truth")) == {
            "foreground": expected
        }
        for classes in (["polyp"], {"polyp": 255}):
            found = score({"a": tmp_path / "truth"}, tmp_path / kind, classes=classes)
            assert mean_dice(found) == {"polyp": expected}, kind
        found = score({"a": tmp_path / "single" / kind}, tmp_path / "single" / "truth",
                      classes=["polyp"], per_class=True)  # fmt: skip
        assert mean_dice(found) == {"polyp": expected}, kind


def test_palettes_of_colours_show_labels_and_must_agree(folders) -> None:
    expected = mean_dice(score({"b": folders / "b"}, folders / "truth"))
    for case in range(3):
        labels = np.asarray(Image.open(folders / "b" / f"{case}.png"))
        with_palette(folders / "c" / f"{case}.png", labels, BLACK, RED, WHITE)
    assert mean_dice(score({"c": folders / "c"}, folders / "truth")) == expected
    # White is class 2 here, and a mask of it alone is no mask of black and white.
    for case in range(3):
        labels = (np.asarray(Image.open(folders / "b" / f"{case}.png")) == 2) * np.uint8(2)
        with_palette(folders / "d" / f"{case}.png", labels, BLACK, RED, WHITE)
        labels = np.asarray(Image.open(folders / "truth" / f"{case}_mask.png"))
        with_palette(folders / "of_truth" / f"{case}.png", labels, BLACK, RED, WHITE)
    found = mean_dice(score({"d": folders / "d"}, folders / "of_truth"))
    assert found == {"1": 0, "2": expected["2"]}
    labels = np.asarray(Image.open(folders / "b" / "1.png"))
    with_palette(folders / "c" / "1.png", labels, BLACK, WHITE, RED)
    for pair in (("c", "truth"), ("truth", "c")):
        with pytest.raises(HarmosegError, match=r"palettes of masks differ: value 1 is .*0\.png"):
            score({"a": folders / pair[0]}, folders / pair[1])
    for case in range(3):
        labels = np.asarray(Image.open(folders / "b" / f"{case}.png"))
        with_palette(folders / "c" / f"{case}.png", labels, BLACK, WHITE, RED)
    with pytest.raises(HarmosegError, match="is value 2 in .* and 1 in .*or name the labels"):
        score({"c": folders / "c"}, folders / "of_truth")
    classes = ["organ", "tumour"]
    named = mean_dice(score({"c": folders / "c"}, folders / "of_truth", classes=classes))
    assert list(named.values()) == list(expected.values())
    with_palette(folders / "c" / "1.png", labels, RED, BLACK, WHITE)
    with pytest.raises(HarmosegError, match="palettes of masks differ"):
        score({"c": folders / "c"}, folders / "truth")


@pytest.mark.parametrize("low", [1, 128])
def test_declared_labels_are_taken_as_declared(tmp_path, low) -> None:
    """255 is a class beside another; case 0 holds it alone, and is no black-and-white mask."""
    dice = {"disc": [], "cup": []}
    for case in range(3):
        inner = disc(radius=4 - case)
        outer = disc() * (1 - inner) * (case > 0)
        masks = [np.roll(inner * np.uint8(255) + outer * np.uint8(low), by, 1) for by in (0, 2)]
        for name, labels in zip(("truth", "a"), masks, strict=True):
            save(tmp_path / name / f"{case}.png", labels)
        dice["cup"].append(medpy.dc(masks[0] == 255, masks[1] == 255))
        if case:
            dice["disc"].append(medpy.dc(masks[0] == low, masks[1] == low))
    given = ({"a": tmp_path / "a"}, tmp_path / "truth")
    for classes, names in (({"disc": low, "cup": 255}, ("disc", "cup")), (None, (str(low), "255"))):
        rows = score(*given, classes=classes).frame.set_index(["class", "case"])["DSC"]
        np.testing.assert_allclose(rows[names[1]], dice["cup"])
        np.testing.assert_allclose(rows[names[0]].iloc[1:], dice["disc"])


def test_white_is_decided_over_all_files(tmp_path) -> None:
    """An all-white mask is foreground where the others are black and white, 1 or 255."""
    whole = np.ones((32, 32), np.uint8)
    save(tmp_path / "truth" / "0.png", disc() * 255)
    save(tmp_path / "truth" / "1.png", whole * 255)
    for white in (1, 255):
        save(tmp_path / f"a{white}" / "0.png", whole * white)
        save(tmp_path / f"a{white}" / "1.png", disc() * white)
    expected = pytest.approx(medpy.dc(whole, disc()))
    for name in ("a1", "a255"):
        for classes in (None, ["polyp"], {"polyp": 255}, {"polyp": 1}):
            found = score({"a": tmp_path / name}, tmp_path / "truth", classes=classes)
            assert list(mean_dice(found).values()) == [expected]
    with pytest.raises(HarmosegError, match=r"label 255, expected 0, 1, 2; declare"):
        score({"a": tmp_path / "a1"}, tmp_path / "truth", classes=["a", "b"])


def test_errors_of_labels_name_the_file_that_holds_them(tmp_path) -> None:
    for case in range(2):
        save(tmp_path / "truth" / f"{case}.png", disc() * 255)
        save(tmp_path / "ones" / f"{case}.png", disc())
        save(tmp_path / "dim" / f"{case}.png", disc() * (254 if case else 1))
        save(tmp_path / "labels" / f"{case}.png", disc() + disc(radius=4) * case)
        void = disc() * np.uint8(1)
        void[:2] = 255
        save(tmp_path / "void" / f"{case}.png", void)
        large = Image.fromarray(disc() * np.uint8(255)).resize((64, 64))
        save(tmp_path / "soft" / f"{case}.png",
             np.asarray(large.rotate(20, Image.Resampling.BILINEAR).resize((32, 32))))  # fmt: skip
        save(tmp_path / "low" / f"{case}.tif", disc().astype(np.int32) - case)

    def refused(message, truth="truth", **methods) -> None:
        for classes in (None, ["polyp"]):
            with pytest.raises(HarmosegError, match=message):
                score({name: tmp_path / name for name in methods}, tmp_path / truth,
                      classes=classes)  # fmt: skip

    refused(r"dim/1\.png: label 254, .* write it as 1 or 255", ones=1, dim=1)
    refused(r"dim/1\.png: label 254, ", truth="ones", dim=1)
    refused(r"soft/0\.png: label .* threshold it to 0 and 1", ones=1, soft=1)
    refused(r"low/1\.tif: label -1, expected 0 \(background\)", low=1)
    refused(r"labels/1\.png: label 2, ", ones=1, labels=1)
    refused(r"void/0\.png: .*255.* marks pixels to ignore, write them as 0", "void", ones=1)
    with pytest.raises(HarmosegError, match=r"soft/0\.png: .* labels with gaps .* threshold"):
        score({"a": tmp_path / "ones"}, tmp_path / "soft")
    with pytest.raises(HarmosegError, match=r"no prediction has 255 .* --classes NAME=1 NAME=255"):
        score({"a": tmp_path / "truth"}, tmp_path / "void")
    named = {"polyp": 1, "edge": 255}
    found = mean_dice(score({"a": tmp_path / "ones"}, tmp_path / "void", classes=named))
    assert found["edge"] == 0 and found["polyp"] > 0.9


def test_options_have_the_names_that_the_command_has(folders) -> None:
    given = ({"b": folders / "b"}, folders / "truth")
    found = score(*given, tolerance=1.0, definition="max")
    expected = score(*given, measuring=Measuring(tolerance=1.0, definition="max"))
    assert "HD95_max_px" in found.measures and "NSD_1px" in found.measures
    np.testing.assert_array_equal(found.frame["NSD_1px"], expected.frame["NSD_1px"])
    refused(folders, "unmatched is 'x', expected one of error, skip", unmatched="x")
    refused(folders, "unknown option 'clases'; did you mean 'classes'", clases=["x"])
    refused(folders, "tolerance is -1, expected a distance", tolerance=-1)
    with pytest.raises(HarmosegError, match="predictions: none given; expected a mapping"):
        score({}, folders / "truth")


def test_nothing_is_written_among_masks(folders) -> None:
    for out in ("b", "b/out", "truth", "truth/out/deep"):
        refused(folders, "the folder to write is that of masks", out=folders / out)
        assert not (folders / "b" / "scores.csv").exists()
    pattern = {"b": folders / "b" / "*.png"}
    with pytest.raises(HarmosegError, match="the folder to write is that of masks"):
        score(pattern, folders / "truth", out=folders / "b")
    score(pattern, folders / "truth", out=folders / "b" / "scores")


def test_what_masks_are_judged_by_is_checked_before_they_are_scored(folders, capsys) -> None:
    words = [f"a={folders / 'a'}", f"b={folders / 'b'}", "--truth", str(folders / "truth")]
    words = ["compare", *words, "--out", str(folders / "out")]
    for wrong, message in (
        (["--reference", "c"], "no method is named 'c'; found a, b"),
        (["--primary", "Dise"], "no measure is named 'Dise'; expected one of DSC"),
        (["--margin", "-1"], "margin -1; expected a number above 0"),
    ):
        assert main([*words, *wrong]) == 2
        assert message in capsys.readouterr().err
        assert not (folders / "out").exists()
    assert main([*words, "--reference", "b", "--primary", "HD95", "--margin", "1"]) == 0
