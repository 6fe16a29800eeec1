"""Tables that other people made: what they hold is recognised, said, and equal to the file."""

from __future__ import annotations

import json
import logging

import numpy as np
import pandas as pd
import pytest

from harmoseg import HarmosegError, compare, read_scores
from harmoseg.cli.main import main
from harmoseg.scores.files import ScoresWarning
from harmoseg.statistics.blocks import split_into_blocks

LONG = "Case,Organ,Algorithm,Centre,Dice,HD95\nA 1.nii.gz,liver,u,x,0.9,3\nA 1.nii.gz,liver,v,x,0.8,4\nA 2.nii.gz,liver,u,y,0.7,5\nA 2.nii.gz,liver,v,y,0.6,\n"


def write(tmp_path, text, name="table.csv"):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def values(scores, measure="DSC", **keys):
    frame = scores.select(**keys).frame if keys else scores.frame
    return dict(zip(frame["case"], frame[measure], strict=True))


def test_a_long_table_is_read_as_it_is_and_the_reading_is_logged(
    tmp_path, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(logging.getLogger("harmoseg"), "propagate", True)  # the CLI ends it
    with caplog.at_level(logging.INFO, logger="harmoseg"):
        scores = read_scores(write(tmp_path, LONG))
    assert values(scores, method="u") == {"A 1": 0.9, "A 2": 0.7}
    assert scores.values_of("subset") == ["x", "y"] and scores.classes == ["liver"]
    assert scores.measures["HD95"].direction == "lower" and not scores.measures["HD95"].unit
    assert "2 cases, 2 methods" in caplog.text and "DSC as fractions (inferred)" in caplog.text
    assert "1 undefined" in caplog.text and "the unit of HD95 is not stated" in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", LONG.replace(",", "\t")),
        ("t.csv", LONG.replace(",", ";").replace("0.", "0,")),
        ("t.csv", LONG.replace("0.9", "90").replace("0.8", "80").replace("0.7", "70").replace("0.6", "60")),
    ],
)  # fmt: skip
def test_delimiters_decimal_commas_and_percent_change_nothing(tmp_path, name, text) -> None:
    expected = read_scores(write(tmp_path, LONG, "as_it_is.csv"))
    found = read_scores(write(tmp_path, text, name))
    pd.testing.assert_frame_equal(found.frame, expected.frame, check_exact=False, rtol=1e-15)


def test_percent_may_be_declared_or_inferred_and_is_said(tmp_path) -> None:
    file = write(tmp_path, "case,method,Dice\na,u,0.9\nb,u,0.7\n")
    scores = read_scores(file, measures=["Dice:higher:percent"])
    assert values(scores, "Dice") == {"a": 0.9 / 100, "b": 0.7 / 100}
    assert "Dice" in scores.measures and scores.frame["Dice"].max() < 0.01
    inferred = read_scores(write(tmp_path, "id,algo,dsc\na,u,90\nb,u,70\n"))
    assert "DSC as percent (inferred)" in inferred.remarks


def test_wide_tables_have_methods_measures_or_classes_in_columns(tmp_path) -> None:
    rows = "id,unet,vnet\n001,0.5,0.6\n002,0.7,0.8\n"
    by_method = read_scores(write(tmp_path, rows, "dice.csv"))
    assert by_method.values_of("method") == ["unet", "vnet"]
    assert values(by_method, method="vnet") == {"001": 0.6, "002": 0.8}
    by_class = read_scores(write(tmp_path, rows, "dice.csv"), columns="classes")
    assert by_class.classes == ["unet", "vnet"] and by_class.values_of("method") == ["dice"]
    both = read_scores(
        write(
            tmp_path, "method,name,dice_liver,dice_spleen,hd95_liver,hd95_spleen\nu,a,1,0.5,0,2\n"
        )
    )
    assert both.classes == ["liver", "spleen"] and list(both.measures) == ["DSC", "HD95"]


