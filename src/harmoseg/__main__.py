"""``harmoseg`` and ``python -m harmoseg``: the command line, if what it needs is installed."""

from __future__ import annotations

import os
import sys

from harmoseg.environment import bound_spinning


def main() -> int:
    """Run the command line; where a part is not installed, say what is missing."""
    bound_spinning(os.environ)
    try:
        from harmoseg.cli.main import main as run

        return run()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "harmoseg":
            raise  # a defect, and nothing that could be installed
        print(
            f"harmoseg: error: this needs {error.name}, which is not installed; install what all "
            "commands need with: pip install 'harmoseg[all]'",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
