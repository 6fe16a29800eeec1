"""The arithmetic that a device does well."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "bf16", "fp32"]


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
    """Name the units of the CPU that multiply in bfloat16."""
    import torch

    found = {
        "AMX": torch.cpu._is_amx_tile_supported(),
        "AVX512-bf16": torch.cpu._is_avx512_bf16_supported(),
    }
    return [name for name, present in found.items() if present]
