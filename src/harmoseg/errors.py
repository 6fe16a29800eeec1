"""The one error a user is meant to read."""

from __future__ import annotations


class HarmosegError(ValueError):
    """Report a mistake that the user can mend.

    The message names the file or field, says what was found and what was expected, and what to
    do. The command line prints it without a traceback and exits with status 2.
    """
