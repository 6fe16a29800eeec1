"""Who is trained on and who is tested on: given lists, or a seeded draw by group."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harmoseg.errors import HarmosegError
from harmoseg.files import read_csv
from harmoseg.store.layout import SPLITS


@dataclass(frozen=True)
class SplitRule:
    """How a folder of cases is split.

    Args:
        split_file: A CSV file with columns case and split (train, val or test), and optionally
            group (the patient). It must list every case. Without it, cases are drawn.
        group_pattern: A regular expression whose first group, found in the case's name, is the
            patient, for example '^(patient[0-9]+)'. Cases of one patient stay on one side. Without
            it each case is its own group.
        test_fraction: Share of the cases drawn for testing; 1 for a set that only tests.
        val_fraction: Share of the cases drawn for validation. With 0, training carves its own
            validation part.
        split_seed: Seed of the draw.
    """

    split_file: Path | None = None
    group_pattern: str | None = None
    test_fraction: float = 0.2
    val_fraction: float = 0.0
    split_seed: int = 0


def split_cases(cases: Sequence[str], rule: SplitRule) -> tuple[dict[str, str], dict[str, str]]:
    """Return the split and the group of every case.

    Raises HarmosegError where a list and the cases do not fit, where a group would be on two
    sides, or where there are too few groups to draw from.
    """
    if rule.split_file is not None:
        return _from_file(cases, rule.split_file, rule.group_pattern)
    groups = _groups(cases, rule.group_pattern)
    return _drawn(cases, groups, rule), groups


def check_listed(
    cases: Sequence[str],
    listed: Mapping[str, str],
    source: str,
    *,
    allow_missing: bool = False,
    cure: str = "",
) -> None:
    """Raise HarmosegError unless the split list `source` names exactly these cases.

    With `allow_missing` it may name cases that have no files; a case that it does not name is an
    error all the same, for nobody knows on which side it belongs. `cure` says what to do.
    """
    absent = [] if allow_missing else sorted(listed.keys() - set(cases))
    extra = sorted(set(cases) - listed.keys())
    problems = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, what in (
            (absent, "listed case(s) have no files"),
            (extra, "case(s) with files are not listed"),
        )
        if names
    ]
    if problems:
        raise HarmosegError(
            f"the split list {source} does not fit the files: {'; '.join(problems)}"
            f"{cure and '; '}{cure}"
        )


def _from_file(
    cases: Sequence[str], path: Path, pattern: str | None
) -> tuple[dict[str, str], dict[str, str]]:
    rows = read_csv(path, columns=("case", "split"), what="a split list")
    by_name: dict[str, dict[str, str]] = {}
    for row in rows:
        row["case"] = unicodedata.normalize("NFC", row["case"])
        if row["split"] not in SPLITS:
            raise HarmosegError(
                f"{path}: case {row['case']!r} has split {row['split']!r}; expected one of "
                f"{', '.join(SPLITS)}"
            )
        if row["case"] in by_name:
            raise HarmosegError(f"{path}: case {row['case']!r} is listed twice")
        by_name[row["case"]] = row
    # A list may name files with their ending; the ending is not part of the case.
    without_ending = {Path(name).with_suffix("").as_posix(): row for name, row in by_name.items()}
    found = {case: by_name.get(case) or without_ending.get(case) for case in cases}
    listed = {case: row["split"] for case, row in found.items() if row is not None}
    used = {row["case"] for row in found.values() if row is not None}
    unused = {name: row["split"] for name, row in by_name.items() if name not in used}
    check_listed(cases, {**listed, **unused}, str(path))
    groups = _groups(cases, pattern)
    groups |= {case: row["group"] for case, row in found.items() if row and row.get("group")}
    sides: dict[str, str] = {}
    for case in cases:
        side = sides.setdefault(groups[case], listed[case])
        if side != listed[case]:
            raise HarmosegError(
                f"{path}: group {groups[case]!r} is in both {side} and {listed[case]}; all cases "
                "of one patient belong on one side"
            )
    return listed, groups


def _groups(cases: Sequence[str], pattern: str | None) -> dict[str, str]:
    if pattern is None:
        return {case: case for case in cases}
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise HarmosegError(
            f"group_pattern {pattern!r} is not a regular expression: {error}"
        ) from error
    if compiled.groups < 1:
        raise HarmosegError(
            f"group_pattern {pattern!r} has no group: put the patient's part in parentheses"
        )
    groups = {}
    for case in cases:
        match = compiled.search(case)
        if match is None or match.group(1) is None:
            raise HarmosegError(f"group_pattern {pattern!r} does not match case {case!r}")
        groups[case] = match.group(1)
    return groups


def _drawn(cases: Sequence[str], groups: Mapping[str, str], rule: SplitRule) -> dict[str, str]:
    if rule.split_seed < 0:
        raise HarmosegError(f"split_seed must be 0 or more, got {rule.split_seed}")
    fractions = {"test": rule.test_fraction, "val": rule.val_fraction}
    if min(fractions.values()) < 0 or sum(fractions.values()) > 1:
        raise HarmosegError(
            "test_fraction and val_fraction must be 0 or more and 1 at the most together, got "
            f"{rule.test_fraction} and {rule.val_fraction}"
        )
    for part, fraction in fractions.items():
        if fraction == 1:  # another centre's images, for testing only
            return dict.fromkeys(cases, part)
    members: dict[str, list[str]] = {}
    for case in cases:
        members.setdefault(groups[case], []).append(case)
    wanted_parts = 1 + sum(fraction > 0 for fraction in fractions.values())
    if len(members) < wanted_parts:
        raise HarmosegError(
            f"{len(members)} group(s) cannot be split into {wanted_parts} parts; add data, or set "
            "test_fraction and val_fraction to 0"
        )
    names = sorted(members)
    order = [names[i] for i in np.random.default_rng(rule.split_seed).permutation(len(names))]
    split = dict.fromkeys(cases, "train")
    for part, fraction in fractions.items():
        wanted, count = fraction * len(cases), 0
        # At least one group for every part asked for, and one left for training.
        while fraction > 0 and len(order) > 1 and (count == 0 or count + 0.5 < wanted):
            taken = members[order.pop()]
            count += len(taken)
            split |= dict.fromkeys(taken, part)
    return split
