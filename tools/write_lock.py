"""Print the exact versions installed for an interpreter, as plain pinned requirements.

Usage: python tools/write_lock.py PATH_OF_PYTHON > requirements.lock
"""

from __future__ import annotations

import subprocess
import sys

HEADER = """\
# The exact versions that `make demo` and `make test` install (Linux, Python 3.11 or newer).
# Written by `make lock` from pyproject.toml; torch is the registry's default build.
"""
# CUDA's libraries exist for Linux alone; elsewhere the same file installs without them.
LINUX_ONLY = ("nvidia-", "cuda-", "triton")


def main() -> None:
    """Print the lock."""
    command = [sys.argv[1], "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    lines = []
    for line in frozen.splitlines():
        if "==" not in line:
            sys.exit(f"not a plain pinned requirement: {line}")
        linux_only = line.startswith(LINUX_ONLY)
        lines.append(line + ('; sys_platform == "linux"' if linux_only else ""))
    print(HEADER + "\n".join(lines))


if __name__ == "__main__":
    main()
