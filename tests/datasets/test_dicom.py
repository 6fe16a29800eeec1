"""DICOM series: geometry, units, and what is refused."""

from __future__ import annotations

import sys

import nibabel
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1, RLELossless

from harmoseg import HarmosegError
from harmoseg.datasets.dicom import check_installed, find_series, is_dicom, read_series
from harmoseg.datasets.volumes import read_nifti

SHAPE = (12, 9, 6)
WINDOW = (-200.0, 300.0)


def volume(seed: int = 0) -> np.ndarray:
    """Make even values, which the slope of 2 keeps, beyond both ends of the window."""
    values = np.random.default_rng(seed).integers(-400, 400, SHAPE) * 2
    return values.astype(np.int16)


def oblique() -> np.ndarray:
    """Give an affine (RAS+) turned about two axes, with three different voxel sizes."""
    a, b = 0.3, -0.5
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag([-0.8, -1.2, 3.0])
    affine[:3, 3] = [40, -25, 110]
    return affine


def edit(file, **fields) -> None:
    slice_ = dcmread(file)
    for name, value in fields.items():
        if value is None:
            delattr(slice_, name)
        elif name.startswith("PixelPadding"):
            slice_.add_new(name, "SS", value)
        else:
            setattr(slice_, name, value)
    slice_.save_as(file, enforce_file_format=True)


@pytest.mark.parametrize("axes", [None, "LPS", "RAS"])
def test_a_series_is_the_volume_that_nifti_has(write_series, tmp_path, axes) -> None:
    voxels, affine = volume(), oblique()
    files = write_series(tmp_path / "series", voxels, affine)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "same.nii.gz")
    found = read_series(files, window=WINDOW, axes=axes)
    expected = read_nifti(tmp_path / "same.nii.gz", window=WINDOW, axes=axes)
    assert np.array_equal(found.slices, expected.slices)
    assert found.spacing == pytest.approx(expected.spacing, abs=1e-4)
    assert np.allclose(found.source.affine, affine, atol=1e-4)
    assert np.allclose(found.source.get_qform(), affine, atol=1e-4)
    assert np.allclose(found.frame.affine, expected.frame.affine, atol=1e-4)
    assert int(found.source.header["sform_code"]) == 1


def test_a_tilted_gantry_shears_the_affine(write_series, tmp_path) -> None:
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[1, 2] = 0.5
    found = read_series(write_series(tmp_path / "s", volume(), affine), window=WINDOW)
    assert np.allclose(found.source.affine, affine, atol=1e-5)
    assert int(found.source.header["qform_code"]) == 0


def test_compression_that_pydicom_knows_is_read(write_series, tmp_path) -> None:
    files = write_series(tmp_path / "s", volume(), oblique())
    plain = read_series(files, window=WINDOW).slices
    for file in files:
        slice_ = dcmread(file)
        slice_.compress(RLELossless, encoding_plugin="pydicom")
        slice_.save_as(file)
    assert np.array_equal(read_series(files, window=WINDOW).slices, plain)


def test_one_slice_is_a_volume_of_its_thickness(write_series, tmp_path) -> None:
    files = write_series(tmp_path / "s", volume()[..., :1], oblique(), SliceThickness=4)
    found = read_series(files, window=WINDOW)
    assert found.slices.shape == (1, 9, 12) and found.spacing == (4.0, 1.2, 0.8)


def test_series_are_told_apart_and_other_objects_left_out(write_series, tmp_path) -> None:
    one = write_series(tmp_path / "a", volume(), oblique(), SeriesNumber=3)
    two = write_series(tmp_path / "b", volume(1)[..., :2], oblique(), ending="")
    report = write_series(tmp_path / "c", volume()[..., :1], oblique())
    edit(report[0], Rows=None)
    found = find_series([*one, *report, *two])
    assert {(series.number, len(series.files)) for series in found} == {("3", 6), ("", 2)}
    assert is_dicom(two[0]) and not is_dicom(tmp_path / "a")


def position_of(number):
    def change(files) -> None:
        positions = sorted(files, key=lambda file: float(dcmread(file).ImagePositionPatient[2]))
        positions[number].unlink()
        files.remove(positions[number])

    return change


def replaced(**fields):
    return lambda files: edit(files[2], **fields)


def shifted(files) -> None:
    place = dcmread(files[2]).ImagePositionPatient
    row = dcmread(files[2]).ImageOrientationPatient[:3]
    moved = [round(float(p + 2 * r), 6) for p, r in zip(place, row, strict=True)]
    edit(files[2], ImagePositionPatient=moved)


