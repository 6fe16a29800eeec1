"""Gain of an ensemble of the seeds over its members, and failures that their agreement shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError
from harmoseg.metrics.measures import Measure
from harmoseg.scores.table import CLEAN, Scores
from harmoseg.statistics.blocks import Block, Values, split_into_blocks
from harmoseg.statistics.comparison import Comparison, within
from harmoseg.statistics.intervals import Estimate, Sample, estimate_means
from harmoseg.statistics.printing import (
    FOR_THESE_NETWORKS,
    Table,
    format_estimate,
    format_interval,
    format_number,
)

AGREEMENT, CONFIDENCE = "agreement", "confidence"


@dataclass(frozen=True)
class EnsembleGain:
    """Gain of an ensemble over its own members on one test set, in printed units.

    `single` is the mean over members and cases, `ensemble` that of the ensemble, `gain` their
    paired difference. `areas` are areas under the risk-coverage curve of the ensemble, by what
    orders the cases; see `area_under_risk`.
    """

    block: Block
    condition: str
    method: str
    members: int
    areas: dict[str, float]
    single: Estimate
    ensemble: Estimate
    gain: Estimate


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
    found, samples = [], []
    for members, block, method, condition in _pairs(comparison, ensembles):
        seeds = members.seeds[method]
        name = _name(method, len(seeds))
        single = members.values(method, primary, condition=condition)
        whole = _aligned(block, members, block.values(name, primary, condition=condition))
        mean = single.mean(0, keepdims=True)
        samples += [Sample(v, members.group_codes) for v in (mean, whole, whole - mean)]
        areas = _areas(block, name, primary, condition)
        found.append((members, condition, method, len(seeds), areas))
    estimates = estimate_means(samples, fixed_networks=True)
    threes = zip(estimates[::3], estimates[1::3], estimates[2::3], strict=True)
    return [
        EnsembleGain(*item, within(single, primary), within(whole, primary), gain)
        for item, (single, whole, gain) in zip(found, threes, strict=True)
    ]


def ensemble_table(comparison: Comparison, ensembles: Scores) -> Table | None:
    """Return what ensembles give over single networks; None where no method has one."""
    gains = ensemble_gains(comparison, ensembles)
    if not gains:
        return None
    primary = comparison.primary
    rows, records = [], []
    for item in gains:
        clean = item.condition == CLEAN
        row = {
            "tested on": item.block.place if clean else f"{item.block.place}, {item.condition}",
            "method": f"{item.method}, {item.members}",
            "one network": format_estimate(item.single, primary.decimals),
            "ensemble": format_estimate(item.ensemble, primary.decimals),
            "gain": format_estimate(item.gain, primary.decimals, signed=True),
            "risk left by": "\n".join(f"{name} {area:.1f}" for name, area in item.areas.items()),
        }
        record = {
            **item.block.sets,
            "condition": item.condition,
            "method": item.method,
            "members": item.members,
            **item.single.fields("single"),
            **item.ensemble.fields("ensemble"),
            **item.gain.fields("gain"),
            **{f"risk_by_{name}": area for name, area in item.areas.items()},
        }
        rows.append(row)
        records.append(record)
    caption = (
        f"{primary.heading} of one network (mean over the seeds) and of the ensemble of all seeds "
        "(mean of their probabilities, nothing trained), with their paired difference and its 95 % "
        f"interval over patients, {FOR_THESE_NETWORKS}. Risk left: mean of 100 minus "
        f"{primary.title} over the cases of highest agreement or confidence, averaged over all "
        "coverages, so smaller is better: by the members' agreement (mean pairwise Dice), by the "
        "ensemble's confidence (mean probability of what it marked), at best (cases ordered by "
        f"{primary.title} itself), and without any order."
    )
    return Table.of("ensembles", "Ensembles of the seeds", caption, rows, records)


def describe_gains(gains: list[EnsembleGain]) -> list[str]:
    """Return how much an ensemble of the first method already gives, one sentence per test set."""
    return [
        f"An ensemble of {item.members} networks of {item.method} gives "
        f"{format_number(item.gain.mean, 1)} {format_interval(item.gain.low, item.gain.high, 1)} "
        f"over one of them on {item.block.place}, {FOR_THESE_NETWORKS}."
        for item in gains
        if item.method == item.block.methods[0]
        and item.condition == CLEAN
        and item.gain.low is not None
        and item.gain.high is not None
    ]


def _name(method: str, members: int) -> str:
    return f"{method} (ensemble of {members})"


def _pairs(comparison: Comparison, ensembles: Scores) -> Iterator[tuple[Block, Block, str, str]]:
    """Yield the block of members, that of ensembles, method and condition."""
    found = {(block.trained_on, block.tested_on): block for block in split_into_blocks(ensembles)}
    for members in comparison.blocks:
        block = found.get((members.trained_on, members.tested_on))
        if block is None or comparison.primary.name not in block.measures:
            continue
        for method in members.methods:
            name = _name(method, len(members.seeds[method]))
            for condition in members.conditions:
                if block.has_rows(name, condition) and members.has_rows(method, condition):
                    yield members, block, method, condition


def _aligned(block: Block, like: Block, values: Values) -> Values:
    """Return values (seeds, cases) in the order of another block's cases; NaN where it has none."""
    return pd.DataFrame(values, columns=block.cases).reindex(columns=like.cases).to_numpy()


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
