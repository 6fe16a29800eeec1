"""Readers of image files: the official layouts, the usual others, and what can be wrong."""

from __future__ import annotations

import json
import shutil
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.datasets.catalogue import load_card, load_list, load_split
from harmoseg.datasets.label_values import BlackAndWhite
from harmoseg.datasets.pictures import read_mask_shades
from harmoseg.datasets.preparing import PrepareOptions, prepare_dataset
from harmoseg.datasets.readers import READERS, btseg, list_dataset, photographs
from harmoseg.datasets.sources import SourceOptions
from harmoseg.datasets.verifying import verify
from harmoseg.store.inspecting import remarks_of
from harmoseg.store.reading import Store, open_store

PART = SourceOptions(allow_missing=True)


def picture(path: Path, *, grey: bool = False, size: tuple[int, int] = (40, 30)) -> None:
    """Write noise; every path gives another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(sum(path.name.encode()))
    shape = size[::-1] if grey else (*size[::-1], 3)
    Image.fromarray(random.integers(0, 256, shape).astype(np.uint8)).save(path)


def mask(path: Path, *, size: tuple[int, int] = (40, 30)) -> None:
    """Write a rectangle, foreground 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(size[::-1], np.uint8)
    values[5:20, 10:30] = 255
    Image.fromarray(values).save(path)


def prepared(name: str, source: Path, choices: SourceOptions = PART, size: int = 16) -> Store:
    out = source.parent / f"store-{name}"
    assert prepare_dataset(name, source, PrepareOptions(out, size=size, overwrite=True), choices)
    return open_store(out)


def sides(store: Store) -> dict[str, str]:
    return {case.case: case.split for case in store.cases}


@pytest.mark.parametrize("name", READERS)
def test_every_dataset_has_a_complete_card(name) -> None:
    card = load_card(name)
    assert card.name == name
    for field in ("source", "licence", "citation", "doi", "layout", "split_rule", "counts"):
        assert getattr(card, field), field
    assert card.channels in {1, 3}
    assert all(load_card(partner).name == partner for partner in card.partners)


@pytest.mark.parametrize(
    ("name", "cases_per_entry"),
    [("kvasir-seg", 1), ("acdc", 2), ("synapse", 1), ("monuseg", 1), ("chase-db1", 1)],
)
def test_lists_have_the_counts_of_their_cards(name, cases_per_entry) -> None:
    counts = Counter(load_split(name).values())
    assert {side: n * cases_per_entry for side, n in counts.items()} == load_card(name).counts


def test_the_folds_of_btseg_have_the_published_counts() -> None:
    rows = load_list("btseg")
    assert Counter(row["label"] for row in rows) == {"1": 708, "2": 1426, "3": 930}
    assert sorted({row["case"] for row in rows}, key=int) == [str(i) for i in range(1, 3065)]
    assert Counter(row["fold"] == "5" for row in rows) == {False: 2400, True: 664}


