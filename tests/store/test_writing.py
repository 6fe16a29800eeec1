"""Outputs stay apart from the images that a store was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmoseg import HarmosegError
from harmoseg.cli.main import main
from harmoseg.datasets.folder import FolderOptions, SplitRule
from harmoseg.datasets.preparing import PrepareOptions, prepare_folder
from harmoseg.store.writing import check_apart, check_apart_from_sources


def test_what_lies_one_in_the_other_is_refused(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    for out, source in (
        ("images", "images"),
        ("images/deep/out", "images"),
        ("images", "images/deep"),
        ("link/out", "images"),
        ("other/../images/out", "link"),
    ):
        with pytest.raises(HarmosegError, match="lie one in the other.*choose an output beside"):
            check_apart(tmp_path / out, tmp_path / "beside", tmp_path / source)
    check_apart(tmp_path / "images-2", tmp_path / "images")


@pytest.fixture
def made(folder_data, tmp_path) -> Path:
    images, masks = folder_data()
    for number in range(4):  # some of them in a folder of a patient
        for folder in (images, masks):
            (folder / "p").mkdir(exist_ok=True)
            (folder / f"case{number}.png").rename(folder / "p" / f"case{number}.png")
    out = tmp_path / "store"
    prepare_folder(FolderOptions(images, masks), SplitRule(), PrepareOptions(out, size=32))
    return out


def test_pictures_of_a_store_are_kept_from_its_sources(made, tmp_path, monkeypatch) -> None:
    for name in ("images/new.png", "masks/new.png", "images/p/new.png", "images/deep/new.png"):
        with pytest.raises(HarmosegError, match="lie one in the other"):
            check_apart_from_sources(tmp_path / name, made)
    monkeypatch.chdir(tmp_path / "images")
    with pytest.raises(HarmosegError, match="lie one in the other"):
        check_apart_from_sources(Path("new.png"), made)
    for name in ("new.png", "store/new.png", "other/new.png"):
        check_apart_from_sources(tmp_path / name, made)
    check_apart_from_sources(tmp_path / "images" / "new.png", tmp_path / "absent")


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    "words",
    [
        ["info", "store", "--preview", "images/preview.png"],
        ["info", "store", "--corruptions", "images/corruptions.png"],
        ["explain", "data", "store", "--out", "images/explained"],
        ["compare", "store", "--out", "images/study", "--batch_size", "2"],
        ["train", "store", "--out", "masks/run"],
        ["train", ".", "--out", "images/run", "--size", "32"],
        ["prepare", "folder", "--images", "images", "--masks", "masks", "--out", "images/store"],
    ],
    ids=" ".join,
)
def test_no_command_writes_among_the_images(tmp_path, monkeypatch, capsys, words) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "lie one in the other" in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
