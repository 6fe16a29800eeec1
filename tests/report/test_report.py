"""The report: self-contained, escaped, and with every picture it speaks of."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.report.html import write_report
from harmoseg.report.overlays import choose_cases
from harmoseg.report.preview import write_preview
from harmoseg.store.reading import open_store
from harmoseg.study.compare import Study, StudyPlan, run_study
from harmoseg.training.experiment import TrainingOptions


@pytest.fixture(scope="module")
def study(binary_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    options = TrainingOptions(encoder="resnet18", epochs=2, batch_size=4, validation_fraction=0.25)
    plan = StudyPlan(("unet", "unet+scc"), 2, (binary_store,), options)
    return run_study(plan, tmp_path_factory.mktemp("studies") / "study")


class Collector(HTMLParser):
    """Collect what a page loads and what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in {"src", "href"} and value]


def test_one_file_with_everything_in_it(study) -> None:
    write_report(study)
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    collector = Collector()
    collector.feed(page)
    assert collector.tags.count("table") == 3 and collector.tags.count("img") == 3
    for source in collector.sources:
        assert source.startswith("data:image/png;base64,")
        picture = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert min(picture.size) > 200 and len(np.unique(np.asarray(picture))) > 20
    assert "http" not in re.sub(r"data:[^\"]*", "", page)
    assert {path.name for path in (study.folder / "tables").iterdir()} == {
        f"{name}.{kind}"
        for name in ("means", "differences", "aggregates")
        for kind in ("md", "csv")
    }


def test_names_from_outside_are_escaped(study) -> None:
    store = study.stores["phantom-binary"]
    card = replace(store.info.card, title="<script>alert(1)</script>")
    hostile = replace(store, info=replace(store.info, card=card))
    write_report(replace(study, stores={"phantom-binary": hostile}))
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_a_name_is_text_and_not_a_formula(study) -> None:
    store = study.stores["phantom-binary"]
    cases = tuple(replace(case, case=f"cost_$5_to_$10^{case.case}") for case in store.cases)
    write_report(replace(study, stores={"phantom-binary": replace(store, cases=cases)}))
    write_preview(replace(store, cases=cases), study.folder / "preview.png")
    assert (study.folder / "preview.png").exists()


def test_best_median_and_worst_are_what_they_say(study) -> None:
    chosen = choose_cases(study, "phantom-binary")
    assert [item.why for item in chosen] == ["best"] * 2 + ["median"] * 2 + ["worst"] * 2
    scores = [item.score for item in chosen]
    assert scores == sorted(scores, reverse=True)
    values = np.stack([study.scores(m, "phantom-binary", "DSC") for m in study.methods]).mean(
        (0, 1)
    )
    assert scores[0] == np.nanmax(values) and scores[-1] == np.nanmin(values)


def test_preview_is_a_picture(phantom_store, tmp_path) -> None:
    write_preview(open_store(phantom_store), tmp_path / "new" / "p.png")
    assert np.asarray(Image.open(tmp_path / "new" / "p.png")).std() > 10
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(HarmosegError, match="taken.png: cannot be written"):
        write_preview(open_store(phantom_store), tmp_path / "taken.png")
    with pytest.raises(HarmosegError, match="ends in .png"):
        write_preview(open_store(phantom_store), tmp_path / "p.pdf")
