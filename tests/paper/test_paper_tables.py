"""The paper's tables from scores: right numbers in right places, bold where it is supported."""

from __future__ import annotations

import csv
import functools
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from harmoseg.datasets.catalogue import load_card
from harmoseg.metrics.measures import known_measure
from harmoseg.paper import tables as paper_tables
from harmoseg.paper.published import published_columns, read_published
from harmoseg.paper.tables import make_paper_tables
from harmoseg.statistics import intervals
from harmoseg.statistics.printing import to_latex, to_markdown, write_tables

NOISE = ("clean", "gaussian:0.01", "bernoulli:0.01")
PAPER = ("unet", "transunet", "unet+scc", "transunet+scc")

estimate_mean = functools.partial(intervals.estimate_mean, resamples=200)
estimate_means = functools.partial(intervals.estimate_means, resamples=200)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_tables, "estimate_mean", estimate_mean)
        patch.setattr(intervals, "estimate_means", estimate_means)
        yield


class Block:
    """Made-up scores: every method has values of its own, drawn from what they are about."""

    def __init__(self, task, tested_on, card):
        self.trained_on, self.tested_on = next(iter(task.cards)), tested_on
        self.methods, self.conditions, self.task = task.methods, task.conditions, task
        self.seeds = {name: tuple(map(str, range(task.seeds))) for name in task.methods}
        self.group_codes = np.arange(12) // 2
        unit = "mm" if card.name == "acdc" else "px"
        names = ("DSC", "IoU", "SE", "SP", f"HD95_pooled_{unit}", f"HD95_max_{unit}", "ECE", "MCE")
        self.measures = {name: known_measure(name) for name in names}

    def values(self, method, measure, *, condition="clean", label=None, seeds=None):
        assert label is None or label in self.task.cards[self.tested_on].classes[1:]
        assert condition in self.conditions and method in self.methods
        self.task.asked.add((self.tested_on, measure.name, condition, label))
        return self.task.values(method, self.tested_on, measure.name, condition, label)


class Task:
    """A training set with its test sets."""

    def __init__(
        self, *cards, methods=("unet", "unet+scc"), seeds=3, conditions=("clean",), gain=0.0
    ):
        self.methods, self.seeds, self.conditions, self.gain = methods, seeds, conditions, gain
        self.cards = {}
        for text in cards:  # a card, under its own name or as name=card
            name, _, card = text.rpartition("=")
            self.cards[name or card] = load_card(card)
        self.blocks = [Block(self, name, card) for name, card in self.cards.items()]
        self.asked = set()

    def values(self, method, store, measure, condition="clean", label=None):
        seed = zlib.crc32(repr((store, measure, condition, label)).encode())
        cases = np.random.default_rng(seed).normal(60, 5, (1, 12))
        number = self.methods.index(method)
        noise = np.random.default_rng([seed, number]).normal(0, 0.3, (self.seeds, 12))
        return cases + noise + self.gain * number


def tables_of(*tasks):
    blocks = [block for task in tasks for block in task.blocks]
    cards = {name: card for task in tasks for name, card in task.cards.items()}
    return {t.name: t for t in make_paper_tables(SimpleNamespace(blocks=blocks), cards)}


def record(table, **wanted):
    (found,) = (
        row for row in table.records if all(row[key] == value for key, value in wanted.items())
    )
    return found


ALL = (
    Task("kvasir-seg", "polypgen", methods=(*PAPER, "unet+scc:0.5")),
    Task("isic-2018", "isic-2017", methods=PAPER),
    Task("monuseg", methods=PAPER),
    Task("btseg", methods=PAPER),
    Task("synapse", methods=PAPER, conditions=NOISE),
    Task("acdc", methods=(*PAPER, "unet+scc:0.5"), conditions=NOISE),
)


@pytest.fixture(scope="module")
def everything():
    return tables_of(*ALL)


