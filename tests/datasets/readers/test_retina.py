"""CHASE_DB1 and HRF: thin vessels, whose images are cut into tiles."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.preparing import PrepareOptions, prepare_dataset
from harmoseg.datasets.readers import list_dataset
from harmoseg.datasets.sources import SourceOptions
from harmoseg.datasets.verifying import recognise
from harmoseg.store.reading import Store, open_store

PART = SourceOptions(allow_missing=True)
REAL = Path(__file__).parents[3].parent / "shared" / "data" / "chase-db1"


def picture(path: Path, *, width: int = 40, height: int = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(sum(path.name.encode()))
    Image.fromarray(random.integers(0, 256, (height, width, 3)).astype(np.uint8)).save(path)


def vessel(path: Path, row: int = 10, *, width: int = 40, height: int = 30) -> None:
    """Write a line one pixel wide, one bit per pixel as the official files are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((height, width), bool)
    values[row] = True
    Image.fromarray(values).save(path)


def chase(root: Path, *children: str) -> None:
    for case in (f"Image_{child}{eye}" for child in children for eye in "LR"):
        picture(root / f"{case}.jpg")
        vessel(root / f"{case}_1stHO.png", 10)
        vessel(root / f"{case}_2ndHO.png", 20)


def hrf(root: Path, names: dict[str, str]) -> None:
    for name, ending in names.items():
        picture(root / "images" / f"{name}{ending}")
        vessel(root / "manual1" / f"{name}.tif")
        vessel(root / "mask" / f"{name}_mask.tif")


def prepared(name: str, source: Path, **options: int) -> Store:
    out = source.parent / f"store-{name}"
    assert prepare_dataset(name, source, PrepareOptions(out, size=16, **options), PART)
    return open_store(out)


def test_both_eyes_of_a_child_are_on_one_side() -> None:
    splits = load_split("chase-db1")
    assert list(splits) == [f"Image_{child:02d}{eye}" for child in range(1, 15) for eye in "LR"]
    train = {case[:-1] for case, side in splits.items() if side == "train"}
    test = {case[:-1] for case, side in splits.items() if side == "test"}
    assert (len(train), len(test), train & test) == (10, 4, set())


def test_chase_is_read_with_the_first_observer_alone(tmp_path) -> None:
    chase(tmp_path / "s" / "CHASEDB1", "10", "11")
    store = prepared("chase-db1", tmp_path / "s")
    assert [(case.case, case.group, case.split) for case in store.cases] == [
        ("Image_10L", "Image_10", "train"),
        ("Image_10R", "Image_10", "train"),
        ("Image_11L", "Image_11", "test"),
        ("Image_11R", "Image_11", "test"),
    ]
    for row in range(4):
        assert np.flatnonzero(store.native_label(row)[0].any(axis=1)).tolist() == [10]
    assert not any("2ndHO" in case.mask for case in store.cases)


def test_chase_may_lie_in_folders_of_its_own(tmp_path) -> None:
    chase(tmp_path / "flat", "01")
    for file in sorted((tmp_path / "flat").iterdir()):
        observer = file.stem[10:] or "images"
        (tmp_path / "s" / observer).mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / observer / file.name).write_bytes(file.read_bytes())
    flat, folders = (list_dataset("chase-db1", tmp_path / name, PART) for name in ("flat", "s"))
    assert [item.case for item in flat.cases] == [item.case for item in folders.cases]


def test_what_is_missing_of_chase_is_named(tmp_path) -> None:
    chase(tmp_path, "01", "02")
    with pytest.raises(HarmosegError, match=r"24 listed case\(s\) have no files .*--allow-missing"):
        list_dataset("chase-db1", tmp_path, SourceOptions())
    (tmp_path / "Image_02L_1stHO.png").unlink()
    with pytest.raises(HarmosegError, match=r"Image_02L\.jpg: no mask _1stHO of its name"):
        list_dataset("chase-db1", tmp_path, PART)
    for name in ("Image_02L.jpg", "Image_02L_2ndHO.png", "Image_02R.jpg"):
        (tmp_path / name).unlink()
    with pytest.raises(HarmosegError, match=r"Image_02R_1stHO\.png: no image of its name"):
        list_dataset("chase-db1", tmp_path, PART)


