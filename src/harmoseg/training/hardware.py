"""What the machine at hand does well."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any

import torch


def describe_environment() -> dict[str, Any]:
    """List what a run was made with: versions, processor, threads, accelerator."""
    packages = ("torch", "lightning", "segmentation-models-pytorch", "numpy", "pillow")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
        "processor": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