def test_the_form_of_challenges_and_a_column_of_measures(tmp_path) -> None:
    text = '"","task","alg_name","value","case"\n"1","T","A1",0.9,1\n"2","T","A2",0.8,1\n'
    with pytest.raises(HarmosegError, match="neither column nor file names the measure; declare"):
        read_scores(write(tmp_path, text))
    scores = read_scores(write(tmp_path, text), measures=["DSC:higher:fraction"])
    assert scores.values_of("tested_on") == ["T"] and values(scores, method="A2") == {"1": 0.8}
    text = (
        "case,method,metric,score\na,u,dice,0.9\na,u,hd95 (mm),3\na,v,dice,0.8\na,v,hd95 (mm),4\n"
    )
    scores = read_scores(write(tmp_path, text))
    assert values(scores, "HD95_mm", method="v") == {"a": 4.0}


def test_json_holds_records_columns_or_cases_of_methods(tmp_path) -> None:
    records = [{"case": "a", "method": m, "dice": d} for m, d in (("u", 0.5), ("v", 0.75))]
    columns = {name: [row[name] for row in records] for name in records[0]}
    nested = {"u": {"a": {"dice": 0.5}}, "v": {"a": {"dice": 0.75}}}
    for content in (records, columns, nested, {"cases": records, "about": ["x"]}):
        scores = read_scores(write(tmp_path, json.dumps(content), "t.json"))
        assert [values(scores, method=m)["a"] for m in "uv"] == [0.5, 0.75]


def test_excel_is_read_where_openpyxl_is_there(tmp_path) -> None:
    pytest.importorskip("openpyxl")
    file = tmp_path / "t.xlsx"
    pd.DataFrame({"case": ["a", "b"], "u": [0.5, 0.6], "v": [0.7, np.nan]}).to_excel(
        file, index=False
    )
    scores = read_scores(file, measures=["Dice:higher:fraction"])
    assert scores.frame["Dice"].isna().sum() == 1 and len(scores) == 4


def test_without_openpyxl_excel_is_refused_with_the_cure(tmp_path, monkeypatch) -> None:
    def fail(*_, **__):
        raise ImportError("openpyxl")

    monkeypatch.setattr(pd, "read_excel", fail)
    file = tmp_path / "t.xlsx"
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(HarmosegError, match="need openpyxl; install it with"):
        read_scores(file)


def test_paths_are_no_part_of_a_case_unless_they_keep_cases_apart(tmp_path) -> None:
    rows = "file,model,dice\n/a/b/x/001.nii.gz,u,0.5\nC:\\d\\002.nii.gz,u,0.6\n"
    assert set(values(read_scores(write(tmp_path, rows)))) == {"001", "002"}
    rows = "file,model,dice\n/d/p1/seg.png,u,0.5\n/d/p2/seg.png,u,0.6\n"
    assert set(values(read_scores(write(tmp_path, rows)))) == {"p1/seg", "p2/seg"}


MONAI = "filename,class0,class1,mean,mean,mean\ncase_2,0.9,nan,0.9\ncase_1,0.8,0.7,0.75\n"


def test_metric_files_of_monai_and_auto3dseg(tmp_path) -> None:
    scores = read_scores(write(tmp_path, MONAI, "mean_dice_raw.csv"))
    assert scores.classes == ["class0", "class1"] and scores.frame["DSC"].isna().sum() == 1
    calibration = read_scores(write(tmp_path, MONAI, "macro_ace_raw.csv"))
    assert calibration.measures["macro_ace"].direction == "lower"
    text = "case_name,class_1,class_2\n/data/img_1.nii.gz,0.9,0.8\n"
    scores = read_scores(write(tmp_path, text, "raw.csv"))
    assert list(scores.measures) == ["DSC"] and scores.classes == ["class_1", "class_2"]


def test_files_of_named_methods_are_trainings(tmp_path) -> None:
    file = {i: write(tmp_path, f"name,dice\na,0.{i}\nb,0.5\n", f"{i}.csv") for i in (1, 2, 3)}
    scores = read_scores({"u": [file[1], file[2]], "v": file[3]})
    assert values(scores, method="u", seed="1") == {"a": 0.2, "b": 0.5}
    with pytest.raises(HarmosegError, match="holds the methods u, v, expected the scores of 'x'"):
        read_scores({"x": write(tmp_path, LONG)})


