"""A folder of images and a folder of masks: their cases, classes and split."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from harmoseg.datasets.catalogue import check_listed
from harmoseg.datasets.label_values import LabelRule, ValueSurvey, count_values
from harmoseg.datasets.pairing import Pair, pair_files, picture_case, read_picture_pair
from harmoseg.datasets.pictures import is_grey
from harmoseg.datasets.sources import Listing, in_parallel, make_listing
from harmoseg.errors import HarmosegError
from harmoseg.files import read_csv
from harmoseg.store.card import Card, check_class_names
from harmoseg.store.layout import SPLITS, Split
from harmoseg.store.tiling import Sample


@dataclass(frozen=True)
class FolderOptions:
    """Options of a folder of images and masks.

    Args:
        images: Folder of images (PNG, JPEG, TIFF or BMP; subfolders included).
        masks: Folder of masks; may be the same folder when masks carry a suffix such as _mask.
        name: Name of the dataset; that of the images' parent folder when absent.
        modality: What made the images, for the record.
        classes: Names of the classes, background first.
        label_values: Mask values of the classes, background first, where they are not 0, 1, 2, ...
        threshold: Read masks as binary, foreground above this value.
        channels: 1 or 3; 0 takes 1 when all images are grey.
        skip_unpaired: Leave out images without mask and masks without image.
    """

    images: Path
    masks: Path
    name: str | None = None
    modality: str = "unknown"
    classes: list[str] | None = None
    label_values: list[int] | None = None
    threshold: int | None = None
    channels: int = 0
    skip_unpaired: bool = False

    def __post_init__(self) -> None:
        """Raise HarmosegError naming the first option that cannot be."""
        if self.channels not in {0, 1, 3}:
            raise HarmosegError(f"channels must be 1 or 3 (or 0 to decide), got {self.channels}")
        check_class_names("classes", self.classes or ())


@dataclass(frozen=True)
class SplitRule:
    """Options of splitting a folder of cases.

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


def list_folder(options: FolderOptions, split: SplitRule) -> Listing:
    """List the cases of a folder; the classes are known after the listing's survey."""
    pairs = pair_files(
        options.images,
        options.masks,
        skip_unpaired=options.skip_unpaired,
        cure="add or rename the files, or pass --skip-unpaired to leave them out",
    )
    splits, groups = split_cases([pair.case for pair in pairs], split)
    survey = _Survey(options, pairs)
    cases = [
        picture_case(
            pair,
            cast(Split, splits[pair.case]),  # checked by split_cases
            options.images,
            mask_root=options.masks,
            read=survey.read,
            group=groups[pair.case],
        )
        for pair in pairs
    ]
    # Where the folders lie does not decide what is in them.
    determining = ("classes", "label_values", "threshold", "channels")
    return make_listing(
        survey.card,
        cases,
        roots=[options.images, options.masks],
        determined_by={key: getattr(options, key) for key in determining},
        survey=survey.run,
    )


class _Survey:
    """Classes and channels of a folder, known after all of it is read."""

    def __init__(self, options: FolderOptions, pairs: Sequence[Pair]) -> None:
        name = options.name or options.images.resolve().parent.name
        self.card = Card(
            name=name,
            title=name,
            modality=options.modality,
            mode="multiclass",
            classes=(),
            layout="folder of images and folder of masks",
        )
        self._options = options
        self._pairs = pairs
        self._rule = LabelRule()

    def run(self) -> Card:
        """Read all masks, and decide how to read them."""
        options = self._options
        masks = [mask for pair in self._pairs for mask in pair.masks]
        values = ValueSurvey()
        for path, found in zip(masks, in_parallel(count_values, masks, "masks"), strict=True):
            values.add(path, found)
        self._rule = rule = values.rule(options.label_values, options.threshold)
        others = ["foreground"] if rule.classes == 2 else [f"class {v}" for v in rule.values[1:]]
        classes = options.classes or ["background", *others]
        if len(classes) != rule.classes:
            raise HarmosegError(
                f"classes: {len(classes)} name(s) given ({', '.join(classes)}), but the masks "
                f"have {rule.classes} classes, background included"
            )
        grey = options.channels == 0 and all(is_grey(pair.image) for pair in self._pairs)
        self.card = replace(
            self.card,
            mode="binary" if len(classes) == 2 else "multiclass",
            classes=tuple(classes),
            channels=options.channels or (1 if grey else 3),
        )
        return self.card

    def read(self, pair: Pair) -> Sample:
        """Read one case, once the survey has been run."""
        return read_picture_pair(pair, channels=self.card.channels, rule=self._rule)


def split_cases(cases: Sequence[str], rule: SplitRule) -> tuple[dict[str, str], dict[str, str]]:
    """Return the split and the group of every case.

    Raises HarmosegError where a list and the cases do not fit, where a group would be on two
    sides, or where there are too few groups to draw from.
    """
    if rule.split_file is not None:
        return _from_file(cases, rule.split_file, rule.group_pattern)
    groups = _groups(cases, rule.group_pattern)
    return _drawn(cases, groups, rule), groups


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
    check_listed(cases, listed.keys() | (by_name.keys() - used), str(path))
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
