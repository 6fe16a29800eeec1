"""Readers of volumes: NIfTI in every orientation, HDF5, NumPy, MATLAB; and what can be wrong."""

from __future__ import annotations

import gzip
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from harmoseg import HarmosegError
from harmoseg.datasets.arrays import scale_intensities
from harmoseg.datasets.catalogue import load_card, load_list, load_slices, load_split
from harmoseg.datasets.preparing import PrepareOptions, prepare_dataset
from harmoseg.datasets.readers import list_dataset
from harmoseg.datasets.sources import SourceOptions, in_parallel
from harmoseg.datasets.volumes import open_nifti, read_nifti, read_nifti_pair
from harmoseg.store.reading import Store, open_store

PART = SourceOptions(allow_missing=True)
CHALLENGE = SourceOptions("challenge", allow_missing=True)
SPACING = (1.5, 1.25, 8.0)  # x, y, z in mm


def prepared(name: str, source: Path, choices: SourceOptions = PART) -> Store:
    out = source.parent / f"store-{name}"
    assert prepare_dataset(name, source, PrepareOptions(out, size=16, overwrite=True), choices)
    return open_store(out)


def write_nifti(path: Path, voxels: np.ndarray, *, axes: str = "RAS", affine=None) -> None:
    """Write voxels (x, y, z), given in RAS order, as a file whose axes run along `axes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canonical = np.diag((*SPACING, 1.0))
    canonical[:3, 3] = (-20, 30, 5)
    image = nibabel.Nifti1Image(voxels, canonical if affine is None else affine)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(axes))
    nibabel.save(image.as_reoriented(turn), path)


def heart(
    seed: int = 0, shape: tuple[int, int, int] = (20, 24, 3)
) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and labels (x, y, z), every class there."""
    random = np.random.default_rng(seed)
    image = random.normal(300, 50, shape).astype(np.float32)
    label = np.zeros(shape, np.uint8)
    label[2:6, 4:9], label[8:16, 6:16], label[10:14, 8:14] = 1, 2, 3
    label[..., 0] = 0  # an empty slice
    return image, label


