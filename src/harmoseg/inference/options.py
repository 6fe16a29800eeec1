"""Options of predictions, arithmetic of devices, and the names of a model's files; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harmoseg.errors import HarmosegError

Windowing = Literal["whole", "sliding"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True)
class PredictionOptions:
    """Options of predictions: with the model, they determine its masks.

    Args:
        window: What the network sees of a plane: whole shows it as training did, resized to the
            network's size or cut into the card's squares; sliding moves a window of the network's
            size over it at native resolution.
        overlap: Share of its side that a sliding window has in common with the next.
        tta: Average over the image and its mirror images (test-time augmentation).
        precision: bf16 (bfloat16 autocast) or fp32; auto takes bf16 where the device has it.
        slices: Predict volumes slice by slice with a model that was trained on plain images.
        assume_spacing: Sizes of voxels along X, Y, Z in mm for NIfTI files that do not say where
            their voxels lie.
        probabilities: Write the probabilities too: large.
        overlays: Write pictures with the outlines of the masks too.
    """

    window: Windowing = "whole"
    overlap: float = 0.5
    tta: bool = False
    precision: Precision = "auto"
    slices: bool = False
    assume_spacing: tuple[float, float, float] | None = None
    probabilities: bool = False
    overlays: bool = False

    def __post_init__(self) -> None:
        """Raise HarmosegError naming the first option that cannot be."""
        if not 0 <= self.overlap < 1:
            raise HarmosegError(f"overlap must be at least 0 and below 1, got {self.overlap}")
        spacing = self.assume_spacing
        if spacing is not None and not (len(spacing) == 3 and min(spacing) > 0):
            raise HarmosegError(
                f"assume_spacing must be three sizes above 0, in mm, got {list(spacing)}"
            )


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


MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
_RUN_FILE = "experiment.yaml"
"""What an unfinished run has already: it is no model yet, and no store either."""


def is_model(path: Path) -> bool:
    """Return whether a folder is, or is about to be, a model rather than a store."""
    return any((path / name).is_file() for name in (MODEL_FILE, WEIGHTS_FILE, _RUN_FILE))
