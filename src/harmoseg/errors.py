"""The one error a user is meant to read, and the end that a system asks for."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class HarmosegError(ValueError):
    """Report a mistake that the user can mend.

    The message names the file or field, says what was found and what was expected, and what to
    do. The command line prints it without a traceback and exits with status 2.
    """


class Terminated(KeyboardInterrupt):
    """Report that work was stopped by a signal, and saved; the same command continues it."""


def listed(names: Iterable[object], most: int = 4) -> str:
    """Return the first names of a list for an error, and how many more there are."""
    every = [str(name) for name in names]
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"


def unknown_option(name: str, known: Collection[str]) -> HarmosegError:
    """Return the error for an option that does not exist; it names the nearest that does."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return HarmosegError(
        f"unknown option {name!r}; did you mean {nearest!r}? (expected one of {', '.join(known)})"
    )
