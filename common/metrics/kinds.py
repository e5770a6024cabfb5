"""Which counts a study's task has."""

from __future__ import annotations

from collections.abc import Mapping

from common.metrics.classification import ClassificationSums
from common.metrics.detection import DetectionSums
from common.metrics.generation import GenerationSums
from common.metrics.risk import RiskSums
from common.metrics.segmentation import SegmentationSums
from common.metrics.several_labels import SeveralLabelsSums
from common.metrics.sums import Array, EvaluationSums
from common.study import Study

KINDS: dict[str, type[EvaluationSums]] = {
    "classification": ClassificationSums,
    "several labels": SeveralLabelsSums,
    "generation": GenerationSums,
    "risk": RiskSums,
    "segmentation": SegmentationSums,
    "detection": DetectionSums,
}
"""By what a study learns: its task, or a classification with several labels a case."""


def sums_kind(study: Study) -> type[EvaluationSums]:
    """The counts of a study."""
    return KINDS[study.study.learns]


def sums_of(loss: float, arrays: Mapping[str, Array]) -> EvaluationSums:
    """The counts that have arrays of these names.

    Raises:
        ValueError: There are none.
    """
    for kind in KINDS.values():
        if set(kind.array_names()) == set(arrays) - {"patients"}:
            return kind(loss=loss, **arrays)
    raise ValueError(f"no counts have arrays {sorted(arrays)}")
