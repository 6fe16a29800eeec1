"""The table of scores: what is right stays as it is, what is wrong is named with its row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmoseg import HarmosegError, Scores, read_scores
from harmoseg.metrics.measures import declare_measure, known_measure
from harmoseg.scores.files import write_scores
from harmoseg.scores.table import KEYS, natural_order

NAMES = st.sampled_from(["001", "1", "NA", "nan", "a,b", 'say "x"', "2", "10", "ä ö"])


def table(**changes: object) -> pd.DataFrame:
    """Two methods on two cases of two classes, with calibration."""
    rows = [
        {"method": m, "case": c, "class": k, "DSC": 0.5 + 0.1 * i, "HD95_mm": 2.0, "ECE": 0.1}
        for i, m in enumerate(("a", "b"))
        for c in ("001", "002")
        for k in ("x", "y")
    ]
    frame = pd.DataFrame(rows)
    for name, value in changes.items():
        frame[name] = value
    return frame


def test_missing_keys_have_their_defaults() -> None:
    scores = Scores.of(table())
    first = scores.frame.iloc[0]
    assert [first[name] for name in KEYS] == ["", "a", "0", "", "clean", "001", "001", "", "x"]
    assert scores.summary() == (
        "2 cases, 2 methods, 1 seed, 1 test set; DSC, HD95_mm, ECE; 0 undefined values"
    )


def with_cell(row: int, column: str, value: object) -> pd.DataFrame:
    frame = table(group="p", subset="c").astype({column: object} if column != "seed" else {})
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table().drop(columns="case"), "the column 'case' is missing; found method, class, DSC"),
        (table(Dice=0.5), "'Dice' is neither a key column nor a known measure; declare it"),
        (table()[["method", "case"]].head(1), "no column holds a measure"),
        (pd.concat([table(), table()[["DSC"]]], axis=1), "column 'DSC' is there 2 times"),
        (with_cell(2, "DSC", "good"), "row 4, column 'DSC': 'good' is no number"),
        (with_cell(2, "DSC", 50.0), "row 4, column 'DSC': 50 lies outside 0 to 1; percent must"),
        (with_cell(2, "HD95_mm", -1.0), "row 4, column 'HD95_mm': -1 lies outside 0 to any"),
        (with_cell(2, "case", ""), "row 4 has no case"),
        (with_cell(2, "class", ""), "row 4 names no class, other rows do"),
        (with_cell(3, "class", "x"), "row 5 repeats method 'a', seed '0', condition 'clean', case"),
        (with_cell(2, "group", "q"), "case '002' has more than one group .patient.: 'p', 'q'"),
        (with_cell(2, "subset", "d"), "case '002' has more than one subset .centre.: 'c', 'd'"),
        (with_cell(2, "ECE", 0.2), "ECE of case '002' differs between classes"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(frame, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        Scores.of(frame)


def test_numbers_that_a_reader_made_of_names_are_names_again() -> None:
    scores = Scores.of(table(seed=[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]))
    assert scores.values_of("seed") == ["0", "1"]


def test_the_order_of_rows_changes_nothing() -> None:
    shuffled = table().sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(Scores.of(shuffled).frame, Scores.of(table()).frame)


def test_names_sort_as_people_count() -> None:
    assert natural_order(["b10", "b2", "a", "clean", ""]) == ["", "clean", "a", "b2", "b10"]


def test_tables_join_and_part() -> None:
    whole = Scores.of(table())
    parts = [whole.select(method=name) for name in ("a", "b")]
    joined = Scores.concat(parts[::-1])
    pd.testing.assert_frame_equal(joined.frame, whole.frame)
    with pytest.raises(HarmosegError, match="the joined tables: row .* repeats method 'a'"):
        Scores.concat([whole, parts[0]])
    with pytest.raises(HarmosegError, match="no row has method 'c'; found a, b"):
        whole.select(method="c")
    with pytest.raises(HarmosegError, match="'colour' is no key column"):
        whole.select(colour="red")


def test_measures_know_their_unit_and_direction() -> None:
    assert known_measure("HD95_max_px").unit == "px" and known_measure("HD_mm").sign == -1
    assert known_measure("NSD_2mm").is_share and known_measure("NSD_2mm").family == "NSD"
    assert known_measure("ECE").per == "case" and known_measure("Dice") is None
    measure, percent = declare_measure("Dice: mean:higher:percent")
    assert (measure.name, measure.family, measure.scale, percent) == (
        "Dice: mean", "Dice: mean", 100.0, True,
    )  # fmt: skip
    for text in ("Dice", "Dice:up:mm", ":higher:mm", "Dice:higher:"):
        with pytest.raises(HarmosegError, match="measure "):
            declare_measure(text)


@pytest.mark.filterwarnings("ignore::harmoseg.scores.files.ScoresWarning")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_table_comes_back_from_its_file_as_it_was(tmp_path_factory, data) -> None:
    cases = data.draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    methods = data.draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    value = st.one_of(st.just(np.nan), st.floats(0, 1), st.just(5e-324))
    rows = [
        {
            "method": method,
            "case": case,
            "seed": "00",
            "tested_on": "NA",
            "DSC": data.draw(value),
            "HD95_mm": data.draw(st.one_of(value, st.just(np.inf))),
            "TP": data.draw(st.integers(0, 2**40)),
        }
        for method in methods
        for case in cases
    ]
    scores = Scores.of(pd.DataFrame(rows))
    folder = tmp_path_factory.mktemp("scores")
    write_scores(scores, folder, packed=data.draw(st.booleans()))
    pd.testing.assert_frame_equal(read_scores(folder).frame, scores.frame, check_exact=True)


def test_old_results_are_divided_and_said_to_be(tmp_path) -> None:
    file = tmp_path / "results.csv"
    file.write_text(
        "trained_on,method,seed,tested_on,condition,case,class,DSC,HD95_pooled_px\n"
        "k,unet,0,k,clean,001,polyp,73.3,31.79\n"
    )
    scores = read_scores(file)
    assert scores.frame["DSC"].tolist() == [73.3 / 100]
    assert scores.frame["HD95_pooled_px"].tolist() == [31.79]
    assert any("shares in points" in remark for remark in scores.remarks)
    assert any("every case counts as a patient" in remark for remark in scores.remarks)


def test_a_declared_column_is_read(tmp_path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("method,case,Dice\nours,a,90\n")
    scores = read_scores(file, measures=["Dice:higher:percent"])
    assert scores.frame["Dice"].tolist() == [0.9] and scores.measures["Dice"].family == "DSC"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; expected a table of scores"),
        (b"method,case,DSC,DSC\na,b,1,1\n", "column 'DSC' is there more than once"),
        (b"method,case,DSC\na,b,1,2,3\na,c,1,2\n", "not a table|is no number"),
        (b"\xff\xfe\x00", "cannot be read as a CSV file in UTF-8"),
        (b"method,case,DSC\na,b,x\n", "row 2, column 'DSC': 'x' is no number"),
    ],
)
def test_files_that_are_no_table_are_refused(tmp_path, content, message) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    with pytest.raises(HarmosegError, match=message):
        read_scores(file)
    with pytest.raises(HarmosegError, match="no such file"):
        read_scores(tmp_path / "absent.csv")
    with pytest.raises(HarmosegError, match="none of 1 files holds scores"):
        read_scores(tmp_path)


def test_bins_of_cases_join_with_bins_of_all_cases() -> None:
    def scores(seed, with_case):
        rows = pd.DataFrame({"method": "u", "seed": seed, "case": ["a", "b"], "DSC": [0.5, 0.6]})
        edges = {"convention": "foreground", "bin": 0, "low": 0.0, "high": 1.0}
        sums = {"count": [4, 6], "confidence_sum": [2.0, 3.0], "right_sum": [1.0, 5.0]}
        bins = pd.DataFrame({"method": "u", "seed": seed, "case": ["a", "b"], **edges, **sums})
        if not with_case:
            bins = bins.drop(columns="case").groupby(["method", "seed", *edges]).sum().reset_index()
        return Scores.of(rows, bins=bins)

    alone = Scores.concat([scores("0", True), scores("1", True)])
    assert alone.bins is not None and set(alone.bins["case"]) == {"a", "b"}
    mixed = Scores.concat([scores("0", True), scores("1", False)]).bins
    assert mixed is not None and "case" not in mixed
    assert mixed[["seed", "count", "right_sum"]].to_numpy().tolist() == [["0", 10, 6], ["1", 10, 6]]
