"""The report: self-contained, escaped, and with every picture it speaks of."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from harmoseg import HarmosegError
from harmoseg.colours import class_colours, paint_labels
from harmoseg.datasets.folder import FolderOptions, SplitRule
from harmoseg.datasets.preparing import PrepareOptions, prepare_folder
from harmoseg.explain.preview import write_preview
from harmoseg.metrics import METRICS, overlap_metric
from harmoseg.metrics.measures import known_measure
from harmoseg.report.figures.cases import choose_cases
from harmoseg.report.html import find_warnings, write_report
from harmoseg.scores.table import COUNTS, Scores
from harmoseg.statistics.comparison import Comparison, compare
from harmoseg.store.card import Card
from harmoseg.store.reading import open_store
from harmoseg.study.case_figures import make_gallery
from harmoseg.study.options import DatasetPlan, StudyPlan
from harmoseg.study.report import count_copies, study_remarks, study_warnings, write_study_report
from harmoseg.study.results import Study
from harmoseg.study.runner import run_study
from harmoseg.training.options import TrainingOptions

STORE = "phantom-binary"


@pytest.fixture(scope="module")
def study(binary_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    options = TrainingOptions(
        encoder="tu-test_resnet", epochs=2, batch_size=4, validation_fraction=0.25
    )
    plan = StudyPlan(
        (DatasetPlan(binary_store, ("unet", "unet+scc"), options, controls="none"),), 2
    )
    return run_study(plan, tmp_path_factory.mktemp("studies") / "study")


def with_task(study: Study, **changes: object) -> Study:
    """Change the one task of a study."""
    (task,) = study.tasks
    return replace(study, tasks=(replace(task, **changes),))  # type: ignore[arg-type]


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
    write_study_report(study)
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    collector = Collector()
    collector.feed(page)
    assert collector.tags.count("table") == 6  # one of them the gains of the first screen
    within = [source for source in collector.sources if source.startswith("#")]
    beside = [source for source in collector.sources if source.startswith("./")]
    pictures = [source for source in collector.sources if source.startswith("data:image/png")]
    thumbs = [source for source in collector.sources if source.startswith("data:image/jpeg")]
    assert len(thumbs) == 12  # three cases: image, truth, two methods
    # "data:," is an icon that is nothing, so that no browser asks for one.
    assert sorted([*within, *beside, *pictures, *thumbs, "data:,"]) == sorted(collector.sources)
    assert all((study.folder / source).is_file() for source in beside)
    assert (
        len(pictures)
        == collector.tags.count("img") - len(thumbs)
        == len(list((study.folder / "figures").glob("*.svg")))
    )
    for source in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert min(picture.size) > 150 and len(np.unique(np.asarray(picture))) > 20
    assert "://" not in re.sub(r"data:[^\"]*", "", page)
    assert {path.name for path in (study.folder / "tables").iterdir()} == {
        f"{name}.{kind}"
        for name in ("means", "differences", "differences-all-measures", "aggregates", "ring-gains")
        for kind in ("md", "tex", "csv")
    }


def with_counts(study: Study, method: str, counts: list[tuple[int, int, int, int]]) -> Study:
    """Give the first test cases other counts of the foreground under every run of a method."""
    (task,) = study.tasks
    runs = []
    for run in task.runs:
        if run.experiment.method == method:
            evaluation = run.evaluations[STORE]
            frame = evaluation.scores.to_frame()
            rows = frame.index[frame["class"] != "background"][: len(counts)]
            frame.loc[rows, list(COUNTS)] = np.asarray(counts, dtype=float)
            for metric in METRICS:
                frame.loc[rows, metric] = overlap_metric(metric, np.asarray(counts))
            scores = Scores.of(frame, rings=evaluation.scores.rings, bins=evaluation.scores.bins)
            run = replace(run, evaluations={STORE: replace(evaluation, scores=scores)})
        runs.append(run)
    return with_task(study, runs=tuple(runs))


def written(study: Study) -> str:
    """Write a report and read its words, pictures left out."""
    write_study_report(study)
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    return re.sub(r"data:[^\"]*", "", page)


def test_false_alarms_where_pairs_are_left_out_are_told(study) -> None:
    nothing, alarm = (0, 0, 0, 4096), (0, 96, 0, 4000)
    changed = with_counts(with_counts(study, "unet", [nothing]), "unet+scc", [alarm])
    page = written(changed)
    cases = len(study.tasks[0].cases(STORE))
    assert f"over 2 seed(s) and {cases - 1} cases; " in page
    assert (
        "1 case left out, undefined under some run; on 1 of them unet+scc marks something where "
        "there is nothing in more runs than unet."
    ) in page
    assert re.search(r"<td[^>]*>1 \(1 / 0\)</td>", page)
    assert "also a case where one rightly marks nothing and the other marks something" in page
    assert f"{cases} cases, up to 1 left out of a method&#39;s DSC" in page


def test_cases_without_a_value_are_told_without_a_comparison_too(study) -> None:
    assert "no defined value" not in written(study)
    first = tuple(run for run in study.tasks[0].runs if run.experiment.method == "unet")
    alone = with_task(study, methods=("unet",), runs=first)
    assert "no defined value" in written(with_counts(alone, "unet", [(0, 0, 0, 4096)]))


def test_one_seed_speaks_for_its_networks_alone(study) -> None:
    # A difference as clear as can be: every case is missed by one method and found by the other.
    first = tuple(run for run in study.tasks[0].runs if run.experiment.seed == 0)
    single = replace(with_task(study, runs=first, seeds=1), seeds=1)
    cases = len(study.tasks[0].cases(STORE))
    single = with_counts(single, "unet", [(0, 0, 96, 4000)] * cases)
    page = written(with_counts(single, "unet+scc", [(96 - i, 0, i, 4000) for i in range(cases)]))
    found = re.search(r"unet\+scc scores higher than unet[^<]*", page)
    assert found and ", for these networks. Its control" in found[0]
    assert "with one training per method over patients alone" in page
    assert "No p-value from one seed" in page
    assert "Wilcoxon" not in page and "&lt;0.0" not in page
    with (study.folder / "tables" / "differences.csv").open(newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["measure"] == "DSC")
    assert float(row["low"]) > 50 and row["p_holm"] == ""


def test_names_from_outside_are_escaped(study) -> None:
    store = study.tasks[0].stores["phantom-binary"]
    card = replace(store.info.card, title="<script>alert(1)</script>")
    hostile = replace(store, info=replace(store.info, card=card))
    titled = replace(study, title="</title><script>alert(2)</script>")
    write_study_report(with_task(titled, stores={"phantom-binary": hostile}))
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_a_name_is_text_and_not_a_formula(study) -> None:
    store = study.tasks[0].stores[STORE]
    cases = tuple(replace(case, case=f"cost_$5_to_$10^{case.case}") for case in store.cases)
    write_preview(replace(store, cases=cases), study.folder / "preview.png")
    assert (study.folder / "preview.png").exists()


def test_best_median_and_worst_are_what_they_say(study) -> None:
    comparison = study.compare()
    (block,) = comparison.blocks
    part = make_gallery(study).part(STORE, STORE)
    dsc = known_measure("DSC")
    chosen = choose_cases(block, part, dsc)
    assert [item.why for item in chosen] == ["best"] * 2 + ["median"] * 2 + ["worst"] * 2
    means = np.mean([block.values(method, dsc).mean(0) for method in block.methods], 0)
    found = [means[block.cases.index(item.case.name)] for item in chosen]
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (np.nanmax(means), np.nanmin(means))


def payload(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_browser_holds_every_case_of_every_run(study) -> None:
    write_study_report(study)
    found = payload((study.folder / "report.html").read_text(encoding="utf-8"))
    (task,) = study.tasks
    assert found["methods"] == ["unet", "unet+scc"] and found["seeds"] == ["0", "1"]
    store = task.stores["phantom-binary"]
    names = [store.cases[number].case for number in task.cases(STORE)]
    assert [case["name"] for case in found["cases"]] == names
    assert all(run is not None for case in found["cases"] for row in case["runs"] for run in row)


def test_maps_are_made_when_asked_for(study) -> None:
    page = written(study)
    assert "Grad-CAM" not in page and "Spectrum of truth" not in page
    assert not list(study.folder.glob("figures/*cams*")) + list(study.folder.rglob("*-cams.npz"))
    write_study_report(study, explain=True)
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert "Spectra and activation" in page and "Spectrum of truth" in page
    runs = [run for case in payload(page)["cases"] for row in case["runs"] for run in row]
    assert all(run["cam"] is not None for run in runs)
    assert len(list(study.folder.rglob("*-cams.npz"))) == len(study.tasks[0].runs)
    for kept in study.folder.rglob("*-cams.npz"):
        kept.unlink()


def test_a_failed_run_is_a_gap_and_a_warning(study) -> None:
    (task,) = study.tasks
    runs = tuple(
        run for run in task.runs if (run.experiment.method, run.experiment.seed) != ("unet", 1)
    )
    lacking = replace(with_task(study, runs=runs, missing={"unet": 1}), unfinished=1, failures={})
    page = written(lacking)
    assert "1 run(s) have not finished" in page and "unet on phantom-binary (1 of 2 seeds)" in page
    (shown,) = {
        tuple(run is None for row in case["runs"] for run in row)
        for case in payload((study.folder / "report.html").read_text())["cases"]
    }
    assert shown == (False, True, False, False)  # unet 0, unet 1, unet+scc 0, unet+scc 1
    work = SimpleNamespace(name="x", method="unet", seed=1, dataset="phantom-binary")
    failed = replace(lacking, unfinished=0, failures={"x": "diverged"}, failed=(work,))
    told = " ".join(study_warnings(failed))
    assert "1 run(s) failed and are in no table: unet, seed 1, on phantom-binary: diverged." in told


def primary_sentences(comparison: Comparison) -> list[str]:
    """Return what is said of the primary measure alone."""
    return [text for text in comparison.sentences if not text.startswith("Secondary")]


def test_few_comparisons_are_told_and_many_are_counted(made) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(60, 80, (1, 40)) + random.normal(0, 0.5, (3, 40))
    methods = {"unet": base}
    for weight in range(1, 11):
        methods[f"unet+scc:{weight}"] = base + random.normal(0, 0.5, (3, 40))
    methods["unet+scc:10"] = base + 5
    comparison = made.make_comparison(methods)
    assert len(comparison.headline) == 10
    first, *others = primary_sentences(comparison)
    assert first.startswith("Of 10 comparisons") and "one in twenty" in first
    gains = int(re.search(r"gains (\d+)", first)[1])
    losses = int(re.search(r"losses (\d+)", first)[1])
    assert gains >= 1 and len(others) == gains + losses
    assert any("unet+scc:10 scores higher than unet" in sentence for sentence in others)
    few = made.make_comparison({name: methods[name] for name in list(methods)[:4]})
    assert len(primary_sentences(few)) == 3


def test_beside_a_gain_stands_what_its_overlap_control_leaves(made) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(60, 80, (3, 40))
    methods = {"unet": base, "unet+scc:1": base + 5 + random.normal(0, 0.5, (3, 40))}
    methods["unet+rings:1"] = methods["unet+scc:1"] + random.normal(0, 0.5, (3, 40))
    methods |= {
        f"unet+dice:{i}": base + random.normal(0, 0.5, (3, 40))
        for i in (0.1, 0.3, 0.4, 0.5, 0.6, 0.7)
    }
    told = primary_sentences(made.make_comparison(methods))
    (rings,) = [text for text in told if "unet+rings:1 scores higher than unet:" in text]
    assert "Over an overlap term of the same weight, unet+scc:1, no difference shows: " in rings
    (scc,) = [text for text in told if "unet+scc:1 scores higher than unet:" in text]
    assert "Over an overlap" not in scc
    methods["unet+rings:1"] = methods["unet+scc:1"] + 5
    told = primary_sentences(made.make_comparison(methods))
    assert any("unet+scc:1, a difference shows: +5.0 [" in text for text in told)


def test_of_many_comparisons_none_is_passed_over(made) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(60, 80, (3, 40))
    noise = [random.normal(0, 0.5, (3, 40)) for _ in range(12)]
    uncontrolled = {"unet": base, "transunet": base + 5} | {
        f"unet+dice:{i}@sample": base + part for i, part in enumerate(noise[:8], 1)
    }
    comparison = made.make_comparison(uncontrolled)
    found = comparison.headline
    assert len(found) == 9 and {item.kind for item in found} == {"no control"}
    first, *others = primary_sentences(comparison)
    assert first.startswith("Of 9 comparisons with no control") and "differ, 1 show" in first
    assert len(others) == 1 and "transunet scores higher than unet" in others[0]
    short = {"unet": base} | {f"unet+scc:{i}": base + part for i, part in enumerate(noise, 1)}
    one_seed = {f"unet+scc:{i}": [0] for i in range(1, 5)}
    told = primary_sentences(made.make_comparison(short, seeds=one_seed))
    assert told[0].startswith("Of 12 comparisons of a method with a control")
    assert "for these networks" in told[0]
    one_case = made.make_comparison({"unet": [[70.0]], "unet+scc": [[71.0]]})
    (said,) = primary_sentences(one_case)
    assert "an interval needs" in said


def test_a_report_that_fails_leaves_the_one_before(study, monkeypatch) -> None:
    write_study_report(study)
    before = {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()}

    def fail(*_: object) -> None:
        raise HarmosegError("rows are missing")

    monkeypatch.setattr("harmoseg.study.report.exhibited_figures", fail)
    with pytest.raises(HarmosegError, match="rows are missing"):
        write_study_report(study, explain=True)
    assert all(path.read_bytes() == data for path, data in before.items())


def test_what_to_be_wary_of_is_told(made, study) -> None:
    scores = np.random.default_rng(0).uniform(60, 80, (3, 12))

    def told(given: dict[str, object], **how: object) -> str:
        return " ".join(find_warnings(made.make_comparison(given, **how)))

    plain = told({"unet": scores, "unet+scc": scores + 1})
    assert "3 seeds: how much training varies is known only roughly" in plain
    assert "No control with an overlap term" in plain and "unet+scc on made" in plain
    assert "No patients are named on made: every case counts as one." in plain
    assert "No patients are named" not in told({"unet": scores}, groups=["a", "b"] * 6)
    uneven = {"unet": np.tile(scores, (2, 1))[:5], "unet+scc": scores[:2] + 1}
    assert "2 to 5 seeds: how much" in told(uneven)
    controlled = {"unet": scores, "unet+dice": scores, "unet+scc": scores + 1}
    assert "No control with" not in told(controlled)
    (task,) = study.tasks
    experiment = task.runs[0].experiment
    quantised = replace(
        experiment,
        options=replace(experiment.options, weights="resnet18.safetensors"),
        weights_sha256="1e8b3ea72d0b11bf60b136b03b685774a84c86ff66060899bb4a1aaab222c688",
    )
    runs = (replace(task.runs[0], experiment=quantised), *task.runs[1:])
    found = " ".join(study_remarks(with_task(study, runs=runs)))
    assert "a little weaker than the weights they were quantised from" in found


def test_a_report_of_a_table_alone_says_what_is_missing(made, tmp_path) -> None:
    scores = np.random.default_rng(0).uniform(60, 80, (3, 12))
    full = made.make_scores({"unet": scores, "unet+scc": scores + 1})
    bare = Scores.of(
        full.frame[["method", "seed", "case", "DSC", "IoU"]].loc[
            (full.frame["class"] != "background").to_numpy()
        ]
    )
    tables = write_report(compare(bare), tmp_path / "page.html")
    assert [table.name for table in tables] == ["means", "differences", "differences-all-measures"]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Not in this report, for want of data: cases to look at (no pictures)" in page
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    write_report(compare(bare), tmp_path / "new" / "page.html", files=tmp_path / "new" / "files")
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "./files/tables/differences.csv" in page
    assert (tmp_path / "new" / "files" / "tables" / "differences.csv").is_file()
    with pytest.raises(HarmosegError, match="a folder; name the page"):
        write_report(compare(bare), tmp_path)


def test_near_duplicates_are_counted(tmp_path, folder_data) -> None:
    images, masks = folder_data(count=10, size=64)
    random = np.random.default_rng(1)
    for i in range(10):  # pictures that differ, but for two of them
        noise = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).save(
            images / f"case{i}.png"
        )
    copied = Image.open(images / "case0.png")
    copied.save(images / "case9.png")
    lists = tmp_path / "lists.csv"
    rows = [f"case{i},{'test' if i > 5 else 'train'}" for i in range(10)]
    lists.write_text("\n".join(["case,split", *rows]) + "\n")
    rule = SplitRule(split_file=lists)
    prepare_folder(FolderOptions(images, masks), rule, PrepareOptions(tmp_path / "store", size=64))
    store = open_store(tmp_path / "store")
    assert count_copies(store, "test", store) == 1


def test_a_preview_paints_every_class_in_a_colour_of_its_own() -> None:
    for count in (8, 12):
        classes = ("background", *(f"organ {number}" for number in range(count)))
        card = Card(name="x", title="x", modality="CT", mode="multiclass", classes=classes)
        label = np.arange(count + 1, dtype=np.uint8)[None]
        painted = paint_labels(label, class_colours(card))[0]
        assert painted[0].tolist() == [0, 0, 0]
        assert len({tuple(colour) for colour in painted.tolist()}) == count + 1


def test_preview_is_a_picture(phantom_store, tmp_path) -> None:
    write_preview(open_store(phantom_store), tmp_path / "new" / "p.png")
    assert np.asarray(Image.open(tmp_path / "new" / "p.png")).std() > 10
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(HarmosegError, match="taken.png: cannot be written"):
        write_preview(open_store(phantom_store), tmp_path / "taken.png")
    with pytest.raises(HarmosegError, match="ends in .png"):
        write_preview(open_store(phantom_store), tmp_path / "p.pdf")
