"""Fourier-domain mathematics of masks: pure tensor functions, no modules."""

from harmoseg.spectrum.correlation import (
    Partition,
    Reduction,
    RingCorrelation,
    check_reduction,
    correlation_ratio,
    make_partition,
    ring_correlation,
    ring_ratio,
    spectral_correlation,
    spectral_sums,
)
from harmoseg.spectrum.frequency import (
    RingKind,
    Rings,
    Window,
    hermitian_multiplicity,
    log_magnitude,
    make_rings,
    power_spectrum,
    radial_frequency,
    window_weights,
)

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
