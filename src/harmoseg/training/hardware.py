"""What the machine at hand does well."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]


def resolve_precision(asked: Precision) -> Precision:
    """Choose bfloat16 autocast where the processor multiplies in it, float32 elsewhere.

    On a CPU without AMX or AVX512-bf16 PyTorch emulates bfloat16, slower than float32. What the
    processor says of itself decides, and no clock: timed on a busy machine the same command could
    resolve to another run than before. `benchmarks/training.py` measures that the rule is right.
    """
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if bfloat16_units() else "fp32"


def bfloat16_units() -> list[str]:
    """Name the units of the CPU that multiply in bfloat16."""
    found = {
        "AMX": torch.cpu._is_amx_tile_supported(),
        "AVX512-bf16": torch.cpu._is_avx512_bf16_supported(),
    }
    return [name for name, present in found.items() if present]


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