def write_frame(root: Path, patient: str, frame: int, *, axes: str = "LPS", **changes) -> None:
    image, label = heart(frame)
    folder = root / "training" / patient
    name = f"{patient}_frame{frame:02d}"
    write_nifti(folder / f"{name}.nii.gz", changes.get("image", image), axes=axes)
    label_axes = changes.get("label_axes", axes)
    write_nifti(folder / f"{name}_gt.nii.gz", changes.get("label", label), axes=label_axes)
    (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\nNbFrame: 30\n")


@pytest.fixture(autouse=True)
def published_slices(monkeypatch) -> dict[str, int]:
    """Replace the published numbers of slices, which made files of a few slices do not have."""
    published: dict[str, int] = {}
    monkeypatch.setattr("harmoseg.datasets.readers.scans.load_slices", lambda _: published)
    return published


@pytest.fixture
def acdc(tmp_path: Path) -> Path:
    root = tmp_path / "acdc"
    for patient in ("patient001", "patient002", "patient003"):
        for frame in (1, 12):
            write_frame(root, patient, frame)
    return root


# ACDC


def test_acdc_keeps_patients_phases_geometry_and_labels(acdc) -> None:
    store = prepared("acdc", acdc)
    assert [(case.case, case.group, case.subset, case.split) for case in store.cases[:3]] == [
        ("patient001_frame01", "patient001", "ED", "test"),
        ("patient001_frame12", "patient001", "ES", "test"),
        ("patient002_frame01", "patient002", "ED", "val"),
    ]
    assert store.cases[0].spacing == SPACING[::-1]
    assert store.info.counts == {"train": 2, "val": 2, "test": 2}
    file = nibabel.load(acdc / "training/patient001/patient001_frame12_gt.nii.gz")
    voxels = np.asanyarray(file.dataobj)
    # As acquired: the third axis is the slice, and the file's own affine still fits.
    assert np.array_equal(store.native_label(1), voxels.transpose(2, 1, 0))
    assert np.allclose(np.reshape(store.cases[1].affine, (3, 4)), file.affine[:3])


def test_the_test_part_is_left_out_of_the_usual_split_and_says_so(acdc) -> None:
    before = list_dataset("acdc", acdc, PART)
    assert before.remarks == ()
    for patient in ("patient101", "patient150"):
        for frame in (1, 12):
            write_frame(acdc, patient, frame)
    for mask in acdc.rglob("patient150*_gt.nii.gz"):  # the first release had no labels of them
        mask.unlink()
    listing = list_dataset("acdc", acdc, PART)
    assert [case.case for case in listing.cases] == [case.case for case in before.cases]
    assert listing.determined_by == before.determined_by == {}
    (remark,) = listing.remarks
    assert remark.startswith("2 patients of the challenge's test part (patient101 to patient150)")
    assert "are left out" in remark and "--split challenge" in remark
    write_frame(acdc, "patient151", 1)
    with pytest.raises(
        HarmosegError, match=r"1 case\(s\) with files are not listed \(patient151\)"
    ):
        list_dataset("acdc", acdc, PART)


def test_the_split_of_the_challenge_tests_on_its_test_part(acdc) -> None:
    for frame in (1, 12):
        write_frame(acdc, "patient101", frame)
    listing = list_dataset("acdc", acdc, CHALLENGE)
    assert {case.case: case.split for case in listing.cases if case.subset == "ED"} == {
        "patient001_frame01": "train",
        "patient002_frame01": "train",
        "patient003_frame01": "train",
        "patient101_frame01": "test",
    }
    assert listing.card.counts == {"train": 200, "test": 100}
    assert listing.determined_by == {"split": "challenge"} and listing.remarks == ()
    with pytest.raises(HarmosegError, match=r"ACDC \(100 / 50 patients\).* 146 listed case"):
        list_dataset("acdc", acdc, SourceOptions("challenge"))


def test_the_test_part_alone_is_refused_with_what_to_do(acdc) -> None:
    write_frame(acdc.parent / "testing", "patient101", 1)
    with pytest.raises(HarmosegError, match=r"only the challenge's test part is here") as error:
        list_dataset("acdc", acdc.parent / "testing", PART)
    assert "training/" in str(error.value) and "--split challenge" in str(error.value)
    (case,) = list_dataset("acdc", acdc.parent / "testing", CHALLENGE).cases
    assert case.split == "test"


def test_a_frame_without_its_last_slices_is_named(tmp_path, published_slices) -> None:
    published_slices["patient001"] = 3
    for frame in (1, 12):
        for number in range(3):
            write_slice(tmp_path / "s", f"patient001_frame{frame:02d}_slice_{number}.h5")
    assert len(list_dataset("acdc", tmp_path / "s", PART).cases) == 2
    for frame in (1, 12):
        (tmp_path / "s" / f"patient001_frame{frame:02d}_slice_2.h5").unlink()
    with pytest.raises(
        HarmosegError, match=r"2 slice\(s\) of patient001_frame01, the release has 3"
    ):
        list_dataset("acdc", tmp_path / "s", PART)


def test_a_first_slice_that_is_missing_is_named(tmp_path, published_slices) -> None:
    published_slices["patient001"] = 3
    for number in (1, 2):  # counted from 0 in this copy, and so no gap when counted from 1
        write_slice(tmp_path, f"patient001_frame01_slice_{number}.h5")
    with pytest.raises(
        HarmosegError, match=r"2 slice\(s\) of patient001_frame01, the release has 3"
    ):
        list_dataset("acdc", tmp_path, PART)


def test_nifti_files_of_fewer_slices_are_named(acdc, published_slices) -> None:
    published_slices |= {"patient001": 3, "patient002": 4}
    with pytest.raises(
        HarmosegError, match=r"patient002_frame01.nii.gz: 3 slice\(s\) of .* the release has 4"
    ):
        list_dataset("acdc", acdc, PART)


@pytest.mark.parametrize("form", ["slices", "volumes"])
def test_frames_of_a_patient_agree_as_hdf5_too(tmp_path, form) -> None:
    for frame, depth in ((1, 3), (2, 2)):
        name = f"patient101_frame{frame:02d}"
        for number in range(1, depth + 1 if form == "slices" else 1):
            write_slice(tmp_path, f"{name}_slice_{number}.h5")
        if form == "volumes":
            ones = np.ones((depth, 4, 4))
            hdf5(tmp_path / f"{name}.h5", image=ones, label=ones)
    with pytest.raises(
        HarmosegError, match=r"shape \(2, 4, 4\), but patient101_frame01 .*\(3, 4, 4"
    ):
        list_dataset("acdc", tmp_path, CHALLENGE)


def test_frames_as_hdf5_may_keep_their_numbers(tmp_path) -> None:
    for name in ("patient001_frame01", "patient001_frame12"):
        for number in range(3):
            write_slice(tmp_path / "s", f"{name}_slice_{number}.h5")
    cases = list_dataset("acdc", tmp_path / "s", PART).cases
    assert [case.case for case in cases] == ["patient001_frame01", "patient001_frame12"]


@pytest.mark.parametrize("patient", ["patient001", "patient002"])
def test_two_hdf5_copies_are_not_mixed(tmp_path, patient) -> None:
    for name in ("patient001_frame01", "patient001_frame12", f"{patient}_frame02"):
        write_slice(tmp_path, f"{name}_slice_0.h5")
    with pytest.raises(HarmosegError, match=r"frame02_slice_0.h5: this copy numbers .* 01 and 02"):
        list_dataset("acdc", tmp_path, PART)


def test_more_than_two_frames_of_a_patient_are_refused(tmp_path) -> None:
    for frame in (1, 12, 13):
        write_slice(tmp_path, f"patient001_frame{frame:02d}_slice_0.h5")
    with pytest.raises(
        HarmosegError, match=r"frame\(s\) \[1, 12, 13\] found, expected two; remove"
    ):
        list_dataset("acdc", tmp_path, PART)


def test_acdc_intensities_run_from_percentile_to_percentile(acdc) -> None:
    image = heart(1)[0]
    image[0, 0, 0] = 1e6  # one hot voxel must not make the rest black
    write_frame(acdc, "patient001", 1, image=image)
    store = prepared("acdc", acdc)
    assert 90 < np.median(store.images[list(store.rows_of(0))]) < 170


def hdf5(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def write_slice(folder: Path, name: str) -> None:
    hdf5(folder / name, image=np.ones((4, 4)), label=np.ones((4, 4)))


def test_acdc_as_hdf5_volumes_and_slices(tmp_path) -> None:
    root = tmp_path / "s"
    image, label = (array.transpose(2, 1, 0) for array in heart())
    image = ((image - image.min()) / np.ptp(image)).astype(np.float32)
    hdf5(root / "ACDC_training_volumes" / "patient001_frame01.h5", image=image, label=label)
    for number in range(3):
        # The whole volume wins over its slices; patient003 has slices alone.
        for patient in ("patient001", "patient003"):
            name = f"{patient}_frame01_slice_{number + 1}.h5"
            hdf5(root / "ACDC_training_slices" / name, image=image[number], label=label[number])
    store = prepared("acdc", root)
    assert [case.case for case in store.cases] == ["patient001_frame01", "patient003_frame01"]
    for number in (0, 1):
        assert np.array_equal(store.native_label(number), label)
        assert store.cases[number].spacing == ()
    assert np.array_equal(store.images[:3], store.images[3:])
    slices = root / "ACDC_training_slices"
    for lost in (2, 1):
        (slices / f"patient003_frame01_slice_{lost}.h5").rename(root / "kept")
        with pytest.raises(
            HarmosegError, match=rf"slice\(s\) \[{lost}\] of patient003_frame01 are missing"
        ):
            list_dataset("acdc", root, PART)
        (root / "kept").rename(slices / f"patient003_frame01_slice_{lost}.h5")
    (slices / "patient001_frame01_slice_3.h5").unlink()
    with pytest.raises(HarmosegError, match=r"patient001_frame01.h5: shape \(3, .*, but 2 of its"):
        list_dataset("acdc", root, PART)


def test_slices_of_acdc_may_be_numbered_from_zero(tmp_path) -> None:
    for number in range(3):
        write_slice(tmp_path, f"patient001_frame01_slice_{number}.h5")
    assert len(list_dataset("acdc", tmp_path, PART).cases[0].files) == 3


def test_both_frames_of_a_patient_must_be_there(acdc, monkeypatch) -> None:
    names = {f"patient{number:03d}": "train" for number in (1, 2, 3)}
    monkeypatch.setattr("harmoseg.datasets.readers.scans.load_split", lambda _: names)
    assert len(list_dataset("acdc", acdc, SourceOptions()).cases) == 6
    for file in (acdc / "training/patient002").glob("*frame12*"):
        file.unlink()
    with pytest.raises(HarmosegError, match=r"patient002: frame\(s\) \[1\] found, .* \[1, 12\]"):
        list_dataset("acdc", acdc, SourceOptions())
    assert len(list_dataset("acdc", acdc, PART).cases) == 5


def test_both_frames_must_be_there_as_hdf5_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "harmoseg.datasets.readers.scans.load_split", lambda _: {"patient001": "train"}
    )
    hdf5(tmp_path / "patient001_frame01.h5", image=np.ones((2, 4, 4)), label=np.ones((2, 4, 4)))
    with pytest.raises(HarmosegError, match=r"patient001: frame\(s\) \[1\] found, expected two"):
        list_dataset("acdc", tmp_path, SourceOptions())


def test_a_frame_that_is_there_twice_is_named(acdc) -> None:
    write_frame(acdc / "copy", "patient001", 12)
    with pytest.raises(HarmosegError, match=r"two files with one id: .*frame12.* and .*frame12"):
        list_dataset("acdc", acdc, PART)


def test_names_in_upper_case_are_read(acdc) -> None:
    before = prepared("acdc", acdc)
    for file in sorted((acdc / "training").rglob("*.*")):
        file.rename(file.with_name(file.name.upper()))
    after = prepared("acdc", acdc)
    assert [case.case for case in after.cases] == [case.case for case in before.cases]
    assert np.array_equal(after.images, before.images)


def test_a_linked_info_file_that_leaves_the_source_is_refused(acdc) -> None:
    info = acdc / "training/patient002/Info.cfg"
    info.rename(acdc.parent / "Info.cfg")
    info.symlink_to(acdc.parent / "Info.cfg")
    with pytest.raises(HarmosegError, match="Info.cfg: a symbolic link that leaves the source"):
        list_dataset("acdc", acdc, PART)


@pytest.mark.parametrize("name", ["acdc", "synapse", "btseg"])
def test_a_linked_folder_that_leaves_the_source_is_refused(name, acdc, tmp_path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "training").symlink_to(acdc)
    (tmp_path / "s" / "within").symlink_to(tmp_path / "s")  # is not entered, and no harm
    with pytest.raises(HarmosegError, match="s/training: a symbolic link that leaves the source"):
        list_dataset(name, tmp_path / "s", PART)


def test_a_patient_without_mask_is_named(acdc) -> None:
    (acdc / "training/patient002/patient002_frame12_gt.nii.gz").unlink()
    with pytest.raises(
        HarmosegError, match="patient without mask, patient002_frame12_gt.nii.gz is"
    ):
        list_dataset("acdc", acdc, PART)


def test_frames_of_different_shape_are_named(acdc) -> None:
    image, label = heart(shape=(20, 24, 4))
    write_frame(acdc, "patient001", 12, image=image, label=label)
    with pytest.raises(HarmosegError, match=r"frame12.nii.gz: shape .*4\), but patient001_frame01"):
        list_dataset("acdc", acdc, PART)


def test_a_mask_of_another_shape_is_named(acdc) -> None:
    write_frame(acdc, "patient001", 1, label=heart(shape=(20, 24, 4))[1])
    with pytest.raises(HarmosegError, match=r"shapes differ: .*frame01.nii.gz is \(20, 24, 3\)"):
        prepared("acdc", acdc)


def test_a_label_outside_the_card_is_named(acdc) -> None:
    label = heart()[1]
    label[0, 0, 1] = 7
    write_frame(acdc, "patient001", 1, label=label)
    with pytest.raises(
        HarmosegError,
        match=r"frame01_gt.nii.gz: unexpected label value\(s\) 7; expected 0, 1, 2, 3",
    ):
        prepared("acdc", acdc)


def test_broken_label_values_are_named_too(acdc) -> None:
    label = heart()[1].astype(np.float32)
    label[0, 0, :3] = 1.5, -2, np.nan
    write_frame(acdc, "patient001", 1, label=label)
    with pytest.raises(HarmosegError, match=r"unexpected label value\(s\) .*1\.5"):
        prepared("acdc", acdc)


@pytest.mark.parametrize("axes", ["RPS", "PLS"])
def test_a_flipped_or_permuted_mask_is_named(acdc, axes) -> None:
    image, label = heart(shape=(24, 24, 3))
    for frame in (1, 12):
        write_frame(acdc, "patient001", frame, image=image, label=label)
    write_frame(acdc, "patient001", 1, image=image, label=label, label_axes=axes)
    with pytest.raises(HarmosegError, match=f"affines differ: .* LPS, its labels .* {axes}"):
        prepared("acdc", acdc)


def test_nan_is_counted_and_named(acdc) -> None:
    image = heart()[0]
    image[:2, 0, 1] = np.nan
    write_frame(acdc, "patient001", 1, image=image)
    with pytest.raises(HarmosegError, match=r"frame01.nii.gz: 2 voxel\(s\) are NaN or infinite"):
        prepared("acdc", acdc)


def test_a_constant_volume_is_named(acdc) -> None:
    write_frame(acdc, "patient001", 1, image=np.full((20, 24, 3), 5, np.int16))
    with pytest.raises(HarmosegError, match=r"frame01.nii.gz: every voxel has the value 5"):
        prepared("acdc", acdc)


def test_damaged_files_are_named(acdc) -> None:
    folder = acdc / "training/patient001"
    whole = (folder / "patient001_frame01.nii.gz").read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        (folder / "patient001_frame01.nii.gz").write_bytes(content)
        with pytest.raises(HarmosegError, match=r"frame01.nii.gz: cannot be (read|decoded)"):
            prepared("acdc", acdc)
    (folder / "patient001_frame01.nii.gz").write_bytes(whole)
    (folder / "Info.cfg").write_text("ED: one\n")
    with pytest.raises(HarmosegError, match=r"Info.cfg: cannot be read; expected .*'ED: 1'"):
        list_dataset("acdc", acdc, PART)


def test_a_header_that_contradicts_its_affine_is_named(acdc) -> None:
    file = acdc / "training/patient001/patient001_frame01.nii.gz"
    for name in (file, file.with_name("patient001_frame01_gt.nii.gz")):
        image = nibabel.load(name)
        changed = nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine)
        changed.header.set_zooms((3.0, 1.25, 8.0))
        changed.header["sform_code"], changed.header["qform_code"] = 2, 0
        nibabel.save(changed, name)
    with pytest.raises(HarmosegError, match=r"header says voxels of 3 x 1.25 x 8 mm, the affine"):
        prepared("acdc", acdc)


