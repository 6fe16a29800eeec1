"""CVC-ClinicDB: the official folders, and PraNet's copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.datasets.catalogue import load_card
from harmoseg.datasets.preparing import PrepareOptions, prepare_dataset
from harmoseg.datasets.readers import list_dataset
from harmoseg.datasets.sources import SourceOptions
from harmoseg.store.reading import open_store

PART = SourceOptions(allow_missing=True)
ORIGINAL = ("Original", "Ground Truth")
PRANET = ("images", "masks")


def write(root: Path, folders: tuple[str, str], ending: str, *numbers: int) -> None:
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
def test_every_layout_makes_the_same_store_for_testing(tmp_path, folders, ending) -> None:
    write(tmp_path / "s" / "CVC-ClinicDB", folders, ending, 1, 2, 612)
    options = PrepareOptions(tmp_path / "store", size=16)
    assert prepare_dataset("cvc-clinicdb", tmp_path / "s", options, PART)
    store = open_store(tmp_path / "store")
    assert {case.case: case.split for case in store.cases} == dict.fromkeys(
        ("1", "2", "612"), "test"
    )
    assert store.native_label(0).sum() == 15 * 20
    write(tmp_path / "other", ORIGINAL, ".png", 1, 2, 612)
    options = PrepareOptions(tmp_path / "again", size=16)
    assert prepare_dataset("cvc-clinicdb", tmp_path / "other", options, PART)
    assert open_store(tmp_path / "again").info.fingerprint == store.info.fingerprint


def test_a_part_must_be_asked_for_and_other_numbers_are_refused(tmp_path) -> None:
    write(tmp_path, PRANET, ".png", 110, 138)
    with pytest.raises(HarmosegError, match=r"610 listed case\(s\) have no files .*allow-missing"):
        list_dataset("cvc-clinicdb", tmp_path, SourceOptions())
    write(tmp_path, PRANET, ".png", 613)
    with pytest.raises(HarmosegError, match=r"1 case\(s\) with files are not listed \(613\)"):
        list_dataset("cvc-clinicdb", tmp_path, PART)


def test_two_formats_side_by_side_are_named(tmp_path) -> None:
    for ending in (".png", ".tif"):
        write(tmp_path / ending[1:].upper(), ORIGINAL, ending, 1)
    with pytest.raises(HarmosegError, match=r"2 folders in it have the layout .*: PNG, TIF; pass"):
        list_dataset("cvc-clinicdb", tmp_path, PART)


def test_an_image_without_a_mask_is_named(tmp_path) -> None:
    write(tmp_path, ORIGINAL, ".tif", 1, 2)
    (tmp_path / "Ground Truth" / "2.tif").unlink()
    with pytest.raises(HarmosegError, match=r"1 image\(s\) without a mask: 2\.tif"):
        list_dataset("cvc-clinicdb", tmp_path, PART)


def test_it_is_another_centre_for_kvasir() -> None:
    clinic, kvasir = load_card("cvc-clinicdb"), load_card("kvasir-seg")
    assert "cvc-clinicdb" in kvasir.partners and clinic.partners == ("kvasir-seg",)
    assert (clinic.classes, clinic.channels, clinic.tile) == (
        kvasir.classes,
        kvasir.channels,
        kvasir.tile,
    )
