"""The report: self-contained, escaped, and with every picture it speaks of."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from harmoseg.study.compare import Study, StudyPlan, run_study
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.evaluation.evaluate import CLEAN
from harmoseg.report.html import write_report
from harmoseg.report.overlays import choose_cases
from harmoseg.report.preview import write_preview
from harmoseg.store.reading import open_store
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
    within = [source for source in collector.sources if source.startswith("#")]
    pictures = [source for source in collector.sources if source.startswith("data:image/png")]
    # "data:," is an icon that is nothing, so that no browser asks for one.
    assert sorted([*within, *pictures, "data:,"]) == sorted(collector.sources)
    for source in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert min(picture.size) > 200 and len(np.unique(np.asarray(picture))) > 20
    assert "://" not in re.sub(r"data:[^\"]*", "", page)
    assert {path.name for path in (study.folder / "tables").iterdir()} == {
        f"{name}.{kind}"
        for name in ("means", "differences", "aggregates")
        for kind in ("md", "tex", "csv")
    }


def with_counts(study: Study, method: str, counts: list[tuple[int, int, int, int]]) -> Study:
    """Give the first test cases other counts of the foreground under every run of a method."""
    runs = []
    for run in study.runs:
        if run.experiment.method == method:
            evaluation = run.evaluations["phantom-binary"]
            changed = evaluation.counts.copy()
            changed[: len(counts), 1] = counts
            evaluation = replace(evaluation, counts_of={**evaluation.counts_of, CLEAN: changed})
            run = replace(run, evaluations={"phantom-binary": evaluation})
        runs.append(run)
    return replace(study, runs=tuple(runs))


def written(study: Study) -> str:
    """Write a report and read its words, pictures left out."""
    write_report(study)
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    return re.sub(r"data:[^\"]*", "", page)


def test_false_alarms_where_pairs_are_left_out_are_told(study) -> None:
    nothing, alarm = (0, 0, 0, 4096), (0, 96, 0, 4000)
    changed = with_counts(with_counts(study, "unet", [nothing]), "unet+scc", [alarm])
    page = written(changed)
    cases = len(study.runs[0].evaluations["phantom-binary"].cases)
    assert f"over 2 seed(s) and {cases - 1} cases; " in page
    assert (
        "1 case left out, undefined under some run; on 1 of them unet+scc marks something where "
        "there is nothing in more runs than unet."
    ) in page
    assert "<td>1 (1 / 0)</td>" in page
    assert "also a case where one rightly marks nothing and the other marks something" in page
    assert f"{cases} cases, up to 1 left out of a method&#39;s DSC" in page


def test_cases_without_a_value_are_told_without_a_comparison_too(study) -> None:
    assert "no defined value" not in written(study)
    alone = replace(study, methods=("unet",))
    assert "no defined value" in written(with_counts(alone, "unet", [(0, 0, 0, 4096)]))


def test_one_seed_is_never_shown_as_evidence(study) -> None:
    # A difference as clear as can be: every case is missed by one method and found by the other.
    single = replace(
        study, seeds=1, runs=tuple(run for run in study.runs if run.experiment.seed == 0)
    )
    cases = len(single.runs[0].evaluations["phantom-binary"].cases)
    single = with_counts(single, "unet", [(0, 0, 96, 4000)] * cases)
    page = written(with_counts(single, "unet+scc", [(96 - i, 0, i, 4000) for i in range(cases)]))
    assert "not known whether unet+scc differs from unet" in page
    assert "One seed: how much training varies is not known" in page
    assert "No p-value from one seed" in page
    for claim in (
        "scores higher than",
        "scores lower than",
        "o difference between",
        "Wilcoxon",
        "&lt;0.0",
    ):
        assert claim not in page
    with (study.folder / "tables" / "differences.csv").open(newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["metric"] == "DSC")
    assert row["low"] == row["high"] == row["p_holm"] == row["detectable"] == ""
    assert float(row["mean"]) > 50


def test_names_from_outside_are_escaped(study) -> None:
    store = study.stores["phantom-binary"]
    card = replace(store.info.card, title="<script>alert(1)</script>")
    hostile = replace(store, info=replace(store.info, card=card))
    write_report(replace(study, stores={"phantom-binary": hostile}))
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


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
