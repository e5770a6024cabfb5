"""Where and when each frame was taken, from classic and enhanced objects; nonsense counts as absent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from client.dicom.geometry.frames import frames_of
from client.dicom.geometry.moments import seconds_of
from client.dicom.geometry.mosaics import Mosaic, mosaic_of
from client.dicom.place import Frame, Plane

AXIAL = [1, 0, 0, 0, 1, 0]


def dataset(**values: Any) -> Dataset:
    """A dataset of these elements; lists of datasets become sequences."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def slice_at(z: float = 0.0, **values: Any) -> Dataset:
    basic = {"Modality": "CT", "InstanceNumber": 7, "ImagePositionPatient": [-10, -20, z]}
    plane = {"ImageOrientationPatient": AXIAL, "PixelSpacing": [0.5, 0.25], "Rows": 4, "Columns": 8}
    return dataset(**{**basic, **plane, **values})


def only(made: Dataset) -> Frame:
    (frame,) = frames_of(made, 1)
    return frame


def test_classic_slice_knows_its_plane() -> None:
    frame = only(slice_at(3.5))
    assert frame.plane == Plane((-10, -20, 3.5), (1, 0, 0), (0, 1, 0), (0.5, 0.25))
    assert (frame.spacing_mm, frame.number, frame.time, frame.segment) == ((0.5, 0.25), (7, 1), (), 0)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),  # the same axis twice
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 0, 2, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 0.1, 1, 0]),
        ("ImageOrientationPatient", [1, 0, 0]),
        ("ImagePositionPatient", [1, 2]),
        ("ImagePositionPatient", [0, 0, 1e7]),
        ("PixelSpacing", [0, 0]),
        ("PixelSpacing", [-1, 1]),
    ],
)
def test_nonsense_is_no_plane(keyword: str, value: list[float]) -> None:
    made = slice_at()
    setattr(made, keyword, value)
    assert only(made).plane is None


def test_words_where_numbers_belong_are_absent() -> None:
    made = slice_at()
    made["ImagePositionPatient"]._value = ["left", "right", "nan"]
    made["InstanceNumber"]._value = "seven"
    frame = only(made)
    assert frame.plane is None and frame.number == (0, 1)


def test_axes_are_made_unit_length() -> None:
    made = slice_at()
    made.ImageOrientationPatient = [1, 0, 0, 0, 0.9272, -0.3746]  # four digits of a tilted gantry
    plane = only(made).plane
    assert plane is not None
    assert np.linalg.norm(plane.column) == pytest.approx(1, abs=1e-15)
    assert plane.column == pytest.approx((0, 0.9272, -0.3746), abs=1e-4)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"PixelSpacing": [1, 2], "ImagerPixelSpacing": [3, 4]}, (1, 2)),
        ({"ImagerPixelSpacing": [3, 4], "NominalScannedPixelSpacing": [5, 6]}, (3, 4)),
        ({"NominalScannedPixelSpacing": [5, 6]}, (5, 6)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [3, 4]}, (3, 4)),
        ({}, None),
    ],
)
def test_spacing_falls_back(values: dict[str, Any], expected: tuple[float, float] | None) -> None:
    frame = only(dataset(Modality="DX", **values))
    assert frame.spacing_mm == expected and frame.plane is None


def region(right: int = 100, below: int = 80, delta: float = 0.02, **values: Any) -> Dataset:
    units = {"RegionSpatialFormat": 1, "PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    first = {"RegionLocationMinX0": 0, "RegionLocationMinY0": 0}
    last = {"RegionLocationMaxX1": right, "RegionLocationMaxY1": below}
    deltas = {"PhysicalDeltaX": delta, "PhysicalDeltaY": -2 * delta}
    return dataset(**{**units, **first, **last, **deltas, **values})


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([region()], (0.4, 0.2)),  # cm in the file, mm here; y may point up
        ([region(10, 10, delta=0.5), region()], (0.4, 0.2)),  # the largest counts
        ([region(RegionSpatialFormat=2)], None),  # an M-mode trace
        ([region(PhysicalUnitsXDirection=4)], None),  # seconds
        ([region(right=200)], None),  # calibrated for a larger picture than this
        ([region(delta=0.0)], None),
        ([], None),
    ],
)
def test_ultrasound_is_measured_by_its_regions(
    regions: list[Dataset], expected: tuple[float, float] | None
) -> None:
    made = dataset(Modality="US", Rows=90, Columns=120, SequenceOfUltrasoundRegions=regions)
    assert only(made).spacing_mm == (pytest.approx(expected) if expected else None)


