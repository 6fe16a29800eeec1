"""Result files that people published, where they lie beside the project; numbers equal the files'."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmoseg import HarmosegError, compare, read_scores

FOREIGN = Path(__file__).parents[3] / "shared" / "data" / "foreign"
BUNDLES = FOREIGN / "monai_calibration" / "bundles"
SEGVAL = FOREIGN / "segval_2d_vs_3d" / "segmentation_results"

pytestmark = [
    pytest.mark.skipif(not FOREIGN.is_dir(), reason=f"no {FOREIGN}: published result files"),
    pytest.mark.filterwarnings("ignore::harmoseg.scores.files.ScoresWarning"),
]


def monai(bundle: str, name: str = "mean_dice_raw", which: str = "inference_results") -> Path:
    return BUNDLES / bundle / "seed_12345" / which / f"{name}.csv"


def test_every_metric_file_of_monai() -> None:
    files = sorted(BUNDLES.rglob("*_raw.csv"))
    assert files
    for file in files:
        declared = ["missing_classes:lower:fraction"] if "missing" in file.name else ()
        scores = read_scores(file, measures=declared)
        (measure,) = scores.measures
        raw = pd.read_csv(file, usecols=range(1 + len(scores.classes)), header=0, index_col=0)
        raw.index = raw.index.str.removesuffix(".nii.gz")
        found = scores.frame.astype({"case": str, "class": str})
        found = found.pivot(index="case", columns="class", values=measure)
        np.testing.assert_array_equal(found.loc[raw.index, raw.columns], raw)
    for file in (*BUNDLES.rglob("*_summary.csv"), *BUNDLES.rglob("metrics.csv")):
        with pytest.raises(HarmosegError, match="a table of means|not a table|no column names"):
            read_scores(file)


def test_a_retraining_of_one_method_differs_for_these_networks_alone() -> None:
    for data in ("kits23", "brats21", "amos22"):
        found = compare(
            read_scores({r: monai(f"{data}_baseline_dice_ce_{r}") for r in ("1", "nl")})
        )
        (item,) = found.headline
        assert item.estimate.seeds == 1 and item.verdict.endswith("for these networks")


def test_every_summary_of_nnunet_2() -> None:
    root = FOREIGN / "nnunet_v2_ms"
    for file in root.rglob("summary.json"):
        scores = read_scores(file)
        for case in json.loads(file.read_text())["metric_per_case"]:
            name = Path(case["prediction_file"]).name.removesuffix(".nii.gz")
            for label, values in case["metrics"].items():
                row = scores.select(case=name, **{"class": label}).frame.iloc[0]
                np.testing.assert_equal(row["DSC"], values["Dice"])
                assert row["TP"] == values["TP"]
    scores = read_scores(root / "nnUNet_results")
    early = scores.select(method="nnUNetTrainerEarlyStopping__3d_fullres")
    assert early.values_of("seed") == ["cv"] and len(early.values_of("case")) == 81
    assert early.frame.loc[early.frame["class"] == "2", "DSC"].isna().sum() in (44, 47, 51)


def test_every_summary_of_nnunet_1_and_the_fake_method() -> None:
    root = FOREIGN / "nnunet_v1_tbone"
    scores = read_scores(root)
    assert len(scores.values_of("case")) == 15 and len(scores.classes) == 16
    found = compare(scores)
    assert any(
        "nnUNetTrainerV2__nnUNetPlansv2.1 (vanilla postprocessing)" in note and "one run" in note
        for note in found.notes
    )
    for file in root.rglob("summary.json"):
        read = read_scores(file).select(**{"class": "3"}).frame.set_index("case")["DSC"]
        for case in json.loads(file.read_text())["results"]["all"]:
            assert read[Path(case["test"]).name.removesuffix(".nii.gz")] == case["3"]["Dice"]


def test_organs_of_nineteen_methods() -> None:
    scores = read_scores(FOREIGN / "touchstone" / "totalsegmentator_results")
    assert len(scores.values_of("method")) == 19 and len(scores.classes) == 9
    file = FOREIGN / "touchstone" / "totalsegmentator_results" / "_MedFormer" / "nsd.csv"
    raw = pd.read_csv(file, index_col=0)
    found = scores.select(method="MedFormer").frame.astype({"case": str, "class": str})
    found = found.pivot(index="case", columns="class", values="NSD")
    np.testing.assert_array_equal(found.loc[raw.index, raw.columns], raw)
    two = scores.select(method=["nnU-Net_STU-Net_L", "nnU-Net_U-Net"])
    notes = compare(two).notes
    assert any("87 of 743 cases have scores of one method only" in note for note in notes), notes


def test_repeats_of_one_seed() -> None:
    scores = read_scores(FOREIGN / "polyp_repeats")
    assert scores.values_of("seed") == ["1", "2", "3"] and len(scores) == 5 * 55
    unet = sorted((FOREIGN / "polyp_repeats").rglob("*unet*.csv"))
    found = compare(read_scores({"first": unet[0], "second": unet[1]}))
    assert found.headline[0].verdict.endswith("for these networks")


def test_long_wide_and_challenge_tables() -> None:
    scores = read_scores(FOREIGN / "nnunet_vs_mga" / "scores.csv")
    raw = pd.read_csv(FOREIGN / "nnunet_vs_mga" / "scores.csv")
    assert len(scores) == len(raw) == 226 and scores.values_of("subset") == ["Center A", "Center B"]
    assert sorted(scores.frame["DSC"]) == sorted(raw["dice"])
    (item,) = compare(scores, reference="MGA").headline
    assert item.verdict.endswith("for these networks")

    for name, files in {
        "BrainTumor": ("2D_Unet/Task001_SegVal_BrainTumor/results-Dice-3D-L1.csv",
                       "3D_Unet/Task001_SegVal_BrainTumor/brain_results-Dice-3D-L1.csv"),
        "Hippocampus": ("2D_Unet/Task004_SegVal_Hippocampus/results-Dice-2D-L1.csv",
                        "3D_Unet/Task004_SegVal_Hippocampus/results-Dice-3D-L1.csv"),
    }.items():  # fmt: skip
        paths = dict(zip(("2D", "3D"), (SEGVAL / file for file in files), strict=True))
        scores = read_scores(paths)
        raw = pd.read_csv(paths["3D"])["metric"] / 100
        assert sorted(scores.select(method="3D").frame["DSC"]) == sorted(raw), name
        assert "DSC as percent (inferred)" in scores.remarks
    for file in SEGVAL.rglob("*hauss*.csv"):
        assert list(read_scores(file).measures) == ["HD"]

    file = FOREIGN / "challengeR" / "inst" / "extdata" / "data_matrix.csv"
    scores = read_scores(file, measures=["DSC:higher:fraction"])
    assert len(scores.values_of("method")) == 5 and len(compare(scores).blocks) == 3


def test_files_without_cases_are_refused() -> None:
    with pytest.raises(HarmosegError, match="repeats method 'A1'"):
        read_scores(
            FOREIGN / "challengeR" / "single_task_duplicate_case.csv",
            measures=["DSC:higher:fraction"],
        )
    with pytest.raises(HarmosegError, match="a table of means|need openpyxl"):
        read_scores(next(SEGVAL.rglob("results.xlsx")))
