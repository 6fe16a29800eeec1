"""What looks wrong in a table of scores, though every number is possible."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from harmoseg.scores.table import BACKGROUND, COUNTS, Scores

_OFTEN = 0.05
_LEAST = 8
_APART = 1.5
_DISTANCES = ("HD95", "HD", "ASSD")


class ScoresWarning(UserWarning):
    """Warn of scores that are possible and probably wrong; the message begins with a name."""


def find_suspicions(scores: Scores) -> list[str]:
    """Return one sentence for everything that looks wrong, with the name of the problem first.

    ``zero distance``: a distance of 0 where the structure was missed. ``empty scored 1``: Dice 1
    where neither truth nor prediction has anything. ``repeated number``: one value for many cases,
    such as a penalty or a default. ``percent among fractions`` comes from reading.
    """
    frame = scores.frame[scores.frame["class"] != BACKGROUND]
    found = [text for text in scores.remarks if text.startswith("percent among fractions?")]
    return [*found, *_zero_distances(scores, frame), *_empties(scores, frame),
            *_repeated(scores, frame)]  # fmt: skip


def _of_family(scores: Scores, *families: str) -> list[str]:
    return [name for name, measure in scores.measures.items() if measure.family in families]


def _zero_distances(scores: Scores, frame: pd.DataFrame) -> Iterator[str]:
    overlaps = _of_family(scores, "DSC", "IoU")
    if not overlaps:
        return
    missed = (frame[overlaps] == 0).any(axis=1)
    for name in _of_family(scores, *_DISTANCES):
        if count := int((missed & (frame[name] == 0)).sum()):
            yield (
                f"zero distance: {name} is 0, its best value, in {count} rows where the structure "
                f"was missed ({overlaps[0]} is 0); a distance is undefined there"
            )


def _empties(scores: Scores, frame: pd.DataFrame) -> Iterator[str]:
    if all(name in frame.columns for name in COUNTS):
        empty = (frame[["TP", "FP", "FN"]] == 0).all(axis=1)
    elif distances := _of_family(scores, *_DISTANCES):
        empty = frame[distances].isna().all(axis=1)
    else:
        return
    for name in _of_family(scores, "DSC", "IoU"):
        if count := int((empty & (frame[name] == 1)).sum()):
            yield (
                f"empty scored 1: {name} is 1 in {count} rows where truth and prediction seem to "
                "be empty; overlap is undefined there, and 1 rewards cases without the structure"
            )


def _repeated(scores: Scores, frame: pd.DataFrame) -> Iterator[str]:
    for name, measure in scores.measures.items():
        if measure.per == "case":
            continue
        defined = frame[name].to_numpy()
        defined = defined[np.isfinite(defined)]
        numbers, counts = np.unique(defined, return_counts=True)
        if measure.family in _DISTANCES:
            # Distances between voxels repeat by nature; a penalty stands apart from all of them.
            stands_out = len(numbers) > 1 and numbers[-1] > _APART * numbers[-2]
            at = len(numbers) - 1
        else:
            counts = np.where((numbers == 0) | (numbers == 1), 0, counts)
            # Values that were rounded repeat too, each about as often as its neighbours.
            at = int(counts.argmax()) if len(counts) else 0
            stands_out = len(counts) > 0 and counts[at] > _APART * np.sort(counts)[-2:-1].sum()
        if not stands_out:
            continue
        often, value = int(counts[at]), float(numbers[at])
        if often >= _LEAST and often > _OFTEN * len(defined):
            yield (
                f"repeated number: {name} is {value * measure.scale:g} in {often} of "
                f"{len(defined)} rows; is it a penalty or a default value?"
            )
