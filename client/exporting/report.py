"""A classification or a risk as a DICOM Structured Report: Comprehensive SR, TID 1500, Measurement Report.

One measurement group (TID 1501) over the pictures: the probability of each class in percent, the class that
is called, and which algorithm said so. It is neither complete nor verified: a person has to sign it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.exporting.sources import MAKER, class_code, highdicom, source_datasets, version
from client.predicting.answer import Answer
from client.predicting.case import Given
from client.predicting.classification import ClassificationAnswer
from client.predicting.model import TrainedModel
from client.predicting.risk import RiskAnswer
from client.predicting.several_labels import LabelsAnswer
from common.errors import TaskNotServed
from common.files import unwritable

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_NUMBER = 9901


def write_report(folder: Path, model: TrainedModel, case: Given, answer: Answer, number: int) -> Path:
    """Write the report of one case as ``NUMBER.dcm``.

    Raises:
        TaskNotServed: It is neither a classification nor a risk.
        ExtraMissing: highdicom is not installed.
        ImageUnreadable: The case's files cannot be read any more.
        OutputUnwritable, DiskFull: It cannot be written.
    """
    told, path = said_of(answer), folder / f"{number:04d}.dcm"
    report = report_of(model, told, source_datasets(case.sources))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report.save_as(path)
    except OSError as error:
        raise unwritable(path, error) from None
    return path


@dataclass(frozen=True, slots=True)
class Said:
    """What a report says.

    Attributes:
        probabilities: By what they are of.
        called: The class, or with several labels the labels, that are called.
    """

    probabilities: Mapping[str, float]
    called: tuple[str, ...]


def said_of(answer: Answer) -> Said:
    """What a report says of an answer; of a risk that after the last step.

    Raises:
        TaskNotServed: It is neither a classification nor a risk.
    """
    match answer:
        case ClassificationAnswer():
            return Said(answer.probabilities, (answer.decision,))
        case LabelsAnswer():
            return Said(answer.probabilities, answer.called)
        case RiskAnswer():
            return Said({answer.event: answer.risks[-1]}, (answer.decision,))
    raise TaskNotServed("a Structured Report is written of classifications and risks")


def report_of(model: TrainedModel, answer: Said, sources: list[Dataset]) -> Dataset:
    """The report.

    Args:
        model: Which said it.
        answer: What it said.
        sources: The objects that were looked at; of one DICOM study.
    """
    hd = highdicom()
    report: Dataset = hd.sr.ComprehensiveSR(
        evidence=sources,
        content=_content(hd, model, answer, sources)[0],
        series_number=SERIES_NUMBER,
        series_instance_uid=hd.UID(),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=False,
        is_final=False,
        is_verified=False,
        series_description=f"{model.study.study.name}: model's verdict, unverified"[:64],
    )
    return report


def _content(hd: Any, model: TrainedModel, answer: Said, sources: list[Dataset]) -> Any:
    codes = hd.sr.CodedConcept
    device = hd.sr.ObserverContext(
        observer_type=codes("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name=model.study.study.name, manufacturer_name=MAKER, model_name=model.digest[:16]
        ),
    )
    return hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=codes("363679005", "SCT", "Imaging procedure"),
        title=codes("126000", "DCM", "Imaging Measurement Report"),
        imaging_measurements=[_group(hd, model, answer, sources)],
    )


def _group(hd: Any, model: TrainedModel, answer: Said, sources: list[Dataset]) -> Any:
    codes, percent = hd.sr.CodedConcept, hd.sr.CodedConcept("%", "UCUM", "percent")
    fitted = "calibrated" if model.calibration is not None else "not calibrated"
    algorithm = hd.sr.AlgorithmIdentification(
        name=model.study.study.name,
        version=version(),
        parameters=[f"weights SHA-256 {model.digest}", f"probabilities {fitted}"],
        manufacturer=MAKER,
    )
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=model.study.study.name),
        algorithm_id=algorithm,
        finding_type=codes("404684003", "SCT", "Clinical finding"),
        measurements=[
            hd.sr.Measurement(
                name=class_code(codes, f"Probability of {name}"),
                value=round(100 * value, 2),
                unit=percent,
            )
            for name, value in answer.probabilities.items()
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(name=class_code(codes, "Class called"), value=class_code(codes, name))
            for name in answer.called
        ],
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(str(d.SOPClassUID), str(d.SOPInstanceUID)) for d in sources
        ],
    )