def test_files_that_are_not_of_chase_are_refused(tmp_path) -> None:
    chase(tmp_path, "14", "15")
    with pytest.raises(HarmosegError, match=r"2 case\(s\) with files are not listed \(Image_15L,"):
        list_dataset("chase-db1", tmp_path, PART)
    chase(tmp_path / "s" / "again", "01")
    chase(tmp_path / "s", "01")
    with pytest.raises(HarmosegError, match=r"two files with one id: .*Image_01L"):
        list_dataset("chase-db1", tmp_path / "s", PART)


@pytest.mark.parametrize("name", ["chase-db1", "hrf"])
def test_vessels_are_cut_at_full_resolution_and_scored_whole(tmp_path, name) -> None:
    if name == "hrf":
        hrf(tmp_path / "s", {"01_h": ".jpg"})
    else:
        chase(tmp_path / "s", "01")
    store = prepared(name, tmp_path / "s", tile=16)
    assert [case.slices for case in store.cases] == [3 * 2] * len(store.cases)
    assert store.native_label(0).shape == (1, 30, 40)
    # 16 px of the source are 16 px of the network: a line one pixel wide stays one.
    assert set(store.labels.sum(axis=(1, 2)).tolist()) == {0, 16}


def test_hrf_is_test_only_with_its_three_kinds_of_eyes(tmp_path) -> None:
    hrf(tmp_path / "s" / "all", {"01_h": ".jpg", "15_g": ".jpg", "02_dr": ".JPG"})
    store = prepared("hrf", tmp_path / "s")
    assert [(case.case, case.subset, case.split) for case in store.cases] == [
        ("01_h", "healthy", "test"),
        ("02_dr", "diabetic retinopathy", "test"),
        ("15_g", "glaucoma", "test"),
    ]
    assert all(case.mask.startswith("manual1/") for case in store.cases)
    (tmp_path / "s" / "all" / "manual1" / "15_g.tif").unlink()
    with pytest.raises(HarmosegError, match=r"1 image\(s\) without a mask: 15_g\.jpg"):
        list_dataset("hrf", tmp_path / "s", PART)


def test_another_set_of_eyes_is_not_taken_for_hrf(tmp_path) -> None:
    hrf(tmp_path, {"01_h": ".jpg", "16_h": ".jpg"})
    with pytest.raises(HarmosegError, match=r"1 case\(s\) with files are not listed \(16_h\)"):
        list_dataset("hrf", tmp_path, PART)
    with pytest.raises(HarmosegError, match=r"43 listed case\(s\) have no files"):
        (tmp_path / "images" / "16_h.jpg").unlink()
        (tmp_path / "manual1" / "16_h.tif").unlink()
        hrf(tmp_path, {"02_h": ".jpg"})
        list_dataset("hrf", tmp_path, SourceOptions())


def test_a_run_on_one_can_be_scored_on_the_other() -> None:
    one, other = (asdict(load_card(name)) for name in ("chase-db1", "hrf"))
    for field in ("mode", "classes", "channels", "tile", "metrics"):
        assert one[field] == other[field]
    assert one["partners"] == ("hrf",) and other["partners"] == ("chase-db1",)
    assert sum(other["subset_counts"].values()) == other["counts"]["test"] == 45


def test_both_are_recognised(tmp_path) -> None:
    chase(tmp_path / "c", "01")
    hrf(tmp_path / "h", {"01_h": ".jpg"})
    assert (recognise(tmp_path / "c"), recognise(tmp_path / "h")) == ("chase-db1", "hrf")


@pytest.mark.skipif(not REAL.is_dir(), reason="the files are not there: ../shared/data/chase-db1")
def test_the_published_files_are_whole(tmp_path) -> None:
    assert prepare_dataset("chase-db1", REAL, PrepareOptions(tmp_path / "store"))
    store = open_store(tmp_path / "store")
    assert store.info.counts == {"train": 20, "test": 8} and len(store.images) == 700
    assert {(case.height, case.width, case.slices) for case in store.cases} == {(960, 999, 25)}
    assert store.info.provenance["remarks"] == []
