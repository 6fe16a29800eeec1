"""What several readers need: the split that was asked for, and lists checked against files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harmoseg.datasets.sources import SourceOptions
from harmoseg.datasets.splitting import check_listed
from harmoseg.errors import HarmosegError


def chosen_split(options: SourceOptions, *known: str) -> str:
    """Give the split that was asked for, the first of those known when none was.

    Raises HarmosegError for one that the dataset does not have.
    """
    if options.split is None:
        return known[0]
    if options.split not in known:
        raise HarmosegError(
            f"unknown split {options.split!r}; this dataset has: {', '.join(known)}"
        )
    return options.split


def check_published(
    found: Sequence[str], listed: Mapping[str, object], title: str, options: SourceOptions
) -> None:
    """Raise HarmosegError unless the cases found are those of a published list.

    With `allow_missing` some may have no files, but not all of them.
    """
    check_listed(
        found,
        dict.fromkeys(listed, ""),
        title,
        allow_missing=options.allow_missing,
        cure="complete or replace the download, or, where only a part is wanted, pass "
        "--allow_missing true",
    )