@pytest.mark.parametrize("name", READERS)
def test_a_foreign_folder_is_refused_by_name(name, tmp_path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(HarmosegError, match="expected"):
        list_dataset(name, tmp_path, SourceOptions())
    with pytest.raises(HarmosegError, match="no such folder"):
        list_dataset(name, tmp_path / "absent", SourceOptions())


def test_an_unknown_dataset_and_split_are_named(tmp_path) -> None:
    with pytest.raises(
        HarmosegError, match=r"unknown dataset 'acd'; did you mean 'acdc'\? Known: synapse"
    ):
        list_dataset("acd", tmp_path, SourceOptions())
    with pytest.raises(HarmosegError, match="unknown split 'random'; this dataset has: official"):
        list_dataset("kvasir-seg", tmp_path, SourceOptions(split="random"))


# Kvasir-SEG


def kvasir(root: Path, count: int = 3) -> list[str]:
    names = sorted(load_split("kvasir-seg"))[:count]
    for name in names:
        picture(root / "images" / f"{name}.jpg")
        mask(root / "masks" / f"{name}.jpg")
    return names


def test_kvasir_is_found_one_folder_deeper_and_split_as_published(tmp_path) -> None:
    names = kvasir(tmp_path / "download" / "Kvasir-SEG")
    store = prepared("kvasir-seg", tmp_path / "download")
    assert sides(store) == {name: load_split("kvasir-seg")[name] for name in names}
    # JPEG masks: smeared values are cut at the half.
    assert np.array_equal(np.unique(store.native_label(0)), [0, 1])


def test_a_listed_case_that_is_absent_is_named(tmp_path) -> None:
    kvasir(tmp_path)
    with pytest.raises(HarmosegError, match=r"997 listed case\(s\) have no files .*allow-missing"):
        list_dataset("kvasir-seg", tmp_path, SourceOptions())


def test_a_case_that_no_list_names_is_refused_even_so(tmp_path) -> None:
    kvasir(tmp_path)
    picture(tmp_path / "images" / "mine.jpg")
    mask(tmp_path / "masks" / "mine.jpg")
    with pytest.raises(HarmosegError, match=r"1 case\(s\) with files are not listed \(mine\)"):
        list_dataset("kvasir-seg", tmp_path, PART)


def test_two_files_with_one_name_are_refused(tmp_path) -> None:
    names = kvasir(tmp_path)
    picture(tmp_path / "images" / f"{names[0]}.png")
    with pytest.raises(HarmosegError, match="two images of one name"):
        list_dataset("kvasir-seg", tmp_path, PART)


# ETIS-Larib


def etis(
    root: Path,
    numbers: Iterable[int],
    *,
    size: tuple[int, int] = (306, 241),
    images: str = "images",
) -> None:
    for number in numbers:
        picture(root / images / f"{number}.png", size=size)
        mask(root / "masks" / f"{number}.png", size=size)


def test_etis_in_folders_of_other_names(tmp_path) -> None:
    for images in ("images", "imgs"):
        etis(tmp_path / images / "s", (1, 2), images=images)
    stores = [prepared("etis-larib", tmp_path / name / "s") for name in ("images", "imgs")]
    assert stores[0].info.fingerprint == stores[1].info.fingerprint


def test_a_part_of_another_set_is_not_taken_for_etis(tmp_path) -> None:
    # CVC-ClinicDB and CVC-300 as PraNet's copy has them: numbered too.
    for size in ((384, 288), (574, 500)):
        etis(tmp_path / str(size), (1, 2, 3), size=size)
        with pytest.raises(HarmosegError, match=rf"1.png: {size[0]} x .* seems to be another") as e:
            list_dataset("etis-larib", tmp_path / str(size), PART)
        assert "1225 x 966 px" in str(e.value) and "only 3 of its 196" in str(e.value)


def test_a_resized_copy_of_etis_is_read_with_a_remark(tmp_path) -> None:
    etis(tmp_path / "whole", (1, 2), size=(1225, 966))
    assert list_dataset("etis-larib", tmp_path / "whole", PART).remarks == ()
    etis(tmp_path / "half", (1, 2), size=(612, 483))
    (remark,) = list_dataset("etis-larib", tmp_path / "half", PART).remarks
    assert remark == "2 image(s) were resized, to 612 x 483 px; published are 1225 x 966 px"
    # All numbers of the set, and no other: then it is this one, squeezed or not.
    etis(tmp_path / "all", range(1, 197), size=(16, 16))
    (remark,) = list_dataset("etis-larib", tmp_path / "all", SourceOptions()).remarks
    assert remark.startswith("196 image(s) were resized, to 16 x 16 px")


def test_a_damaged_image_is_left_to_whoever_reads_it(tmp_path) -> None:
    etis(tmp_path, (1, 2))
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    assert len(list_dataset("etis-larib", tmp_path, PART).cases) == 2
    found = verify(tmp_path, "etis-larib")
    assert [item.where for item in found.findings if item.check == "readable"] == [("1",)]


def test_etis_in_the_usual_form_only_tests(tmp_path) -> None:
    for number in (1, 2):
        picture(tmp_path / "s" / "images" / f"{number}.png")
        mask(tmp_path / "s" / "masks" / f"{number}.png")
    assert sides(prepared("etis-larib", tmp_path / "s")) == {"1": "test", "2": "test"}


def test_etis_in_its_original_form(tmp_path) -> None:
    root = tmp_path / "s"
    for number in (1, 2, 10):
        picture(root / "ETIS-LaribPolypDB" / f"{number}.tif")
        mask(root / "Ground Truth" / f"p{number}.tif")
    assert set(sides(prepared("etis-larib", root))) == {"1", "2", "10"}
    (root / "Ground Truth" / "p2.tif").unlink()
    with pytest.raises(HarmosegError, match=r"1 image\(s\) without a mask: 2.tif"):
        list_dataset("etis-larib", root, PART)
    (root / "ETIS-LaribPolypDB" / "2.tif").unlink()
    mask(root / "Ground Truth" / "p3.tif")
    with pytest.raises(HarmosegError, match=r"1 mask\(s\) without an image: p3.tif"):
        list_dataset("etis-larib", root, PART)


# CVC-ClinicDB: the official folders, and PraNet's copies


ORIGINAL = ("Original", "Ground Truth")
PRANET = ("images", "masks")


def clinic(root: Path, folders: tuple[str, str], ending: str, *numbers: int) -> None:
    random = np.random.default_rng(0)
    label = np.zeros((24, 32), np.uint8)
    label[5:20, 10:30] = 255
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = random.integers(0, 256, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / folders[0] / f"{number}{ending}")
        Image.fromarray(label).save(root / folders[1] / f"{number}{ending}")


@pytest.mark.parametrize(
    ("folders", "ending"), [(ORIGINAL, ".tif"), (ORIGINAL, ".png"), (PRANET, ".png")]
)
def test_every_layout_of_clinic_makes_the_same_store(tmp_path, folders, ending) -> None:
    clinic(tmp_path / "s" / "CVC-ClinicDB", folders, ending, 1, 2, 612)
    options = PrepareOptions(tmp_path / "store", size=16)
    assert prepare_dataset("cvc-clinicdb", tmp_path / "s", options, PART)
    store = open_store(tmp_path / "store")
    assert {case.case: case.split for case in store.cases} == dict.fromkeys(
        ("1", "2", "612"), "test"
    )
    assert store.native_label(0).sum() == 15 * 20
    clinic(tmp_path / "other", ORIGINAL, ".png", 1, 2, 612)
    options = PrepareOptions(tmp_path / "again", size=16)
    assert prepare_dataset("cvc-clinicdb", tmp_path / "other", options, PART)
    assert open_store(tmp_path / "again").info.fingerprint == store.info.fingerprint


def test_a_part_of_clinic_must_be_asked_for_and_other_numbers_are_refused(tmp_path) -> None:
    clinic(tmp_path, PRANET, ".png", 110, 138)
    with pytest.raises(HarmosegError, match=r"610 listed case\(s\) have no files .*allow-missing"):
        list_dataset("cvc-clinicdb", tmp_path, SourceOptions())
    clinic(tmp_path, PRANET, ".png", 613)
    with pytest.raises(HarmosegError, match=r"1 case\(s\) with files are not listed \(613\)"):
        list_dataset("cvc-clinicdb", tmp_path, PART)


def test_two_formats_side_by_side_are_named(tmp_path) -> None:
    for ending in (".png", ".tif"):
        clinic(tmp_path / ending[1:].upper(), ORIGINAL, ending, 1)
    with pytest.raises(HarmosegError, match=r"2 folders in it have the layout .*: PNG, TIF; pass"):
        list_dataset("cvc-clinicdb", tmp_path, PART)


def test_an_image_of_clinic_without_a_mask_is_named(tmp_path) -> None:
    clinic(tmp_path, ORIGINAL, ".tif", 1, 2)
    (tmp_path / "Ground Truth" / "2.tif").unlink()
    with pytest.raises(HarmosegError, match=r"1 image\(s\) without a mask: 2\.tif"):
        list_dataset("cvc-clinicdb", tmp_path, PART)


def test_clinic_is_another_centre_for_kvasir() -> None:
    clinic, kvasir = load_card("cvc-clinicdb"), load_card("kvasir-seg")
    assert "cvc-clinicdb" in kvasir.partners and clinic.partners == ("kvasir-seg",)
    assert (clinic.classes, clinic.channels, clinic.tile) == (
        kvasir.classes,
        kvasir.channels,
        kvasir.tile,
    )


# PolypGen


def polypgen(root: Path) -> None:
    for centre, names in (("C1", ["100H0001", "100H0002"]), ("C6", ["EndoCV2021_01"])):
        for name in names:
            picture(root / f"data_{centre}" / f"images_{centre}" / f"{name}.jpg")
            mask(root / f"data_{centre}" / f"masks_{centre}" / f"{name}_mask.jpg")
    (root / "data_C1" / "bbox_C1").mkdir()


def test_polypgen_is_test_only_with_its_centres(tmp_path) -> None:
    polypgen(tmp_path / "PolypGen2021_MultiCenterData_v3")
    store = prepared("polypgen", tmp_path)
    assert [(case.case, case.subset, case.split) for case in store.cases] == [
        ("C1/100H0001", "C1", "test"),
        ("C1/100H0002", "C1", "test"),
        ("C6/EndoCV2021_01", "C6", "test"),
    ]
    remarks = store.info.provenance["remarks"]
    assert len(remarks) == 4 and "centre C2 (folder data_C2) is not in this copy" in remarks


def test_an_image_without_mask_is_named(tmp_path) -> None:
    polypgen(tmp_path)
    (tmp_path / "data_C1" / "masks_C1" / "100H0002_mask.jpg").unlink()
    with pytest.raises(HarmosegError, match=r"1 image\(s\) without a mask: 100H0002.jpg"):
        list_dataset("polypgen", tmp_path, PART)


# ISIC


def isic(root: Path, folders: tuple[str, str], numbers: range) -> None:
    for number in numbers:
        picture(root / folders[0] / f"ISIC_{number:07d}.jpg")
        picture(root / folders[0] / f"ISIC_{number:07d}_superpixels.png")
        mask(root / folders[1] / f"ISIC_{number:07d}_segmentation.png")


def test_isic_2017_is_split_by_folder_and_superpixels_are_passed_over(tmp_path) -> None:
    root = tmp_path / "s"
    isic(root, ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"), range(3))
    isic(root, ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"), range(5, 7))
    (root / "ISIC-2017_Training_Data" / "ISIC-2017_Training_Data_metadata.csv").touch()
    store = prepared("isic-2017", root)
    assert store.info.counts == {"train": 3, "test": 2}
    (remark,) = store.info.provenance["remarks"]
    assert "no val part" in remark and "ISIC-2017_Validation_Data" in remark


def test_an_image_in_two_parts_is_named(tmp_path) -> None:
    root = tmp_path / "s"
    for part in ("Training", "Validation"):
        isic(root, (f"ISIC-2017_{part}_Data", f"ISIC-2017_{part}_Part1_GroundTruth"), range(2))
    with pytest.raises(
        HarmosegError, match=r"'ISIC_0000000' is there more than once \(.*Training.*Validation"
    ):
        list_dataset("isic-2017", root, PART)


FOLDERS_2018 = ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth")


def test_isic_2018_is_drawn_in_the_published_sizes(tmp_path, monkeypatch) -> None:
    assert photographs._DRAWN == {"train": 1815, "val": 259, "test": 520}
    monkeypatch.setattr(photographs, "_DRAWN", {"train": 70, "val": 10, "test": 20})
    root = tmp_path / "s"
    isic(root, FOLDERS_2018, range(100))
    isic(
        root,
        ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
        range(200, 203),
    )
    drawn = list_dataset("isic-2018", root, SourceOptions())
    assert Counter(item.split for item in drawn.cases) == {"train": 70, "val": 10, "test": 20}
    official = list_dataset("isic-2018", root, SourceOptions(split="official"))
    assert Counter(item.split for item in official.cases) == {"train": 100, "val": 3}
    assert official.card.counts == {"train": 2594, "val": 100, "test": 1000}


def test_isic_2018_is_drawn_from_all_its_images_or_not_at_all(tmp_path) -> None:
    isic(tmp_path, FOLDERS_2018, range(4))
    for options in (SourceOptions(), PART):
        with pytest.raises(HarmosegError, match=r"4 training images, .* all 2594: .*--split offi"):
            list_dataset("isic-2018", tmp_path, options)


TEST_2017 = ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth")


def test_the_test_part_of_isic_2017_can_be_used_alone(tmp_path) -> None:
    isic(tmp_path / "s" / "skin", TEST_2017, range(5))
    store = prepared("isic-2017", tmp_path / "s")
    assert store.info.counts == {"test": 5}
    assert len(store.info.provenance["remarks"]) == 2  # no train part, no val part


def test_folders_doubled_by_unpacking_are_stepped_into(tmp_path) -> None:
    isic(tmp_path / "plain", TEST_2017, range(5))
    for name in TEST_2017:
        shutil.copytree(tmp_path / "plain" / name, tmp_path / "s" / name / name)
    cases = [list_dataset("isic-2017", tmp_path / root, PART).cases for root in ("plain", "s")]
    assert [[item.case for item in found] for found in cases] == [
        [f"ISIC_{number:07d}" for number in range(5)]
    ] * 2


def test_an_unpaired_file_has_a_cure_that_the_command_knows(tmp_path) -> None:
    isic(tmp_path, TEST_2017, range(2))
    (tmp_path / TEST_2017[1] / "ISIC_0000001_segmentation.png").unlink()
    with pytest.raises(HarmosegError, match="1 image.s. without a mask: ISIC_0000001.jpg") as error:
        list_dataset("isic-2017", tmp_path, PART)
    assert "complete or replace the download" in str(error.value)
    assert "skip_unpaired" not in str(error.value)


def test_isic_2018_in_folders_of_another_copy(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(photographs, "_DRAWN", {"train": 7, "val": 1, "test": 2})
    isic(tmp_path / "plain" / "s", FOLDERS_2018, range(10))
    isic(tmp_path / "x2" / "s", tuple(f"{name}_x2" for name in FOLDERS_2018), range(10))
    isic(tmp_path / "parts" / "s", ("train/images", "train/masks"), range(6))
    isic(tmp_path / "parts" / "s", ("val/images", "val/masks"), range(6, 8))
    isic(tmp_path / "parts" / "s", ("test/images", "test/masks"), range(8, 10))
    isic(tmp_path / "official" / "s", ("train/images", "train/masks"), range(10))
    isic(tmp_path / "official" / "s", ("val/images", "val/masks"), range(10, 12))
    names = ("plain", "x2", "parts", "official")
    stores = [prepared("isic-2018", tmp_path / name / "s") for name in names]
    assert len({store.info.fingerprint for store in stores}) == 1
    assert stores[0].info.counts == {"train": 7, "val": 1, "test": 2}
    official = SourceOptions("official", allow_missing=True)
    for name, counts in (("parts", (6, 2, 2)), ("official", (10, 2, 0)), ("x2", (10, 0, 0))):
        found = list_dataset("isic-2018", tmp_path / name / "s", official)
        sides = Counter(item.split for item in found.cases)
        assert (sides["train"], sides["val"], sides["test"]) == counts
    assert "no test part: the folder(s) test/images, test/masks are not there" in (
        list_dataset("isic-2018", tmp_path / "official" / "s", official).remarks
    )


@pytest.mark.parametrize("name", ["isic-2018", "isic-2017"])
def test_train_and_test_folders_of_another_set_are_not_taken_for_isic(tmp_path, name) -> None:
    etis(tmp_path / "train", (1, 2))
    with pytest.raises(
        HarmosegError, match=r"1.png: 2 of 2 images are not named as .* such as ISI"
    ):
        list_dataset(name, tmp_path, PART)


# PH2


def test_ph2_in_one_folder_of_images_and_one_of_masks(tmp_path) -> None:
    for number in (2, 3):
        name = f"IMD{number:03d}"
        ph2(tmp_path / "official" / "PH2Dataset" / "PH2 Dataset images", name)
        picture(tmp_path / "flat" / "PH2" / "images" / f"{name}.bmp")
        mask(tmp_path / "flat" / "PH2" / "masks" / f"{name}_lesion.bmp")
    stores = [prepared("ph2", tmp_path / name) for name in ("official", "flat")]
    assert stores[0].info.fingerprint == stores[1].info.fingerprint
    etis(tmp_path / "other", (1, 2))
    with pytest.raises(
        HarmosegError, match=r"2 of 2 images are not named as those of PH2, such as"
    ):
        list_dataset("ph2", tmp_path / "other", PART)


def ph2(root: Path, name: str) -> None:
    picture(root / name / f"{name}_Dermoscopic_Image" / f"{name}.bmp")
    mask(root / name / f"{name}_lesion" / f"{name}_lesion.bmp")
    mask(root / name / f"{name}_roi" / f"{name}_R1_Label3.bmp")


def test_ph2_reads_its_bitmaps(tmp_path) -> None:
    for name in ("IMD002", "IMD003"):
        ph2(tmp_path / "PH2Dataset" / "PH2 Dataset images", name)
    assert sides(prepared("ph2", tmp_path)) == {"IMD002": "test", "IMD003": "test"}
    lesion = "PH2Dataset/PH2 Dataset images/IMD003/IMD003_lesion/IMD003_lesion.bmp"
    (tmp_path / lesion).unlink()
    with pytest.raises(HarmosegError, match=r"IMD003_lesion.bmp: missing"):
        list_dataset("ph2", tmp_path, PART)


@pytest.mark.parametrize("form", ["1 bit", "1 bit, white first", "2 colours", "2, white first"])
def test_ph2_masks_of_one_bit_and_of_two_colours(tmp_path, form) -> None:
    root = tmp_path / "PH2 Dataset images"
    for name in ("IMD002", "IMD003"):
        ph2(root, name)
        file = root / name / f"{name}_lesion" / f"{name}_lesion.bmp"
        with Image.open(file) as picture:
            values = np.asarray(picture) > 0
        file.write_bytes(
            bitmap(values, bits=1 if "bit" in form else 8, white_first="first" in form)
        )
        with Image.open(file) as picture:
            assert picture.mode in {"1", "P"} and picture.format == "BMP"
    store = prepared("ph2", tmp_path)
    assert all(np.array_equal(store.native_label(row)[0], values) for row in (0, 1))


def bitmap(white: np.ndarray, *, bits: int, white_first: bool) -> bytes:
    """Write a BMP file with a palette of black and white, by the format's own rules."""
    height, width = white.shape
    rows = (white != white_first).astype(np.uint8)[::-1]  # stored from the bottom
    if bits == 1:
        rows = np.packbits(rows, axis=1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    colours = [b"\0\0\0\0", b"\xff\xff\xff\0"]
    palette = b"".join(reversed(colours) if white_first else colours)
    offset = 54 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", offset + rows.size, 0, 0, offset)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, rows.size, 0, 0, 2, 2)
    return head + info + palette + rows.tobytes()


# MoNuSeg


def polygon(points: list[tuple[float, float]]) -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points)
    return f'<Region Id="1" Type="0"><Vertices>{vertices}</Vertices></Region>'


def annotation(*regions: str) -> str:
    return (
        '<Annotations MicronsPerPixel="0.252"><Annotation Id="1" Type="4"><Regions>'
        f"{''.join(regions)}</Regions></Annotation></Annotations>"
    )


SQUARE = polygon([(10, 10), (30, 10), (30, 25), (10, 25), (10, 10)])


def tile(root: Path, name: str, content: str) -> None:
    picture(root / "Tissue Images" / f"{name}.tif", size=(60, 50))
    file = root / "Annotations" / f"{name}.xml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)


def tiles(root: Path, content: str = annotation(SQUARE)) -> list[str]:
    splits = load_split("monuseg")
    names = [next(name for name, side in splits.items() if side == s) for s in ("train", "test")]
    for name, folder in zip(names, ("MoNuSeg 2018 Training Data", "MoNuSegTestData"), strict=True):
        tile(root / folder, name, content)
    return names


def test_monuseg_rasterises_polygons_and_cuts_tiles(tmp_path) -> None:
    names = tiles(tmp_path / "s")
    store = prepared("monuseg", tmp_path / "s", size=32)
    assert sides(store) == dict(zip(names, ("train", "test"), strict=True))
    label = store.native_label(0)[0]
    assert label.sum() == 20 * 15 and label[10:25, 10:30].all()
    assert store.cases[0].group == names[0][:12]
    assert store.info.provenance["determined_by"] == {"labels": "polygons"}
    assert store.cases[0].slices == 1  # smaller than the card's tile of 224


def test_monuseg_takes_masks_where_polygons_are_not_complete(tmp_path) -> None:
    names = tiles(tmp_path / "s")
    for name in names:
        mask(tmp_path / "s" / "masks" / f"{name}.png", size=(60, 50))
    next((tmp_path / "s").rglob("*.xml")).unlink()
    store = prepared("monuseg", tmp_path / "s")
    assert store.info.provenance["determined_by"] == {"labels": "masks"}
    (tmp_path / "s" / "masks" / f"{names[0]}.png").unlink()
    with pytest.raises(HarmosegError, match=rf"1 tile\(s\) have no label \({names[0]}\)"):
        list_dataset("monuseg", tmp_path / "s", PART)


def test_two_files_of_one_tile_are_named(tmp_path) -> None:
    names = tiles(tmp_path / "s")
    tile(tmp_path / "s" / "copy", names[0], annotation(SQUARE))
    with pytest.raises(HarmosegError, match=rf"two files with one id: .*{names[0]}.tif and .*copy"):
        list_dataset("monuseg", tmp_path / "s", PART)


HALF_CIRCLE = [
    (25 + 15 * float(np.cos(angle)), 25 + 15 * float(np.sin(angle)))
    for angle in np.linspace(0, np.pi, 40)
]
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]>'
    "<Annotations>&c;</Annotations>"
)
OUTSIDE_FILE = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>'
    "<Annotations>&b;</Annotations>"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            annotation(SQUARE, polygon(HALF_CIRCLE)),
            r"region 2: an open outline, its ends lie 30 px",
        ),
        (annotation(polygon([(1, 1), (9, 9)])), "region 1: 2 vertices, expected 3"),
        (
            annotation(polygon([(40, 10), (90, 10), (90, 40), (40, 10)])),
            "region 1: .* lies outside",
        ),
        (
            annotation(SQUARE, polygon([(62, 10), (70, 10), (70, 20), (62, 10)])),
            r"region 2: lies beside the image of 60 x 50, from \(62, 10\) to \(70, 20\); remove",
        ),
        (
            annotation(polygon([(10, -9), (20, -9), (20, -1), (10, -9)])),
            "region 1: lies beside the image",
        ),
        (
            f"<?xml version='1.0' encoding='no-such-code'?>{annotation(SQUARE)}",
            "cannot be read as an annotation of polygons .*no-such-code",
        ),
        (annotation(polygon([(1, 1), ("nan", 1), (2, 2)])), "region 1: a vertex is no number"),
        (annotation(polygon([(1, 1), ("x", 1), (2, 2)])), "cannot be read as an annotation"),
        (BOMB, "refused, it declares entities"),
        (OUTSIDE_FILE, "refused, it declares entities"),
        ("<Annotations>", "cannot be read as an annotation"),
    ],
)
def test_wrong_annotations_are_named(tmp_path, content, message) -> None:
    tiles(tmp_path / "s", content)
    with pytest.raises(HarmosegError, match=message) as error:
        prepared("monuseg", tmp_path / "s")
    assert ".xml" in str(error.value)


