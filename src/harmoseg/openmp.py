"""How long threads of the tensor library spin: set before the library is loaded."""

from __future__ import annotations

from collections.abc import MutableMapping

_CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_BOUNDS = {
    "GOMP_SPINCOUNT": "1000",  # GNU's library, which PyTorch's Linux builds bring
    "KMP_BLOCKTIME": "1",  # Intel's and LLVM's, in milliseconds instead of 200
}


def bound_spinning(environment: MutableMapping[str, str]) -> None:
    """Bound how long a thread spins at a barrier, unless `environment` chooses that already.

    By default a thread spins until the last one arrives. Beside a busy program that one is not
    running, and every barrier waits for the scheduler: a training step took two and a half to three
    times as long, with a bound one and a half to two (``benchmarks/results/spinning.md``).
    """
    if not any(name in environment for name in _CHOICES):
        environment.update(_BOUNDS)
