"""Metrics of a segmentation: counts once, formulas after.

The spectral ones need torch and are imported when first asked for, so that tables of scores are
read and judged without waiting for it.
"""

from typing import TYPE_CHECKING, Any

from harmoseg.metrics.calibration import (
    CalibrationBins,
    Convention,
    binary_calibration,
    multiclass_calibration,
    pool_calibration,
    top_label,
)
from harmoseg.metrics.overlap import (
    AGGREGATES,
    METRICS,
    Aggregate,
    Aggregated,
    Metric,
    aggregate,
    average,
    confusion_counts,
    mean_of_defined,
    overlap_metric,
    transunet_dsc,
)
from harmoseg.metrics.surface import (
    Definition,
    OnEmpty,
    Spacing,
    SurfaceDistances,
    boundary_band,
    class_surface_distances,
    hausdorff,
    surface_distances,
)

if TYPE_CHECKING:
    from harmoseg.metrics.spectral import (
        RingFidelity,
        log_magnitude_correlation,
        ring_fidelity,
        spectral_fidelity,
    )

__all__ = [
    "AGGREGATES",
    "METRICS",
    "Aggregate",
    "Aggregated",
    "CalibrationBins",
    "Convention",
    "Definition",
    "Metric",
    "OnEmpty",
    "RingFidelity",
    "Spacing",
    "SurfaceDistances",
    "aggregate",
    "average",
    "binary_calibration",
    "boundary_band",
    "class_surface_distances",
    "confusion_counts",
    "hausdorff",
    "log_magnitude_correlation",
    "mean_of_defined",
    "multiclass_calibration",
    "overlap_metric",
    "pool_calibration",
    "ring_fidelity",
    "spectral_fidelity",
    "surface_distances",
    "top_label",
    "transunet_dsc",
]


def __getattr__(name: str) -> Any:
    """Import a spectral measure when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harmoseg.metrics import spectral

    return getattr(spectral, name)