def doubled(files) -> None:
    edit(files[2], ImagePositionPatient=dcmread(files[1]).ImagePositionPatient)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (position_of(3), r"numbers 3 and 4 by position\) are 6 mm apart .* 3 mm apart: 1 slice"),
        (doubled, "lie at one position, expected one slice at each"),
        (shifted, "shifted against the other slices"),
        (replaced(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), "another direction than"),
        (replaced(SeriesInstanceUID="1.2.3"), "another series than 0000.dcm"),
        (replaced(PixelSpacing=[1, 1]), "another pixel spacing than"),
        (replaced(Rows=8), "another size in pixels than"),
        (replaced(ImagePositionPatient=None), "does not say where it lies"),
        (replaced(ImageOrientationPatient=[1, 0, 0, 0, 2, 0]), "cannot be; convert the series"),
        (replaced(NumberOfFrames=3), "3 frames in one file, expected one slice per file"),
        (replaced(PhotometricInterpretation="RGB"), "pixels are RGB, expected MONOCHROME2"),
        (replaced(PixelData=bytes(6)), "0002.dcm: cannot be decoded"),
    ],
)
def test_what_is_wrong_with_a_series_is_told(write_series, tmp_path, spoil, message) -> None:
    files = write_series(tmp_path / "s", volume(), oblique())
    spoil(files)
    with pytest.raises(HarmosegError, match=message):
        read_series(files, window=WINDOW)


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big", "group 2"])
@pytest.mark.parametrize("ending", [".dcm", ""])
def test_a_series_without_preamble_is_read(write_series, tmp_path, syntax, ending) -> None:
    files = write_series(tmp_path / "s", volume(), oblique(), ending=ending)
    plain = read_series(files, window=WINDOW)
    for file in files:
        if syntax == "group 2":
            file.write_bytes(file.read_bytes()[132:])
            continue
        slice_ = dcmread(file)
        stored = np.frombuffer(slice_.PixelData, "<i2")
        if syntax == "big":
            slice_.PixelData = stored.astype(">i2").tobytes()
        slice_["PixelData"].VR = "OW"
        bare = Dataset({element.tag: element for element in slice_})
        encoding = {"implicit_vr": syntax == "implicit", "little_endian": syntax != "big"}
        bare.save_as(file, enforce_file_format=False, **encoding)
    assert all(b"DICM" not in file.read_bytes()[:140] and is_dicom(file) for file in files)
    (series,) = find_series(files)
    found = read_series(series.files, window=WINDOW)
    assert np.array_equal(found.slices, plain.slices)
    assert np.allclose(found.frame.affine, plain.frame.affine)


@pytest.mark.parametrize("head", [b"", b"\x08\x00", b"\x08\x00text and more of it", b"PK\3\4" * 40])
def test_other_files_are_not_taken_for_dicom(tmp_path, head) -> None:
    (tmp_path / "a").write_bytes(head)
    assert not is_dicom(tmp_path / "a")


def padded(files, value: int, **fields) -> None:
    """Set the first three columns of every slice to a stored value."""
    for file in files:
        slice_ = dcmread(file)
        stored = np.frombuffer(slice_.PixelData, "<i2").reshape(slice_.Rows, slice_.Columns).copy()
        stored[:, :3] = value
        edit(file, PixelData=stored.tobytes(), **fields)


@pytest.mark.parametrize(
    ("stored", "fields"),
    [
        (-32768, {"PixelPaddingValue": -32768}),
        (32767, {"PixelPaddingValue": 32767}),
        (-2000, {"PixelPaddingValue": -2010, "PixelPaddingRangeLimit": -1990}),
        (-2000, {"PixelPaddingValue": -1990, "PixelPaddingRangeLimit": -2010}),
    ],
)
@pytest.mark.parametrize("window", [None, WINDOW])
def test_padding_is_dark_and_does_not_count(write_series, tmp_path, stored, fields, window) -> None:
    values = volume()
    files = write_series(tmp_path / "s", values, oblique())
    padded(files, stored, **fields)
    found = read_series(files, window=window).slices
    scanned = values[3:]
    low, high = window or np.percentile(scanned, (0.5, 99.5))
    expected = np.rint((np.clip(scanned, low, high) - low) * (255 / (high - low)))
    assert np.abs(found[..., 3:] - expected.transpose(2, 1, 0)).max() <= 1  # of two precisions
    assert not found[..., :3].any()


def test_padding_may_be_written_without_its_sign(write_series, tmp_path) -> None:
    files = write_series(tmp_path / "s", volume(), oblique())
    padded(files, -2000)
    plain = [dcmread(file) for file in files]
    for file, slice_ in zip(files, plain, strict=True):
        slice_.add_new("PixelPaddingValue", "US", 65536 - 2000)
        slice_.save_as(file, enforce_file_format=True)
    assert not read_series(files, window=None).slices[..., :3].any()
    assert read_series(files, window=None).slices[..., 3:].mean() == pytest.approx(127, abs=20)


def test_a_series_of_padding_alone_is_refused(write_series, tmp_path) -> None:
    files = write_series(tmp_path / "s", np.full(SHAPE, -1000, np.int16), oblique())
    for file in files:
        edit(file, PixelPaddingValue=0)
    with pytest.raises(HarmosegError, match="every voxel is padding"):
        read_series(files, window=None)


def test_a_missing_decoder_is_named(write_series, tmp_path) -> None:
    files = write_series(tmp_path / "s", volume()[..., :1], oblique())
    slice_ = dcmread(files[0])
    slice_.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    slice_.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    slice_["PixelData"].is_undefined_length = True
    slice_.save_as(files[0])
    with pytest.raises(HarmosegError, match="compressed as JPEG Lossless.*pylibjpeg-libjpeg"):
        read_series(files, window=WINDOW)


def test_a_file_that_is_not_dicom_is_named(tmp_path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"nothing")
    with pytest.raises(HarmosegError, match=r"a.dcm: cannot be read as DICOM \(neither"):
        find_series([tmp_path / "a.dcm"])


def test_without_pydicom_it_is_asked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(HarmosegError, match=r"pip install 'harmoseg\[dicom\]'"):
        check_installed(tmp_path / "a.dcm")
