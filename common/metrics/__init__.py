"""Evaluation as sums that add across sites, and the metrics read off a sum."""

from common.metrics.classification import CALIBRATION_BINS, ClassificationSums, Metrics, curves_of, metrics_of
from common.metrics.kinds import sums_kind, sums_of
from common.metrics.sums import EvaluationSums, Figure

__all__ = [
    "CALIBRATION_BINS",
    "ClassificationSums",
    "EvaluationSums",
    "Figure",
    "Metrics",
    "curves_of",
    "metrics_of",
    "sums_kind",
    "sums_of",
]
