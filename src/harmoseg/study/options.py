"""Options of a study: what it trains and tests, and what its jobs ask for.

Light, for the help of commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harmoseg.errors import HarmosegError
from harmoseg.losses.method import DEFAULT_CONTROLS, Controls
from harmoseg.store.layout import Split
from harmoseg.training.options import TrainingOptions


@dataclass(frozen=True)
class DatasetPlan:
    """A store to train on, and what is trained and tested there.

    `also` are stores that only test, on their test splits: other centres, other scanners. `split`
    is what is scored of the store trained on. `conditions` are corruptions scored beside the clean
    images. `controls` says which methods are added where they are missing: ``reduction``, for every
    method with a term the same without it; ``all``, that and the same with an overlap term of equal
    weight in the term's place. With `leave_centre_out` every centre (`subset`) of the store is left
    out in turn: the networks train on all others and are tested on it.
    """

    store: Path
    methods: tuple[str, ...]
    options: TrainingOptions
    also: tuple[Path, ...] = ()
    split: Split = "test"
    conditions: tuple[str, ...] = ()
    controls: Controls = DEFAULT_CONTROLS
    leave_centre_out: bool = False


@dataclass(frozen=True)
class StudyPlan:
    """Methods on datasets over seeds; `table` names the table of the paper that the study makes.

    `margin` is the largest difference in DSC, in points, that counts as none; without one nothing
    is called equivalent. Seeds are counted from `first_seed`: a part of a study can be trained on
    another machine.
    """

    datasets: tuple[DatasetPlan, ...]
    seeds: int
    title: str = ""
    table: str | None = None
    margin: float | None = None
    first_seed: int = 0

    def __post_init__(self) -> None:
        """Raise HarmosegError for a margin or a first seed that cannot be."""
        if self.first_seed < 0:
            raise HarmosegError(f"first_seed must be 0 or more, got {self.first_seed}")
        if self.margin is not None and not 0 < self.margin < 100:
            raise HarmosegError(f"margin must be above 0 and below 100 points, got {self.margin}")


@dataclass(frozen=True)
class Resources:
    """Resources of every job of a study.

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
