"""harmoseg: does a spectral objective make medical image segmentation better?

The losses, the spectral functions and `create_model`; importing them needs torch alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harmoseg.errors import HarmosegError

if TYPE_CHECKING:
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

_ROOMS = {"create_model": "models"} | dict.fromkeys(
    ("DeepSupervisionLoss", "HarmonizedLoss", "SpectralCorrelationLoss"), "losses"
)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for.

    Preparing and verifying data, and every --help, so start without waiting for torch.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"harmoseg.{_ROOMS.get(name, 'spectrum')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
