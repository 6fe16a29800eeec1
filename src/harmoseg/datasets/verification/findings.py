"""What a check found: how bad it is, where, what, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from harmoseg.errors import HarmosegError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Finding:
    """One thing found.

    An error makes results wrong or cannot be repeated by others, a warning needs eyes, a note is
    good to know. `where` names cases, files or splits; `shown` are the pictures that show it, as
    (number of the case, number of the image within it).
    """

    severity: Severity
    check: str
    where: tuple[str, ...]
    found: str
    cure: str
    shown: tuple[tuple[int, int], ...] = ()


def finding_of_error(
    error: HarmosegError | str,
    check: str,
    where: Sequence[str] = (),
    *,
    root: str = "",
    cure: str = "repair, replace or remove what is named",
) -> Finding:
    """Make a finding of an error's text, which by our habit says what is wrong; then the cure.

    `cure` is given where the text has none. Paths below `root` are shortened to begin there.
    """
    text = str(error)
    if root:
        text = text.replace(f"{root.rstrip('/')}/", "")
    found, _, last = text.rpartition("; ")
    if found and not last.startswith("expected"):
        return Finding("error", check, tuple(where), found, last)
    return Finding("error", check, tuple(where), text, cure)


def name_some(names: Sequence[str], most: int = 5) -> str:
    """Name the first few of many."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
