"""The arithmetic that a device does well."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]


def resolve_precision(asked: Precision, device: str | None = None) -> Precision:
    """Choose bfloat16 autocast where the device multiplies in it, float32 elsewhere.

    `device` is ``cpu`` or ``cuda``; absent, the accelerator if there is one. On a CPU without AMX
    or AVX512-bf16 PyTorch emulates bfloat16, slower than float32.
    """
    if asked != "auto":
        return asked
    if torch.cuda.is_available() and device != "cpu":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if fast else "fp32"
