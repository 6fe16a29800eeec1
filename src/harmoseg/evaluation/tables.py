"""The tables that an evaluation writes: its `Scores`, with ring sums and calibration bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harmoseg.evaluation.scores import ConditionScores
from harmoseg.metrics import CalibrationBins
from harmoseg.scores.table import BACKGROUND, COUNTS, RESCALED, Scores
from harmoseg.store.layout import Case

CALIBRATION = ("ECE", "MCE", "ACE", "Brier", "NLL")


def make_scores(
    run: Mapping[str, str],
    parts: Mapping[str, ConditionScores],
    cases: Sequence[Case],
    classes: Sequence[str],
) -> Scores:
    """Return what was measured as one table, with ring sums and calibration bins per case.

    `run` has the key columns that name the run and the test set, `parts` the scores of the cases
    by condition. `classes` begins with the background, which has counts alone.
    """
    labels = [BACKGROUND, *classes[1:]]
    frames, rings, bins = [], [], []
    for condition, scores in parts.items():
        keys = {**run, "condition": condition}
        frames.append(_case_table(keys, scores, cases, labels))
        rings.append(_ring_table(keys, scores, cases, labels))
        for found in (scores.calibration, scores.rescaled):
            bins += [
                bin_table({**keys, **_name(case)}, part, rescaled=found is scores.rescaled)
                for case, part in zip(cases, found or (), strict=found is not None)
            ]
    return Scores.of(
        pd.concat(frames, ignore_index=True),
        rings=pd.concat(rings, ignore_index=True),
        bins=pd.concat(bins, ignore_index=True),
        source="the evaluation",
    )


def calibration_measures(bins: CalibrationBins) -> dict[str, float]:
    """Return every calibration measure of some bins, in the order of `CALIBRATION`."""
    values = (bins.ece(), bins.mce(), bins.ace(), bins.brier(), bins.nll())
    return dict(zip(CALIBRATION, values, strict=True))


def _case_table(
    keys: Mapping[str, str], scores: ConditionScores, cases: Sequence[Case], labels: Sequence[str]
) -> pd.DataFrame:
    """Return a row per case and class; a measure of a case is repeated in its classes."""
    of_cases = [calibration_measures(bins) for bins in scores.calibration]
    foreground = np.tile(np.arange(len(labels)) > 0, len(cases))
    table = _names(keys, cases, labels)
    for place, name in enumerate(COUNTS):
        table[name] = scores.counts[..., place].ravel()
    for name, values in scores.measures().items():
        table[name] = np.where(foreground, values.ravel(), np.nan)
    for name in CALIBRATION:
        table[name] = np.repeat([case[name] for case in of_cases], len(labels))
    if scores.rescaled is not None:
        of_rescaled = [calibration_measures(bins) for bins in scores.rescaled]
        for name in ("ECE", "NLL"):
            values = np.repeat([case[name] for case in of_rescaled], len(labels))
            table[f"{name}_rescaled"] = values
    return table


def _ring_table(
    keys: Mapping[str, str], scores: ConditionScores, cases: Sequence[Case], labels: Sequence[str]
) -> pd.DataFrame:
    """Return a row per case, foreground class and ring."""
    count = scores.frequency.size
    names = _names(keys, cases, labels[1:])
    table = names.loc[names.index.repeat(count)].reset_index(drop=True)
    table["ring"] = np.tile(np.arange(count), len(names))
    table["cycles_per_px"] = np.tile(scores.frequency, len(names))
    table["cross"] = scores.cross[:, 1:].ravel()
    table["power"] = scores.power[:, 1:].ravel()
    return table


def bin_table(
    keys: Mapping[str, str], bins: CalibrationBins, *, rescaled: bool = False
) -> pd.DataFrame:
    """Return a row per bin of a case: `keys`, edges, pixels, and the sums over them."""
    edges = np.linspace(0, 1, bins.count.size + 1)
    return pd.DataFrame(
        {
            **keys,
            "convention": bins.convention + (RESCALED if rescaled else ""),
            "bin": np.arange(bins.count.size),
            "low": edges[:-1],
            "high": edges[1:],
            "count": bins.count,
            "confidence_sum": np.nan_to_num(bins.mean_confidence) * bins.count,
            "right_sum": np.nan_to_num(bins.frequency) * bins.count,
        }
    )


def _names(keys: Mapping[str, str], cases: Sequence[Case], labels: Sequence[str]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {**keys, **_name(case), "class": label} for case in cases for label in labels
    ]
    return pd.DataFrame(rows)


def _name(case: Case) -> dict[str, str]:
    return {"case": case.case, "group": case.group, "subset": case.subset}
