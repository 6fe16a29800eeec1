"""Tables of an evaluation: the scores of every case, and a summary for machines and for people."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.evaluation.case_scores import (
    CALIBRATION,
    OVERLAP,
    CaseScores,
    Measuring,
    bin_table,
    calibration_measures,
)
from harmoseg.evaluation.measuring import distance_unit, training_rings
from harmoseg.metrics import (
    AGGREGATES,
    Aggregated,
    RingFidelity,
    aggregate,
    average,
    overlap_metric,
    pool_calibration,
    transunet_dsc,
)
from harmoseg.metrics.measures import known_measure
from harmoseg.scores.table import BACKGROUND, COUNTS, Scores
from harmoseg.store.layout import Case
from harmoseg.store.reading import Store

CUTOFF = "cutoff_cycles_per_px"


@dataclass(frozen=True, eq=False)
class ConditionScores:
    """Scores of the `cases` under one condition.

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
        overlap: dict[str, NDArray[np.float64]] = {
            name: overlap_metric(name, self.counts) for name in OVERLAP
        }
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
    for column in calibrated.columns:
        table[column] = np.repeat(calibrated[column].to_numpy(), len(labels))
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


Part = dict[str, Any]
"""What one condition or subset comes to.

``aggregates``: overlap metric -> aggregate -> value, scored, undefined. ``distances``, ``spectral``
and ``further``: measure -> value, scored, undefined, averaged over cases, then over foreground
classes. ``one_sided``: the pairs of case and class where either prediction or truth is empty.
``per_class``: class -> measure -> value, scored, undefined, and ``one_sided``. ``calibration``: the
convention, which pixels count, their measures pooled, and those of every case, averaged.
"""


def summarise(scores: ConditionScores, classes: Sequence[str]) -> Part:
    """Sum up one condition; overlap and calibration lie in [0, 1], null is undefined."""
    one_sided = scores.one_sided().tolist()
    measures = scores.measures()
    per_class = {
        name: {
            "one_sided": one_sided[c],
            **{name: _entry(average(values[:, c : c + 1])) for name, values in measures.items()},
        }
        for c, name in enumerate(classes)
        if c > 0
    }
    pooled = pool_calibration(case.calibration for case in scores.cases)
    of_cases = [calibration_measures(case.calibration) for case in scores.cases]
    return {
        "aggregates": {
            metric: {how: _entry(aggregate(how, metric, scores.counts)) for how in AGGREGATES}
            for metric in OVERLAP
        },
        **{
            group: {name: _entry(average(values[:, 1:])) for name, values in of_group.items()}
            for group, of_group in scores.groups.items()
        },
        "one_sided": sum(one_sided[1:]),
        "per_class": per_class,
        "calibration": {
            "convention": pooled.convention,
            "where": scores.calibrated_where,
            "bins": pooled.count.size,
            "pixels": pooled.pixels,
            "pooled": {name: _number(x) for name, x in calibration_measures(pooled).items()},
            "per_image": {
                name: _entry(average(np.array([[case[name]] for case in of_cases])))
                for name in CALIBRATION
            },
        },
    }


def _entry(result: Aggregated) -> dict[str, Any]:
    return {
        "value": _number(result.value),
        "scored": result.scored,
        "undefined": result.undefined,
    }


def _number(value: float) -> float | None:
    """Return None for NaN, which JSON has not: null says that nothing could be scored."""
    return None if math.isnan(value) else value


def format_summary(summary: Mapping[str, Any]) -> str:
    """Write the summary of an evaluation as small tables with their units."""
    overlap = summary["aggregates"]
    # Names of distances carry definition and unit: HD95_pooled_mm.
    columns = ["DSC", *_further(summary), *summary["distances"], CUTOFF]
    last = ["scored", "one_sided"]
    aggregates = [
        (how, [_points(overlap[name][how]["value"]) for name in OVERLAP]) for how in AGGREGATES
    ]
    blocks = [_block(("aggregate", *OVERLAP), aggregates)]
    tables = {"condition": {"clean": summary, **summary["conditions"]}}
    tables |= {"subset": summary["subsets"]} if summary["subsets"] else {}
    for title, parts in tables.items():
        lines = [(name, _cells(_measures(part), columns, part)) for name, part in parts.items()]
        blocks.append(_block((title, *columns, "ECE", "MCE", *last), lines))
    if len(summary["per_class"]) > 1:
        found = summary["per_class"].items()
        lines = [(name, _cells(measures, columns, measures)) for name, measures in found]
        blocks.append(_block(("class", *columns, *last), lines))
    return "\n\n".join([*blocks, _notes(summary)])