def test_an_affine_without_scale_gives_way_to_the_header(acdc) -> None:
    file = acdc / "training/patient001/patient001_frame01.nii.gz"
    for name in (file, file.with_name("patient001_frame01_gt.nii.gz")):
        without_scale(name, np.diag((-1, -1, 1, 1)))
    assert prepared("acdc", acdc).cases[0].spacing == SPACING[::-1]


def without_scale(file: Path, affine: np.ndarray) -> None:
    image = nibabel.load(file)
    changed = nibabel.Nifti1Image(np.asanyarray(image.dataobj), affine)
    changed.header.set_zooms(SPACING)
    changed.header["sform_code"], changed.header["qform_code"] = 2, 0
    nibabel.save(changed, file)


@pytest.mark.parametrize(
    ("affine", "spacing"),
    [
        (np.diag((1, 1, 1, 1)), SPACING[::-1]),  # RAS: turned, though no axis changes its place
        (np.eye(4)[[2, 0, 1, 3]], (SPACING[1], SPACING[0], SPACING[2])),  # x runs to A, y S, z R
    ],
)
def test_turning_keeps_the_voxel_sizes_of_the_header(tmp_path, affine, spacing) -> None:
    for name, voxels in zip(("i.nii.gz", "l.nii.gz"), abdomen(1), strict=True):
        write_nifti(tmp_path / name, voxels)
        without_scale(tmp_path / name, affine)
    sample = read_nifti_pair(
        tmp_path / "i.nii.gz",
        tmp_path / "l.nii.gz",
        classes=dict.fromkeys(range(14), 0),
        window=None,
        axes="LPS",
    )
    assert sample.spacing == spacing


