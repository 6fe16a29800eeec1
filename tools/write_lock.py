"""Write requirements.lock from pyproject.toml with uv: exact versions with the hashes of all files.

Usage: python tools/write_lock.py PATH_OF_UV [--upgrade]

The first part is what `make demo` needs, the second what `make test` needs beside it. Versions of
the present lock are kept where they still fit, unless all are upgraded.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path("requirements.lock")
HEADER = """\
# The exact versions that `make demo` and `make test` install (Linux, Python 3.11 to 3.14).
# Written by `make lock` from pyproject.toml; torch is the registry's default build.
"""
SECOND = "# Only for make test, from here to the end\n"
_OPTIONS = "--generate-hashes --universal --python-version 3.11 --no-header --no-annotate --quiet"


def compile_extra(uv: str, extra: str, out: Path, *more: str) -> dict[str, str]:
    """Resolve an extra; return every package's lines by its name (twice where versions differ)."""
    command = [uv, "pip", "compile", "pyproject.toml", "--system-certs", *_OPTIONS.split()]
    command += ["--extra", extra]
    subprocess.run([*command, "--output-file", str(out), *more], check=True)  # noqa: S603
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", out.read_text(encoding="utf-8").strip()):
        name = block.partition("==")[0]
        found[name] = found.get(name, "") + block + "\n"
    return found


def main() -> None:
    """Write the lock."""
    uv, *more = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lock.txt"
        out.write_text(LOCK.read_text(encoding="utf-8"), encoding="utf-8")
        everything = compile_extra(uv, "dev", out, *more)
        demo = compile_extra(uv, "report", out)
    first = "".join(text for name, text in everything.items() if name in demo)
    second = "".join(text for name, text in everything.items() if name not in demo)
    LOCK.write_text(HEADER + first + SECOND + second, encoding="utf-8")


if __name__ == "__main__":
    main()
