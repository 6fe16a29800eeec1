"""What an ensemble of the seeds gives, and whether its members' agreement tells what fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.metrics.measures import Measure
from harmoseg.scores.table import CLEAN, Scores
from harmoseg.statistics.blocks import Block, Values, split_into_blocks
from harmoseg.statistics.comparison import Comparison
from harmoseg.statistics.differences import FOR_THESE_NETWORKS, within
from harmoseg.statistics.intervals import Estimate, Sample, estimate_means
from harmoseg.statistics.printing import Table, format_estimate

AGREEMENT, CONFIDENCE = "agreement", "confidence"


@dataclass(frozen=True)
class EnsembleGain:
    """What an ensemble gives over its own members on one test set, in printed units.

    `single` is the mean over members and cases, `ensemble` that of the ensemble, `gain` their
    paired difference. `areas` are areas under the risk-coverage curve of the ensemble, by what
    orders the cases; see `area_under_risk`.
    """

    block: Block
    condition: str
    method: str
    members: int
    single: Estimate
    ensemble: Estimate
    gain: Estimate
    areas: dict[str, float]


def risk_coverage(
    confidence: NDArray[np.floating[Any]], risk: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the mean risk of the 1, 2, ... n cases of highest confidence, shape (n,).

    The selective risk of Geifman and El-Yaniv, NeurIPS 2017. Cases of equal confidence count with
    their mean risk, so that their order does not matter. NaN in `confidence` comes last. Raises
    HarmosegError for arrays of different shape, and without a case.
    """
    if confidence.shape != risk.shape or confidence.ndim != 1 or not confidence.size:
        raise HarmosegError(
            f"confidence of shape {confidence.shape} and risk of shape {risk.shape}, expected one "
            "of each for every case"
        )
    _, tied = np.unique(-np.nan_to_num(confidence, nan=-np.inf), return_inverse=True)
    sums, counts = np.bincount(tied, risk), np.bincount(tied)
    ordered = np.repeat(sums / counts, counts)
    return np.asarray(np.cumsum(ordered) / np.arange(1, len(ordered) + 1))


def area_under_risk(
    confidence: NDArray[np.floating[Any]], risk: NDArray[np.floating[Any]]
) -> float:
    """Return the area under the risk-coverage curve: the mean of `risk_coverage`."""
    return float(risk_coverage(confidence, risk).mean())


def ensemble_gains(comparison: Comparison, ensembles: Scores) -> list[EnsembleGain]:
    """Compare every ensemble with its own members, in the primary measure.

    `ensembles` has methods called ``METHOD (ensemble of K)``, as `harmoseg study ensembles` writes
    them. The intervals are over patients, for these networks.
    """
    primary = comparison.primary
    planned = list(_pairs(comparison, ensembles))
    samples = []
    for members, block, method, name, condition in planned:
        single = members.values(method, primary, condition=condition)
        whole = _aligned(block, members, block.values(name, primary, condition=condition))
        mean = single.mean(0, keepdims=True)
        samples += [Sample(v, members.group_codes) for v in (mean, whole, whole - mean)]
    estimates = iter(estimate_means(samples, fixed_networks=True))
    return [
        EnsembleGain(
            members,
            condition,
            method,
            len(members.seeds[method]),
            within(next(estimates), primary),
            within(next(estimates), primary),
            next(estimates),
            _areas(block, name, primary, condition),
        )
        for members, block, method, name, condition in planned
    ]


