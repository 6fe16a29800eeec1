"""What is kept of runs that failed: ``failures/NAME.txt``, whose first line says it all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harmoseg.files import make_folder, write_text

FAILURES = "failures"


def failure_file(study: Path, name: str) -> Path:
    """Say where the message of a failed run is kept until the run succeeds."""
    return study / FAILURES / f"{name}.txt"


def keep_failure(study: Path, name: str, message: str, *, detail: str = "") -> str:
    """Keep a message, with a traceback below it if there is one; return it in one line."""
    line = " ".join(message.split())
    file = failure_file(study, name)
    make_folder(file.parent)
    write_text(file, f"{line}\n{detail}")
    return line


def read_failures(study: Path, names: Iterable[str]) -> dict[str, str]:
    """Read the messages of the runs that failed and were not mended, by the run's name."""
    files = {name: failure_file(study, name) for name in names}
    return {
        name: file.read_text(encoding="utf-8").partition("\n")[0]
        for name, file in files.items()
        if file.is_file()
    }
