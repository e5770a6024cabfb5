"""How large a pixel is, also where nothing says where it lies."""

from __future__ import annotations

from pydicom.dataset import Dataset

from client.dicom.dataset.elements import items, number, numbers
from client.dicom.dataset.groups import Groups
from client.dicom.geometry.planes import spacing_of

TWO_DIMENSIONAL = 1  # Region Spatial Format (0018,6012): a picture, neither a trace nor a spectrum
CENTIMETRES = 3  # Physical Units X and Y Direction (0018,6024/6026)

STATED = (
    "PixelSpacing",  # (0028,0030): in the patient, or calibrated
    "ImagerPixelSpacing",  # (0018,1164): on the detector
    "NominalScannedPixelSpacing",  # (0018,2010): on the film
)


def pixel_spacing(groups: Groups) -> tuple[float, float] | None:
    """Mm between rows and between columns, from the best source there is; None if there is none."""
    measured = spacing_of(groups.numbers("PixelMeasuresSequence", "PixelSpacing", 2))
    if measured is not None:
        return measured
    for keyword in STATED:
        found = spacing_of(numbers(groups.dataset, keyword, 2))
        if found is not None:
            return found
    return ultrasound_spacing(groups.dataset)


def ultrasound_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """The spacing in the largest two-dimensional region (0018,6011) that is measured in cm, or None.

    A region that reaches beyond the picture was calibrated before the picture was made smaller, and its
    deltas do not hold any more.
    """
    regions = [region for region in items(dataset, "SequenceOfUltrasoundRegions") if _is_measured(region)]
    if not regions or any(_is_outside(region, dataset) for region in regions):
        return None
    region = max(regions, key=_area)
    down, right = number(region, "PhysicalDeltaY") or 0.0, number(region, "PhysicalDeltaX") or 0.0
    return spacing_of((abs(down) * 10, abs(right) * 10))


def _is_measured(region: Dataset) -> bool:
    units = [number(region, f"PhysicalUnits{axis}Direction") for axis in "XY"]
    return number(region, "RegionSpatialFormat") == TWO_DIMENSIONAL and units == [CENTIMETRES] * 2


def _is_outside(region: Dataset, dataset: Dataset) -> bool:
    right, below = number(region, "RegionLocationMaxX1"), number(region, "RegionLocationMaxY1")
    columns, rows = number(dataset, "Columns"), number(dataset, "Rows")
    # Some makers give the first pixel outside as the last one inside.
    return (right or 0) > (columns or 0) or (below or 0) > (rows or 0)


def _area(region: Dataset) -> float:
    sides = [
        (number(region, f"RegionLocationMax{end}1") or 0) - (number(region, f"RegionLocationMin{end}0") or 0)
        for end in "XY"
    ]
    return sides[0] * sides[1]
