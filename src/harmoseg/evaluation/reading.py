"""Read an evaluation folder: its scores, and the summary that says what was scored and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.evaluation.tables import CALIBRATION
from harmoseg.files import check_schema, read_json
from harmoseg.scores.files import read_written_scores
from harmoseg.scores.sheets import read_table
from harmoseg.scores.table import BACKGROUND, CLEAN, COUNTS, Scores

SCHEMA = 4
SUMMARY_FILE = "summary.json"
_BEFORE = 3
"""Schema of harmoseg 0.1.0: several tables without groups, which are read as they are."""
_AGAIN = "evaluate again"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation folder holds: `scores` of one run on one test set, and `summary`."""

    folder: Path
    scores: Scores
    summary: dict[str, Any]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Return the conditions that were scored, ``clean`` first."""
        return (CLEAN, *self.summary["conditions"])


def open_evaluation(path: Path, *, groups: Mapping[str, str] | None = None) -> Evaluation:
    """Read an evaluation folder.

    `groups` names the patient of every case, which evaluations of harmoseg 0.1.0 do not hold;
    without it every case of theirs counts as a patient. Raises HarmosegError where the folder is
    missing or damaged.
    """
    file = path / SUMMARY_FILE
    summary = read_json(file, what="the summary of an evaluation")
    before = summary.get("schema") == _BEFORE
    if not before:
        check_schema(summary.get("schema"), SCHEMA, file, cure=_AGAIN)
    try:
        tables = (1 + len(summary["conditions"])) * int(summary["cases"])
        expected = tables * len(summary["classes"])
        scores = _read_before(path, summary, groups) if before else read_written_scores(path)
    except (KeyError, TypeError, ValueError) as error:
        raise HarmosegError(f"{file}: damaged, {error} is missing or wrong; {_AGAIN}") from error
    if len(scores) != expected:
        raise HarmosegError(
            f"{path}: {len(scores)} rows of scores do not fit {SUMMARY_FILE}, which expects "
            f"{expected}; {_AGAIN}"
        )
    if scores.rings is None or scores.bins is None:
        missing = "ring sums" if scores.rings is None else "calibration bins"
        raise HarmosegError(f"{path}: the table of {missing} is missing; {_AGAIN}")
    return Evaluation(path, scores, summary)


def _read_before(
    path: Path, summary: Mapping[str, Any], groups: Mapping[str, str] | None
) -> Scores:
    """Read the tables of harmoseg 0.1.0: cases, their calibration, ring sums and pooled bins."""
    keys = {
        "method": summary["method"],
        "seed": str(summary["seed"]),
        "tested_on": summary["store"],
    }
    cases = read_table(path / "cases.csv").rename(columns={name.lower(): name for name in COUNTS})
    calibration = read_table(path / "calibration.csv")[["condition", "case", *CALIBRATION]]
    frame = cases.merge(calibration, on=["condition", "case"], how="left")
    background = frame["class"] == summary["classes"][0]
    frame.loc[background, "class"] = BACKGROUND
    if groups is not None:
        frame["group"] = [groups.get(case, case) for case in frame["case"]]
    bins = read_table(path / "bins.csv")
    bins["confidence_sum"] = bins.pop("confidence").fillna(0) * bins["count"]
    bins["right_sum"] = bins.pop("frequency").fillna(0) * bins["count"]
    rings = read_table(path / "rings.csv").drop(columns="correlation")
    remarks = [] if groups is not None else [f"{path}: no patients, so every case counts as one"]
    return Scores.of(
        frame.assign(**keys),
        source=str(path),
        rings=rings.assign(**keys),
        bins=bins.assign(**keys),
        remarks=remarks,
    )
