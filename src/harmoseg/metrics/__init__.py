"""How good a segmentation is: counts once, formulas after."""

from harmoseg.metrics.aggregates import AGGREGATES, aggregate, mean_of_defined
from harmoseg.metrics.overlap import METRICS, Metric, confusion_counts, overlap_metric

__all__ = [
    "AGGREGATES",
    "METRICS",
    "Metric",
    "aggregate",
    "confusion_counts",
    "mean_of_defined",
    "overlap_metric",
]
