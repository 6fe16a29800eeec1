"""The one error a user is meant to read, and the end that a system asks for."""

from __future__ import annotations


class HarmosegError(ValueError):
    """Report a mistake that the user can mend.

    The message names the file or field, says what was found and what was expected, and what to
    do. The command line prints it without a traceback and exits with status 2.
    """


class Terminated(KeyboardInterrupt):
    """Report that work was stopped by a signal, and saved; the same command continues it."""
