"""Fourier-domain mathematics of masks: pure tensor functions, no modules."""

from harmoseg.spectrum.correlation import (
    Reduction,
    check_reduction,
    correlation_ratio,
    hermitian_multiplicity,
    spectral_correlation,
)

__all__ = [
    "Reduction",
    "check_reduction",
    "correlation_ratio",
    "hermitian_multiplicity",
    "spectral_correlation",
]
