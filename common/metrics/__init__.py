"""Evaluation as sums that add across sites, and the metrics read off a sum."""

from common.metrics.metrics import Metrics, curves_of, metrics_of
from common.metrics.sums import CALIBRATION_BINS, EvaluationSums

__all__ = ["CALIBRATION_BINS", "EvaluationSums", "Metrics", "curves_of", "metrics_of"]
