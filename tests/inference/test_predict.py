"""Predicting files: the masks are those of an evaluation, in the frame of the input."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from PIL import Image

from harmoseg import HarmosegError, load
from harmoseg.datasets.folder import FolderOptions, SplitRule
from harmoseg.datasets.preparing import PrepareOptions, prepare_folder
from harmoseg.inference import planes as planes_module
from harmoseg.inference import predict as module
from harmoseg.inference import writing
from harmoseg.inference.options import PredictionOptions
from harmoseg.inference.output_folder import PredictionFolder
from harmoseg.inference.planes import cut_windows, predict_planes
from harmoseg.inference.predict import predict
from harmoseg.inference.predictor import Predictor
from harmoseg.locks import is_locked
from harmoseg.store.reading import open_store

EXACT = PredictionOptions(precision="fp32")
AFFINE = np.array([[-1.5, 0, 0, 10], [0, -1.25, 0, 20], [0, 0, 4, -30], [0, 0, 0, 1]])


def picture(path: Path, seed: int = 0, shape: tuple[int, ...] = (40, 50, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(values).save(path)


def nifti(path: Path, shape=(30, 26, 4), affine=AFFINE, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 2000, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return values


def mask_of(path: Path) -> np.ndarray:
    if path.suffix == ".png":
        return np.asarray(Image.open(path))
    return np.asarray(nibabel.load(path).dataobj)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def in_memory(model: Path, image: np.ndarray, options=EXACT) -> np.ndarray:
    """Predict (D, H, W, C) without files: probabilities (D, C, H, W)."""
    opened = load(model)
    info = opened.info
    predictor = Predictor([opened.network], info.mode, "cpu", flips=options.tta)
    windows = cut_windows(image, (info.height, info.width), tile=info.card.tile)
    planes = predict_planes(predictor, [(None, image.shape, windows)])
    return np.stack([plane.probabilities for plane in planes])


@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("tta", [False, True])
def test_images_get_the_masks_that_an_evaluation_scores(
    folder_data, make_model, predict_cases, tmp_path, tile, tta
) -> None:
    images, masks = folder_data(count=6, size=44)
    options = PrepareOptions(tmp_path / "store", size=32, tile=tile)
    prepare_folder(FolderOptions(images, masks), SplitRule(test_fraction=1), options)
    store = open_store(tmp_path / "store")
    model = make_model("binary", 3, tile=tile)
    expected = predict_cases(load(model).network, store, store.cases_of("test"), flips=tta)
    found = predict(model, images, tmp_path / "out", replace(EXACT, tta=tta), batch_size=4)
    assert not found.failed and len(found.rows) == 6
    for number, label in expected.items():
        mask = mask_of(tmp_path / "out" / "masks" / f"{store.cases[number].case}.png")
        assert set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(mask, 255 * label[0])


def test_names_and_folders_are_kept_and_a_table_is_written(make_model, tmp_path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b" / "a.JPG", 1)
    picture(tmp_path / "in" / "b" / "c.tiff", 2, (33, 20))
    (tmp_path / "in" / "notes.txt").write_text("x")
    (tmp_path / "in" / "._a.png").write_bytes(b"x")
    picture(tmp_path / "in" / ".ipynb_checkpoints" / "a-checkpoint.png")
    picture(tmp_path / "in" / "__MACOSX" / "a.png")
    found = predict(make_model(), tmp_path / "in", tmp_path / "out", EXACT)
    masks = tmp_path / "out" / "masks"
    assert [str(p.relative_to(masks)) for p in sorted(masks.rglob("*.png"))] == [
        "a.png",
        "b/a.png",
        "b/c.png",
    ]
    rows = rows_of(tmp_path / "out")
    assert [row["input"] for row in rows] == ["a.png", "b/a.JPG", "b/c.tiff"]
    assert {row["status"] for row in rows} == {"done"} and rows[2]["shape"] == "33 20"
    mask = Image.open(masks / "b" / "c.png")
    assert mask.mode == "P" and mask.size == (20, 33)
    assert mask.getpalette()[:6] == [0, 0, 0, 0, 158, 115]
    counts = np.bincount(np.asarray(mask).ravel(), minlength=3)
    assert [int(rows[2][f"voxels_{name}"]) for name in "ab"] == counts[1:].tolist()
    assert found.others == {".txt": 1, ".png": 1}
    assert found.told == "3 of 3 predicted; 2 file(s) of other kinds skipped (1 .png, 1 .txt)"
    values = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert values["image_masks"] == "class indices with a palette"
    assert values["classes"] == ["background", "a", "b"]


def test_probabilities_and_overlays(make_model, tmp_path) -> None:
    picture(tmp_path / "in" / "a.png", shape=(40, 50))
    nifti(tmp_path / "in" / "v.nii.gz")
    options = replace(EXACT, probabilities=True, overlays=True)
    model = make_model(volumes=True)
    predict(model, tmp_path / "in", tmp_path / "out", options)
    out = tmp_path / "out"
    found = np.load(out / "probabilities" / "a.npy")
    image = np.asarray(Image.open(tmp_path / "in" / "a.png"))[None, ..., None]
    assert found.dtype == np.float16 and found.shape == (3, 40, 50)
    assert np.abs(found - in_memory(model, image)[0]).max() < 1e-3
    # In float16 two classes may be equal.
    assert (found.argmax(0) == mask_of(out / "masks" / "a.png")).mean() > 0.99
    volume = nibabel.load(out / "probabilities" / "v.nii.gz")
    assert volume.shape == (30, 26, 4, 3) and volume.get_data_dtype() == np.float32
    assert np.allclose(volume.affine, AFFINE)
    values = np.asarray(volume.dataobj)
    assert np.array_equal(values.argmax(-1), mask_of(out / "masks" / "v.nii.gz"))
    drawn = np.asarray(Image.open(out / "overlays" / "a.png").convert("RGB"))
    assert drawn.shape == (320, 400, 3)
    assert {(0, 158, 115), (240, 228, 66)} & set(map(tuple, drawn.reshape(-1, 3).tolist()))
    assert (out / "overlays" / "v.nii.gz.png").is_file()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1)])
def test_a_mask_lies_where_its_volume_lies(make_model, tmp_path, ending, codes) -> None:
    path = tmp_path / "in" / f"v{ending}"
    image = nibabel.Nifti1Image(nifti(path), AFFINE)
    image.header["cal_max"], image.header["descrip"] = 700, b"a person"
    image.set_sform(AFFINE, code=codes[0])
    image.set_qform(AFFINE, code=codes[1])
    nibabel.save(image, path)
    predict(make_model(volumes=True), path, tmp_path / "out", EXACT)
    source, mask = nibabel.load(path), nibabel.load(tmp_path / "out" / "masks" / path.name)
    assert mask.get_data_dtype() == np.uint8 and mask.shape == source.shape
    assert np.array_equal(mask.affine, source.affine)
    for field in ("sform_code", "qform_code", "pixdim", "srow_x", "quatern_b", "xyzt_units"):
        assert np.array_equal(mask.header[field], source.header[field]), field
    assert mask.header["cal_max"] == 0 and b"person" not in bytes(mask.header["descrip"])
    assert rows_of(tmp_path / "out")[0]["spacing_mm"] == "4.0 1.25 1.5"


def test_a_volume_in_micrometres_has_its_spacing_in_mm_and_its_mask_in_place(
    make_model, tmp_path
) -> None:
    affine = np.diag([1000.0, 1000, 1000, 1]) @ AFFINE
    image = nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(30, 26, 4)), affine)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "v.nii.gz")
    predict(make_model(volumes=True), tmp_path / "v.nii.gz", tmp_path / "out", EXACT)
    spacing = [float(size) for size in rows_of(tmp_path / "out")[0]["spacing_mm"].split()]
    assert spacing == pytest.approx([4, 1.25, 1.5], rel=1e-6)
    mask = nibabel.load(tmp_path / "out" / "masks" / "v.nii.gz")
    assert mask.header.get_xyzt_units()[0] == "micron"
    assert np.allclose(mask.affine, affine)


@pytest.mark.parametrize("axes", ["RAS", "PIR", "SAL"])
def test_a_turned_volume_gets_the_same_mask(make_model, tmp_path, axes) -> None:
    """Volumes of one content in two orientations: their masks are one, voxel for voxel."""
    values = nifti(tmp_path / "in" / "one.nii.gz", shape=(30, 26, 28))
    turn = ornt_transform(io_orientation(AFFINE), axcodes2ornt(axes))
    other = nibabel.Nifti1Image(
        nibabel.apply_orientation(values, turn), AFFINE @ inv_ornt_aff(turn, values.shape)
    )
    nibabel.save(other, tmp_path / "in" / "two.nii.gz")
    predict(make_model(volumes=True, axes="LPS"), tmp_path / "in", tmp_path / "out", EXACT)
    one = mask_of(tmp_path / "out" / "masks" / "one.nii.gz")
    two = mask_of(tmp_path / "out" / "masks" / "two.nii.gz")
    assert one.any() and np.array_equal(nibabel.apply_orientation(one, turn), two)


def test_a_volume_is_predicted_slice_by_slice_along_its_third_axis(make_model, tmp_path) -> None:
    values = nifti(tmp_path / "v.nii.gz")
    model = make_model(volumes=True, window=(100.0, 1500.0))
    predict(model, tmp_path / "v.nii.gz", tmp_path / "out", EXACT)
    scaled = np.rint((np.clip(values, 100, 1500).astype(np.float32) - 100) * (255 / 1400))
    image = scaled.astype(np.uint8).transpose(2, 1, 0)[..., None]
    expected = in_memory(model, image).argmax(1).transpose(2, 1, 0)
    assert np.array_equal(mask_of(tmp_path / "out" / "masks" / "v.nii.gz"), expected)


def test_a_series_gets_the_mask_of_its_nifti(make_model, write_series, tmp_path) -> None:
    values = nifti(tmp_path / "in" / "nifti.nii.gz") // 2 * 2
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "in" / "nifti.nii.gz")
    write_series(tmp_path / "in" / "patient" / "mr", values, AFFINE)
    both = tmp_path / "in" / "both"
    write_series(both, values, AFFINE, SeriesNumber=4, SeriesInstanceUID="1.2.4")
    for file in write_series(
        tmp_path / "b", values, AFFINE, SeriesNumber=7, SeriesInstanceUID="1.2.7", ending=""
    ):
        file.rename(both / f"x{file.name}")
    predict(make_model(volumes=True, axes="LPS"), tmp_path / "in", tmp_path / "out", EXACT)
    masks = tmp_path / "out" / "masks"
    names = ["patient/mr.nii.gz", "both/series-4.nii.gz", "both/series-7.nii.gz"]
    expected = nibabel.load(masks / "nifti.nii.gz")
    assert [row["input"] for row in rows_of(tmp_path / "out") if row["kind"] == "dicom"] == [
        "both/series-4",
        "both/series-7",
        "patient/mr",
    ]
    for name in names:
        found = nibabel.load(masks / name)
        assert np.allclose(found.affine, expected.affine, atol=1e-4)
        assert np.array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))
    # The folder of a series itself, and one file of it.
    predict(make_model(volumes=True), tmp_path / "in" / "patient" / "mr", tmp_path / "o2", EXACT)
    assert (tmp_path / "o2" / "masks" / "mr.nii.gz").is_file()
    one = tmp_path / "in" / "patient" / "mr" / "0000.dcm"
    predict(make_model(volumes=True), one, tmp_path / "o3", EXACT)
    assert nibabel.load(tmp_path / "o3" / "masks" / "0000.nii.gz").shape == (30, 26, 1)


def test_an_hdf5_volume_gets_labels_in_hdf5(make_model, tmp_path) -> None:
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["image"] = random.normal(size=(3, 26, 30))
    model = make_model(volumes=True)
    options = replace(EXACT, probabilities=True)
    predict(model, tmp_path / "v.h5", tmp_path / "out", options)
    with h5py.File(tmp_path / "out" / "masks" / "v.h5") as file:
        label = file["label"][()]
    assert label.shape == (3, 26, 30) and label.dtype == np.uint8
    probabilities = np.load(tmp_path / "out" / "probabilities" / "v.h5.npy")
    assert probabilities.shape == (3, 3, 26, 30)
    assert (probabilities.argmax(0) == label).mean() > 0.99


@pytest.mark.parametrize(("tile", "remark"), [(0, "whole planes"), (64, "squares of 64"), (32, "")])
def test_another_scale_under_a_sliding_window_is_remarked(
    make_model, tmp_path, tile, remark
) -> None:
    picture(tmp_path / "a.png")
    options = replace(EXACT, window="sliding")
    found = predict(make_model(tile=tile), tmp_path / "a.png", tmp_path / "out", options)
    assert (remark in found.remark) and bool(found.remark) == bool(remark)
    assert not predict(make_model(tile=tile), tmp_path / "a.png", tmp_path / "o2", EXACT).remark


def test_images_of_many_sizes_share_batches(make_model, tmp_path) -> None:
    for i in range(7):
        picture(tmp_path / "in" / f"{i}.png", i, (30 + 7 * i, 64 - 5 * i, 3))
    options = replace(EXACT, window="sliding", probabilities=True)
    for size in (1, 5, 64):
        out = tmp_path / f"out{size}"
        predict(make_model("binary", 3), tmp_path / "in", out, options, batch_size=size)
    for i in range(7):
        found = [np.load(tmp_path / f"out{n}/probabilities/{i}.npy") for n in (1, 5, 64)]
        assert found[0].shape == (1, 30 + 7 * i, 64 - 5 * i)
        assert max(np.abs(found[0] - other).max() for other in found) < 2e-3


def test_a_second_call_predicts_what_is_not_done(make_model, tmp_path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b", "c", "d"):
        picture(source / f"{name}.png", ord(name))
    first = predict(make_model(), source, out, EXACT)
    assert first.done_before == 0
    stamps = {p.name: p.stat().st_mtime_ns for p in (out / "masks").iterdir()}
    assert predict(make_model(), source, out, EXACT).done_before == 4
    (out / "masks" / "a.png").unlink()
    picture(source / "b.png", 99)
    picture(source / "e.png", 100)
    (out / "masks" / ".partial-1-c.png").write_bytes(b"left by a killed process")
    again = predict(make_model(), source, out, EXACT)
    assert again.done_before == 2 and len(again.rows) == 5 and not again.failed
    changed = {p.name: p.stat().st_mtime_ns for p in (out / "masks").iterdir()}
    assert sorted(changed) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert {name for name in stamps if changed[name] == stamps[name]} == {"c.png", "d.png"}
    fresh = tmp_path / "fresh"
    predict(make_model(), source, fresh, EXACT)
    for name in changed:
        assert (out / "masks" / name).read_bytes() == (fresh / "masks" / name).read_bytes()


def test_an_interrupted_call_is_continued(make_model, tmp_path, monkeypatch) -> None:
    for i in range(9):
        picture(tmp_path / "in" / f"{i}.png", i)
    real, calls = planes_module.stack_windows, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(planes_module, "stack_windows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(make_model(), tmp_path / "in", tmp_path / "out", EXACT, batch_size=2)
    monkeypatch.setattr(planes_module, "stack_windows", real)
    done = len(rows_of(tmp_path / "out"))
    # A row that was cut off in the middle is predicted again.
    table = tmp_path / "out" / "predictions.csv"
    if done:
        table.write_text(table.read_text()[:-70])
        done -= 1
    found = predict(make_model(), tmp_path / "in", tmp_path / "out", EXACT)
    assert found.done_before == done and len(found.rows) == 9 and not found.failed


def test_another_model_or_other_options_are_refused(make_model, tmp_path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    picture(source / "a.png")
    predict(make_model(), source, out, EXACT)
    before = (out / "masks" / "a.png").read_bytes()
    with pytest.raises(HarmosegError, match="tta: True instead of False; overlays: True"):
        predict(make_model(), source, out, replace(EXACT, tta=True, overlays=True))
    with pytest.raises(HarmosegError, match="otherwise .seal: .* instead of .*--overwrite"):
        predict(make_model(seed=1), source, out, EXACT)
    other = shutil.copytree(source, tmp_path / "other")
    with pytest.raises(HarmosegError, match="input: '.*/other' instead of '.*/in'"):
        predict(make_model(), other, out, EXACT)
    assert (out / "masks" / "a.png").read_bytes() == before
    # The cure works, and leaves nothing of before.
    (out / "masks" / "old.png").write_bytes(b"x")
    (out / "mine.txt").write_text("kept")
    found = predict(make_model(seed=1), source, out, EXACT, overwrite=True)
    assert found.done_before == 0 and (out / "mine.txt").read_text() == "kept"
    assert [path.name for path in (out / "masks").iterdir()] == ["a.png"]
    assert predict(make_model(seed=1), source, out, EXACT).done_before == 1


def test_a_copied_model_is_the_same_model(make_model, tmp_path) -> None:
    picture(tmp_path / "in" / "a.png")
    predict(make_model(), tmp_path / "in", tmp_path / "out", EXACT)
    copied = shutil.copytree(make_model(), tmp_path / "copied")
    assert predict(copied, tmp_path / "in", tmp_path / "out", EXACT).done_before == 1


def test_files_that_fail_do_not_stop_the_others(make_model, tmp_path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    picture(source / "a.png")
    (source / "b.png").write_bytes(b"no image")
    pages = [Image.new("L", (20, 20)) for _ in range(2)]
    pages[0].save(source / "c.tif", save_all=True, append_images=pages[1:])
    nifti(source / "d.nii.gz", shape=(8, 8, 3, 2))
    values = np.full((8, 8, 3), np.nan)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), source / "e.nii.gz")
    with h5py.File(source / "f.h5", "w") as file:
        file["pixels"] = np.zeros((3, 8, 8))
    with h5py.File(source / "g.h5", "w") as file:
        file["image"] = np.zeros((8, 8, 3))
    with h5py.File(source / "h.h5", "w") as file:
        file["image"] = np.zeros((8, 8))
    (source / "i.dcm").write_bytes(b"nothing")
    picture(tmp_path / "outside.png")
    (source / "j.png").symlink_to(tmp_path / "outside.png")
    (source / "k").symlink_to(tmp_path)
    Image.new("L", (10_000, 9_000)).save(source / "l.png")
    nifti(source / "m.nii.gz", shape=(8, 8))
    found = predict(make_model(volumes=True), source, out, EXACT)
    # The colour image is the one that this model cannot take.
    errors = {row.input: row.error for row in found.failed}
    expected = {
        "a.png": "a.png: a colour image, but this model was trained on volumes",
        "b.png": "b.png: cannot be decoded",
        "c.tif": "c.tif: 2 pages or frames, expected one image",
        "d.nii.gz": r"shape \(8, 8, 3, 2\), expected three dimensions: a series of volumes",
        "e.nii.gz": r"192 voxel\(s\) are NaN or infinite",
        "f.h5": "no image in it, found pixels",
        "g.h5": r"looks like \(height, width, slices\)",
        "h.h5": r"shape \(8, 8\), expected \(slices, height, width\)",
        "in": "i.dcm: cannot be read as DICOM",
        "j.png": "a symbolic link that leaves the input",
        "k": "a symbolic link that leaves the input",
        "l.png": "refused, 10000 x 9000 are too many pixels",
        "m.nii.gz": r"shape \(8, 8\), expected three dimensions",
    }
    assert set(errors) == set(expected)
    for name, message in expected.items():
        with pytest.raises(HarmosegError, match=message):
            raise HarmosegError(errors[name])
    assert [row["status"] for row in rows_of(out)] == ["failed"] * 13
    assert rows_of(out)[1]["error"] == errors["b.png"]
    # Once mended, they are predicted.
    picture(source / "b.png", shape=(20, 20))
    again = predict(make_model(volumes=True), source, out, EXACT)
    assert "b.png" not in {row.input for row in again.failed} and len(again.failed) == 12


def test_links_within_the_input_are_followed_and_dangling_ones_fail(make_model, tmp_path) -> None:
    picture(tmp_path / "in" / "sub" / "a.png", shape=(40, 50))
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in" / "sub")
    (tmp_path / "in" / "c.nii.gz").symlink_to(tmp_path / "in" / "absent.nii.gz")
    found = predict(make_model(volumes=True), tmp_path / "in", tmp_path / "out", EXACT)
    assert [row.input for row in found.rows] == ["b.png", "c.nii.gz", "sub/a.png"]
    assert [row.input for row in found.failed] == ["c.nii.gz"]
    assert "c.nii.gz" in found.failed[0].error and "No such file" in found.failed[0].error


def test_a_decoder_that_breaks_fails_its_file_alone(make_model, tmp_path, monkeypatch) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png")
    real = module.read_case

    def read(item, *rest):
        if item.name == "a.png":
            raise IndexError("list index out of range")
        return real(item, *rest)

    monkeypatch.setattr(module, "read_case", read)
    found = predict(make_model(), tmp_path / "in", tmp_path / "out", EXACT)
    assert [row.status for row in found.rows] == ["failed", "done"]
    assert "a.png: cannot be read (IndexError: list index out of range)" in found.rows[0].error


def test_a_disk_that_is_full_fails_the_file_and_leaves_nothing(
    make_model, tmp_path, monkeypatch
) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png")
    real = Path.replace

    def rename(self, target):
        if target.name == "a.png":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", rename)
    found = predict(make_model(), tmp_path / "in", tmp_path / "out", EXACT)
    assert "masks/a.png: cannot be written (No space left on device)" in found.failed[0].error
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["b.png"]


def test_a_fault_of_writing_fails_the_file_alone(make_model, tmp_path, monkeypatch) -> None:
    nifti(tmp_path / "in" / "a.nii.gz")
    nifti(tmp_path / "in" / "b.nii.gz")
    real, calls = writing._like, []

    def like(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("no field of name that")
        return real(*arguments)

    monkeypatch.setattr(writing, "_like", like)
    found = predict(make_model(volumes=True), tmp_path / "in", tmp_path / "out", EXACT)
    assert [row.status for row in found.rows] == ["failed", "done"]
    assert "a.nii.gz: its mask cannot be written (KeyError" in found.rows[0].error
    assert len(rows_of(tmp_path / "out")) == 2


def test_a_name_that_is_no_utf8_or_long_is_predicted_once(make_model, tmp_path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    names = [
        "a.png",
        "M\udcfcller.png",
        "n" * 240 + ".png",
        "z" * 122 + "\N{GREEK SMALL LETTER PHI}.png",
    ]
    picture(source / "a.png")
    for name in names[1:]:
        try:
            shutil.copy(source / "a.png", source / name)
        except OSError:
            pytest.skip("this file system has no such names")
    first = predict(make_model(), source, out, EXACT)
    assert not first.failed and first.done_before == 0
    assert sorted(path.name for path in (out / "masks").iterdir()) == sorted(names)
    assert {row["input"] for row in rows_of(out)} == {*names, r"M\udcfcller.png"} - {names[1]}
    assert predict(make_model(), source, out, EXACT).done_before == 4
    # The folder's own name goes into predictions.json, and is compared with it.
    source.rename(tmp_path / "i\udcfcn")
    predict(make_model(), tmp_path / "i\udcfcn", tmp_path / "o2", EXACT)
    assert predict(make_model(), tmp_path / "i\udcfcn", tmp_path / "o2", EXACT).done_before == 4
    assert not list(tmp_path.rglob(".*"))


def test_a_nifti_2_file_gets_a_mask_of_its_own_form(make_model, tmp_path) -> None:
    path = tmp_path / "in" / "v.nii.gz"
    values = nifti(path)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "in" / "w.nii.gz")
    nibabel.save(nibabel.Nifti2Image(values, AFFINE), path)
    options = replace(EXACT, probabilities=True)
    found = predict(make_model(volumes=True), tmp_path / "in", tmp_path / "out", options)
    assert not found.failed
    for folder in ("masks", "probabilities"):
        one, two = (nibabel.load(tmp_path / "out" / folder / f"{n}.nii.gz") for n in "wv")
        assert type(one) is nibabel.Nifti1Image and type(two) is nibabel.Nifti2Image
        assert np.array_equal(one.affine, two.affine)
        assert np.array_equal(np.asarray(one.dataobj), np.asarray(two.dataobj))


def test_a_table_cut_off_within_a_letter_keeps_its_whole_rows(make_model, tmp_path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b", "c\N{LATIN SMALL LETTER U WITH DIAERESIS}"):
        picture(source / f"{name}.png")
    predict(make_model(), source, out, EXACT)
    table = out / "predictions.csv"
    data = table.read_bytes()
    table.write_bytes(data[: data.index(b"\xc3") + 1])
    assert predict(make_model(), source, out, EXACT).done_before == 2


def test_closing_the_folder_does_not_hide_what_went_wrong(tmp_path, monkeypatch) -> None:
    def refuse(*_):
        raise HarmosegError("predictions.csv: cannot be written")

    with (
        pytest.raises(ZeroDivisionError),
        PredictionFolder(tmp_path / "out", {}, ["a"]),
    ):
        monkeypatch.setattr(PredictionFolder, "_write_table", refuse)
        raise ZeroDivisionError
    assert not is_locked(tmp_path / "out" / ".lock")
    monkeypatch.undo()
    with PredictionFolder(tmp_path / "out", {}, ["a"]):
        pass


def test_a_volume_without_place_needs_its_spacing(make_model, tmp_path) -> None:
    path = tmp_path / "v.nii.gz"
    image = nibabel.Nifti1Image(nifti(path), None)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, path)
    found = predict(make_model(volumes=True), path, tmp_path / "out", EXACT)
    message = "does not say where its voxels lie .* --assume-spacing X Y Z"
    with pytest.raises(HarmosegError, match=message):
        raise HarmosegError(found.failed[0].error)
    options = replace(EXACT, assume_spacing=(1.5, 1.25, 4.0))
    again = predict(make_model(volumes=True), path, tmp_path / "out2", options)
    assert again.rows[0].spacing == (4.0, 1.25, 1.5) and not again.failed
    mask = nibabel.load(tmp_path / "out2" / "masks" / "v.nii.gz")
    assert int(mask.header["sform_code"]) == int(mask.header["qform_code"]) == 0


def test_grey_and_colour_follow_the_model_as_in_a_store(make_model, tmp_path) -> None:
    picture(tmp_path / "in" / "colour.png")
    picture(tmp_path / "in" / "grey.png", shape=(40, 50))
    for channels in (1, 3):
        out = tmp_path / f"out{channels}"
        model = make_model("binary", channels)
        predict(model, tmp_path / "in", out, EXACT)
        for name in ("colour.png", "grey.png"):
            with Image.open(tmp_path / "in" / name) as opened:
                seen = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
            image = seen.reshape(1, 40, 50, channels)
            expected = 255 * (in_memory(model, image)[0, 0] > 0.5)
            assert np.array_equal(mask_of(out / "masks" / name), expected)


def test_a_grey_slice_in_colour_form_is_taken_by_a_volume_model(make_model, tmp_path) -> None:
    picture(tmp_path / "in" / "grey.png", shape=(40, 50))
    with Image.open(tmp_path / "in" / "grey.png") as grey:
        grey.convert("RGB").save(tmp_path / "in" / "same.png")
        grey.convert("RGB").save(tmp_path / "in" / "jpeg.jpg", quality=95)
    found = predict(make_model(volumes=True), tmp_path / "in", tmp_path / "out", EXACT)
    assert not found.failed
    masks = tmp_path / "out" / "masks"
    assert np.array_equal(mask_of(masks / "grey.png"), mask_of(masks / "same.png"))


def test_volumes_for_a_model_of_plain_images(make_model, tmp_path) -> None:
    nifti(tmp_path / "in" / "v.nii.gz")
    with pytest.raises(HarmosegError, match="a volume, but this model was trained on colour"):
        predict(make_model("binary", 3), tmp_path / "in", tmp_path / "out", EXACT)
    with pytest.raises(HarmosegError, match="trained on plain images; .* pass --slices true"):
        predict(make_model(), tmp_path / "in", tmp_path / "out", EXACT)
    assert not (tmp_path / "out").exists()
    predict(make_model(), tmp_path / "in", tmp_path / "out", replace(EXACT, slices=True))
    assert mask_of(tmp_path / "out" / "masks" / "v.nii.gz").shape == (30, 26, 4)
    # Beside an image that can be predicted it fails alone.
    picture(tmp_path / "in" / "a.png")
    found = predict(make_model(), tmp_path / "in", tmp_path / "out2", EXACT)
    assert [row.status for row in found.rows] == ["done", "failed"]


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("in", "in", "lie one in the other"),
        ("in", "in/masks", "lie one in the other"),
        ("in/sub", "in", "lie one in the other"),
        ("in/a.png", "in", "lie one in the other"),
        ("in", "link", "lie one in the other"),
        ("twice/a.png", "twice/out", "lie one in the other"),
        ("absent", "out", "absent: no such file or folder; expected PNG"),
        ("empty", "out", "nothing to predict, found no files; expected PNG"),
        ("texts", "out", "nothing to predict, found 2 .txt; expected PNG"),
        ("texts/1.txt", "out", "nothing to predict, found 1 .txt"),
        ("in", "texts", "holds something else than predictions"),
        ("in", "texts/1.txt", "holds something else than predictions"),
        ("twice", "out", "a.jpg and a.png would both be written to a.png"),
    ],
)
def test_nothing_is_begun_where_it_cannot_end_well(
    make_model, tmp_path, monkeypatch, source, out, message
) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "twice" / "a.png")
    picture(tmp_path / "twice" / "a.jpg")
    for name in ("in/sub", "empty", "texts"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in" / "sub")
    for name in ("1.txt", "2.txt"):
        (tmp_path / "texts" / name).write_text("x")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarmosegError, match=message):
        predict(make_model("binary", 3), Path(source), Path(out), EXACT)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_in_use_is_refused(make_model, tmp_path, monkeypatch) -> None:
    picture(tmp_path / "in" / "a.png")
    real = planes_module.stack_windows

    def second(*arguments):
        with pytest.raises(HarmosegError, match="another process is predicting into it"):
            predict(make_model(), tmp_path / "in", tmp_path / "out", EXACT)
        return real(*arguments)

    monkeypatch.setattr(planes_module, "stack_windows", second)
    assert not predict(make_model(), tmp_path / "in", tmp_path / "out", EXACT).failed


def test_wrong_options_are_named(make_model, tmp_path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(HarmosegError, match="overlap must be at least 0 and below 1, got 1"):
        PredictionOptions(overlap=1)
    with pytest.raises(HarmosegError, match="assume_spacing must be three sizes above 0"):
        PredictionOptions(assume_spacing=(1.0, 0.0, 1.0))
    with pytest.raises(HarmosegError, match="batch_size must be 1 or more, got 0"):
        predict(make_model(), tmp_path / "a.png", tmp_path / "out", EXACT, batch_size=0)
    if not torch.cuda.is_available():
        with pytest.raises(HarmosegError, match="device is cuda, but PyTorch finds no such"):
            predict(make_model(), tmp_path / "a.png", tmp_path / "out", EXACT, device="cuda")
    with pytest.raises(HarmosegError, match="not a model"):
        predict(tmp_path, tmp_path / "a.png", tmp_path / "out", EXACT)