def set_scale(file: Path, slope: float, intercept: float) -> None:
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()  # scl_slope, scl_inter
    file.write_bytes(gzip.compress(content))


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1000.0), ("meter", 0.001), ("mm", 1.0)])
def test_voxel_sizes_are_in_millimetres_whatever_the_unit(tmp_path, unit, factor) -> None:
    affine = np.diag([-1.5, -1.25, 4.0, 1.0])
    affine[:3, 3] = 10, 20, -30
    values = np.random.default_rng(0).integers(0, 2000, (8, 9, 5)).astype(np.int16)
    label = (values > 1000).astype(np.uint8)
    scale = np.diag([factor, factor, factor, 1.0])
    for name, voxels in (("image", values), ("label", label)):
        # Labels in mm, whatever the image is in.
        own = affine if name == "label" else scale @ affine
        made = nibabel.Nifti1Image(voxels, own)
        made.header.set_xyzt_units("mm" if name == "label" else unit)
        nibabel.save(made, tmp_path / f"{name}.nii.gz")
    paths = (tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
    sample = read_nifti_pair(*paths, classes={0: 0, 1: 1}, window=None)
    assert sample.spacing == pytest.approx((4, 1.25, 1.5), rel=1e-6)
    assert np.allclose(np.reshape(sample.affine, (3, 4)), affine[:3], rtol=1e-6)
    found = read_nifti(paths[0], window=None, axes="LPS")
    assert found.spacing == pytest.approx((4, 1.25, 1.5), rel=1e-6)
    assert np.allclose(np.linalg.norm(found.frame.affine[:3, :3], axis=0), (1.5, 1.25, 4))
    # What is written for it lies where the file says, in the file's own unit.
    assert np.allclose(found.source.affine, scale @ affine)


def test_a_scale_is_applied_without_a_copy_in_double_precision(tmp_path) -> None:
    stored = np.random.default_rng(0).integers(-1000, 1000, (64, 64, 64)).astype(np.int16)
    image, label = tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"
    write_nifti(image, stored)
    write_nifti(label, (stored > 0).astype(np.uint8))

    def read(window: tuple[float, float]) -> np.ndarray:
        classes = {0: 0, 1: 1}
        return read_nifti_pair(image, label, classes=classes, window=window, axes="LPS").image

    expected = read((-125, 275))
    set_scale(image, 0.5, -200)
    tracemalloc.start()
    assert np.array_equal(read((-262.5, -62.5)), expected)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 9 * stored.size  # 2 as stored, 4 scaled, 1 of the labels, and part of 1 made


def test_an_affine_that_is_not_finite_is_named(acdc) -> None:
    file = acdc / "training/patient001/patient001_frame01.nii.gz"
    for value in (np.nan, np.inf):
        content = bytearray(gzip.decompress(file.read_bytes()))
        content[254:256] = np.int16(2).tobytes()  # sform_code
        content[280:284] = np.float32(value).tobytes()  # the first number of the sform
        file.write_bytes(gzip.compress(content))
        with pytest.raises(HarmosegError, match=r"frame01.nii.gz: the affine .* is not finite"):
            list_dataset("acdc", acdc, PART)


def test_an_affine_that_gives_an_axis_no_direction_is_named(tmp_path) -> None:
    affine = np.diag((*SPACING, 1.0))
    affine[:3, 1] = affine[:3, 0]
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    image.header.set_sform(affine, 2)
    nibabel.save(nibabel.Nifti1Image(image.dataobj, None, image.header), tmp_path / "i.nii")
    with pytest.raises(HarmosegError, match="gives an axis no direction"):
        open_nifti(tmp_path / "i.nii")


def with_one_more_axis(file: Path, last: int) -> None:
    image = nibabel.load(file)
    voxels = np.repeat(np.asanyarray(image.dataobj)[..., None], last, axis=3)
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), file)


