"""Fourier-domain mathematics of masks: pure tensor functions, no modules."""

from harmoseg.spectrum.correlation import (
    Reduction,
    RingCorrelation,
    check_reduction,
    correlation_ratio,
    ring_correlation,
    ring_ratio,
    spectral_correlation,
)
from harmoseg.spectrum.frequency import (
    RingKind,
    Rings,
    Window,
    hermitian_multiplicity,
    make_rings,
    radial_frequency,
    window_weights,
)
from harmoseg.spectrum.power import log_magnitude, power_spectrum
from harmoseg.spectrum.sums import Partition, make_partition, spectral_sums

__all__ = [
    "Partition",
    "Reduction",
    "RingCorrelation",
    "RingKind",
    "Rings",
    "Window",
    "check_reduction",
    "correlation_ratio",
    "hermitian_multiplicity",
    "log_magnitude",
    "make_partition",
    "make_rings",
    "power_spectrum",
    "radial_frequency",
    "ring_correlation",
    "ring_ratio",
    "spectral_correlation",
    "spectral_sums",
    "window_weights",
]
