"""Evaluation as sums that add across sites, and the metrics read off a sum."""

from common.metrics.bootstrap import intervals
from common.metrics.calibrated import before_and_after
from common.metrics.calibration import Calibration, fitted
from common.metrics.classification import ClassificationSums, Metrics, curves_of, metrics_of
from common.metrics.generation import GenerationSums
from common.metrics.kinds import sums_kind, sums_of
from common.metrics.ranking import Ranking
from common.metrics.reliability import CALIBRATION_BINS
from common.metrics.risk import RiskSums
from common.metrics.several_labels import SeveralLabelsSums
from common.metrics.subgroups import Subgroups
from common.metrics.sums import LOSS, EvaluationSums, Figure

__all__ = [
    "CALIBRATION_BINS",
    "Calibration",
    "ClassificationSums",
    "EvaluationSums",
    "Figure",
    "GenerationSums",
    "LOSS",
    "Metrics",
    "Ranking",
    "SeveralLabelsSums",
    "Subgroups",
    "before_and_after",
    "RiskSums",
    "curves_of",
    "fitted",
    "intervals",
    "metrics_of",
    "sums_kind",
    "sums_of",
]
