"""The sheet of corruptions: drawn from the command line, every corruption on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.cli.main import main
from harmoseg.explain.preview import write_corruption_sheet
from harmoseg.store.corruptions import KINDS
from harmoseg.store.reading import open_store


def test_every_corruption_is_drawn_at_five_severities(
    phantom_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    titles = []
    real = Axes.set_title
    monkeypatch.setattr(
        Axes,
        "set_title",
        lambda *given, **options: titles.append(given[1]) or real(*given, **options),
    )
    out = tmp_path / "pictures" / "sheet.png"
    assert main(["info", str(phantom_store), "--corruptions", str(out)]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    for name, kind in KINDS.items():
        assert sum(title.startswith(f"{name}:") for title in titles) == len(kind.ladder) == 5
    assert titles.count("clean") == len(KINDS)
    with Image.open(out) as picture:
        assert min(picture.size) > 500


def test_a_sheet_is_the_same_twice_and_a_png(phantom_store: Path, tmp_path: Path) -> None:
    store = open_store(phantom_store)
    for name in ("a.png", "b.png"):
        write_corruption_sheet(store, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(HarmosegError, match=r"sheet.pdf: a sheet is a PNG file"):
        write_corruption_sheet(store, tmp_path / "sheet.pdf")
