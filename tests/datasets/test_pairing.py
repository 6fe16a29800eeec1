"""Which mask belongs to which image."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmoseg import HarmosegError
from harmoseg.datasets.pairing import pair_files


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "a.png"),
        ("ISIC_0001.jpg", "ISIC_0001_segmentation.png"),
        ("IMD002.bmp", "IMD002_lesion.bmp"),
        ("x y ü.png", "x y ü_mask.png"),
        ("benign (1).png", "benign (1)_mask.png"),
        ("a.tif", "a_Segmentation.TIFF"),
        ("scan_image.png", "scan_mask.png"),
        ("case_0000.png", "case.png"),
        ("a.png", "mask_a.png"),
        ("one/1.png", "one/1.png"),
        ("one_mask.png", "one_mask_mask.png"),
        ("a.b.png", "a.b_mask.png"),
    ],
)
def test_usual_names_pair(tmp_path, image, mask) -> None:
    images, masks = touch(tmp_path / "i", image), touch(tmp_path / "m", mask)
    (pair,) = pair_files(images, masks)
    assert (pair.image, pair.mask) == (images / image, masks / mask)
    assert pair.case == str(Path(image).with_suffix(""))


def test_images_and_masks_in_one_folder(tmp_path) -> None:
    touch(tmp_path, "a.png", "a_mask.png", "b.png", "b_mask.png", "notes.txt", ".hidden.png")
    assert [pair.case for pair in pair_files(tmp_path, tmp_path)] == ["a", "b"]


def test_masks_below_the_images_are_not_images(tmp_path) -> None:
    touch(tmp_path, "a.png", "masks/a.png")
    (pair,) = pair_files(tmp_path, tmp_path / "masks")
    assert (pair.case, pair.mask) == ("a", tmp_path / "masks" / "a.png")


def test_accents_pair_however_they_are_stored(tmp_path) -> None:
    images = touch(tmp_path / "i", "la\u0308sion.png")
    masks = touch(tmp_path / "m", "l\u00e4sion.png")
    assert pair_files(images, masks)[0].case == "l\u00e4sion"


def test_the_unpaired_are_named_or_left_out(tmp_path) -> None:
    images = touch(tmp_path / "i", "a.png", "b.png", "c.png")
    masks = touch(tmp_path / "m", "a.png", "x.png")
    with pytest.raises(
        HarmosegError,
        match=r"2 image\(s\) without a mask: b.png, c.png; 1 mask\(s\) without an image: x.png",
    ):
        pair_files(images, masks)
    assert [pair.case for pair in pair_files(images, masks, skip_unpaired=True)] == ["a"]


def test_two_files_for_one_case_are_named(tmp_path) -> None:
    images = touch(tmp_path / "i", "a.png")
    masks = touch(tmp_path / "m", "a.png", "a_mask.png")
    with pytest.raises(HarmosegError, match=r"two masks for image .*a.png and a_mask.png"):
        pair_files(images, masks)
    touch(tmp_path / "i", "a.jpg")
    with pytest.raises(HarmosegError, match="two images of one name"):
        pair_files(images, masks)


def test_further_masks_of_an_image_belong_to_it(tmp_path) -> None:
    names = ("benign (4).png", "benign (4)_mask.png", "benign (4)_mask_1.png")
    touch(tmp_path, *names, "benign (4)_mask_2.png", "benign (5).png", "benign (5)_mask.png")
    first, second = pair_files(tmp_path, tmp_path)
    assert (first.case, first.image.name, first.mask.name) == ("benign (4)", names[0], names[1])
    assert [path.name for path in first.further] == [names[2], "benign (4)_mask_2.png"]
    assert second.masks == (tmp_path / "benign (5)_mask.png",)
    # In a folder of their own, too; without the first mask nobody knows what the others are.
    images, masks = touch(tmp_path / "i", "a.png"), touch(tmp_path / "m", "a_mask.png")
    touch(masks, "a_mask_1.png")
    assert pair_files(images, masks)[0].masks == (masks / "a_mask.png", masks / "a_mask_1.png")
    (masks / "a_mask.png").unlink()
    with pytest.raises(HarmosegError, match=r"1 mask\(s\) without an image: a_mask_1.png"):
        pair_files(images, masks)


def test_links_to_nothing_are_listed_to_be_named(tmp_path) -> None:
    images, masks = touch(tmp_path / "i", "a.png"), touch(tmp_path / "m", "a.png", "b.png")
    (images / "b.png").symlink_to("../annex/b")
    assert [pair.case for pair in pair_files(images, masks)] == ["a", "b"]
    (images / "patient3").symlink_to(tmp_path / "unmounted")
    with pytest.raises(HarmosegError, match=r"1 symbolic link\(s\) to what .*patient3 .*annex get"):
        pair_files(images, masks)


def test_missing_and_empty_folders(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    full = touch(tmp_path / "i", "a.png")
    with pytest.raises(HarmosegError, match="no such folder"):
        pair_files(tmp_path / "absent", full)
    with pytest.raises(HarmosegError, match="no image files; expected files ending in"):
        pair_files(full, tmp_path / "empty")
    with pytest.raises(HarmosegError, match="nothing to prepare"):
        pair_files(full, touch(tmp_path / "m", "b.png"), skip_unpaired=True)
