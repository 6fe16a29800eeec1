"""The committed results of xray are complete and those of this version."""

from __future__ import annotations

import csv
import inspect
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from harmoseg import xray
from harmoseg.losses.method import LOSSES, parse_loss
from harmoseg.losses.named import ForeignLoss, make_loss

RESULTS = Path(__file__).parents[2] / "results" / "xray"
MASKS = {"kvasir-seg", "acdc", "monuseg", "chase-db1", "phantom"}


def rows(name: str) -> list[dict[str, str]]:
    with (RESULTS / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_named_loss_was_asked_on_every_kind_of_masks() -> None:
    found = {(row["masks"], row["loss"]) for row in rows("shelf.csv")}
    assert found == {(masks, loss) for masks in MASKS for loss in LOSSES}


def test_every_named_loss_has_a_card_with_todays_checks() -> None:
    disc = (np.hypot(*np.mgrid[-8:8, -8:8]) < 5)[None].astype(int)
    checks = [check.name for check in xray("bce", masks=disc).checks]
    for name in LOSSES:
        card = json.loads((RESULTS / "cards" / f"{name}.json").read_text(encoding="utf-8"))
        assert card["name"] == name
        assert [check["name"] for check in card["checks"]] == checks


@pytest.mark.parametrize("library", ["monai", "segmentation_models_pytorch"])
def test_every_loss_of_the_libraries_was_asked(library) -> None:
    pytest.importorskip(library)
    module = import_module(f"{library}.losses")
    classes = {n for n in dir(module) if n[0].isupper() and inspect.isclass(getattr(module, n))}
    table = [
        row
        for row in rows("libraries.csv")
        if row["library"].split()[0] in (library, library.replace("_", "-"))
    ]
    assert {(row["loss"], row["mode"]) for row in table} == {
        (name, mode) for name in classes for mode in ("binary", "multiclass")
    }
    for row in table:
        assert row["use"] in ("as it is", "with an adapter", "beside another loss", "not usable")
        assert row["why"] or row["use"] == "as it is"
        assert bool(row["spelling"]) == (row["use"] == "with an adapter")
        if row["spelling"]:
            assert isinstance(make_loss(parse_loss(row["spelling"]), row["mode"]), ForeignLoss)
