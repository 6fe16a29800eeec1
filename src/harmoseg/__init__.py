"""harmoseg: does a spectral objective make medical image segmentation better?

The losses, the spectral functions and `create_model`; importing them needs torch alone.
"""

from harmoseg.errors import HarmosegError
from harmoseg.losses import DeepSupervisionLoss, HarmonizedLoss, SpectralCorrelationLoss
from harmoseg.models import create_model
from harmoseg.spectrum import (
    log_magnitude,
    make_rings,
    power_spectrum,
    ring_correlation,
    spectral_correlation,
    window_weights,
)

__version__ = "0.1.0"

__all__ = [
    "DeepSupervisionLoss",
    "HarmonizedLoss",
    "HarmosegError",
    "SpectralCorrelationLoss",
    "create_model",
    "log_magnitude",
    "make_rings",
    "power_spectrum",
    "ring_correlation",
    "spectral_correlation",
    "window_weights",
]
