"""Writing and reading files: whole or not there, and what is wrong with them in one line."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harmoseg import HarmosegError
from harmoseg.files import (
    folder_in_progress,
    read_csv,
    read_text,
    whole_file,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)


def write_table(path: Path) -> None:
    write_csv(path, ["a"], [{"a": 1}])


@pytest.mark.parametrize(
    "write",
    [
        write_table,
        lambda path: write_text(path, "x"),
        lambda path: write_bytes(path, b"x"),
        lambda path: write_json(path, {}),
    ],
)
@pytest.mark.parametrize("clean_up_fails", [False, True])
def test_what_cannot_be_written_is_told_also_where_cleaning_up_fails(
    tmp_path, monkeypatch, write, clean_up_fails
) -> None:
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    path = tmp_path / "x.txt"
    path.write_text("before")
    monkeypatch.setattr(Path, "replace", refuse)
    if clean_up_fails:
        monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(HarmosegError, match=r"x\.txt: cannot be written \(Read-only file system\)"):
        write(path)
    assert path.read_text() == "before"
    assert (len(list(tmp_path.iterdir())) == 1) is not clean_up_fails


@pytest.mark.parametrize(
    "name", ["n" * 251 + ".png", "\N{SNOWMAN}" * 80, "m.nii.gz", "m\udcfc.pt2"]
)
def test_a_temporary_name_is_short_and_ascii_with_the_same_ending(tmp_path, name) -> None:
    path = tmp_path / name
    with whole_file(path) as partial:
        assert len(partial.name) < 40 and partial.name.isascii()
        assert name.endswith("".join(partial.suffixes[1:]) or name)
        partial.write_text("whole")
    assert path.read_text() == "whole" and [item.name for item in tmp_path.iterdir()] == [name]


def test_an_error_of_another_kind_passes_and_leaves_nothing(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a") as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_is_no_unicode_is_spelled_out(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"file": "M\udcfcller"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "file": "M\\udcfcller"\n}\n'
    write_csv(tmp_path / "a.csv", ["file"], [{"file": "M\udcfcller"}])
    rows = read_csv(tmp_path / "a.csv", columns=["file"], what="a table")
    assert rows == [{"file": r"M\udcfcller"}]


def test_a_folder_of_a_long_name_is_written_and_replaced(tmp_path) -> None:
    out = tmp_path / ("s" * 255)
    for overwrite in (False, True):
        with folder_in_progress(out, mark="mark", overwrite=overwrite) as folder:
            (folder / "mark").touch()
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_what_programs_save_it_in(tmp_path, encoding) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "case,split\nM\N{LATIN SMALL LETTER U WITH DIAERESIS},test\n", encoding=encoding
    )
    assert read_csv(path, columns=["case"], what="a list")[0]["case"] == "M\xfc"


def test_text_in_latin_1_is_refused_with_its_line(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"epochs: 1\nseeds: 2  # f\xfcr uns\n")
    with pytest.raises(HarmosegError, match=r"a\.yaml: .* line 2 is no UTF-8 \(byte 0xfc\); save"):
        read_text(path, what="options")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,split\na,train\ntest\n", "line 3 lacks its split; expected case, split"),
        ("case,split\na,b,train\n", "line 2 has too many fields; expected case, split"),
        ("", r"lacks the column\(s\) case, split; found nothing"),
    ],
)
def test_rows_that_do_not_fit_the_header_are_named(tmp_path, text, message) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(HarmosegError, match=message):
        read_csv(path, columns=["case", "split"], what="a list")


def test_empty_lines_and_empty_fields_more_are_passed_over(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("case,split\n\na,train,,\n\n")
    assert read_csv(path, columns=["case"], what="a list") == [{"case": "a", "split": "train"}]
