"""What ``consilium predict`` writes beside the predictions: overlays, masks and DICOM objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import TaskNotServed

if TYPE_CHECKING:
    from client.predicting import Predicted, TrainedModel

OVERLAYS = ("classification", "segmentation", "detection", "risk")
REPORTS = ("classification", "several labels", "risk")


@dataclass(frozen=True, slots=True)
class Beside:
    """Folders for what is wanted; None for what is not.

    Attributes:
        overlay: Pictures with what was found; of a risk its course.
        masks: Of a segmentation, as npz.
        dicom_seg: Of a segmentation, as DICOM Segmentations.
        dicom_sr: Structured Reports.
    """

    overlay: Path | None
    masks: Path | None
    dicom_seg: Path | None
    dicom_sr: Path | None

    def check(self, model: TrainedModel, at_least: float | None) -> None:
        """Refuse, before anything is read, what is not made of a model of such a task.

        Raises:
            TaskNotServed: Names it.
        """
        learnt = model.study.study.learns
        for option, given, serves in (
            ("--overlay", self.overlay, OVERLAYS),
            ("--masks", self.masks, ("segmentation",)),
            ("--dicom-seg", self.dicom_seg, ("segmentation",)),
            ("--dicom-sr", self.dicom_sr, REPORTS),
            ("--at-least", at_least, ("detection",)),
        ):
            if given is not None and learnt not in serves:
                raise TaskNotServed(f"{option} serves {', '.join(serves)}; this is a model of {learnt}")

    def write(self, model: TrainedModel, found: Predicted, number: int) -> None:
        """Write what is wanted of one case; DICOM objects of DICOM cases only."""
        self._draw(model, found, number)
        self._segment(model, found, number)
        if self.dicom_sr is not None and found.case.sources:
            from client.exporting.report import write_report

            write_report(self.dicom_sr, model, found.case, found.answer, number)

    def _draw(self, model: TrainedModel, found: Predicted, number: int) -> None:
        if self.overlay is None:
            return
        if model.study.study.learns == "classification":
            from client.explaining import write_overlay

            write_overlay(self.overlay, model, found.case, found.answer.decision, number)
            return
        from client.predicting.chart import write_chart
        from client.predicting.detection import DetectionAnswer
        from client.predicting.overlays import write_overlays
        from client.predicting.risk import RiskAnswer
        from client.predicting.segmentation import SegmentationAnswer

        if isinstance(found.answer, RiskAnswer):
            write_chart(self.overlay, model, found.case, found.answer, number)
            return
        assert isinstance(found.answer, SegmentationAnswer | DetectionAnswer)  # noqa: S101  as checked
        write_overlays(self.overlay, model, found.case, found.answer, number)

    def _segment(self, model: TrainedModel, found: Predicted, number: int) -> None:
        from client.predicting.segmentation import SegmentationAnswer

        if not isinstance(found.answer, SegmentationAnswer):
            return
        if self.masks is not None:
            from client.predicting.writing import write_mask

            write_mask(self.masks, found.answer, model.study.study.classes, number)
        if self.dicom_seg is not None and found.case.sources:
            from client.exporting.segmentation import write_segmentation

            write_segmentation(self.dicom_seg, model, found.case, found.answer, number)
