"""What several readers need: the split that was asked for, and lists checked against files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from harmoseg.datasets.sources import SourceOptions
from harmoseg.datasets.splitting import check_listed
from harmoseg.errors import HarmosegError


def chosen_split(options: SourceOptions, *known: str, in_folds: Collection[str] = ()) -> str:
    """Give the split that was asked for, the first of those known when none was.

    Raises HarmosegError for one that the dataset does not have, and for a fold unless the split is
    one of those `in_folds`.
    """
    split = known[0] if options.split is None else options.split
    if split not in known:
        raise HarmosegError(f"unknown split {split!r}; this dataset has: {', '.join(known)}")
    if options.fold is not None and split not in in_folds:
        raise HarmosegError(
            f"fold {options.fold}: the split {split!r} is not in folds; leave --fold away"
        )
    return split


def check_published(
    found: Sequence[str], listed: Mapping[str, object], title: str, options: SourceOptions
) -> None:
    """Raise HarmosegError unless the cases found are those of a published list.

    With `allow_missing` some may have no files, but not all of them.
    """
    # To allow missing cases is no cure for cases that should not be there.
    cure = (
        "complete or replace the download, or, where only a part is wanted, prepare it with "
        "--allow_missing true"
        if set(found) <= listed.keys()
        else "remove what is no part of the dataset, or replace the download"
    )
    check_listed(
        found,
        dict.fromkeys(listed, ""),
        title,
        allow_missing=options.allow_missing,
        cure=cure,
    )
