"""Environment variables that libraries read when they are loaded: set before that."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

_CACHES = {"HF_HUB_CACHE": "huggingface", "TORCH_HOME": "torch"}
_SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_BOUNDS = {
    "GOMP_SPINCOUNT": "1000",  # GNU's library, which PyTorch's Linux builds bring
    "KMP_BLOCKTIME": "1",  # Intel's and LLVM's, in milliseconds instead of 200
}


def place_caches(environment: MutableMapping[str, str]) -> None:
    """Put downloads below the folder HARMOSEG_CACHE, except where a library is told otherwise."""
    folder = environment.get("HARMOSEG_CACHE")
    if folder:
        for name, place in _CACHES.items():
            environment.setdefault(name, str(Path(folder).expanduser() / place))


def bound_spinning(environment: MutableMapping[str, str]) -> None:
    """Bound how long a thread spins at a barrier, unless `environment` chooses that already.

    By default a thread spins until the last one arrives. Beside a busy program that one is not
    running, and every barrier waits for the scheduler: a training step took two and a half to three
    times as long, with a bound one and a half to two (``benchmarks/results/spinning.md``).
    """
    if not any(name in environment for name in _SPINNING):
        environment.update(_BOUNDS)
