"""Losses: logits and target in, a scalar out."""

from harmoseg.losses.deep_supervision import DeepSupervisionLoss
from harmoseg.losses.harmonized import HarmonizedLoss
from harmoseg.losses.modes import Mode
from harmoseg.losses.spectral import Bands, SpectralCorrelationLoss

__all__ = ["Bands", "DeepSupervisionLoss", "HarmonizedLoss", "Mode", "SpectralCorrelationLoss"]
