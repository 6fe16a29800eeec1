"""The tables that an evaluation writes, row by row; an undefined value is an empty field."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harmoseg.evaluation.scores import ConditionScores
from harmoseg.metrics import CalibrationBins
from harmoseg.metrics.overlap import COUNTS
from harmoseg.store.layout import Case

CALIBRATION = ("ECE", "MCE", "ACE", "Brier", "NLL")
CALIBRATION_COLUMNS = ("condition", "case", "where", "pixels", *CALIBRATION)
BIN_COLUMNS = ("condition", "convention", "bin", "low", "high", "count", "confidence", "frequency")
RING_COLUMNS = (
    *("condition", "case", "class", "ring", "cycles_per_px"),
    *("cross", "power", "correlation"),
)

Row = dict[str, Any]


def case_columns(scores: ConditionScores) -> tuple[str, ...]:
    """Name the columns of cases.csv."""
    return ("case", "subset", "class", "condition", *COUNTS, *scores.measures())


def case_rows(
    condition: str, scores: ConditionScores, cases: Sequence[Case], classes: Sequence[str]
) -> Iterator[Row]:
    """Give the rows of cases.csv under one condition: class by class of case after case."""
    measures = scores.measures()
    for i, case in enumerate(cases):
        for c, name in enumerate(classes):
            yield {
                "case": case.case,
                "subset": case.subset,
                "class": name,
                "condition": condition,
                **dict(zip(COUNTS, scores.counts[i, c].tolist(), strict=True)),
                **{key: _text(values[i, c]) for key, values in measures.items()},
            }


def calibration_rows(parts: Mapping[str, ConditionScores], cases: Sequence[Case]) -> Iterator[Row]:
    """Give the rows of calibration.csv."""
    for condition, scores in parts.items():
        for case, bins in zip(cases, scores.calibration, strict=True):
            values = {name: _text(value) for name, value in calibration_measures(bins).items()}
            yield {
                "condition": condition,
                "case": case.case,
                "where": scores.calibrated_where,
                "pixels": bins.pixels,
                **values,
            }


def bin_rows(parts: Mapping[str, ConditionScores]) -> Iterator[Row]:
    """Give the rows of bins.csv, which a reliability diagram is drawn from."""
    for condition, scores in parts.items():
        bins = scores.pooled_calibration()
        edges = np.linspace(0, 1, bins.count.size + 1)
        for i, count in enumerate(bins.count.tolist()):
            yield {
                "condition": condition,
                "convention": bins.convention,
                "bin": i,
                "low": _text(edges[i]),
                "high": _text(edges[i + 1]),
                "count": count,
                "confidence": _text(bins.mean_confidence[i]),
                "frequency": _text(bins.frequency[i]),
            }


def ring_rows(
    parts: Mapping[str, ConditionScores], cases: Sequence[Case], classes: Sequence[str]
) -> Iterator[Row]:
    """Give the rows of rings.csv, which ring correlation curves are drawn from.

    Sums of cases can be added; what the background would have follows from the rest.
    """
    for condition, scores in parts.items():
        for (i, case), c in itertools.product(enumerate(cases), range(1, len(classes))):
            rings = scores.rings(i, c)
            correlation = rings.correlation
            for ring, frequency in enumerate(rings.frequency):
                yield {
                    "condition": condition,
                    "case": case.case,
                    "class": classes[c],
                    "ring": ring,
                    "cycles_per_px": _text(frequency),
                    "cross": _text(rings.cross[ring]),
                    "power": _text(rings.power[ring]),
                    "correlation": _text(correlation[ring]),
                }


def calibration_measures(bins: CalibrationBins) -> dict[str, float]:
    """Give every calibration measure of some bins, in the order of `CALIBRATION`."""
    values = (bins.ece(), bins.mce(), bins.ace(), bins.brier(), bins.nll())
    return dict(zip(CALIBRATION, values, strict=True))


def _text(value: float) -> str:
    """Write a number with seven digits, an undefined one as nothing."""
    return "" if np.isnan(value) else f"{value:.7g}"