def enhanced(count: int, own: list[dict[str, Any]], **shared: Any) -> Dataset:
    return dataset(
        Modality="MR",
        NumberOfFrames=count,
        InstanceNumber=1,
        SharedFunctionalGroupsSequence=[dataset(**shared)],
        PerFrameFunctionalGroupsSequence=[dataset(**one) for one in own],
    )


def content(**values: Any) -> dict[str, Any]:
    return {"FrameContentSequence": [dataset(**values)]}


def at(z: float) -> dict[str, Any]:
    return {"PlanePositionSequence": [dataset(ImagePositionPatient=[0, 0, z])]}


SHARED: dict[str, Any] = {
    "PlaneOrientationSequence": [dataset(ImageOrientationPatient=AXIAL)],
    "PixelMeasuresSequence": [dataset(PixelSpacing=[2, 3])],
}


def test_enhanced_frames_take_their_own_values_then_the_shared_ones() -> None:
    own = [{**at(5), **content(StackID="1", TemporalPositionIndex=2)}, {**at(1), **content(StackID="2")}]
    own[1]["PixelMeasuresSequence"] = [dataset(PixelSpacing=[4, 4])]
    first, second = frames_of(enhanced(2, own, **SHARED), 2)
    assert first.plane == Plane((0, 0, 5), (1, 0, 0), (0, 1, 0), (2, 3))
    assert second.plane == Plane((0, 0, 1), (1, 0, 0), (0, 1, 0), (4, 4))
    assert first.stack != second.stack
    assert (first.number, second.number) == ((1, 1), (1, 2))


def test_frames_without_groups_have_no_place() -> None:
    frames = frames_of(enhanced(3, [at(5)], **SHARED), 3)
    assert [frame.plane is None for frame in frames] == [False, True, True]


def test_a_position_of_the_whole_object_is_no_position_of_each_frame() -> None:
    made = slice_at(NumberOfFrames=3)
    assert all(frame.plane is None for frame in frames_of(made, 3))


def diffusion(b: float) -> dict[str, Any]:
    return {"MRDiffusionSequence": [dataset(DiffusionBValue=b)]}


def test_moments_sort_by_temporal_position_then_weighting_then_direction() -> None:
    dimensions = [
        dataset(DimensionIndexPointer=Tag("InStackPositionNumber")),
        dataset(DimensionIndexPointer=Tag("DiffusionGradientOrientation")),
    ]
    table = [  # temporal position, b-value, in-stack position, direction: in the order wanted
        (1, 0, 2, 1),
        (1, 1000, 1, 1),
        (1, 1000, 1, 2),
        (2, 0, 1, 1),
    ]
    own = [
        {
            **at(0),
            **diffusion(b),
            **content(TemporalPositionIndex=t, DimensionIndexValues=[position, direction]),
        }
        for t, b, position, direction in table
    ]
    made = enhanced(4, own, **SHARED)
    made.DimensionIndexSequence = dimensions
    times = [frame.time for frame in frames_of(made, 4)]
    assert times == sorted(times) and len(set(times)) == 4


def test_a_dimension_that_is_a_place_orders_no_moments() -> None:
    own = [{**at(z), **content(DimensionIndexValues=[z])} for z in (1, 2)]
    made = enhanced(2, own, **SHARED)
    made.DimensionIndexSequence = [dataset(DimensionIndexPointer=Tag("ImagePositionPatient"))]
    one, other = frames_of(made, 2)
    assert one.time == other.time


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}),
        ({"TriggerTime": 30.5}, {"TriggerTime": 210}),
        ({"AcquisitionNumber": 9}, {"AcquisitionNumber": 10}),
        ({"FrameReferenceTime": 500}, {"FrameReferenceTime": 1500}),
        ({"InversionTime": 100}, {"InversionTime": 2200}),
        ({"AcquisitionDateTime": "20200131235959"}, {"AcquisitionDateTime": "20200201000000.5"}),
        (
            {"AcquisitionDate": "20200131", "AcquisitionTime": "09:59:59"},
            {"AcquisitionDate": "20200131", "AcquisitionTime": "100000"},
        ),
        (
            {"TemporalPositionIdentifier": 1, "TriggerTime": 9},
            {"TemporalPositionIdentifier": 2, "TriggerTime": 1},
        ),
    ],
)
def test_classic_pictures_are_ordered_by(earlier: dict[str, Any], later: dict[str, Any]) -> None:
    began = {"StudyDate": "20200131", "StudyTime": "090000"}
    assert only(slice_at(**began, **earlier)).time < only(slice_at(**began, **later)).time


def test_no_date_is_kept() -> None:
    when = {"AcquisitionDateTime": "20200131101500", "StudyDate": "20200131", "StudyTime": "100000"}
    assert max(only(slice_at(**when)).time) == 900
    assert max(only(slice_at(AcquisitionDateTime=when["AcquisitionDateTime"])).time) < 86400


