"""What may be chosen about predictions; importing it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harmoseg.errors import HarmosegError

Windowing = Literal["whole", "sliding"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class PredictionOptions:
    """What determines the masks of a model, beside the model.

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
    precision: Literal["auto", "bf16", "fp32"] = "auto"
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
