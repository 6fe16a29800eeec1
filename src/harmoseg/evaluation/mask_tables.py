"""What was measured of folders of masks, as `Scores`: names of classes, patients and centres."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.mask_pairs import Classes, ScoringOptions, distances_when_both_empty
from harmoseg.evaluation.mask_runs import Run, few
from harmoseg.evaluation.measuring import distance_names
from harmoseg.evaluation.tables import CALIBRATION, bin_table, calibration_measures
from harmoseg.metrics import CalibrationBins, overlap_metric
from harmoseg.scores.files import find_suspicions
from harmoseg.scores.sheets import read_table
from harmoseg.scores.table import BACKGROUND, COUNTS, Scores, natural_order

Lookup = Mapping[str, str] | str | Path | None
_METRICS = ("DSC", "IoU", "SE", "SP", "ACC", "precision")
_CONTRADICTED = 0.01
"""Share of pixels: postprocessing changes less, another orientation or another model more."""


def make_scores(
    measured: Mapping[str, Mapping[str, Any]],
    runs: Sequence[Run],
    names: Mapping[int, str],
    how: ScoringOptions,
    *,
    groups: Lookup = None,
    subsets: Lookup = None,
    tested_on: str = "",
) -> Scores:
    """Return the table of scores of every case; `names` are the classes by label.

    Raises HarmosegError where masks have different units, and for cases without a group or subset.
    """
    units = {found["unit"] for found in measured.values()}
    if len(units) > 1:
        raise HarmosegError("some masks have a spacing in mm and others none; give spacing")
    keys, counts, distances, calibration = [], [], [], []
    bins: list[pd.DataFrame] = []
    apart: dict[str, float] = {}
    undefined = [float("nan")] * len(CALIBRATION)
    for case, found in measured.items():
        absent = [[0, 0, 0, found["pixels"]], distances_when_both_empty(how)]
        for place, run in enumerate(runs):
            if (result := found["runs"].get(str(place))) is None:
                continue
            of_case = undefined
            if "bins" in result:
                filled = CalibrationBins.from_lists(result["bins"])
                of_case = list(calibration_measures(filled).values())
                named = {"method": run.method, "seed": run.seed, "case": case}
                bins.append(bin_table({**named, "tested_on": tested_on}, filled))
                told = f"{run.method}, training {run.seed}"
                apart[told] = max(apart.get(told, 0.0), result["apart"])
            for value, name in ((0, BACKGROUND), *names.items()):
                count, distance = result["of"].get(str(value), absent)
                keys.append((run.method, run.seed, case, name))
                counts.append(count)
                distances.append(distance)
                calibration.append(of_case)
    frame = pd.DataFrame(keys, columns=["method", "seed", "case", "class"])
    of_counts: NDArray[np.int64] = np.asarray(counts)
    foreground = (frame["class"] != BACKGROUND).to_numpy()
    for metric in _METRICS:
        values = overlap_metric(metric, of_counts)  # type: ignore[arg-type]
        frame[metric] = np.where(foreground, values, np.nan)
    columns = (*distance_names(units.pop(), how.measuring), *(CALIBRATION if bins else ()))
    for name, column in zip(
        columns, (*np.transpose(distances), *np.transpose(calibration)), strict=False
    ):
        frame[name] = column
    for name, column in zip(COUNTS, of_counts.T, strict=True):
        frame[name] = column
    frame["tested_on"] = tested_on
    remarks = [
        f"{told}: the probability map of some case decides otherwise than its mask on "
        f"{100 * share:.1f} % of the pixels; calibration is that of the map"
        for told, share in apart.items()
        if share > _CONTRADICTED
    ]
    for name, given in (("group", groups), ("subset", subsets)):
        if given is not None:
            frame[name] = _look_up(given, frame["case"], name)
        elif name == "group":
            remarks.append("no patients are named, so every case counts as a patient")
    of_bins = pd.concat(bins, ignore_index=True) if bins else None
    scores = Scores.of(frame, source="the scored masks", bins=of_bins, remarks=remarks)
    return replace(scores, remarks=(*remarks, *find_suspicions(scores)))


def label_names(measured: Mapping[str, Mapping[str, Any]], classes: Classes) -> dict[int, str]:
    """Return the name of every label; raise HarmosegError for labels that no truth has."""
    if classes.values:
        return dict(zip(classes.values, classes.names, strict=True))
    known = {value for found in measured.values() for value in found["values"]} - {0}
    for found in measured.values():
        white = max((value for value in found["white"] if value), default=1)
        if white > 1 and max(known, default=1) > 1:
            raise HarmosegError(
                f"{found['truth']}: 0 and {white} in this case, labels up to {max(known)} in "
                "others; write the same labels in all masks, or name them with classes"
            )
        for result in found["runs"].values():
            if strange := set(result["values"]) - known - {0}:
                raise HarmosegError(
                    f"{result['file']}: label {min(strange)}, which no truth has; expected "
                    f"{', '.join(map(str, [0, *sorted(known)]))}, or name the labels with classes"
                )
    return {1: "foreground"} if known <= {1} else {value: str(value) for value in sorted(known)}


def _look_up(given: Mapping[str, str] | str | Path, cases: pd.Series, name: str) -> list[str]:
    """Return the group or subset of every case, from a mapping, a table, or a pattern."""
    if isinstance(given, str | Path) and Path(given).is_file():
        table = read_table(Path(given))
        if missing := [column for column in ("case", name) if column not in table.columns]:
            raise HarmosegError(f"{given}: no column {missing[0]!r}; found {list(table.columns)}")
        given = dict(zip(table["case"], table[name], strict=True))
    if isinstance(given, Mapping):
        if missing := natural_order(set(cases) - given.keys()):
            raise HarmosegError(f"no {name} is given for {len(missing)} cases: {few(missing)}")
        return [given[case] for case in cases]
    try:
        pattern = re.compile(str(given))
    except re.error as error:
        raise HarmosegError(f"{name} pattern {given!r}: {error}") from error
    found = {case: pattern.search(case) for case in cases.unique()}
    if missing := natural_order(case for case, match in found.items() if match is None):
        raise HarmosegError(f"{name} pattern {given!r} does not fit {few(missing)}")
    return [m[1] if m.re.groups else m[0] for case in cases if (m := found[case]) is not None]
