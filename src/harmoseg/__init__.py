"""harmoseg: does a spectral objective make medical image segmentation better?

The losses, the spectral functions and `create_model`; importing them needs torch alone.
"""

from harmoseg.errors import HarmosegError
from harmoseg.losses import HarmonizedLoss
from harmoseg.models import create_model
from harmoseg.spectrum import spectral_correlation

__version__ = "0.1.0"

__all__ = ["HarmonizedLoss", "HarmosegError", "create_model", "spectral_correlation"]