def test_a_study_of_everything_has_all_columns_of_the_paper_in_its_order(everything) -> None:
    assert list(everything) == [f"paper-table{number}" for number in range(1, 7)]
    for number, table in enumerate(everything.values(), 1):
        published = [
            (cell.method, cell.column.tested_on, cell.text) for cell in read_published(number)
        ]
        beside = [
            (r["method"], r["tested_on"], r["published"]) for r in table.records if r["published"]
        ]
        assert sorted(beside) == sorted(published)
        assert (
            "not in these scores" not in table.caption and "not in the paper" not in table.caption
        )
        assert len(table.levels[-1]) == len(table.header) == len(table.rows[0])
    first = everything["paper-table1"]
    assert len(first.header) == 2 + len(published_columns(1))
    assert first.rows[1][:4] == ("unet", "published", "88.77", "76.97")
    by_class = everything["paper-table2"]
    assert len(by_class.header) == 3 + len(published_columns(2)) / 2
    assert by_class.header[3:6] == (
        "Synapse multi-organ mean",
        "Synapse multi-organ aorta",
        "Synapse multi-organ gallbladder",
    )
    assert [row[0] for row in by_class.rows] == ["DSC"] * 13 + ["HD95"] * 13


def test_numbers_are_those_of_the_study(everything) -> None:
    task = ALL[5]
    values = task.values("unet+scc", "acdc", "HD95_pooled_mm", label="MYO")
    expected = estimate_mean(values, task.blocks[0].group_codes)
    found = record(
        everything["paper-table2"],
        **{"method": "unet+scc", "tested_on": "acdc", "class": "MYO", "metric": "HD95"},
    )
    assert (found["mean"], found["low"], found["high"]) == (
        expected.mean,
        expected.low,
        expected.high,
    )
    assert (found["measure"], found["unit"], found["published"]) == ("HD95_pooled_mm", "mm", "2.49")
    assert found["difference"] == pytest.approx(expected.mean - 2.49)
    assert (found["seeds"], found["cases"], found["left_out"]) == (3, 12, 0)
    assert ("acdc", "DSC", "bernoulli:0.01", None) in task.asked
    assert ("synapse", "HD95_pooled_px", "gaussian:0.01", None) in ALL[4].asked
    noisy = everything["paper-table5"]
    assert noisy.levels[0][2:] == ("gaussian:0.01",) * 4 + ("bernoulli:0.01",) * 4
    assert "ours in px (Synapse multi-organ), mm (ACDC); the paper names no unit" in noisy.caption


def test_a_row_says_ours_published_and_difference() -> None:
    task = Task("kvasir-seg", methods=("unet+scc", "unet+scc@sample"))
    table = tables_of(task)["paper-table1"]
    assert [row[:2] for row in table.rows] == [
        ("unet", "published"),
        ("transunet", "published"),
        ("unet+scc", "ours"),
        ("unet+scc", "published"),
        ("unet+scc", "difference"),
        ("transunet+scc", "published"),
        ("unet+scc@sample", "ours"),
    ]
    mean = task.values("unet+scc", "kvasir-seg", "DSC").mean()
    assert table.rows[2][2].startswith(f"{mean:.2f}\n[") and table.rows[2][2].endswith("]")
    assert table.rows[4][2] == f"{mean - 89.40:+.2f}"


def test_bold_needs_support_and_minds_the_direction() -> None:
    clear = tables_of(Task("kvasir-seg", gain=3))
    for row in clear["paper-table1"].records:
        assert row["bold"] == (row["method"] == "unet+scc")
    for row in clear["paper-table4"].records:
        assert row["bold"] == (row["method"] == "unet")  # of ECE and MCE lower is better
    ours = [i for i, row in enumerate(clear["paper-table1"].rows) if row[1] == "ours"]
    assert clear["paper-table1"].bold == {(ours[1], column) for column in range(2, 6)}
    assert to_markdown(clear["paper-table1"]).count("**") == 2 + 2 * 4  # the title and four cells
    unclear = tables_of(Task("kvasir-seg", methods=("unet", "unet+scc", "unet@sample"), gain=0.02))
    assert not unclear["paper-table1"].bold and not unclear["paper-table4"].bold


def test_one_seed_is_never_bold_and_has_no_interval() -> None:
    table = tables_of(Task("kvasir-seg", seeds=1, gain=30))["paper-table1"]
    assert not table.bold and not any(row["bold"] for row in table.records)
    assert all(row["low"] is None for row in table.records)
    assert "From one seed there is no interval, and nothing is bold." in table.caption
    assert not any("[" in cell for row in table.rows for cell in row)


