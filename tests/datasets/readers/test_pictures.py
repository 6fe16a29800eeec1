"""Readers of image files: the official layouts, the usual others, and what can be wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.datasets.catalogue import load_card, load_list, load_split
from harmoseg.datasets.preparing import PrepareOptions, prepare_dataset
from harmoseg.datasets.readers import READERS, list_dataset
from harmoseg.datasets.sources import SourceOptions
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
    ("name", "cases_per_entry"), [("kvasir-seg", 1), ("acdc", 2), ("synapse", 1), ("monuseg", 1)]
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
    with pytest.raises(HarmosegError, match=r"unknown dataset 'acd'; known: synapse, acdc"):
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
    with pytest.raises(HarmosegError, match=r"997 listed case\(s\) have no files .*allow_missing"):
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
    with pytest.raises(HarmosegError, match=r"2.tif: no mask; expected p2.tif"):
        list_dataset("etis-larib", root, PART)


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


def test_isic_2018_is_drawn_in_the_published_proportions(tmp_path) -> None:
    root = tmp_path / "s"
    parts = ("Training", "Validation")
    for part, numbers in zip(parts, (range(100), range(200, 203)), strict=True):
        folders = (f"ISIC2018_Task1-2_{part}_Input", f"ISIC2018_Task1_{part}_GroundTruth")
        isic(root, folders, numbers)
    drawn = list_dataset("isic-2018", root, SourceOptions())
    assert Counter(item.split for item in drawn.cases) == {"train": 70, "val": 10, "test": 20}
    official = list_dataset("isic-2018", root, SourceOptions(split="official"))
    assert Counter(item.split for item in official.cases) == {"train": 100, "val": 3}
    assert official.card.counts == {"train": 2594, "val": 100, "test": 1000}
    # A name keeps its place in the order whoever else is there.
    isic(
        root, ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"), range(101)
    )
    more = {
        item.case: item.split for item in list_dataset("isic-2018", root, SourceOptions()).cases
    }
    changed = [item.case for item in drawn.cases if more[item.case] != item.split]
    assert len(changed) <= 2  # the two borders shift by one


# PH2


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
    # Vertices are pixels of the nucleus's rim, so both ends belong to it.
    assert label.sum() == 21 * 16 and label[10:26, 10:31].all()
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
        (annotation(SQUARE, polygon([(1, 1), (40, 1), (40, 40)])), r"region 2: an open outline"),
        (annotation(polygon([(1, 1), (2, 2)])), "region 1: 2 vertices, expected 3"),
        (
            annotation(polygon([(70, 70), (90, 70), (90, 90), (70, 70)])),
            "region 1: .* lies outside",
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


def test_a_gap_of_a_few_pixels_is_closed(tmp_path) -> None:
    tiles(tmp_path / "s", annotation(polygon([(10, 10), (30, 10), (30, 25), (10, 25), (10, 13)])))
    assert prepared("monuseg", tmp_path / "s").native_label(0).sum() == 21 * 16


# BTSeg as image files (the .mat form is among the volumes' tests)


def test_btseg_tests_the_fold_asked_for(tmp_path) -> None:
    rows = load_list("btseg")[:40]
    for row in rows:
        picture(tmp_path / "s" / "images" / f"{row['case']}.jpg", grey=True)
        mask(tmp_path / "s" / "masks" / f"{row['case']}.png")
    for fold in (3, 5):
        store = prepared("btseg", tmp_path / "s", SourceOptions(fold=fold, allow_missing=True))
        tested = {case.case for case in store.cases if case.split == "test"}
        assert tested == {row["case"] for row in rows if row["fold"] == str(fold)}
        assert {case.subset for case in store.cases} <= {"meningioma", "glioma", "pituitary"}
    with pytest.raises(HarmosegError, match=r"fold 6: expected one of \[1, 2, 3, 4, 5\]"):
        list_dataset("btseg", tmp_path / "s", SourceOptions(fold=6))
    with pytest.raises(HarmosegError, match="a split by patient needs the official .mat files"):
        list_dataset("btseg", tmp_path / "s", SourceOptions(split="patients"))
