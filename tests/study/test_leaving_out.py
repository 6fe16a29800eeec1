"""Leaving one centre out in turn: what is trained on, what is tested, and one table of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harmoseg import HarmosegError
from harmoseg.statistics.heterogeneity import measure_spread
from harmoseg.store.card import Card
from harmoseg.store.layout import Case, Slice
from harmoseg.store.reading import open_store
from harmoseg.store.tiling import CutSample
from harmoseg.store.training_view import open_training_view
from harmoseg.store.writing import (
    centres_of,
    leave_centre_out,
    leave_each_centre_out,
    writing_store,
)
from harmoseg.study.options import DatasetPlan, StudyPlan
from harmoseg.study.recipe import read_recipe
from harmoseg.study.report import write_study_report
from harmoseg.study.runner import run_study
from harmoseg.training.options import TrainingOptions

CENTRES = tuple(f"C{number}" for number in range(1, 7))
SIZE = 32
TINY = TrainingOptions(
    encoder="tu-test_resnet", epochs=1, batch_size=8, validation_fraction=0, select="last"
)


def make_polypgen(out: Path, *, of: dict[str, str] | None = None, per_centre: int = 4) -> Path:
    """Make a store as PolypGen's: test cases alone, of six centres; `of` changes centres."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    card = Card("polypgen", "PolypGen", "endoscopy", "binary", ("background", "polyp"))
    with writing_store(out, card, shape=(SIZE, SIZE, 3)) as writer:
        for i in range(per_centre * len(CENTRES)):
            centre = CENTRES[i % len(CENTRES)]
            name = f"{centre}-{i // len(CENTRES)}"
            mask = (np.hypot(x - 16, y - 14 - i % 4) < 5 + i % 6).astype(np.uint8)
            noise = random.integers(0, 90, (SIZE, SIZE, 3)) + 120 * mask[..., None]
            case = Case(
                name,
                name,
                "test",
                (of or {}).get(name, centre),
                1,
                1,
                SIZE,
                SIZE,
                (),
                (),
                "i",
                "m",
                "0" * 64,
            )
            part = Slice(0, 0, 0, SIZE, SIZE, int(mask.sum()))
            cut = CutSample((part,), noise.astype(np.uint8)[None], mask[None])
            writer.add(case, cut, mask[None])
        writer.finish({"dataset": "polypgen"})
    return out


@pytest.fixture(scope="module")
def polypgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_polypgen(tmp_path_factory.mktemp("stores") / "polypgen")


def test_no_case_of_the_centre_left_out_is_trained_on(polypgen, tmp_path) -> None:
    made = leave_each_centre_out(polypgen, tmp_path)
    assert [path.name for path in made] == [f"polypgen-without-{name}" for name in CENTRES]
    whole = open_store(polypgen)
    fingerprints = {whole.info.fingerprint}
    for centre, path in zip(CENTRES, made, strict=True):
        view = open_training_view(path, validation_fraction=0.2)
        seen = [case.subset for case in (*view.train.cases, *view.validation.cases)]
        assert centre not in seen and set(seen) == set(CENTRES) - {centre}
        assert len(seen) == 20
        store = open_store(path)
        tested = [store.cases[number] for number in store.cases_of("test")]
        assert [case.case for case in tested] == [f"{centre}-{i}" for i in range(4)]
        # The pictures are those of the cases, whatever the splits say.
        assert np.array_equal(store.images, whole.images)
        assert np.array_equal(store.native_label(5), whole.native_label(5))
        fingerprints.add(store.info.fingerprint)
    assert len(fingerprints) == 7
    before = (made[0] / "store.json").stat().st_mtime_ns
    leave_each_centre_out(polypgen, tmp_path)  # nothing changed, nothing done
    assert (made[0] / "store.json").stat().st_mtime_ns == before


def test_validation_cases_of_other_centres_stay(polypgen, tmp_path) -> None:
    store = open_store(polypgen)
    cases = tuple(
        replace(case, split="val" if case.case.endswith("0") else "train") for case in store.cases
    )
    path = leave_centre_out(replace(store, cases=cases), "C2", tmp_path / "out")
    counts = open_store(path).info.counts
    assert dict(counts) == {"train": 15, "val": 5, "test": 4}


def test_a_study_scores_every_case_once_by_networks_that_never_saw_its_centre(
    polypgen, tmp_path
) -> None:
    dataset = DatasetPlan(
        polypgen, ("unet", "unet+scc"), TINY, controls="none", leave_centre_out=True
    )
    study = run_study(StudyPlan((dataset,), 1), tmp_path / "study")
    frame = study.scores.frame
    frame = frame[frame["class"] == "polyp"]
    assert len(frame) == 2 * 24 and set(frame["subset"]) == set(CENTRES)
    assert set(frame["tested_on"]) == set(frame["trained_on"]) == {"polypgen"}
    for task in study.tasks:
        centre = task.name.removeprefix("polypgen-without-")
        for run in task.runs:
            tested = run.evaluations[task.name].scores.frame
            assert set(tested["subset"]) == {centre}
    (spread,) = measure_spread(study.compare())
    assert list(spread.centres) == list(CENTRES)
    write_study_report(study)
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert ">Centres<" in page and "unet against unet+scc on polypgen" in page
    assert page.count('"name":"C') == 24  # every case in the browser, once
    again = run_study(StudyPlan((dataset,), 1), tmp_path / "study")  # it continues
    assert len(again.scores) == len(study.scores)


def test_what_cannot_be_left_out_is_refused(polypgen, tmp_path) -> None:
    one = make_polypgen(tmp_path / "one", of={f"{c}-{i}": "C1" for c in CENTRES for i in range(4)})
    with pytest.raises(HarmosegError, match="needs two or more, and its cases name only 'C1'"):
        centres_of(open_store(one))
    unnamed = make_polypgen(tmp_path / "unnamed", of={"C3-1": ""})
    with pytest.raises(HarmosegError, match=r"1 case\(s\) name no centre, 'C3-1' first"):
        centres_of(open_store(unnamed))
    store = open_store(polypgen)
    shared = tuple(replace(case, group="P") for case in store.cases)
    with pytest.raises(HarmosegError, match="patient 'P' has cases in the centres 'C1' and 'C2'"):
        centres_of(replace(store, cases=shared))
    also = DatasetPlan(polypgen, ("unet",), TINY, also=(one,), leave_centre_out=True)
    with pytest.raises(HarmosegError, match="every case is tested once"):
        run_study(StudyPlan((also,), 1), tmp_path / "study")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("methods: unet\ndatasets: [{store: polypgen, leave_centre_out: C1}]\n")
    with pytest.raises(HarmosegError, match="leave_centre_out: expected true or false, got 'C1'"):
        read_recipe(recipe, polypgen.parent)
    recipe.write_text("methods: unet\ndatasets: [{store: polypgen, leave_centre_out: true}]\n")
    assert read_recipe(recipe, polypgen.parent).datasets[0].leave_centre_out


def test_a_centre_with_one_patient_can_be_left_out(tmp_path) -> None:
    store = make_polypgen(tmp_path / "store", of={f"C6-{i}": "C5" for i in range(1, 4)})
    made = leave_each_centre_out(store, tmp_path / "out")
    assert open_store(made[5]).info.counts["test"] == 1
    assert open_store(made[4]).info.counts["test"] == 7