def test_what_a_study_has_not_is_left_out_and_named() -> None:
    tables = tables_of(Task("acdc", conditions=("clean", "gaussian:0.01")))
    assert list(tables) == ["paper-table2", "paper-table5"]
    assert tables["paper-table2"].header[3:] == ("ACDC mean", "ACDC MYO", "ACDC RV", "ACDC LV")
    assert (
        "In the paper and not in these scores: Synapse multi-organ."
        in tables["paper-table2"].caption
    )
    assert len(tables["paper-table5"].header) == 2 + 2
    assert "ACDC under bernoulli:0.01" in tables["paper-table5"].caption
    assert tables_of() == tables_of(Task("phantom-binary")) == {}


def test_other_datasets_than_the_papers_have_columns_of_their_own() -> None:
    tables = tables_of(Task("kvasir-seg", "polypgen", "etis-larib"), Task("isic-2018", "ph2"))
    table = tables["paper-table3"]
    pairs = list(dict.fromkeys(table.levels[0][2:]))
    assert pairs == [
        "Kvasir-SEG → PolypGen",
        "Kvasir-SEG → ETIS-Larib",
        "ISIC-2018 Task 1 → PH2",
    ]
    assert "scores: ISIC-2018 Task 1 → ISIC-2017 Task 1." in table.caption
    assert "not in the paper: Kvasir-SEG → ETIS-Larib; ISIC-2018 Task 1 → PH2." in table.caption
    for row in table.records:
        assert (row["published"] is None) == (row["tested_on"] in ("etis-larib", "ph2"))
        assert (row["difference"] is None) == (row["published"] is None or row["mean"] is None)
    assert tables["paper-table4"].levels[0][2] == "ISIC-2018 Task 1"


def test_stores_of_one_dataset_are_told_apart_by_their_names() -> None:
    table = tables_of(Task("small=acdc"), Task("large=acdc"))["paper-table2"]
    assert table.header[3:5] == ("small mean", "large mean")
    shifted = tables_of(Task("k=kvasir-seg", "again=kvasir-seg", "p=polypgen"))
    assert "Kvasir-SEG → Kvasir-SEG ECE" in shifted["paper-table4"].header
    extra = record(shifted["paper-table4"], method="unet", tested_store="again", metric="ECE")
    assert extra["published"] is None


def test_sensitivity_needs_methods_that_differ_in_the_weight_alone() -> None:
    assert "paper-table6" not in tables_of(
        Task("acdc", methods=("unet", "unet+scc", "unet+scc@sample"))
    )
    swept = ("unet", "unet+scc", "unet+scc:0.5", "unet+scc:0.7", "transunet+scc")
    table = tables_of(Task("acdc", methods=swept))["paper-table6"]
    ours = list(dict.fromkeys(row["method"] for row in table.records))
    assert ours == [
        *("unet+scc:0.1", "unet+scc", "unet+scc:0.3", "unet+scc:0.5", "unet+scc:0.9"),
        *("unet", "unet+scc:0.7"),
    ]
    assert "does not name the network" in table.caption


def test_undefined_values_are_left_out_and_counted() -> None:
    class Holes(Task):
        def values(self, method, store, measure, *how):
            values = super().values(method, store, measure, *how)
            values[0, 0] = np.nan
            if measure == "IoU":
                values[:] = np.nan
            return values

    table = tables_of(Holes("kvasir-seg", gain=3))["paper-table1"]
    assert record(table, method="unet", metric="DSC")["left_out"] == 1
    assert "n: so many cases have a value under every run" in table.caption
    assert "(n = 11)" in table.rows[0][2]
    column = table.header.index("Kvasir-SEG IoU")
    assert [row[column] for row in table.rows if row[1] != "published"] == ["undefined", ""] * 2
    assert not any(row["bold"] for row in table.records if row["metric"] == "IoU")


def test_intervals_stay_where_a_measure_can_be() -> None:
    class Edge(Task):
        def values(self, method, store, measure, *how):
            return (
                super().values(method, store, measure, *how) * 0
                + np.linspace(99, 100, 12) ** 9 / 1e16
            )

    for row in tables_of(Edge("acdc"))["paper-table2"].records:
        assert row["low"] is None or row["low"] >= 0
        assert row["metric"] == "HD95" or row["high"] is None or row["high"] <= 100


def test_every_table_can_be_written(everything, tmp_path) -> None:
    write_tables(list(everything.values()), tmp_path)
    for name, table in everything.items():
        with (tmp_path / f"{name}.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == len(table.records)
        assert {row["bold"] for row in rows} <= {"true", "false"}
        for line in to_latex(table).splitlines():
            if line.endswith(r"\\") and "multicolumn" not in line:
                assert line.count(" & ") == len(table.header) - 1
