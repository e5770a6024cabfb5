"""A mask as a DICOM Segmentation: one binary segment for each class that is somewhere in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from client.exporting.sources import MAKER, PRODUCT, class_code, highdicom, source_datasets, version
from client.predicting.case import Given
from client.predicting.model import TrainedModel
from client.predicting.segmentation import SegmentationAnswer
from client.predicting.writing import made
from common.errors import InputOtherKind, InputWithoutSpacing
from common.files import unwritable

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_NUMBER = 9902


def write_segmentation(
    folder: Path, model: TrainedModel, case: Given, answer: SegmentationAnswer, number: int
) -> Path | None:
    """Write the segmentation of one DICOM case as ``NUMBER.dcm``; None where nothing was found.

    Raises:
        InputOtherKind: The case is no DICOM, or its pictures do not say where they lie in the patient.
        InputWithoutSpacing: Nothing says how thick the slices are.
        ExtraMissing: highdicom is not installed.
        ImageUnreadable: The case's files cannot be read any more.
        OutputUnwritable, DiskFull: It cannot be written.
    """
    if not case.sources:
        raise InputOtherKind(f"{case.name} is no DICOM")
    mask, sources = answer.mask, source_datasets(case.sources)
    if case.frames:
        mask = by_frame(mask, case.frames, int(sources[0].get("NumberOfFrames") or 1))
    if not mask.any():
        return None
    if any("FrameOfReferenceUID" not in dataset for dataset in sources):
        raise InputOtherKind(f"{case.name}: its pictures do not say where they lie in the patient")
    found = segmentation_of(mask, dict(enumerate(model.study.study.classes)), sources, model)
    path = made(folder) / f"{number:04d}.dcm"
    try:
        found.save_as(path)
    except OSError as error:
        raise unwritable(path, error) from None
    return path


def by_frame(mask: NDArray[np.uint8], frames: Sequence[int], count: int) -> NDArray[np.uint8]:
    """(count, H, W) a mask in the order of an object's frames; nothing on those that were not looked at.

    Args:
        mask: (T, H, W).
        frames: Which of the object's frames each picture is, from 0 on.
        count: How many the object has.
    """
    placed = np.zeros((count, *mask.shape[1:]), np.uint8)
    placed[list(frames)] = mask
    return placed


def segmentation_of(
    mask: NDArray[np.uint8],
    names: Mapping[int, str],
    sources: Sequence[Dataset],
    model: TrainedModel,
) -> Dataset:
    """The segmentation.

    Args:
        mask: (T, H, W) uint8, the class of each pixel; 0 is background and is not written.
        names: Of the classes, by their number.
        sources: The object of each picture, in the order of ``mask``, with their pixels' own H and W; or one
            object of T frames. They are of one series and know their place in the patient.
        model: Which made it.

    Raises:
        InputOtherKind: Mask and pictures do not belong together, or nothing is in the mask.
        InputWithoutSpacing: Nothing says how thick the slices are.
        ExtraMissing: highdicom is not installed.
    """
    present = sorted(int(value) for value in np.unique(mask) if value)
    _check(mask, names, sources, present)
    hd = highdicom()
    _state_thickness(sources)
    # Segments are numbered from 1 on without gaps (PS3.3 C.8.20.2.4), classes need not be.
    pixels = np.stack([mask == value for value in present], axis=-1).astype(np.uint8)
    found: Dataset = hd.seg.Segmentation(
        source_images=list(sources),
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_described(hd, names, present, model),
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=PRODUCT,
        software_versions=version(),
        device_serial_number=model.digest[:16],
        omit_empty_frames=True,
        content_label="MODEL",
        series_description=f"{model.study.study.name}: model's mask, unverified"[:64],
    )
    return found


def _state_thickness(sources: Sequence[Dataset]) -> None:
    """Slice Thickness (0018,0050) may be empty in a picture, but not in a segmentation: the slices' distance.

    Raises:
        InputWithoutSpacing: There is a single slice, and it does not say.
    """
    if any(d.get("SliceThickness") is not None or "ImagePositionPatient" not in d for d in sources):
        return
    if len(sources) < 2:
        raise InputWithoutSpacing("a single slice that does not say how thick it is")
    first, second = (np.array(d.ImagePositionPatient, dtype=float) for d in sources[:2])
    for dataset in sources:
        dataset.SliceThickness = round(float(np.linalg.norm(second - first)), 6)


def _check(
    mask: NDArray[np.uint8], names: Mapping[int, str], sources: Sequence[Dataset], present: list[int]
) -> None:
    if mask.ndim != 3 or not sources:
        raise InputOtherKind(f"a mask of shape {mask.shape} and {len(sources)} pictures")
    frames = int(sources[0].get("NumberOfFrames", 1)) if len(sources) == 1 else len(sources)
    sizes = {(frames, int(d.Rows), int(d.Columns)) for d in sources}
    if sizes != {mask.shape}:
        raise InputOtherKind(f"a mask of shape {mask.shape} on pictures of {sorted(sizes)}")
    if not present or not set(present) <= names.keys():
        raise InputOtherKind("a mask with nothing in it, or with a class that has no name")


def _described(hd: Any, names: Mapping[int, str], present: list[int], model: TrainedModel) -> list[Any]:
    codes = hd.sr.CodedConcept
    algorithm = hd.AlgorithmIdentificationSequence(
        name=model.study.study.name,
        version=version(),
        family=codes("123109", "DCM", "Artificial Intelligence"),
        parameters={"weights": model.digest[:32]},
    )
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=names[value][:64],
            segmented_property_category=codes("123037004", "SCT", "Anatomical Structure"),
            segmented_property_type=class_code(codes, names[value]),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, value in enumerate(present, start=1)
    ]
