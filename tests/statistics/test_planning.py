"""Planning: at the planned size, four of five simulated studies see the difference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harmoseg import HarmosegError, Scores
from harmoseg.cli.main import main
from harmoseg.files import write_json
from harmoseg.report.figures.curves import plan_figure
from harmoseg.scores.files import write_scores
from harmoseg.statistics.intervals import Sample, estimate_mean
from harmoseg.statistics.planning import Variances, _cases_needed, plan
from harmoseg.study.study_files import SCHEMA


def pilot(seeds=4, cases=40) -> Scores:
    random = np.random.default_rng(0)
    rows = [
        {"method": m, "seed": str(s), "case": str(c), "DSC": float(np.clip(0.7 + d, 0, 1))}
        for m, shift in (("unet", 0.0), ("vnet", 0.01))
        for s, of_seed in enumerate(random.normal(0, 0.003, seeds))
        for c in range(cases)
        for d in [shift + of_seed + random.normal(0, 0.03)]
    ]
    return Scores.of(pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("variances", "seeds", "detect"),
    [
        (Variances(0.04, 9.0, 4.0), 3, 1.2),
        (Variances(0.09, 16.0, 4.0), 5, 1.2),
        (Variances(0.0, 25.0, 1.0), 4, 1.0),
    ],
)
def test_four_of_five_studies_of_the_planned_size_see_the_difference(
    variances, seeds, detect
) -> None:
    cases = _cases_needed(variances, seeds, detect)
    assert cases is not None
    random = np.random.default_rng(1)
    studies, seen = 1500, 0
    for _ in range(studies):
        values = (
            detect
            + random.normal(0, variances.seeds**0.5, (seeds, 1))
            + random.normal(0, variances.cases**0.5, (1, cases))
            + random.normal(0, variances.rest**0.5, (seeds, cases))
        )
        seen += estimate_mean(values, resamples=50).excludes_zero
    assert seen / studies == pytest.approx(0.80, abs=0.03)


def test_variances_are_found_again() -> None:
    random = np.random.default_rng(0)
    true = Variances(0.5, 9.0, 4.0)
    found = []
    for _ in range(200):
        values = (
            random.normal(0, true.seeds**0.5, (6, 1))
            + random.normal(0, true.cases**0.5, (1, 60))
            + random.normal(0, true.rest**0.5, (6, 60))
        )
        from harmoseg.statistics.intervals import analyse_sample

        found.append(Variances.of(analyse_sample(Sample(values))))
    means = [np.mean([getattr(v, name) for v in found]) for name in ("seeds", "cases", "rest")]
    assert means == pytest.approx([0.5, 9.0, 4.0], rel=0.1)
    design = true.design(6, 60)
    again = Variances.of(design)
    assert (again.seeds, again.cases, again.rest) == pytest.approx((0.5, 9.0, 4.0))


def test_more_seeds_need_fewer_cases_and_the_plan_says_so(tmp_path, capsys) -> None:
    found = plan(pilot(), detect=1.0, hours_per_run=1.5)
    needed = [cases for _, cases in found.sizes if cases is not None]
    assert needed == sorted(needed, reverse=True) and len(needed) > 2
    assert found.to_frame()["hours"].iloc[-1] == 2 * 10 * 1.5
    assert "Planned from vnet minus unet: 4 seeds, 40 cases" in found.sentences[0]
    assert found.sentences[-1].startswith("With so few seeds the pilot's variance")
    write_scores(pilot(), tmp_path)
    assert main(["plan", str(tmp_path), "--detect", "1.0", "--hours-per-run", "1.5"]) == 0
    out = capsys.readouterr().out
    assert "cases show a difference of 1 points of DSC with 80 % power" in out and "hours" in out
    assert "A training takes 1.5 hours: both methods together 3 hours per seed." in out


def test_a_study_knows_its_hours_and_the_plan_is_drawn(tmp_path, capsys) -> None:
    write_scores(pilot(), tmp_path)
    runs = [{"name": f"r{seed}", "method": "unet", "seed": seed} for seed in range(3)]
    dataset = {"name": "d", "fingerprint": "", "stores": ["d"], "runs": runs}
    datasets = [{**dataset, "split": "test", "conditions": [], "options": {}}]
    study = {"schema": SCHEMA, "title": "", "table": None, "seeds": 3, "runs_folder": "runs"}
    write_json(tmp_path / "study.json", {**study, "datasets": datasets})
    for name, seconds in (("r0", 3600), ("r1", 7200)):  # the third has not ended
        (tmp_path / "runs" / name).mkdir(parents=True)
        write_json(tmp_path / "runs" / name / "done.json", {"seconds": seconds})
    out = tmp_path / "plan"
    assert main(["plan", str(tmp_path), "--detect", "1", "--out", str(out)]) == 0
    assert "A training takes 1.5 hours" in capsys.readouterr().out
    table = pd.read_csv(out / "plan.csv")
    assert table["hours"].tolist() == [3.0 * seeds for seeds in table["seeds"]]
    assert (out / "plan.svg").is_file()
    # Drawn: a point where the curve of a number of seeds meets the difference asked for.
    found = plan(pilot(), detect=1.0)
    seeds, cases = found.sizes[2]
    below, at = found.curve(seeds, [cases - 1, cases])
    assert at <= 1.0 < below
    lines = {line.get_label(): line for line in plan_figure(found).axes[0].lines}
    heights = lines[f"{seeds} seeds"].get_ydata()
    assert (np.diff(heights) < 0).all() and heights[0] > 1 > heights[-1]


def test_where_trainings_vary_too_much_no_number_of_cases_is_enough() -> None:
    assert _cases_needed(Variances(4.0, 1.0, 1.0), 3, 0.5) is None
    found = plan(pilot(), detect=0.01)
    assert any("no number of cases shows" in text for text in found.sentences)


@pytest.mark.parametrize(
    ("scores", "how", "message"),
    [
        (pilot(seeds=1), {"detect": 1.0}, "planning needs a pilot of two seeds"),
        (pilot(), {"detect": 0.0}, "detect is 0.0, expected a difference above 0"),
        (pilot(), {"detect": 1.0, "seeds": [1]}, "seeds are 1, expected 2 or more"),
        (pilot(), {"detect": 1.0, "method": "x"}, "no comparison to plan from"),
    ],
)
def test_what_cannot_be_planned_is_refused(scores, how, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        plan(scores, **how)


def test_hours_that_cannot_be_are_refused() -> None:
    with pytest.raises(HarmosegError, match="hours_per_run must be above 0, got -1"):
        plan(pilot(), detect=1, hours_per_run=-1)
