"""The scores of all cases under one condition, as arrays and as the tables that are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.evaluation.case_scores import (
    OVERLAP,
    CaseScores,
    Measuring,
    bin_table,
    calibration_measures,
)
from harmoseg.evaluation.measuring import distance_unit, training_rings
from harmoseg.metrics import RingFidelity, overlap_metric, transunet_dsc
from harmoseg.scores.table import BACKGROUND, COUNTS, Scores
from harmoseg.store.layout import Case
from harmoseg.store.reading import Store

CUTOFF = "cutoff_cycles_per_px"


@dataclass(frozen=True, eq=False)
class ConditionScores:
    """What was measured of the `cases` under one condition.

    `counts` (cases, classes, 4) are of the background too. `groups` holds the ``distances``, the
    ``spectral`` and the ``further`` measures: (cases, classes) by name, NaN where undefined and for
    the background. `calibrated_where` says over which pixels the calibration of the cases is, and
    `frequency` (rings,) is the rings' mean, in cycles per pixel of the training resolution.
    """

    cases: Sequence[CaseScores]
    counts: NDArray[np.int64]
    groups: Mapping[str, Mapping[str, NDArray[np.float64]]]
    calibrated_where: str
    frequency: NDArray[np.float64]

    @classmethod
    def of(cls, cases: Sequence[CaseScores], store: Store, how: Measuring) -> ConditionScores:
        """Put the scores of cases together."""
        unit, band = distance_unit(store), how.calibration_band
        frequency = np.asarray(training_rings(store).frequency)
        counts = np.stack([case.counts for case in cases])
        cutoff = np.full(counts.shape[:2], np.nan)
        for number, case in enumerate(cases):
            for c in range(1, counts.shape[1]):  # nothing but counts is measured of the background
                curve = RingFidelity(frequency, case.cross[c], case.power[c], "cycles/px")
                cutoff[number, c] = curve.cutoff()
        distances = np.stack([case.distances for case in cases])
        further = {
            name: np.stack([case.further[name] for case in cases]) for name in cases[0].further
        }
        if how.on_empty == "transunet":
            further["DSC_transunet"] = transunet_dsc(counts)
        groups = {
            "distances": {
                name: distances[..., place] for place, name in enumerate(how.distance_names(unit))
            },
            "spectral": {
                CUTOFF: cutoff,
                "log_magnitude_r": np.stack([case.log_magnitude for case in cases]),
            },
            "further": further,
        }
        where = "all pixels" if band is None else f"within {band:g} {unit} of the truth's boundary"
        return cls(cases, counts, groups, where, frequency)

    def measures(self) -> dict[str, NDArray[np.float64]]:
        """Return every measure (cases, classes) by the name of its column."""
        overlap = {name: overlap_metric(name, self.counts) for name in OVERLAP}
        of = self.groups
        return {**overlap, **of["further"], **of["distances"], **of["spectral"]}

    def one_sided(self) -> NDArray[np.int64]:
        """Count for every class the cases where either prediction or truth is empty, not both."""
        tp, fp, fn, _ = np.moveaxis(self.counts, -1, 0)
        return np.asarray(((tp + fp == 0) != (tp + fn == 0)).sum(0))


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
        for name in ("calibration", "rescaled"):
            for case, found in zip(cases, scores.cases, strict=True):
                if (filled := getattr(found, name)) is not None:
                    named = {**keys, **_name(case)}
                    bins.append(bin_table(named, filled, rescaled=name == "rescaled"))
    return Scores.of(
        pd.concat(frames, ignore_index=True),
        rings=pd.concat(rings, ignore_index=True),
        bins=pd.concat(bins, ignore_index=True),
        source="the evaluation",
    )


def _case_table(
    keys: Mapping[str, str], scores: ConditionScores, cases: Sequence[Case], labels: Sequence[str]
) -> pd.DataFrame:
    """Return a row per case and class; a measure of a case is repeated in its classes."""
    foreground = np.tile(np.arange(len(labels)) > 0, len(cases))
    table = _names(keys, cases, labels)
    for place, name in enumerate(COUNTS):
        table[name] = scores.counts[..., place].ravel()
    for name, values in scores.measures().items():
        table[name] = np.where(foreground, values.ravel(), np.nan)
    calibrated = pd.DataFrame([calibration_measures(case.calibration) for case in scores.cases])
    after = [case.rescaled for case in scores.cases if case.rescaled is not None]
    if after:
        rescaled = pd.DataFrame([calibration_measures(bins) for bins in after])
        calibrated[["ECE_rescaled", "NLL_rescaled"]] = rescaled[["ECE", "NLL"]]
    for name in calibrated:
        table[name] = np.repeat(calibrated[name].to_numpy(), len(labels))
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
    for name in ("cross", "power"):
        table[name] = np.concatenate([getattr(case, name)[1:].ravel() for case in scores.cases])
    return table


def _names(keys: Mapping[str, str], cases: Sequence[Case], labels: Sequence[str]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {**keys, **_name(case), "class": label} for case in cases for label in labels
    ]
    return pd.DataFrame(rows)


def _name(case: Case) -> dict[str, str]:
    return {"case": case.case, "group": case.group, "subset": case.subset}
