"""The arithmetic that a device does well."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Precision = Literal["auto", "bf16", "fp32"]
_CPUINFO = Path("/proc/cpuinfo")


def resolve_precision(asked: Precision, device: str | None = None) -> Precision:
    """Choose bfloat16 autocast where the device multiplies in it, float32 elsewhere.

    `device` is ``cpu`` or ``cuda``; absent, the accelerator if there is one. On a CPU without AMX
    or AVX512-bf16 PyTorch emulates bfloat16, slower than float32. What the processor says of itself
    decides, and no clock: timed on a busy machine the same command could resolve to another run
    than before. `benchmarks/training.py` measures that the rule is right.
    """
    if asked != "auto":
        return asked
    import torch  # here: the options of every command name a precision

    if torch.cuda.is_available() and device != "cpu":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if bfloat16_units() else "fp32"


def bfloat16_units() -> list[str]:
    """Return the units of the CPU that multiply in bfloat16, as Linux lists them."""
    # Not PyTorch's own answer, which is public from 2.10 on alone.
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.is_file() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    units = {"AMX": "amx_bf16", "AVX512-bf16": "avx512_bf16"}
    return [name for name, flag in units.items() if flag in flags]
