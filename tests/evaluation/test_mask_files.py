"""Probability maps in files: calibration by an independent computation and as an evaluation's."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import harmoseg
from harmoseg import HarmosegError, read_scores, score
from harmoseg.cli.main import main
from harmoseg.evaluation.case_scores import Measuring
from harmoseg.evaluation.mask_files import read_map
from harmoseg.metrics import boundary_band


def save(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint8)).save(path)


def expected_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error over 15 bins, by its definition."""
    place = np.minimum((confidence * 15).astype(int), 14)
    gaps = [
        abs(confidence[place == i].mean() - right[place == i].mean()) * (place == i).mean()
        for i in range(15)
        if (place == i).any()
    ]
    return float(sum(gaps))


@pytest.fixture
def softmax(tmp_path):
    """Two cases of two labels, a map of three classes each, and the masks that it decides."""
    random = np.random.default_rng(0)
    maps = {}
    for case in ("1", "2"):
        logits = random.normal(size=(3, 20, 24))
        found = np.exp(logits) / np.exp(logits).sum(0)
        truth = np.where(random.random((20, 24)) < 0.6, found.argmax(0), random.integers(3))
        truth[0, :3] = 0, 1, 2
        save(tmp_path / "truth" / f"{case}.png", truth)
        save(tmp_path / "a" / f"{case}.png", found.argmax(0))
        maps[case] = (found.astype(np.float32), truth)
    return tmp_path, maps


def write_maps(folder: Path, maps: dict, form: str) -> None:
    folder.mkdir(exist_ok=True)
    for case, (found, _) in maps.items():
        if form == "npy":
            np.save(folder / f"{case}.npy", found)
        elif form == "nnunet":  # a picture is a volume of one plane
            np.savez_compressed(folder / f"{case}.npz", probabilities=found[:, None])
        else:
            np.savez_compressed(folder / f"{case}.npz", softmax=found)


@pytest.mark.parametrize("form", ["npy", "nnunet", "nnunet1"])
def test_calibration_is_that_of_its_definition(softmax, form) -> None:
    folder, maps = softmax
    write_maps(folder / "maps", maps, form)
    scores = score({"a": folder / "a"}, folder / "truth", probabilities={"a": folder / "maps"})
    for case, (found, truth) in maps.items():
        row = scores.select(case=case, **{"class": "1"}).frame.iloc[0]
        found = found.astype(np.float64)
        right = found.argmax(0) == truth
        assert row["ECE"] == pytest.approx(expected_error(found.max(0), right), abs=1e-7)
        of_truth = np.take_along_axis(found, truth[None], 0)[0]
        assert row["NLL"] == pytest.approx(-np.log(of_truth).mean(), abs=1e-6)
        one_hot = np.arange(3)[:, None, None] == truth
        assert row["Brier"] == pytest.approx(((found - one_hot) ** 2).sum(0).mean(), abs=1e-6)
    assert scores.bins is not None and scores.bins["count"].sum() == 2 * 20 * 24
    assert not any("decides otherwise" in remark for remark in scores.remarks)


def test_binary_maps_say_the_same_in_every_form(tmp_path) -> None:
    random = np.random.default_rng(1)
    y, x = np.mgrid[:12, :10]
    disc = 1 / (1 + np.exp(2 * (np.hypot(y - 5, x - 4) - 2.5)))
    found = np.stack([disc * share for share in (0.9, 1, 0.8, 0.7)]).astype(np.float32)  # (D, H, W)
    truth = (random.random(found.shape) < found).astype(np.uint8)

    def volume(path, array):
        path.parent.mkdir(exist_ok=True)
        axes = (2, 1, 0, *range(3, array.ndim))
        nibabel.save(nibabel.Nifti1Image(array.transpose(axes), np.diag([1, 1, 3, 1])), path)

    volume(tmp_path / "truth" / "x.nii.gz", truth)
    volume(tmp_path / "a" / "x.nii.gz", (found > 0.5).astype(np.uint8))
    both = np.stack([1 - found, found])
    forms = {
        "one.npy": found, "channel.npy": found[None], "planes.npy": found[:, None], "two.npy": both,
    }  # fmt: skip
    for name, array in forms.items():
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x_probabilities.npy", array)
    volume(tmp_path / "nifti" / "x.nii.gz", np.moveaxis(both, 0, -1))
    volume(tmp_path / "nifti-one" / "x.nii.gz", found)
    results = {
        name: score(
            {"a": tmp_path / "a"}, tmp_path / "truth", probabilities={"a": tmp_path / name}
        ).frame["ECE"].iloc[0]
        for name in [*forms, "nifti", "nifti-one"]
    }  # fmt: skip
    expected = expected_error(found.astype(np.float64).ravel(), truth.ravel())
    np.testing.assert_allclose(list(results.values()), expected, atol=1e-7)
    near = score(
        {"a": tmp_path / "a"},
        tmp_path / "truth",
        probabilities={"a": tmp_path / "one.npy"},
        measuring=Measuring(calibration_band=1.0),
    )
    band = boundary_band(truth, 1.0, spacing=(3, 1, 1))
    assert 0 < near.bins["count"].sum() == band.sum() < band.size


