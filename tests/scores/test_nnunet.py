"""Summaries of nnU-Net, version 1 and 2: trainers, plans, folds and labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harmoseg import HarmosegError, read_scores


def write_v2(folder, cases, **keys):
    """Write a summary.json as nnU-Net 2 does, with the token NaN; cases: name -> label -> counts."""
    per_case = [
        {
            "metrics": {label: metrics(*counts) for label, counts in labels.items()},
            "prediction_file": f"/home/user/results/{name}.nii.gz",
            "reference_file": f"/data/{name}.nii.gz",
        }
        for name, labels in cases.items()
    ]
    folder.mkdir(parents=True)
    file = folder / "summary.json"
    file.write_text(
        json.dumps({"foreground_mean": {}, "mean": {}, "metric_per_case": per_case} | keys)
    )
    return file


def metrics(tp, fp, fn, tn):
    total = 2 * tp + fp + fn
    dice = 2 * tp / total if total else float("nan")
    iou = tp / (tp + fp + fn) if total else float("nan")
    return {
        "Dice": dice,
        "IoU": iou,
        "TP": tp,
        "FP": fp,
        "FN": fn,
        "TN": tn,
        "n_pred": tp + fp,
        "n_ref": tp + fn,
    }


def write_folds(root, trainer, cases=6, better=0):
    for fold in range(2):
        names = {
            f"case_{i:02d}": {"1": (50 + 5 * i + better, 5, 20 - better, 900), "2": (0, 0, 0, 1000)}
            for i in range(fold, cases, 2)
        }
        write_v2(
            root / f"{trainer}__nnUNetPlans__3d_fullres" / f"fold_{fold}" / "validation", names
        )


def test_folds_are_one_run_and_counts_are_kept(tmp_path) -> None:
    root = tmp_path / "Dataset001_Brain"
    write_folds(root, "nnUNetTrainer")
    write_folds(root, "nnUNetTrainerSCC", better=5)
    (root / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "tumour": 1, "oedema": 2}})
    )
    scores = read_scores(root / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    assert scores.classes == ["oedema", "tumour"]
    (root / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "dataset.json").unlink()
    scores = read_scores(root)
    assert scores.values_of("method") == ["nnUNetTrainer", "nnUNetTrainerSCC"]
    assert scores.values_of("seed") == ["cv"] and scores.values_of("tested_on") == [root.name]
    row = scores.select(method="nnUNetTrainer", case="case_03").frame.iloc[0]
    assert (row["TP"], row["FN"], row["DSC"]) == (65, 20, 130 / (130 + 25))
    assert scores.frame["DSC"].isna().sum() == 12 and scores.has_counts


def test_joined_results_of_folds_are_read_once(tmp_path) -> None:
    root = tmp_path / "Dataset001_Brain"
    write_folds(root, "nnUNetTrainer")
    every = {f"case_{i:02d}": {"1": (50 + i, 5, 20, 900)} for i in range(6)}
    model = root / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_v2(model / "crossval_results_folds_0_1", every)
    scores = read_scores(root)
    assert len(scores) == 12 and any("repeats its folds" in text for text in scores.remarks)
    alone = read_scores(model / "crossval_results_folds_0_1")
    assert alone.values_of("seed") == ["cv"] and len(alone) == 6


def test_folds_that_scored_one_test_set_are_repeated_trainings(tmp_path) -> None:
    for fold in range(3):
        write_v2(tmp_path / "T__P__2d" / f"fold_{fold}" / "test", {"a": {"1": (9, fold, 0, 9)}})
    scores = read_scores(tmp_path)
    assert scores.values_of("seed") == ["0", "1", "2"]
    assert any("repeated trainings" in remark for remark in scores.remarks)


def test_a_further_training_of_a_fold_is_a_method_of_its_own(tmp_path) -> None:
    write_folds(tmp_path, "T")
    write_v2(
        tmp_path / "T__nnUNetPlans__3d_fullres" / "fold_1_again" / "validation",
        {"case_01": {"1": (9, 1, 0, 9)}},
    )
    assert read_scores(tmp_path).values_of("method") == ["T", "T (fold_1_again)"]


def test_version_1_is_read_without_its_background(tmp_path) -> None:
    values = {
        "Dice": 0.5,
        "Jaccard": 1 / 3,
        "Hausdorff Distance 95": 2.5,
        "Recall": 0.4,
        "Total Positives Test": 7,
    }
    case = {"0": values, "1": values, "2": values | {"Dice": float("nan")},
            "test": "/a b/x_001.nii.gz", "reference": "/a b/y.nii.gz"}  # fmt: skip
    folder = tmp_path / "Task101_Bone" / "T__P2.1" / "fold_0" / "validation_raw"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(
        json.dumps({"results": {"all": [case], "mean": {}}, "task": "t"})
    )
    scores = read_scores(folder / "summary.json")
    assert scores.classes == ["1", "2"] and scores.values_of("case") == ["x_001"]
    np.testing.assert_array_equal(scores.frame["HD95_mm"], [2.5, 2.5])
    assert np.isnan(scores.frame["DSC"].iloc[1]) and scores.frame["SE"].iloc[0] == 0.4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mAP_IoU_0.10": 0.5, "FROC_score": 0.6}, "it seems to be of detection"),
        ({"foreground_mean": {"Dice": 0.5}, "mean": {}}, "a table of means: found 'foreground_mean', 'mean'"),
        ({"metric_per_case": []}, "no case in it"),
        ({"metric_per_case": [{"metrics": {}}]}, "a case has no 'prediction_file'|no case in it"),
        ([1, 2], "no scores of cases in it: found a list"),
    ],
)  # fmt: skip
def test_other_summaries_are_refused_with_the_reason(tmp_path, content, message) -> None:
    file = tmp_path / "summary.json"
    file.write_text(json.dumps(content))
    with pytest.raises(HarmosegError, match=message):
        read_scores(file)