def test_a_folder_of_tables_names_methods_seeds_and_measures(tmp_path) -> None:
    for method in ("unet", "vnet"):
        for seed in (1, 2):
            for measure, value in (("dsc", 0.5 + seed / 10), ("nsd", 0.2 + seed / 10)):
                write(tmp_path, f"name,aorta,liver\na,{value},{value}\nb,,0.5\n",
                      f"{method}/seed_{seed}/{measure}.csv")  # fmt: skip
    scores = read_scores(tmp_path)
    assert scores.values_of("method") == ["unet", "vnet"] and scores.values_of("seed") == ["1", "2"]
    assert scores.classes == ["aorta", "liver"] and list(scores.measures) == ["DSC", "NSD"]
    assert len(scores) == 16


def test_repeats_in_a_folder_are_seeds(tmp_path) -> None:
    for rep in (1, 2):
        write(
            tmp_path, f"dice,name,model\n0.{rep},a,unet\n0.5,b,unet\n", f"unet_seed42_rep{rep}.csv"
        )
    scores = read_scores(tmp_path)
    assert scores.values_of("method") == ["unet"] and scores.values_of("seed") == ["1", "2"]


def test_folds_of_a_column_are_one_run(tmp_path) -> None:
    scores = read_scores(write(tmp_path, "case,fold,method,dice\na,0,u,0.5\nb,1,u,0.6\n"))
    assert scores.values_of("seed") == ["cv"] and any("one run, cv" in r for r in scores.remarks)
    scores = read_scores(write(tmp_path, "case,fold,method,dice\na,0,u,0.5\na,1,u,0.6\n"))
    assert scores.values_of("seed") == ["fold_0", "fold_1"]
    assert any("repeated trainings" in remark for remark in scores.remarks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected a table of scores"),
        ("case,method,dice\n", "a header and no rows"),
        ("just words\nand more\n", "not a table: one column"),
        ("a,0.5,0.6\nb,0.7,0.8\n", r"the first row has numbers \(0.5, 0.6\)|the first row has numbers"),
        ("case,method,dice\na,u,0.5\nb,u,good\nc,u,0.5\n", "row 3, column 'dice': 'good' is no number"),
        ("case,method,dice\na,u,0.5\nb,u,inf\n", "row 3.*inf"),
        ("case,method,dice\na,u,0.5\nb,u,0.6\nc,u,70\n", "row 4, DSC: 70 among values up to 1"),
        ("case,method,dice\na,u,0.5\na,u,0.6\n", "row 3 repeats method 'u'"),
        ("class,mean,std\nx,0.5,0.1\ny,0.6,0.1\n", "a table of means: found the columns class, mean"),
        ("method,dice\nu,0.5\nv,0.6\nw,0.7\n", "no column names the case; found method, dice"),
        ("case,method,quality\na,u,3\nb,u,4\n", "neither column nor file names the measure; declare"),
        ("case," + ",".join(f"c{i}" for i in range(10_000)) + "\na" + ",0.5" * 10_000 + "\n",
         "10001 columns, expected at most 1000"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_scores_is_refused_with_the_reason(tmp_path, text, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        read_scores(write(tmp_path, text))


def test_named_columns_are_taken_and_unknown_ones_named(tmp_path) -> None:
    file = write(tmp_path, "Nr.,arm,dice\n1,u,0.5\n2,u,0.6\n")
    scores = read_scores(file, names={"case": "Nr.", "method": "arm"})
    assert scores.values_of("method") == ["u"] and set(values(scores)) == {"1", "2"}
    with pytest.raises(HarmosegError, match="no column 'Scan'; found Nr., arm, dice"):
        read_scores(file, names={"case": "Scan"})


def test_what_looks_wrong_is_warned_of_by_name(tmp_path) -> None:
    def warned(text):
        with pytest.warns(ScoresWarning) as found:
            scores = read_scores(write(tmp_path, text))
        told = " ".join(str(item.message) for item in found)
        assert all(str(item.message) in scores.remarks for item in found)
        return told

    assert "zero distance: HD95_mm" in warned("case,method,dice,HD95_mm\na,u,0,0\nb,u,0.5,2\n")
    assert "empty scored 1: DSC" in warned(
        "case,method,dice,TP,FP,FN,TN\na,u,1,0,0,0,9\nb,u,0.5,1,1,1,6\n"
    )
    rows = "".join(f"c{i},u,0.3333\n" for i in range(9))
    assert "repeated number: DSC is 33.33" in warned("case,method,dice\nz,u,0.5\n" + rows)
    rows = "".join(f"c{i},u,{60 + i}\n" for i in range(9))
    assert "percent among fractions?" in warned("case,method,dice\nz,u,0.5\n" + rows)


def test_rows_that_sum_up_others_are_no_cases(tmp_path) -> None:
    text = "case,method,dice\na,u,0.5\nb,u,0.7\nMean,u,0.6\n Std. ,u,0.1\n25%,u,0.55\n"
    scores = read_scores(write(tmp_path, text))
    assert set(values(scores)) == {"a", "b"}
    assert "3 row(s) left out that hold no case: mean, std., 25%" in scores.remarks
    own = read_scores(write(tmp_path, "method,case,DSC\nu,a,0.5\nu,b,0.7\nu,mean,0.6\n"))
    assert set(values(own)) == {"a", "b"}
    counted = "method,case,DSC,TP,FP,FN,TN\nu,a,0.5,1,1,1,6\nu,all,0.5,1,1,1,6\n"
    assert set(values(read_scores(write(tmp_path, counted)))) == {"a", "all"}  # harmoseg's cases


def test_methods_on_two_scales_are_refused_by_name(tmp_path) -> None:
    text = "case,method,dice\na,u,0.5\nb,u,0.7\na,v,51\nb,v,72\n"
    with pytest.raises(HarmosegError, match="DSC of method 'u' goes up to 0.7, of 'v' up to 72"):
        read_scores(write(tmp_path, text))


def test_percent_signs_and_utf_16_are_read(tmp_path) -> None:
    text = "case,method,dice,hd95\na,u,85 %,3\nb,u,0.5%,4\n"
    file = tmp_path / "scores.txt"
    file.write_bytes(text.replace(",", "\t").encode("utf-16"))
    assert values(read_scores(file)) == {"a": 0.85, "b": 0.005}
    assert values(read_scores(write(tmp_path, 'case;dice\na;"85,5%"\nb;"90,0%"\n'))) == {
        "a": 0.855,
        "b": 0.9,
    }


def test_a_broken_excel_file_is_named(tmp_path) -> None:
    file = tmp_path / "t.xlsx"
    file.write_bytes(b"PK\x03\x04cut short")
    with pytest.raises(HarmosegError, match=r"t\.xlsx: cannot be read as an Excel file"):
        read_scores(file)


def test_tables_of_methods_are_compared_side_by_side(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, shift in (("one", 0), ("two", 10), ("three", 14), ("four", 2)):
        rows = "".join(f"{'abcd'[i % 4]}_{i},0.{50 + shift + i}\n" for i in range(8))
        write(tmp_path, "Scan,dice\n" + rows, f"{name}.csv")
    named = {"u": "one.csv", "v": ["two.csv", "three.csv"]}
    by_mapping = read_scores(named, names={"case": "Scan"}, groups=r"^(.)_")
    assert by_mapping.frame.groupby("method", observed=True)["seed"].nunique().to_dict() == {
        "u": 1,
        "v": 2,
    }
    assert set(by_mapping.frame["group"]) == set("abcd")
    by_list = read_scores(["one.csv", "two.csv"], names={"case": "Scan"})
    assert set(by_list.values_of("method")) == {"one", "two"}
    with pytest.raises(HarmosegError, match="group pattern 'x' does not fit"):
        read_scores("one.csv", names={"case": "Scan"}, groups="x")

    shared = ["--column", "case=Scan", "--out"]
    assert main(["compare", "one.csv", "two.csv", *shared, "o"]) == 0
    assert "+10.0 [+10.0, +10.0]" in capsys.readouterr().out
    assert (
        main(["compare", "u=one.csv", "u=four.csv", "v=two.csv", "v=three.csv", *shared, "p"]) == 0
    )
    assert "+11.0" in capsys.readouterr().out
    for words, message in (
        (
            ["u=one.csv", "two.csv"],
            "'two.csv': expected NAME=FOLDER or NAME=TABLE, as 'u=one.csv' is",
        ),
        (["one.csv", "--classes", "liver"], "--classes is for folders of masks; leave it out"),
        (["one.csv", "two.csv", "--batch-size", "4"], "--batch-size is for training on a store"),
        (["u=one.csv", "--truth", "t", "--measure", "x:higher:mm"], "--measure is for tables"),
        (["one.csv", "one.csv"], "repeats method 'one'"),
        (["u=absent.csv"], "absent.csv: no such file"),
    ):
        assert main(["compare", *words, *shared, "q"]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "q").exists()


def test_a_table_read_is_judged(tmp_path) -> None:
    rows = [f"c{i},0.{50 + i},0.{60 + i}" for i in range(9)]
    scores = read_scores(write(tmp_path, "id,u,v\n" + "\n".join(rows), "dice.csv"))
    (item,) = compare(scores, reference="u").headline
    assert item.estimate.mean == pytest.approx(10)


def test_a_test_set_is_no_part_of_the_cross_validation_beside_it(tmp_path) -> None:
    model = "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for folder, cases in (
        (f"nnUNet_results/Dataset007_X/{model}/fold_0/validation", ("a", "b")),
        (f"nnUNet_results/Dataset007_X/{model}/fold_1/validation", ("c", "d")),
        (f"nnUNet_test_results/Dataset007_X/{model}", ("t1", "t2", "t3")),
    ):
        place = tmp_path / folder
        place.mkdir(parents=True)
        found = [
            {"prediction_file": f"/x/{case}.nii.gz", "metrics": {"1": {"Dice": 0.8, "IoU": 0.7}}}
            for case in cases
        ]
        (place / "summary.json").write_text(json.dumps({"metric_per_case": found}))
    scores = read_scores(tmp_path)
    counts = scores.frame.groupby("tested_on", observed=True)["case"].nunique().to_dict()
    assert counts == {"Dataset007_X": 3, "Dataset007_X (cross-validation)": 4}
    assert {block.seeds["nnUNetTrainer"] for block in split_into_blocks(scores)} == {
        *(("0",), ("cv",))
    }


def test_two_columns_of_one_measure_never_replace_each_other(tmp_path) -> None:
    both = "columns '{}' and '{}' both mean {}.*differ; remove one"
    tables = [
        ("case,method,Dice,F1\na,u,0.5,0.6\nb,u,0.7,0.8\n", ("Dice", "F1", "DSC")),
        ("case,method,asd_mm,assd_mm\na,u,1,2\nb,u,1,2\n", ("asd_mm", "assd_mm", "ASSD_mm")),
        ("case,method,f1_liver,dice_liver,dice_spleen\na,u,0.1,0.5,0.5\nb,u,0.2,0.6,0.5\n",
         ("f1_liver", "dice_liver", "DSC of 'liver'")),
    ]  # fmt: skip
    for text, names in tables:
        with pytest.raises(HarmosegError, match=both.format(*names)):
            read_scores(write(tmp_path, text))
    scores = read_scores(write(tmp_path, tables[0][0]), measures=["F1:higher:fraction"])
    assert values(scores) == {"a": 0.5, "b": 0.7} and values(scores, "F1") == {"a": 0.6, "b": 0.8}
    same = read_scores(write(tmp_path, "case,method,Dice,F1\na,u,0.5,0.5\nb,u,,\n"))
    assert values(same)["a"] == 0.5 and "column 'F1' left out: it repeats 'Dice'" in same.remarks
    own = read_scores(write(tmp_path, "case,method,F1,DSC\na,u,0.6,0.5\nb,u,0.8,0.7\n"))
    assert values(own) == {"a": 0.5, "b": 0.7} and any("'F1' left out" in r for r in own.remarks)
    long = "case,method,metric,value\na,u,dice,0.5\nb,u,f1,0.6\n"
    with pytest.raises(HarmosegError, match="'dice' and 'f1' in column 'metric' both mean DSC"):
        read_scores(write(tmp_path, long))


@pytest.mark.parametrize(
    "name", ["dice_loss", "1-Dice", "dice error", "inverse dice", "1 - dsc", "one_minus_dice", "Dice distance"]
)  # fmt: skip
def test_a_dice_loss_is_no_dice(tmp_path, name) -> None:
    file = write(tmp_path, f"case,method,{name}\na,u,0.1\nb,u,0.2\n")
    with pytest.raises(HarmosegError, match=f"'{name}' is not the measure.*declare it"):
        read_scores(file)
    scores = read_scores(file, measures=[f"{name}:lower:fraction"])
    assert values(scores, name) == {"a": 0.1, "b": 0.2}
    text = f"case,method,dice_liver,{name}\na,u,0.9,0.1\nb,u,0.8,0.2\n"
    scores = read_scores(write(tmp_path, text))
    assert scores.classes == ["liver"] and values(scores) == {"a": 0.9, "b": 0.8}
    assert any(f"columns left out: {name};" in remark for remark in scores.remarks)


def test_losses_may_name_methods(tmp_path) -> None:
    file = write(tmp_path, "case,ce_loss,dice_loss\na,0.5,0.6\nb,0.7,0.8\n", "dice.csv")
    assert read_scores(file).values_of("method") == ["ce_loss", "dice_loss"]


def test_a_hausdorff_distance_of_a_class_is_one(tmp_path) -> None:
    file = write(tmp_path, "case,method,hausdorff_distance_liver\na,u,3\nb,u,4\n")
    assert values(read_scores(file), "HD") == {"a": 3, "b": 4}


def test_summaries_are_no_classes(tmp_path) -> None:
    words = ("mean", "std", "avg", "median", "sd", "all")
    header = ",".join(f"dice_{word}" for word in words)
    text = f"case,method,dice_liver,dice_spleen,{header}\na,u,0.5,0.7{',0.6' * 6}\n"
    scores = read_scores(write(tmp_path, text + f"b,u,0.5,0.7{',0.6' * 6}\n"))
    assert scores.classes == ["liver", "spleen"] and scores.frame["DSC"].mean() == 0.6
    assert any("sum up others: dice_mean" in remark for remark in scores.remarks)
    rows = [f"a,u,{name},{value}" for name, value in
            (("liver", 0.5), ("spleen", 0.7), ("Average", 0.1), ("all", 0.1), ("mean", 0.1))]  # fmt: skip
    scores = read_scores(write(tmp_path, "case,method,label,dice\n" + "\n".join(rows) + "\n"))
    assert scores.classes == ["liver", "spleen"] and scores.frame["DSC"].mean() == 0.6
    assert "3 row(s) left out that hold no class: average, all, mean" in scores.remarks
    alone = read_scores(write(tmp_path, "case,method,label,dice\na,u,all,0.5\nb,u,all,0.7\n"))
    assert alone.classes == ["all"]
    with pytest.raises(HarmosegError, match="dice_mean, dice_std hold summaries"):
        read_scores(write(tmp_path, "case,dice_mean,dice_std\na,0.5,0.1\nb,0.6,0.1\n"))


def test_names_of_words_of_summaries_alone_are_no_cases(tmp_path) -> None:
    summaries = ["Mean ± SD", "Std. Dev.", "95% CI", "Overall mean", "mean (n=12)", "Median [IQR]",
                 "Total", "Avg.", "Standard deviation", "CI 95 lower", "75%", "ci_low", "Mean 0.81 ± 0.02"]  # fmt: skip
    cases = ["mean_arterial_01", "patient_total3", "total3", "case_all", "n", "low", "25", "max_2"]
    rows = "".join(f"{name},u,0.{i + 10}\n" for i, name in enumerate([*cases, *summaries]))
    scores = read_scores(write(tmp_path, "case,method,dice\n" + rows))
    assert set(values(scores)) == set(cases)


@pytest.mark.parametrize("names", [("0", "1", "2"), ("bg", "liver", "spleen"),
                                   ("Background", "1", "2"), ("label_0", "label_1", "label_2")])  # fmt: skip
def test_the_background_is_no_class(tmp_path, names) -> None:
    rows = [f"{m},a,{name},{v}" for m in "uv" for name, v in zip(names, (0.99, 0.5, 0.6), strict=True)]  # fmt: skip
    for header in ("method,case,label,dice", "method,case,class,DSC"):
        scores = read_scores(write(tmp_path, header + "\n" + "\n".join(rows) + "\n"))
        assert scores.classes == list(names[1:]) and scores.frame["DSC"].mean() == 0.55
        assert f"2 row(s) left out that hold the background: {names[0]}" in scores.remarks
    wide = "case,method," + ",".join(f"dice_{name}" for name in names) + "\na,u,0.99,0.5,0.6\n"
    scores = read_scores(write(tmp_path, wide + "b,u,0.99,0.5,0.6\n"))
    assert scores.classes == list(names[1:]) and scores.frame["DSC"].mean() == 0.55


def test_numbers_behind_a_measure_are_classes_and_numbers_of_methods_stay(tmp_path) -> None:
    scores = read_scores(write(tmp_path, "case,dice_0,dice_1,dice_2\na,0.99,0.5,0.6\n"))
    assert scores.classes == ["1", "2"] and len(scores.values_of("method")) == 1
    scores = read_scores(write(tmp_path, "case,method,dice\na,0,0.5\na,1,0.6\n"))
    assert scores.values_of("method") == ["0", "1"] and scores.classes == [""]
    alone = read_scores(write(tmp_path, "case,method,label,dice\na,u,0,0.5\nb,u,0,0.6\n"))
    assert alone.classes == ["0"]


def test_infinite_distances_are_undefined_and_remarked(tmp_path) -> None:
    text = "{},HD95_mm\na,u,3\nb,u,4\na,v,inf\nb,v,inf\nc,v,2\n"
    for header in ("case,method", "Case,algorithm"):
        with pytest.warns(ScoresWarning, match="infinite values: HD95_mm is infinite in 2 row"):
            scores = read_scores(write(tmp_path, text.format(header)))
        assert any("(2 of method 'v')" in remark for remark in scores.remarks)
        assert values(scores, "HD95_mm", method="v")["c"] == 2
        assert scores.frame["HD95_mm"].isna().sum() == 2 and "2 undefined" in scores.summary()


def test_a_missing_row_is_no_false_alarm(tmp_path) -> None:
    rows = "".join(f"c{i},{m},0.{i + 5}\n" for m in "uv" for i in range(4) if (m, i) != ("v", 3))
    result = compare(read_scores(write(tmp_path, "case,method,dice\n" + rows)), reference="u")
    assert "1 case left out" in result.sentences[0]
    assert "where there is nothing" not in " ".join(result.sentences)


@pytest.mark.parametrize("cell", ["1,234", "12,500", "1,234.5", "1,234,567", "1.234,5"])
def test_separators_of_thousands_are_refused(tmp_path, cell) -> None:
    file = write(tmp_path, f'case,method,dice,HD95_mm\na,u,0.5,12.5\nb,u,0.6,"{cell}"\n')
    with pytest.raises(HarmosegError, match="row 3, column 'HD95_mm'.*separator of thousands"):
        read_scores(file)


def test_decimal_commas_stay_where_they_are_plain(tmp_path) -> None:
    semicolons = read_scores(write(tmp_path, "case;method;hd95_mm\na;u;12,5\nb;u;1,234\n"))
    assert values(semicolons, "HD95_mm") == {"a": 12.5, "b": 1.234}
    quoted = read_scores(write(tmp_path, 'case,method,dice\na,u,"0,806"\nb,u,"0,5"\n'))
    assert values(quoted) == {"a": 0.806, "b": 0.5}


def test_empty_rows_are_dropped_and_words_for_nothing_are_undefined(tmp_path) -> None:
    words = ["#N/A", "#DIV/0!", "-", "N/A", "n/a", "nan", "NA", "null", ""]
    rows = "".join(f"c{i};u;{word}\n" for i, word in enumerate(words))
    text = "case;method;dice\na;u;0.5\n;;\nb;u;0.6\n" + rows + ";;\n"
    scores = read_scores(write(tmp_path, text))
    assert len(scores) == 11 and scores.frame["DSC"].count() == 2
    assert len(read_scores(write(tmp_path, "method,case,DSC\nu,a,0.5\n,,\nu,b,0.6\n,,\n"))) == 2
    records = [{"case": "a", "method": "u", "dice": 0.5}, {"case": "b", "method": "u", "dice": "-"}]
    scores = read_scores(write(tmp_path, json.dumps(records), "t.json"))
    assert scores.frame["DSC"].isna().sum() == 1


@pytest.mark.parametrize("cell", ["0.8 ± 0.01", "0.8 (0.01)", "80.1+-2.0", "0.8 [0.7, 0.9]"])
def test_means_with_spreads_are_no_scores(tmp_path, cell) -> None:
    for text in (f"a;u;{cell}\nb;u;{cell}\n", f"a;u;0.5\nb;u;0.6\nc;u;{cell}\n"):
        with pytest.raises(HarmosegError, match="a mean with its spread.*one row per case"):
            read_scores(write(tmp_path, "case;method;Dice\n" + text))


def test_sheets_that_are_not_read_are_named(tmp_path) -> None:
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"case": ["a", "b"], "method": "u", "dice": [0.5, 0.6]})
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        frame.to_excel(book, sheet_name="A", index=False)
        frame.to_excel(book, sheet_name="B", index=False)
    scores = read_scores(tmp_path / "t.xlsx")
    assert values(scores) == {"a": 0.5, "b": 0.6}
    assert any("first sheet, 'A', is read; not read: B" in remark for remark in scores.remarks)


def test_a_declared_column_must_be_there(tmp_path) -> None:
    file = write(tmp_path, "case,method,dice\na,u,0.5\nb,u,0.6\n")
    with pytest.raises(HarmosegError, match="no column 'Quality'.*found case, method, dice"):
        read_scores(file, measures=["Quality:higher:fraction"])


def test_json_of_pandas_and_json_lines(tmp_path) -> None:
    frame = pd.DataFrame({"case": ["a", "b"], "method": "u", "dice": [0.5, 0.6]})
    lines = frame.to_json(orient="records", lines=True)
    by_row = frame.to_json(orient="index")
    for text, name in ((frame.to_json(), "t.json"), (by_row, "t.json"), (lines, "t.jsonl")):
        assert values(read_scores(write(tmp_path, text, name))) == {"a": 0.5, "b": 0.6}


@pytest.mark.parametrize(
    "text", ["case,group\na,p\nb,q\n", "case;group\na;p\nb;q\n", "case,group\na,p\na,p\nb,q\n",
             "Case,Group\nx/a.nii.gz,p\nx/b.nii.gz,q\n", "case,group\na.png,p\nb.png,q\n"]
)  # fmt: skip
def test_a_table_of_groups_names_cases_as_tables_of_scores_do(tmp_path, text) -> None:
    groups = write(tmp_path, text, "groups.csv")
    for header in ("case,method,dice", "case,method,DSC"):
        file = write(tmp_path, f"{header}\na,u,0.5\nb,u,0.6\n")
        frame = read_scores(file, groups=groups).frame
        assert dict(zip(frame["case"], frame["group"], strict=True)) == {"a": "p", "b": "q"}


def test_faults_of_a_table_of_groups_are_named(tmp_path) -> None:
    file = write(tmp_path, "case,method,dice\na,u,0.5\nb,u,0.6\n")
    for text, message in (
        ("case,group\na,p\na,q\nb,q\n", "case 'a' has the groups 'p' and 'q'"),
        ("case,group\na.png,p\na.jpg,p\na.png,q\nb,q\n", "'a.png' has the groups 'p' and 'q'"),
        ("case,group\na,p\nb,\n", "no group beside b; fill it in"),
        ("case,group\na,p\n", "no group is given for 1 cases: b"),
    ):
        with pytest.raises(HarmosegError, match=message):
            read_scores(file, groups=write(tmp_path, text, "groups.csv"))
    for missing in ("nofile.csv", tmp_path / "nofile", "folder/nofile.xlsx"):
        with pytest.raises(HarmosegError, match="no such file; expected a table"):
            read_scores(file, groups=missing)


def test_summaries_are_left_out_beside_a_background_too(tmp_path) -> None:
    """A table with harmoseg's own names may hold a background and means of its classes."""
    rows = [f"m,{c},{k},{v}" for c in "abc" for k, v in
            (("background", 0.99), ("liver", 0.8), ("mean", 0.9))]  # fmt: skip
    (tmp_path / "scores.csv").write_text("\n".join(["method,case,class,DSC", *rows]))
    scores = read_scores(tmp_path / "scores.csv")
    assert sorted(scores.frame["class"].unique()) == ["background", "liver"]
    assert any("hold no class: mean" in remark for remark in scores.remarks)
