"""What the machine at hand does well."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any, Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]


def resolve_precision(asked: Precision) -> Precision:
    """Choose bfloat16 autocast where the processor multiplies in it, float32 elsewhere.

    On a CPU without AMX or AVX512-bf16 PyTorch emulates bfloat16, slower than float32.
    """
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if fast else "fp32"


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
