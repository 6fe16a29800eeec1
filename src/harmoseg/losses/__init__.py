"""Losses: logits and target in, a scalar out."""

from harmoseg.losses.harmonized import HarmonizedLoss
from harmoseg.losses.modes import Mode

__all__ = ["HarmonizedLoss", "Mode"]