@pytest.mark.parametrize(
    ("vertices", "area"),
    [
        ([(10, 10), (30, 10), (30, 25), (10, 25)], 20 * 15),
        ([(10, 10), (30, 10), (30, 30)], 20 * 21 // 2),
        ([(10, 10), (30, 10), (10, 11)], 20 // 2),
    ],
)
def test_a_polygon_may_leave_out_its_first_vertex_at_the_end(tmp_path, vertices, area) -> None:
    tiles(tmp_path / "s", annotation(polygon(vertices)))
    label = prepared("monuseg", tmp_path / "s").native_label(0)
    assert label.sum() == area


def test_a_gap_of_a_few_pixels_is_closed(tmp_path) -> None:
    tiles(tmp_path / "s", annotation(polygon([(10, 10), (30, 10), (30, 25), (10, 25), (10, 13)])))
    assert prepared("monuseg", tmp_path / "s").native_label(0).sum() == 20 * 15


def test_slips_of_the_mouse_are_told_by_prepare_and_verify(tmp_path) -> None:
    names = tiles(tmp_path / "s", annotation(SQUARE, polygon([(5, 5), (5.3, 5)])))
    wanted = [f"{name}.xml: 1 region(s)" for name in sorted(names)]
    store = prepared("monuseg", tmp_path / "s")
    found = verify(tmp_path / "s", "monuseg").findings
    notes = [item.found for item in found if item.check == "this copy"]
    assert [text[: len(wanted[0])] for text in store.info.provenance["remarks"]] == wanted
    assert notes == store.info.provenance["remarks"] and "(region 2)" in notes[0]


def test_only_stores_of_painted_outlines_are_of_an_old_version(tmp_path) -> None:
    names = tiles(tmp_path / "s")
    for labels in ("polygons", "masks"):
        store = prepared("monuseg", tmp_path / "s")
        assert store.info.provenance["determined_by"] == {"labels": labels}
        assert not [item for item in verify(store.path).findings if item.check == "card version"]
        file = store.path / "store.json"
        values = json.loads(file.read_text())
        assert values["card"].pop("version") == 2  # as before cards had versions
        file.write_text(json.dumps(values))
        found = [item for item in verify(store.path).findings if item.check == "card version"]
        assert [item.severity for item in found] == ["error"] * (labels == "polygons")
        for name in names:
            mask(tmp_path / "s" / "masks" / f"{name}.png", size=(60, 50))
        next((tmp_path / "s").rglob("*.xml")).unlink()


def test_tiles_that_no_list_names_are_passed_over_with_a_remark(tmp_path) -> None:
    names = tiles(tmp_path / "s")
    for name in ("TCGA-bonus-2", "TCGA-bonus-1"):
        picture(tmp_path / "s" / "MoNuSeg 2018 Training Data" / f"{name}.tif", size=(60, 50))
    store = prepared("monuseg", tmp_path / "s")
    assert set(sides(store)) == set(names)
    (remark,) = store.info.provenance["remarks"]
    assert remark.startswith("2 tile(s) passed over") and "TCGA-bonus-1, TCGA-bonus-2" in remark


@pytest.mark.parametrize("ending", [".TIF", ".tiff"])
def test_the_ending_of_a_tile_may_be_spelled_otherwise(tmp_path, ending) -> None:
    names = tiles(tmp_path / "s")
    for file in sorted((tmp_path / "s").rglob("*.tif")):
        file.rename(file.with_suffix(ending))
    assert set(sides(prepared("monuseg", tmp_path / "s"))) == set(names)


def test_only_the_tiles_without_a_label_are_named(tmp_path) -> None:
    names = tiles(tmp_path)
    next(tmp_path.rglob(f"{names[1]}.xml")).unlink()
    with pytest.raises(HarmosegError, match=rf"1 tile\(s\) have no label \({names[1]}\); every"):
        list_dataset("monuseg", tmp_path, PART)


def test_nuclei_may_be_numbered_in_masks(tmp_path) -> None:
    names = tiles(tmp_path / "s")
    values = np.zeros((50, 60), np.uint16)
    values[5:9, 5:9], values[20:30, 20:40] = 1, 300
    for name in names:
        next((tmp_path / "s").rglob(f"{name}.xml")).unlink()
        Image.fromarray(values).save(tmp_path / "s" / f"{name}.png")
    store = prepared("monuseg", tmp_path / "s")
    assert np.array_equal(store.native_label(0)[0], values > 0)


def test_a_constant_tile_is_refused_whatever_its_labels_are(tmp_path) -> None:
    names = tiles(tmp_path / "s")
    Image.new("RGB", (60, 50), (9, 9, 9)).save(next((tmp_path / "s").rglob(f"{names[0]}.tif")))
    with pytest.raises(HarmosegError, match=rf"{names[0]}.tif: every pixel has the value 9"):
        prepared("monuseg", tmp_path / "s")


# BTSeg as image files (the .mat form is among the volumes' tests)


def slice_of_btseg(root: Path, case: str, size: tuple[int, int] = (32, 32)) -> None:
    picture(root / "images" / f"{case}.jpg", grey=True, size=size)
    mask(root / "masks" / f"{case}.png", size=size)


def test_a_part_of_another_set_is_not_taken_for_btseg(tmp_path) -> None:
    etis(tmp_path, (1, 2), size=(384, 288))
    with pytest.raises(HarmosegError, match=r"1.png: 384 x 288 px, .* 512 x 512 px or 256 x 256"):
        list_dataset("btseg", tmp_path, PART)


def test_btseg_tests_the_fold_asked_for(tmp_path) -> None:
    rows = load_list("btseg")[:40]
    for row in rows:
        slice_of_btseg(tmp_path / "s", row["case"])
    for fold in (3, 5):
        store = prepared("btseg", tmp_path / "s", SourceOptions(fold=fold, allow_missing=True))
        tested = {case.case for case in store.cases if case.split == "test"}
        assert tested == {row["case"] for row in rows if row["fold"] == str(fold)}
        assert {case.subset for case in store.cases} <= {"meningioma", "glioma", "pituitary"}
    with pytest.raises(HarmosegError, match=r"fold 6: expected one of \[1, 2, 3, 4, 5\]"):
        list_dataset("btseg", tmp_path / "s", SourceOptions(fold=6))
    with pytest.raises(HarmosegError, match="a split by patient needs the official .mat files"):
        list_dataset("btseg", tmp_path / "s", SourceOptions(split="patients"))
    with pytest.raises(HarmosegError, match="fold 3: the split 'patients' is not in folds"):
        list_dataset("btseg", tmp_path / "s", SourceOptions(split="patients", fold=3))
    with pytest.raises(HarmosegError, match="fold 77: the split 'official' is not in folds"):
        list_dataset("kvasir-seg", tmp_path / "s", SourceOptions(fold=77))


# What all of them share


WHITE = np.zeros((30, 40), bool)
WHITE[5:20, 10:30] = True


def grey_palette(file: Path) -> None:
    image = Image.fromarray((~WHITE).astype(np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(file)


def smeared(file: Path) -> None:
    large = Image.fromarray((WHITE * 255).astype(np.uint8)).resize((400, 300))
    values = np.asarray(large).astype(int)
    noise = np.random.default_rng(0).integers(0, 12, values.shape)
    Image.fromarray(np.where(values > 127, 255 - noise, noise).astype(np.uint8)).save(file)


def saved(values: np.ndarray):
    return lambda file: Image.fromarray(values).save(file)


@pytest.mark.parametrize(
    "save",
    [
        saved((WHITE * 255).astype(np.uint8)),
        saved(WHITE.astype(np.uint8)),
        saved(WHITE.astype(np.uint16) * 65535),
        saved(WHITE),  # one bit per pixel
        saved(np.repeat((WHITE * 255).astype(np.uint8)[..., None], 3, axis=2)),
        grey_palette,
    ],
    ids=["255", "1", "65535", "bit", "rgb", "palette"],
)
def test_black_and_white_in_every_form(tmp_path, save) -> None:
    save(tmp_path / "m.png")
    shades = read_mask_shades(tmp_path / "m.png")
    assert np.array_equal(BlackAndWhite().apply(shades, tmp_path / "m.png"), WHITE)


def test_smeared_edges_are_cut_at_the_half_whatever_the_format(tmp_path) -> None:
    smeared(tmp_path / "m.png")
    Image.open(tmp_path / "m.png").save(tmp_path / "m.jpg", quality=60)
    for name in ("m.png", "m.jpg"):
        label = BlackAndWhite().apply(read_mask_shades(tmp_path / name), tmp_path / name)
        assert label.mean() == pytest.approx(WHITE.mean(), abs=0.01)


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        (WHITE * 128, r"0 \(900 px\), 128 \(300 px\)"),
        (WHITE * 255 + ~WHITE * 7, r"7 \(900 px\), 255 \(300 px\)"),
        (WHITE * 2, r"0 \(900 px\), 2 \(300 px\)"),
        (np.where(WHITE, 255, np.arange(40) == 0), r"0 .*, 255 \(300 px\), 1 \(30 px\)"),
        (WHITE * np.arange(40), r"0 \(900 px\), .* and 15 more"),
    ],
)
@pytest.mark.parametrize("name", ["kvasir-seg", "btseg", "ph2"])
def test_a_value_that_is_neither_black_nor_white_is_named(
    tmp_path, name, values, listed, monkeypatch
) -> None:
    monkeypatch.setattr(btseg, "_SIZES", [WHITE.shape[::-1]])
    source = tmp_path / "s"
    mask_file = {
        "kvasir-seg": lambda: source / "masks" / f"{sorted(kvasir(source))[0]}.png",
        "btseg": lambda: source / "masks" / "1.png",
        "ph2": lambda: source / "IMD002" / "IMD002_lesion" / "IMD002_lesion.bmp",
    }[name]()
    if name == "btseg":
        slice_of_btseg(source, "1", WHITE.shape[::-1])
    elif name == "ph2":
        ph2(source, "IMD002")
    else:
        mask_file.with_suffix(".jpg").unlink()
    Image.fromarray(values.astype(np.uint8)).save(mask_file)
    with pytest.raises(HarmosegError, match=rf"{mask_file.name}: mask with the value.s. {listed}"):
        prepared(name, source)
    found = verify(source, name)
    problems = [item for item in found.findings if item.check == "readable"]
    assert len(problems) == 1 and "set every pixel to one of the two" in problems[0].cure


def test_a_set_without_any_foreground_is_refused(tmp_path) -> None:
    for name in kvasir(tmp_path / "s"):
        Image.new("L", (40, 30)).save(tmp_path / "s" / "masks" / f"{name}.jpg")
    with pytest.raises(HarmosegError, match=r"not one pixel of foreground in 3 mask\(s\)"):
        prepared("kvasir-seg", tmp_path / "s")
    assert not (tmp_path / "store-kvasir-seg").exists()


def test_several_folders_that_fit_are_named(tmp_path) -> None:
    for name in ("CVC-300", "etis", "ETIS-LaribPolypDB-copy", "ETIS-LaribPolypDB"):
        etis(tmp_path / "s" / name, (1, 2))
    with pytest.raises(
        HarmosegError, match=r"4 folders in it .*: CVC-300, ETIS-LaribPolypDB, .*; pass"
    ):
        list_dataset("etis-larib", tmp_path / "s", PART)
    assert list_dataset("etis-larib", tmp_path / "s" / "ETIS-LaribPolypDB", PART)


@pytest.mark.parametrize("above", [".", "TestDataset"])
def test_of_several_folders_that_named_after_the_set_is_taken(tmp_path, above) -> None:
    test_sets = tmp_path / "s" / above
    etis(test_sets / "CVC-ClinicDB", (1, 2, 3), size=(384, 288))
    etis(test_sets / "ETIS-LaribPolypDB", (1, 2))
    names = kvasir(test_sets / "Kvasir")
    assert len(list_dataset("etis-larib", tmp_path / "s", PART).cases) == 2
    found = list_dataset("kvasir-seg", tmp_path / "s", PART)
    assert [item.case for item in found.cases] == names
    assert found.cases[0].image == f"images/{names[0]}.jpg"


def test_what_systems_hide_in_a_folder_is_passed_over(tmp_path) -> None:
    names = kvasir(tmp_path / "s" / "Kvasir-SEG")
    for hidden in ("__MACOSX", ".Trash"):
        for part in ("images", "masks"):
            (tmp_path / "s" / hidden / part).mkdir(parents=True)
    thumbnails = tmp_path / "s" / "Kvasir-SEG" / "images" / ".thumbnails"
    picture(thumbnails / f"{names[0]}.jpg")
    listing = list_dataset("kvasir-seg", tmp_path / "s", PART)
    assert [item.case for item in listing.cases] == names


def test_another_set_of_polyps_is_not_taken_for_etis(tmp_path) -> None:
    for number in ("149", "208"):
        picture(tmp_path / "images" / f"{number}.png")
        mask(tmp_path / "masks" / f"{number}.png")
    with pytest.raises(HarmosegError, match=r"1 case\(s\) with files are not listed \(208\)") as e:
        list_dataset("etis-larib", tmp_path, PART)
    assert "allow_missing" not in str(e.value) and "remove what is no part" in str(e.value)


def source_of(name: str, root: Path) -> None:
    """Make a few cases of a dataset, all below one folder."""
    if name == "kvasir-seg":
        kvasir(root)
    elif name == "polypgen":
        polypgen(root)
    elif name == "etis-larib":
        picture(root / "images" / "1.png")
        mask(root / "masks" / "1.png")
    elif name == "isic-2017":
        isic(root, TEST_2017, range(2))
    elif name == "ph2":
        ph2(root / "PH2 Dataset images", "IMD002")
    elif name == "monuseg":
        tiles(root)
    else:
        slice_of_btseg(root, "1")


PICTURES = ["kvasir-seg", "polypgen", "etis-larib", "isic-2017", "ph2", "monuseg", "btseg"]


@pytest.mark.parametrize("name", PICTURES)
def test_one_folder_more_or_less_makes_the_same_store(tmp_path, name) -> None:
    source_of(name, tmp_path / "s" / "inner")
    first = prepared(name, tmp_path / "s").info
    second = prepared(name, tmp_path / "s" / "inner").info
    assert first.fingerprint == second.fingerprint
    assert first.provenance == second.provenance


@pytest.mark.parametrize("name", PICTURES)
def test_a_link_out_of_the_source_is_refused(tmp_path, name) -> None:
    source_of(name, tmp_path / "elsewhere")
    (tmp_path / "s").mkdir()
    if name == "monuseg":  # folders that are links are not entered where files may lie anywhere
        for file in (path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()):
            (tmp_path / "s" / file.name).symlink_to(file)
    else:
        (tmp_path / "s" / "inner").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HarmosegError, match="a symbolic link that leaves the source"):
        list_dataset(name, tmp_path / "s", PART)


def test_an_incomplete_download_is_not_prepared_unasked(tmp_path) -> None:
    polypgen(tmp_path / "s")
    options = PrepareOptions(tmp_path / "store", size=16)
    with pytest.raises(
        HarmosegError, match=r"PolypGen: 3 test case\(s\), expected 1537; .*--allow-missing"
    ):
        prepare_dataset("polypgen", tmp_path / "s", options)
    assert prepare_dataset("polypgen", tmp_path / "s", options, PART)
    assert "not all cases are in it: 3 of 1537 test" in remarks_of(
        open_store(tmp_path / "store").info
    )


def test_a_part_that_is_not_there_at_all_is_left_out(tmp_path, monkeypatch) -> None:
    isic(tmp_path / "s", TEST_2017, range(3))
    card = replace(load_card("isic-2017"), counts={"train": 9, "test": 3})
    monkeypatch.setattr(photographs, "load_card", lambda _: card)
    options = PrepareOptions(tmp_path / "store", size=16)
    assert prepare_dataset("isic-2017", tmp_path / "s", options)
    isic(tmp_path / "s", TEST_2017, range(3, 4))  # one that the dataset does not have
    for choices in (SourceOptions(), PART):
        with pytest.raises(HarmosegError, match=r"4 test case\(s\), expected 3; remove what is no"):
            prepare_dataset("isic-2017", tmp_path / "s", options, choices)


def test_the_parts_of_polypgen_are_counted(tmp_path) -> None:
    counts = load_card("polypgen").subset_counts
    assert list(counts) == ["C1", "C2", "C3", "C4", "C5", "C6"]
    assert sum(counts.values()) == load_card("polypgen").counts["test"] == 1537
    polypgen(tmp_path)
    found = [item for item in verify(tmp_path, "polypgen").findings if item.check == "counts"]
    assert {item.where[0] for item in found} == {"test", *counts}
    assert "incomplete: 2 C1 cases, expected 256" in {item.found for item in found}
