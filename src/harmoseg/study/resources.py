"""What the jobs of a study ask a cluster for; light, for the command's help."""

from __future__ import annotations

from dataclasses import dataclass

from harmoseg.errors import HarmosegError


@dataclass(frozen=True)
class Resources:
    """What every job of a study asks for.

    Args:
        partition: Partition of the cluster; its default if absent.
        time: Minutes that a job may take; what it has by then is saved, and a next job continues.
        cpus: Cores of a job.
        gpus: GPUs of a job, 0 or 1: a run of a study uses one.
        memory: Memory of a job in GB; the cluster's default if absent.
    """

    partition: str | None = None
    time: int = 240
    cpus: int = 4
    gpus: int = 0
    memory: int | None = None

    def __post_init__(self) -> None:
        """Raise HarmosegError naming the first one that cannot be."""
        limits = {
            "time": (self.time >= 1, "1 minute or more"),
            "cpus": (self.cpus >= 1, "1 or more"),
            "gpus": (self.gpus in (0, 1), "0 or 1"),
            "memory": (self.memory is None or self.memory >= 1, "1 GB or more"),
        }
        for name, (fits, expected) in limits.items():
            if not fits:
                raise HarmosegError(f"{name} must be {expected}, got {getattr(self, name)}")