def test_a_fourth_axis_of_length_one_is_dropped_and_a_longer_one_refused(acdc) -> None:
    before = prepared("acdc", acdc)
    file = acdc / "training/patient001/patient001_frame01.nii.gz"
    for _ in range(2):  # (20, 24, 3, 1), then (20, 24, 3, 1, 1)
        with_one_more_axis(file, 1)
        after = prepared("acdc", acdc)
        assert np.array_equal(after.images, before.images)
        assert after.cases[0].spacing == SPACING[::-1]
    with_one_more_axis(file.with_name("patient001_frame01_gt.nii.gz"), 2)
    with pytest.raises(HarmosegError, match=r"gt.nii.gz: shape \(20, 24, 3, 2\), .*a series"):
        prepared("acdc", acdc)


# Files that claim more than fits into memory. The limits are the real ones: nothing is allocated.


def test_a_nifti_file_that_claims_too_much_is_refused(acdc) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((1000, 1000, 1000))
    header.set_data_dtype(np.int16)
    header["magic"], header["vox_offset"] = b"n+1", 352
    file = acdc / "training/patient001/patient001_frame01.nii.gz"
    file.write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    with pytest.raises(HarmosegError, match="refused, 1000 x 1000 x 1000 values of 2 byte"):
        list_dataset("acdc", acdc, PART)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((30_000, 30_000), np.float64), ((10_000, 10_000), np.uint8), ((300, 800, 800), np.float64)],
)
def test_an_hdf5_file_that_claims_too_much_is_refused(tmp_path, shape, dtype) -> None:
    file = tmp_path / "s" / "case0001.npy.h5"
    file.parent.mkdir()
    with h5py.File(file, "w") as made:
        for name in ("image", "label"):
            made.create_dataset(name, shape, dtype, chunks=True, compression="gzip")
    assert file.stat().st_size < 10_000
    with pytest.raises(HarmosegError, match=f"h5: refused, {' x '.join(map(str, shape))} values"):
        prepared("synapse", tmp_path / "s")


def test_a_matlab_file_that_claims_too_much_is_refused(tmp_path) -> None:
    matlab_73(tmp_path / "s" / "1.mat", "1", "MR1")
    with h5py.File(tmp_path / "s" / "1.mat", "r+") as file:
        del file["cjdata/image"]
        file.create_dataset("cjdata/image", (30_000, 30_000), np.float64, chunks=True)
    with pytest.raises(HarmosegError, match="1.mat: refused, 30000 x 30000 values of 8 byte"):
        prepared("btseg", tmp_path / "s")


def test_a_numpy_file_that_claims_too_much_is_refused(tmp_path) -> None:
    file = tmp_path / "s" / "case0005_slice000.npz"
    file.parent.mkdir()
    np.savez(file, image=np.zeros((4, 4)), label=np.zeros((4, 4)))
    content = bytearray(file.read_bytes())
    place = content.index(b"PK\x01\x02") + 24  # what the directory says the first array takes
    content[place : place + 4] = np.uint32(2**31).tobytes()
    file.write_bytes(content)
    with pytest.raises(HarmosegError, match=r"npz: refused, 2\d{9} values of 1 byte"):
        prepared("synapse", tmp_path / "s")


def test_slices_that_claim_too_much_together_are_refused(tmp_path) -> None:
    with h5py.File(tmp_path / "first.h5", "w") as made:
        for name in ("image", "label"):
            made.create_dataset(name, (8000, 8000), np.uint8, chunks=True)
    content = (tmp_path / "first.h5").read_bytes()
    for number in range(3):
        (tmp_path / f"patient001_frame01_slice_{number}.h5").write_bytes(content)
    with pytest.raises(HarmosegError, match="refused, 3 x 8000 x 8000 values"):
        prepared("acdc", tmp_path)


def test_a_lack_of_memory_is_one_line_that_names_the_file(tmp_path, monkeypatch) -> None:
    hdf5(tmp_path / "s" / "case0001.npy.h5", image=np.ones((2, 4, 4)), label=np.ones((2, 4, 4)))

    def fail(*_, **__):
        raise MemoryError("Unable to allocate\n6.71 GiB")

    monkeypatch.setattr(h5py.Dataset, "__array__", fail)
    with pytest.raises(HarmosegError, match=r"h5: too little memory .*allocate 6.71 GiB\); crop"):
        prepared("synapse", tmp_path / "s")