@pytest.mark.parametrize("stamp", ["", "20200131", "20201301000000", "yesterday at noon"])
def test_what_is_no_time_is_absent(stamp: str) -> None:
    assert seconds_of(stamp) is None


def test_makers_keep_b_values_elsewhere() -> None:
    made = slice_at()
    made.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [1000000800, 8, 0, 0])
    assert max(only(made).time) == 800


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"FrameTime": 40}, [0, 0.04, 0.08]),
        ({"FrameTimeVector": [0, 10, 30]}, [0, 0.01, 0.04]),
        ({"FrameTimeVector": [0, 10]}, [0, 1, 2]),  # too short: counted
        ({"FrameTime": 0}, [0, 1, 2]),
        ({}, [0, 1, 2]),
    ],
)
def test_films_run(values: dict[str, Any], expected: list[float]) -> None:
    frames = frames_of(dataset(Modality="US", NumberOfFrames=3, SOPInstanceUID="1.2", **values), 3)
    assert [frame.time[-1] for frame in frames] == pytest.approx(expected)
    assert len({frame.stack for frame in frames}) == 1


def test_frames_that_follow_in_space_are_no_film() -> None:
    pointer = Tag("SliceVector")
    frames = frames_of(dataset(Modality="US", NumberOfFrames=3, FrameIncrementPointer=pointer), 3)
    assert {frame.time for frame in frames} == {()}


def test_films_and_views_of_a_series_stay_apart() -> None:
    clips = [dataset(Modality="US", SOPInstanceUID=uid, NumberOfFrames=2) for uid in ("1.2.3", "1.2.4")]
    views = [dataset(Modality="MG", SOPInstanceUID=uid) for uid in ("1.2.3", "1.2.4")]
    for one, other, count in ((*clips, 2), (*views, 1)):
        assert frames_of(one, count)[0].stack != frames_of(other, count)[0].stack
        assert "1.2.3" not in frames_of(one, count)[0].stack


def test_echoes_and_components_stay_apart() -> None:
    kinds = ((2.3, "M"), (4.6, "M"), (2.3, "P"), (2.3, "M"))
    made = [
        slice_at(Modality="MR", EchoTime=echo, ImageType=["ORIGINAL", "PRIMARY", part])
        for echo, part in kinds
    ]
    stacks = [only(one).stack for one in made]
    assert len(set(stacks)) == 3 and stacks[0] == stacks[3]


def test_dose_planes_follow_their_offsets() -> None:
    for offsets in ([0, 5, 10], [-700, -695, -690]):  # relative, and the patient's own z
        frames = frames_of(slice_at(-700, NumberOfFrames=3, GridFrameOffsetVector=offsets), 3)
        assert [frame.plane and frame.plane.position_mm[2] for frame in frames] == [-700, -695, -690]


def test_nuclear_slices_follow_their_vector() -> None:
    detector = dataset(ImagePositionPatient=[0, 0, 100], ImageOrientationPatient=AXIAL)
    made = dataset(
        Modality="NM",
        NumberOfFrames=4,
        DetectorInformationSequence=[detector],
        PixelSpacing=[4, 4],
        SliceVector=[1, 2, 1, 2],
        TimeSlotVector=[1, 1, 2, 2],
        SpacingBetweenSlices=-4,
    )
    frames = frames_of(made, 4)
    assert [frame.plane and frame.plane.position_mm[2] for frame in frames] == [100, 96, 100, 96]
    assert frames[0].time == frames[1].time < frames[2].time == frames[3].time


def test_segments_are_numbered() -> None:
    own = [{**at(0), "SegmentIdentificationSequence": [dataset(ReferencedSegmentNumber=4)]}]
    assert frames_of(enhanced(1, own, **SHARED), 1)[0].segment == 4


def test_mosaics_are_cut_row_by_row() -> None:
    picture = np.arange(36).reshape(1, 6, 6)
    slices = Mosaic(2, 3, (None,) * 5).cut(picture)
    assert slices.shape == (5, 3, 2) and slices.flags["C_CONTIGUOUS"]
    assert slices[:, 0, 0].tolist() == [0, 2, 4, 18, 20]
    with pytest.raises(ValueError, match="mosaic"):
        Mosaic(4, 4, (None,) * 16).cut(picture)


def test_a_mosaic_that_nobody_cut_has_no_plane() -> None:
    made = slice_at(Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    assert mosaic_of(made) is None
    assert only(made).plane is None


def test_an_empty_object_says_nothing() -> None:
    frames = frames_of(Dataset(), 2)
    assert [(frame.plane, frame.spacing_mm, frame.time) for frame in frames] == [(None, None, ())] * 2
    assert frames_of(Dataset(), 0) == ()