def test_a_map_of_another_orientation_is_said(softmax) -> None:
    folder, maps = softmax
    turned = {case: (found[:, ::-1], truth) for case, (found, truth) in maps.items()}
    write_maps(folder / "maps", turned, "npy")
    scores = score({"a": folder / "a"}, folder / "truth", probabilities={"a": folder / "maps"})
    assert any("a, training 0: the probability map of some case decides otherwise" in remark
               for remark in scores.remarks)  # fmt: skip


def test_maps_that_do_not_fit_are_refused_by_name(softmax) -> None:
    folder, maps = softmax

    def refused(message: str, **how: object) -> None:
        with pytest.raises(HarmosegError, match=message):
            score({"a": folder / "a"}, folder / "truth", **how)

    maps_at = {"a": folder / "maps"}
    write_maps(folder / "maps", maps, "npy")
    refused("of which method.* one of a", probabilities=folder / "maps")
    refused("probabilities of 'b', training 0, belong to no masks; expected one of a",
            probabilities={"b": folder / "maps"})  # fmt: skip
    refused("'a', training 1, belong to no masks; expected trainings 0",
            probabilities={"a": [folder / "maps", folder / "maps"]})  # fmt: skip
    np.save(folder / "maps" / "1.npy", maps["1"][0][:2])
    refused(r"1.npy: 2 map\(s\), the truth has labels up to 2; expected 3", probabilities=maps_at)
    np.save(folder / "maps" / "1.npy", maps["1"][0][:, :-1])
    refused(r"1.npy: shape \(3, 19, 24\), expected \(classes, 20, 24\)", probabilities=maps_at)
    np.save(folder / "maps" / "1.npy", 2 * maps["1"][0])
    refused("1.npy: probabilities from .* expected 0 to 1", probabilities=maps_at)
    np.save(folder / "maps" / "1.npy", maps["1"][0].argmax(0))
    refused("1.npy: values of int64, expected probabilities", probabilities=maps_at)
    (folder / "maps" / "1.npy").write_bytes(b"no array")
    refused("1.npy: cannot be read as an array", probabilities=maps_at)
    (folder / "maps" / "1.npy").unlink()
    refused("none for 1 cases: 1; a map has the name of its mask", probabilities=maps_at)
    np.savez(folder / "maps" / "1.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(HarmosegError, match="holds the arrays a, b; expected one"):
        read_map(folder / "maps" / "1.npz", (20, 24))


def test_predicted_files_score_as_their_evaluation(folder_data, tmp_path) -> None:
    """What `predict` writes, judged from its files, is what `evaluate` says, to the last digit."""
    images, masks = folder_data(count=10, size=40)
    store = harmoseg.prepare_folder(
        images=images, masks=masks, out=tmp_path / "store", size=32, test_fraction=0.4
    )
    small = {"encoder": "tu-test_resnet", "epochs": 1, "batch_size": 4}
    run = harmoseg.train(store, out=tmp_path / "run", method="unet", **small)
    expected = harmoseg.evaluate(run, store).select(**{"class": "foreground"})
    for case in expected.values_of("case"):
        (tmp_path / "test").mkdir(exist_ok=True)
        shutil.copy(images / f"{case}.png", tmp_path / "test")
    harmoseg.predict(run, tmp_path / "test", out=tmp_path / "out", probabilities=True)
    command = ["score", f"unet={tmp_path / 'out' / 'masks'}", "--truth", str(masks)]
    command += ["--probabilities", f"unet={tmp_path / 'out' / 'probabilities'}"]
    command += ["--unmatched", "skip", "--out", str(tmp_path / "scores")]
    assert main(command) == 0
    found = read_scores(tmp_path / "scores").select(**{"class": "foreground"})
    assert found.values_of("case") == expected.values_of("case")
    for name in found.measures:
        values = [part.frame[name].to_numpy() for part in (found, expected)]
        if name in ("ECE", "MCE", "ACE", "Brier", "NLL"):  # kept in float16
            np.testing.assert_allclose(*values, atol=0.02)
        else:
            np.testing.assert_array_equal(*values)
    with (tmp_path / "scores" / "bins.csv").open(newline="") as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"unet"}
