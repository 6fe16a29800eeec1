"""One run of a study in a process of its own: ``python -m harmoseg.study.worker STUDY NAME``.

Ends with 0 where the run is done, 2 where it failed and the message is kept in the study, 143 where
it was told to stop and has saved.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harmoseg.errors import HarmosegError, Terminated
from harmoseg.messages import show_messages
from harmoseg.study.executors import attempt
from harmoseg.study.jobs import work_named


def main(study: str, name: str) -> int:
    """Carry out the run, and return the process's status."""
    show_messages()
    folder = Path(study)
    try:
        failure = attempt(folder, work_named(folder, name))
    except (KeyboardInterrupt, Terminated):
        return 143
    except HarmosegError as error:  # the plan was changed meanwhile
        print(f"failed: {error}", file=sys.stderr)
        return 2
    if failure is not None:
        print(f"failed: {failure}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
