"""The one error a user is meant to read, and the end that a system asks for."""

from __future__ import annotations

from collections.abc import Iterable


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