def test_cases_that_take_much_memory_are_read_few_at_a_time() -> None:
    lock, running, most = threading.Lock(), 0, Counter()

    def work(size: int) -> int:
        nonlocal running
        with lock:
            running += 1
            most[size] = max(most[size], running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return size

    for size, limit in ((1 << 28, 4), (1 << 29, 2), (1 << 40, 1)):
        items = [size] * 12
        assert list(in_parallel(work, items, "work", memory=lambda item: item)) == items
        assert 1 <= most[size] <= limit


# Synapse


def abdomen(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units and BTCV labels (x, y, z) in RAS order: one row of voxels per label."""
    random = np.random.default_rng(seed)
    image = random.integers(-1000, 1000, (20, 16, 5)).astype(np.int16)
    label = np.zeros((20, 16, 5), np.uint8)
    label[3, 1:15, 1:] = np.arange(14)[:, None]
    return image, label


def test_btcv_labels_become_the_eight_organs_in_every_orientation(tmp_path) -> None:
    stores = []
    for axes in ("RAS", "LPI", "SAL"):
        root = tmp_path / axes
        for number in (1, 5):
            image, label = abdomen(number)
            write_nifti(root / "img" / f"img{number:04d}.nii.gz", image, axes=axes)
            write_nifti(root / "label" / f"label{number:04d}.nii.gz", label, axes=axes)
        stores.append(prepared("synapse", root))
    store = stores[0]
    assert {case.case: case.split for case in store.cases} == {
        "case0001": "test",
        "case0005": "train",
    }
    image, label = abdomen(1)
    names = dict(enumerate(store.info.card.classes))
    btcv = {1: "spleen", 2: "right kidney", 3: "left kidney", 4: "gallbladder", 6: "liver"}
    btcv |= {7: "stomach", 8: "aorta", 11: "pancreas"}
    native = store.native_label(0)
    # LPS: the patient's left is on the right of the picture, the front above.
    turned = label[::-1, ::-1].transpose(2, 1, 0)
    for value in range(14):
        found = set(np.unique(native[turned == value]).tolist())
        assert {names[i] for i in found} == {btcv.get(value, "background")}
    for other in stores[1:]:
        assert np.array_equal(other.native_label(0), native)
        assert np.array_equal(other.images, store.images)
        assert other.cases[0].spacing == store.cases[0].spacing == SPACING[::-1]
        assert np.allclose(other.cases[0].affine, store.cases[0].affine)


def test_hounsfield_units_are_windowed() -> None:
    plane = np.array([[-2000, -125, 75, 275, 3000]], np.int16)
    scaled = scale_intensities(plane[None], (-125.0, 275.0), Path("x"))
    assert scaled.ravel().tolist() == [0, 0, 128, 255, 255]


def write_abdomen(root: Path, number: int = 1, **changes) -> tuple[Path, Path]:
    image, label = abdomen(number)
    paths = (root / f"img{number:04d}.nii.gz", root / f"label{number:04d}.nii.gz")
    write_nifti(paths[0], changes.get("image", image))
    write_nifti(paths[1], changes.get("label", label))
    return paths


@pytest.mark.parametrize("width", [1, 255])  # in 0 ... 1 already, or in 8 bits
def test_a_ct_that_does_not_reach_its_window_is_refused(tmp_path, width) -> None:
    hounsfield = abdomen(1)[0].clip(-125, 275)
    write_abdomen(tmp_path / "s", image=hounsfield)
    assert set(np.unique(prepared("synapse", tmp_path / "s").images)) >= {0, 255}
    write_abdomen(tmp_path / "s", image=((hounsfield + 125.0) / 400 * width).astype(np.float32))
    with pytest.raises(
        HarmosegError, match=rf"img0001.nii.gz: intensities from 0 to {width}, expected to reach"
    ):
        prepared("synapse", tmp_path / "s")


def write_preprocessed(root: Path, image: np.ndarray, *, as_slices: bool) -> None:
    label = np.ones(image.shape, np.float32)
    if not as_slices:
        hdf5(root / "case0001.npy.h5", image=image, label=label)
        return
    root.mkdir(exist_ok=True)
    for number, (plane, mask) in enumerate(zip(image, label, strict=True)):
        np.savez(root / f"case0005_slice{number:03d}.npz", image=plane, label=mask)


@pytest.mark.parametrize("as_slices", [True, False])
def test_preprocessed_intensities_must_lie_in_their_window(tmp_path, as_slices) -> None:
    image = np.random.default_rng(0).uniform(-0.009, 1.009, (3, 16, 16)).astype(np.float32)
    image[0] = 0  # a slice of air
    write_preprocessed(tmp_path / "s", image, as_slices=as_slices)
    assert set(np.unique(prepared("synapse", tmp_path / "s").images)) >= {0, 255}
    for low, high in ((0, 1.02), (-0.02, 1), (-1000, 1000)):
        image[1, 0, :2] = low, high
        write_preprocessed(tmp_path / "s", image, as_slices=as_slices)
        with pytest.raises(
            HarmosegError, match=r"intensities from .* expected to lie in .* 0 to 1"
        ):
            prepared("synapse", tmp_path / "s")
    write_preprocessed(tmp_path / "s", image.clip(0, 1) * 1e-3, as_slices=as_slices)
    with pytest.raises(HarmosegError, match=r"values from 0 to 0.001 are one value in the window"):
        prepared("synapse", tmp_path / "s")


def test_a_volume_with_its_slices_last_is_refused(tmp_path) -> None:
    # As the preprocessing script of TransUNet writes it.
    image = np.random.default_rng(0).uniform(0, 1, (24, 24, 3)).astype(np.float32)
    write_preprocessed(tmp_path / "s", image, as_slices=False)
    with pytest.raises(HarmosegError, match=r"\(24, 24, 3\) looks like \(height, width, slices\)"):
        prepared("synapse", tmp_path / "s")
    write_preprocessed(tmp_path / "s", np.moveaxis(image, -1, 0), as_slices=False)
    assert prepared("synapse", tmp_path / "s").cases[0].depth == 3


def test_a_scan_without_labels_is_named(tmp_path) -> None:
    write_abdomen(tmp_path / "s")[1].unlink()
    with pytest.raises(
        HarmosegError, match=r"img0001.nii.gz: patient without mask, label0001.nii.gz is missing"
    ):
        list_dataset("synapse", tmp_path / "s", PART)
    # Test scans of the challenge, which have none, are no part of the lists.
    write_abdomen(tmp_path / "s", 61)[1].unlink()
    write_abdomen(tmp_path / "s", 1)
    assert [case.case for case in list_dataset("synapse", tmp_path / "s", PART).cases] == [
        "case0001"
    ]


@pytest.mark.parametrize("kind", ["img", "label"])
def test_two_files_of_one_scan_are_named(tmp_path, kind) -> None:
    write_abdomen(tmp_path / "s")
    write_abdomen(tmp_path / "s" / "averaged", 1)
    other = "label" if kind == "img" else "img"
    (tmp_path / "s" / "averaged" / f"{other}0001.nii.gz").unlink()
    with pytest.raises(HarmosegError, match=f"two files with one id: .*{kind}0001.* and .*{kind}"):
        list_dataset("synapse", tmp_path / "s", PART)


def test_slices_of_one_number_are_named(tmp_path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "s" / folder).mkdir(parents=True)
        (tmp_path / "s" / folder / "case0005_slice000.npz").write_bytes(b"")
    with pytest.raises(HarmosegError, match="two files with one id"):
        list_dataset("synapse", tmp_path / "s", PART)


def test_slices_of_several_shapes_are_named(tmp_path) -> None:
    image = np.random.default_rng(0).uniform(0, 1, (3, 16, 16)).astype(np.float32)
    write_preprocessed(tmp_path / "s", image, as_slices=True)
    file = tmp_path / "s" / "case0005_slice002.npz"
    for shapes, message in (
        (((16, 15), (16, 15)), r"shape \(16, 15\), the slices before it have \(16, 16\)"),
        (((16, 16), (16, 15)), r"image of shape \(16, 16\) and label of shape \(16, 15\)"),
    ):
        np.savez(file, image=np.zeros(shapes[0]), label=np.zeros(shapes[1]))
        with pytest.raises(HarmosegError, match=f"slice002.npz: {message}"):
            prepared("synapse", tmp_path / "s")


def test_labels_may_be_packed_or_not_whatever_the_images_are(tmp_path) -> None:
    image, label = write_abdomen(tmp_path / "s")
    before = prepared("synapse", tmp_path / "s")
    label.with_suffix("").write_bytes(gzip.decompress(label.read_bytes()))
    label.unlink()
    assert np.array_equal(
        prepared("synapse", tmp_path / "s").native_label(0), before.native_label(0)
    )
    image.rename(image.with_name("IMG0001.NII.GZ"))
    assert np.array_equal(prepared("synapse", tmp_path / "s").images, before.images)


def test_values_that_lie_in_another_file_are_refused(tmp_path) -> None:
    arrays = {"image": np.ones((2, 4, 4)), "label": np.ones((2, 4, 4))}
    hdf5(tmp_path / "elsewhere.h5", **arrays)
    (tmp_path / "s").mkdir()
    elsewhere = h5py.ExternalLink(tmp_path / "elsewhere.h5", "image")
    layout = h5py.VirtualLayout((2, 4, 4), np.float64)
    layout[:] = h5py.VirtualSource(tmp_path / "elsewhere.h5", "image", (2, 4, 4))
    for kind in ("external", "soft", "virtual", "raw"):
        file = tmp_path / "s" / "case0001.npy.h5"
        with h5py.File(file, "w") as made:
            made["label"] = arrays["label"]
            if kind == "virtual":
                made.create_virtual_dataset("image", layout)
            elif kind == "raw":
                raw = [(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)]
                made.create_dataset("image", data=arrays["image"], external=raw)
            else:
                made["link"] = elsewhere
                made["image"] = elsewhere if kind == "external" else h5py.SoftLink("/link")
        with pytest.raises(HarmosegError, match=r"h5: /?image is a link to values"):
            prepared("synapse", tmp_path / "s")


def test_a_linked_group_is_refused(tmp_path) -> None:
    matlab_73(tmp_path / "elsewhere.mat", "1", "MR1")
    (tmp_path / "s").mkdir()
    with h5py.File(tmp_path / "s" / "1.mat", "w") as made:
        made["cjdata"] = h5py.ExternalLink(tmp_path / "elsewhere.mat", "cjdata")
    with pytest.raises(HarmosegError, match="1.mat: cjdata/PID is a link to values"):
        list_dataset("btseg", tmp_path / "s", PART)


def test_values_that_are_no_numbers_are_refused(tmp_path) -> None:
    hdf5(tmp_path / "s" / "case0001.npy.h5", image=b"text", label=np.ones((2, 4, 4)))
    with pytest.raises(HarmosegError, match="h5: values of type .*, expected plain numbers"):
        prepared("synapse", tmp_path / "s")


def test_the_preprocessed_form_of_synapse(tmp_path) -> None:
    root = tmp_path / "s"
    random = np.random.default_rng(0)
    image = random.uniform(0, 1, (3, 24, 24)).astype(np.float32)
    label = np.repeat(np.arange(9, dtype=np.float32), 64).reshape(1, 24, 24) * np.ones((3, 1, 1))
    (root / "train_npz").mkdir(parents=True)
    for number in range(3):
        file = root / "train_npz" / f"case0005_slice{number:03d}.npz"
        np.savez(file, image=image[number], label=label[number])
    hdf5(root / "test_vol_h5" / "case0001.npy.h5", image=image, label=label)
    store = prepared("synapse", root)
    assert {case.case: case.split for case in store.cases} == {
        "case0001": "test",
        "case0005": "train",
    }
    for number in (0, 1):
        assert np.array_equal(store.native_label(number), label)  # the card's own numbers
    assert store.images.mean() == pytest.approx(127.5, abs=3)  # [0, 1] became 0 to 255
    (root / "train_npz" / "case0005_slice001.npz").unlink()
    with pytest.raises(HarmosegError, match=r"slice\(s\) \[1\] of case0005 are missing"):
        list_dataset("synapse", root, PART)


def test_a_case_without_its_last_slices_is_named(tmp_path, published_slices) -> None:
    published_slices["case0005"] = 3
    image = np.random.default_rng(0).uniform(0, 1, (3, 16, 16)).astype(np.float32)
    write_preprocessed(tmp_path, image, as_slices=True)
    assert len(list_dataset("synapse", tmp_path, PART).cases) == 1
    (tmp_path / "case0005_slice002.npz").unlink()
    with pytest.raises(HarmosegError, match=r"2 slice\(s\) of case0005, the release has 3"):
        list_dataset("synapse", tmp_path, PART)


def test_the_published_numbers_of_slices() -> None:
    acdc, synapse = load_slices("acdc"), load_slices("synapse")
    assert acdc.keys() == load_split("acdc").keys() and 2 * sum(acdc.values()) == 1902
    assert {name: side for name, side in load_split("synapse").items() if name in synapse} == (
        dict.fromkeys(synapse, "train")
    )
    assert len(synapse) == 18 and sum(synapse.values()) == 2211 and synapse["case0024"] == 124


def test_no_python_object_is_read_from_a_slice(tmp_path) -> None:
    root = tmp_path / "s"
    root.mkdir()
    np.savez(root / "case0005_slice000.npz", image=np.array([object()]), label=np.zeros((4, 4)))
    with pytest.raises(HarmosegError, match=r"slice000.npz: cannot be read .*allow_pickle"):
        prepared("synapse", root)
    np.savez(root / "case0005_slice000.npz", picture=np.zeros((4, 4)))
    with pytest.raises(HarmosegError, match="no image and no label in it, found picture"):
        prepared("synapse", root)


def test_an_empty_slice_of_synapse_is_not_trained_on() -> None:
    assert load_card("synapse").empty_slices == "drop"
    assert Counter(load_split("synapse").values()) == {"train": 18, "test": 12}


# BTSeg, the official form


def matlab_73(path: Path, case: str, patient: str, *, mask_value: int = 1) -> np.ndarray:
    """Write a slice as MATLAB 7.3 does: HDF5 behind a header of 512 bytes, columns first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(int(case))
    image = random.integers(0, 2000, (20, 16)).astype(np.int16)
    mask = np.zeros((20, 16), np.uint8)
    mask[4:9, 2:6] = mask_value
    with h5py.File(path, "w", userblock_size=512) as file:
        file["cjdata/image"] = image.T
        file["cjdata/tumorMask"] = mask.T
        file["cjdata/label"] = np.array([[1.0]])
        file["cjdata/PID"] = np.array([[ord(letter)] for letter in patient], np.uint16)
        file["cjdata/tumorBorder"] = np.zeros((1, 8))
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(116))
    return mask


def test_btseg_from_matlab_files(tmp_path) -> None:
    rows = load_list("btseg")[:6]
    for row in rows:
        path = tmp_path / "s" / "brainTumorDataPublic_1-766" / f"{row['case']}.mat"
        mask = matlab_73(path, row["case"], f"MR{row['fold']}")
    (tmp_path / "s" / "cvind.mat").write_bytes(b"no slice")
    store = prepared("btseg", tmp_path / "s")
    assert np.array_equal(store.native_label(0)[0], mask)  # not transposed
    by_name = {row["case"]: row for row in rows}
    for case in store.cases:
        assert case.group == f"MR{by_name[case.case]['fold']}"
        assert case.split == ("test" if by_name[case.case]["fold"] == "5" else "train")


def test_btseg_splits_patients_where_the_files_name_them(tmp_path, monkeypatch) -> None:
    rows = [row for row in load_list("btseg") if int(row["case"]) <= 30]
    monkeypatch.setattr("harmoseg.datasets.readers.btseg.load_list", lambda _: rows)
    for number in range(1, 31):
        matlab_73(tmp_path / "s" / f"{number}.mat", str(number), f"p{number % 10}")
    listing = list_dataset("btseg", tmp_path / "s", SourceOptions("patients"))
    tested = {item.group for item in listing.cases if item.split == "test"}
    trained = {item.group for item in listing.cases if item.split == "train"}
    assert not tested & trained and len(tested) == 2 and len(trained) == 8
    assert listing.card.counts == {"train": 24, "test": 6}
    # Without some slices other patients would be drawn.
    (tmp_path / "s" / "7.mat").unlink()
    for missing in (False, True):
        with pytest.raises(HarmosegError, match=r"29 slices, .* needs all 30: .*--split folds"):
            list_dataset("btseg", tmp_path / "s", SourceOptions("patients", None, missing))


def test_a_patient_in_two_folds_is_refused(tmp_path) -> None:
    rows = load_list("btseg")
    chosen = [next(row for row in rows if row["fold"] == fold) for fold in ("1", "5")]
    for row in chosen:
        matlab_73(tmp_path / "s" / f"{row['case']}.mat", row["case"], "MR7")
    with pytest.raises(HarmosegError, match="patient 'MR7' is on two sides of the split"):
        list_dataset("btseg", tmp_path / "s", PART)


def test_a_matlab_file_of_the_wrong_version_is_named(tmp_path) -> None:
    (tmp_path / "s").mkdir()
    scipy.io.savemat(tmp_path / "s" / "1.mat", {"cjdata": {"image": np.zeros((4, 4))}})
    with pytest.raises(
        HarmosegError, match=r"1.mat: a MATLAB file version 5, expected version 7.3 \(HDF5\)"
    ):
        list_dataset("btseg", tmp_path / "s", PART)
    (tmp_path / "s" / "1.mat").write_bytes(b"hello")
    with pytest.raises(HarmosegError, match="of an unknown kind, expected version 7.3"):
        list_dataset("btseg", tmp_path / "s", PART)


def test_a_matlab_file_without_its_arrays_or_with_other_values_is_named(tmp_path) -> None:
    matlab_73(tmp_path / "s" / "1.mat", "1", "MR1", mask_value=3)
    with pytest.raises(HarmosegError, match=r"1.mat: unexpected label value\(s\) 3; expected 0, 1"):
        prepared("btseg", tmp_path / "s")
    with h5py.File(tmp_path / "s" / "1.mat", "r+") as file:
        del file["cjdata/tumorMask"]
    with pytest.raises(HarmosegError, match="no cjdata/tumorMask in it"):
        prepared("btseg", tmp_path / "s")


@pytest.mark.parametrize("patient", ["", " ", "\0\0", "MR\n1"])
def test_a_slice_that_names_no_patient_is_refused(tmp_path, patient) -> None:
    matlab_73(tmp_path / "s" / "1.mat", "1", "MR1")
    with h5py.File(tmp_path / "s" / "1.mat", "r+") as file:
        del file["cjdata/PID"]
        # As MATLAB writes an empty string: its size, 0 x 0.
        codes = [ord(letter) for letter in patient] or [0, 0]
        file["cjdata/PID"] = np.array(codes, np.uint64)
    with pytest.raises(HarmosegError, match=r"1.mat: cjdata/PID is '.*', expected a name"):
        list_dataset("btseg", tmp_path / "s", PART)