def ensemble_table(comparison: Comparison, ensembles: Scores) -> Table | None:
    """Return what ensembles give over single networks; None where no method has one."""
    gains = ensemble_gains(comparison, ensembles)
    if not gains:
        return None
    primary = comparison.primary
    header = ("tested on", "method", "one network", "ensemble", "gain", "risk left by")
    rows: list[tuple[str, ...]] = []
    records: list[dict[str, Any]] = []
    for item in gains:
        at = (
            item.block.place if item.condition == CLEAN else f"{item.block.place}, {item.condition}"
        )
        estimates = (item.single, item.ensemble, item.gain)
        cells = [format_estimate(found, primary, signed=found is item.gain) for found in estimates]
        areas = [f"{name} {value:.1f}" for name, value in item.areas.items()]
        rows.append((at, f"{item.method}, {item.members}", *cells, "\n".join(areas)))
        records.append(
            {
                "trained_on": item.block.trained_on,
                "tested_on": item.block.tested_on,
                "condition": item.condition,
                "method": item.method,
                "members": item.members,
                **{
                    f"{name}{end}": getattr(found, field)
                    for name, found in zip(("single", "ensemble", "gain"), estimates, strict=True)
                    for end, field in (("", "mean"), ("_low", "low"), ("_high", "high"))
                },
                **{f"risk_by_{name}": value for name, value in item.areas.items()},
            }
        )
    caption = (
        f"{primary.heading} of one network (mean over the seeds) and of the ensemble of all seeds "
        "(mean of their probabilities, nothing trained), with their paired difference and its 95 % "
        f"interval over patients, {FOR_THESE_NETWORKS}. Risk left: mean of 100 minus "
        f"{primary.title} over the cases of highest agreement or confidence, averaged over all "
        "coverages, so smaller is better: by the members' agreement (mean pairwise Dice), by the "
        "ensemble's confidence (mean probability of what it marked), at best (cases ordered by "
        f"{primary.title} itself), and without any order."
    )
    title = "Ensembles of the seeds"
    return Table("ensembles", title, caption, header, tuple(rows), records=tuple(records))


def describe_gains(gains: list[EnsembleGain]) -> list[str]:
    """Return how much an ensemble of the first method already gives, one sentence per test set."""
    found = []
    for item in gains:
        is_first = item.method == item.block.methods[0] and item.condition == CLEAN
        if is_first and item.gain.low is not None and item.gain.high is not None:
            found.append(
                f"An ensemble of {item.members} networks of {item.method} gives "
                f"{item.gain.mean:+.1f} [{item.gain.low:+.1f}, {item.gain.high:+.1f}] over one of "
                f"them on {item.block.place}, {FOR_THESE_NETWORKS}."
            )
    return found


def _pairs(
    comparison: Comparison, ensembles: Scores
) -> Iterator[tuple[Block, Block, str, str, str]]:
    """Yield members' block, ensemble's block, method, name of the ensemble, condition."""
    found = {(block.trained_on, block.tested_on): block for block in split_into_blocks(ensembles)}
    for members in comparison.blocks:
        block = found.get((members.trained_on, members.tested_on))
        if block is None or comparison.primary.name not in block.measures:
            continue
        for method in members.methods:
            name = f"{method} (ensemble of {len(members.seeds[method])})"
            if name in block.methods:
                for condition in members.conditions:
                    if block.has_rows(name, condition) and members.has_rows(method, condition):
                        yield members, block, method, name, condition


def _aligned(block: Block, like: Block, values: Values) -> Values:
    """Return values (seeds, cases) in the order of another block's cases; NaN where it has none."""
    place = {case: i for i, case in enumerate(block.cases)}
    found = np.full((len(values), len(like.cases)), np.nan)
    known = [i for i, case in enumerate(like.cases) if case in place]
    found[:, known] = values[:, [place[like.cases[i]] for i in known]]
    return found


def _areas(block: Block, name: str, primary: Measure, condition: str) -> dict[str, float]:
    """Return the areas under the risk of an ensemble, where risk is 100 minus a share."""
    if not primary.is_share or AGREEMENT not in block.measures:
        return {}
    (values,) = block.values(name, primary, condition=condition)
    defined = np.isfinite(values)
    if not defined.any():
        return {}
    risk = (100 - values if primary.sign > 0 else values)[defined]
    orders = {
        measure: block.values(name, block.measures[measure], condition=condition)[0][defined]
        for measure in (AGREEMENT, CONFIDENCE)
    }
    areas = {measure: area_under_risk(order, risk) for measure, order in orders.items()}
    return {**areas, "best": area_under_risk(-risk, risk), "none": float(risk.mean())}
