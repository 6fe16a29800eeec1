"""Environment and costs of a training: machine, versions, speed, memory."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from array import array
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning.pytorch as pl
import torch

from harmoseg.inference.options import bfloat16_units

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows
    resource = None

_PROCESS = Path("/proc/self")


class Measurements(pl.Callback):
    """Measure speed, waiting for data, and memory of the training steps of this process.

    A step lasts from the end of one batch to the end of the next. The first step of every epoch is
    left out: validation and the start of the engine lie in it. On a GPU the clock runs without
    waiting for the device, whose queue is full after a few steps; the median does not notice them.
    """

    def __init__(self) -> None:
        self._before: float | None = None
        self._steps = array("d")
        self._waits = array("d")
        self._images = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what memory an earlier training in this process took."""
        forget_peak_memory()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last batch of the epoch before."""
        self._before = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note how long the batch was waited for."""
        if self._before is not None:
            self._waits.append(time.perf_counter() - self._before)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note how long the step was."""
        now = time.perf_counter()
        if self._before is not None:
            self._steps.append(now - self._before)
            self._images = len(batch[0]) * trainer.world_size
        self._before = now

    def summary(self) -> dict[str, float | int | None]:
        """Return images per second (median), the share of time spent waiting, and peak memory.

        None is what was not measured: an epoch of one batch has no step that counts.
        """
        steps = len(self._steps)
        waited = sum(self._waits[:steps]) / sum(self._steps) if steps else None
        return {
            "images_per_second": (
                round(self._images / statistics.median(self._steps), 3) if steps else None
            ),
            "waiting_for_data": None if waited is None else round(waited, 4),
            "peak_memory_bytes": peak_memory(),
        }


def forget_peak_memory() -> None:
    """Reset `peak_memory`, where the system allows it: a study trains many runs."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int | None:
    """Return the most memory held at once, in bytes: of the GPU if there is one, else the process.

    None where the system does not say (Windows without a GPU).
    """
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    # Not getrusage where Linux says it better: its figure begins with that of the process which
    # started this one, and never falls.
    with suppress(OSError):
        for line in (_PROCESS / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    if resource is None:
        return None
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, others KiB


def processor_name() -> str:
    """Name the model of the processor, or its family where the system does not say."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def describe_environment() -> dict[str, Any]:
    """List what a run was made with: versions, processor, threads, accelerator."""
    packages = ("torch", "lightning", "segmentation-models-pytorch", "numpy", "pillow")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
        "processor": processor_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_units": bfloat16_units(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
