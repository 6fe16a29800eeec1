"""``harmoseg`` and ``python -m harmoseg``: the command line, if what it needs is installed."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; where only the light core is installed, say what is missing."""
    try:
        from harmoseg.cli.main import main as run
    except ModuleNotFoundError as error:
        print(
            f"harmoseg: error: the command line needs {error.name}, which is not installed; "
            "install it with: pip install 'harmoseg[all]'",
            file=sys.stderr,
        )
        return 2
    return run()


if __name__ == "__main__":
    raise SystemExit(main())