def _measures(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a part by the name of their measure."""
    dsc = part["aggregates"]["DSC"]["per_image"]
    return {"DSC": dsc, **_further(part), **part["distances"], **part["spectral"]}


def _further(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the measures that not every evaluation has; 0.1.0 knew them as ``legacy``."""
    found: Mapping[str, Any] = part["further"] if "further" in part else part["legacy"]
    return found


def _cells(
    measures: Mapping[str, Any], columns: Sequence[str], part: Mapping[str, Any]
) -> list[str]:
    """Return a line: values of measures, calibration if the part has it, and what was scored."""
    distance = measures[next(name for name in columns if name.startswith("HD"))]
    calibration = part["calibration"]["pooled"] if "calibration" in part else {}
    return [
        *(_plain(name, measures[name]["value"]) for name in columns),
        *(_points(calibration[name]) for name in ("ECE", "MCE") if calibration),
        f"{distance['scored']}/{distance['scored'] + distance['undefined']}",
        str(part["one_sided"]),
    ]


def _points(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f}"


def _plain(name: str, value: float | None) -> str:
    """Write a share of 1 in points, another value as it is."""
    measure = known_measure(name)
    if value is None or (measure is not None and measure.is_share):
        return _points(value)
    return f"{value:.3f}" if name == CUTOFF else f"{value:.2f}"


def _block(header: Sequence[str], lines: Sequence[tuple[str, list[str]]]) -> str:
    first = 2 + max(len(text) for text in (header[0], *(name for name, _ in lines)))
    widths = [2 + max(len(title), 9) for title in header[1:]]

    def row(name: str, cells: Sequence[str]) -> str:
        padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        return f"{name:<{first}}" + "".join(padded)

    return "\n".join([row(header[0], header[1:]), *(row(name, cells) for name, cells in lines)])


def _notes(summary: Mapping[str, Any]) -> str:
    overlap = summary["aggregates"]["DSC"]["per_image"]
    unit = {"mm": "mm", "px": "px of the source"}[summary["unit"]]
    calibration = summary["calibration"]
    notes = [
        f"{summary['cases']} cases at native resolution. In points (0 to 100): DSC, IoU, SE, SP, "
        f"ACC, precision, NSD, ECE, MCE. Distances in {unit}. Cutoff: where the ring correlation "
        "of prediction and truth falls below 0.5, in cycles per px of the training resolution.",
        "Aggregates: per_image averages cases, then classes; pooled adds up the counts of all "
        "cases first; macro is per_image with the background as a class. The other tables are "
        "per_image; calibration is pooled. Classes and subsets are of the clean images.",
        "scored: the (case, class) pairs whose distances could be measured. one_sided: those where "
        "only one of prediction and truth is empty, a miss or a false positive. Compare distances "
        "only where the same pairs were scored.",
        f"Clean images: DSC scored for {overlap['scored']} (case, class) pairs, undefined for "
        f"{overlap['undefined']} (absent from truth and prediction). {_on_empty(summary)}",
        f"Calibration: {calibration['pixels']} pixels ({calibration['where']}) in "
        f"{calibration['bins']} bins, by the {calibration['convention']} convention.",
    ]
    if summary["trained_classes"] != summary["classes"]:
        notes.append(
            f"Trained on {', '.join(summary['trained_classes'])}; scored on "
            f"{', '.join(summary['classes'])}: see that they mean the same."
        )
    return "\n".join(textwrap.fill(note, 100) for note in notes)


def _on_empty(summary: Mapping[str, Any]) -> str:
    name, distance = next(iter(summary["distances"].items()))
    one_sided, rule = summary["one_sided"], summary["measuring"]["on_empty"]
    said = f"{name} scored for {distance['scored']}, undefined for {distance['undefined']}; "
    if rule == "nan":
        return said + (
            f"{one_sided} of these are misses or false positives on an empty truth, which no "
            "distance punishes (--on-empty diagonal does)."
        )
    return said + (
        f"{one_sided} misses or false positives on an empty truth are scored by the rule {rule!r}."
    )
