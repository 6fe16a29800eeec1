"""Messages of the library: loggers below ``harmoseg``, which the command line shows on stderr."""

from __future__ import annotations

import logging
import sys

LOGGER = logging.getLogger("harmoseg")


def show_messages(level: int = logging.INFO) -> None:
    """Print messages of the library on stderr, warnings marked as such; once per process."""
    if not any(isinstance(handler, _ToStderr) for handler in LOGGER.handlers):
        LOGGER.addHandler(_ToStderr())
        LOGGER.propagate = False  # another handler would print them a second time
    LOGGER.setLevel(level)


class _ToStderr(logging.Handler):
    """Print to what stderr is at the moment, as `print` does."""

    def emit(self, record: logging.LogRecord) -> None:
        mark = "warning: " if record.levelno >= logging.WARNING else ""
        print(f"{mark}{record.getMessage()}", file=sys.stderr, flush=True)
