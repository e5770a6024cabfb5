"""Masks come from segmentations and NIfTI files to the pictures' own grid, or are refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from client.dicom.geometry.planes import moved
from client.dicom.masks import Mask, MaskElsewhere, matches, nifti, nifti_mask, place, seg_mask
from client.dicom.outcomes import Quarantined, Reason
from client.dicom.place import Plane, Vector

SHAPE = (6, 8)
UIDS = [f"1.2.3.{number}" for number in range(1, 5)]


def plane(z: float = 0.0, **changes: Any) -> Plane:
    basic: dict[str, Any] = {"row": (1.0, 0.0, 0.0), "column": (0.0, 1.0, 0.0), "spacing_mm": (1.0, 2.0)}
    return Plane(**{"position_mm": (-3.0, -5.0, z), **basic, **changes})


PLANES = tuple(plane(z) for z in (0.0, 3.0, 6.0, 9.0))


@pytest.fixture(scope="module")
def labels() -> NDArray[np.uint8]:
    """(4, 6, 8): labels 0 to 2, no two slices the same."""
    return np.random.default_rng(5).integers(0, 3, (4, *SHAPE)).astype(np.uint8)


def sources() -> list[Dataset]:
    """The CT slices at ``PLANES``."""
    made = []
    for number, (uid, at) in enumerate(zip(UIDS, PLANES, strict=True), start=1):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID, one.InstanceNumber = CTImageStorage, uid, number
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
        one.PatientID = one.PatientName = one.PatientBirthDate = one.PatientSex = one.AccessionNumber = ""
        one.StudyID = one.StudyDate = one.StudyTime = one.ReferringPhysicianName = ""
        one.Modality, one.Rows, one.Columns = "CT", *SHAPE
        one.ImagePositionPatient = list(at.position_mm)
        one.ImageOrientationPatient = [*at.row, *at.column]
        one.PixelSpacing, one.SliceThickness = list(at.spacing_mm), 3
        made.append(one)
    return made


def segmentation(pixels: NDArray[Any], kind: str = "BINARY", count: int = 2, **more: Any) -> Dataset:
    described = [
        hd.seg.SegmentDescription(
            number,
            f"part {number}",
            codes.SCT.Tissue,
            codes.SCT.Liver,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number in range(1, count + 1)
    ]
    uids = {"series_instance_uid": generate_uid(), "sop_instance_uid": generate_uid()}
    who = {"manufacturer": "m", "manufacturer_model_name": "n", "software_versions": "1"}
    numbers = {"series_number": 1, "instance_number": 1, "device_serial_number": "1"}
    made: Dataset = hd.seg.Segmentation(sources(), pixels, kind, described, **uids, **who, **numbers, **more)
    return made


def read(made: Dataset) -> Mask:
    pixels = made.pixel_array
    return seg_mask(made, pixels[None] if pixels.ndim == 2 else pixels)


def refusal(call: Callable[[], object]) -> Quarantined:
    with pytest.raises(Quarantined) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segmentation_is_laid_back_where_it_was_drawn(labels: NDArray[np.uint8], kind: str) -> None:
    made = segmentation(labels, kind)
    mask = read(made)
    oracle = hd.seg.Segmentation.from_dataset(made).get_volume(combine_segments=True)
    assert np.array_equal(place(mask, PLANES, SHAPE), labels)
    from_foot = oracle.array[:: 1 if oracle.position[2] < 1 else -1]
    assert np.array_equal(place(mask, PLANES, SHAPE), from_foot)
    assert mask.frame_of_reference == "1.2.6"
    assert mask.referenced == {*UIDS, "1.2.5"}


def test_empty_planes_that_were_left_out_are_empty(labels: NDArray[np.uint8]) -> None:
    drawn = labels.copy()
    drawn[1:3] = 0
    mask = read(segmentation(drawn))
    assert len(mask.planes) == 2
    assert np.array_equal(place(mask, PLANES, SHAPE), drawn)


def test_a_mask_of_a_single_plane_fills_no_neighbour(labels: NDArray[np.uint8]) -> None:
    drawn = np.zeros_like(labels)
    drawn[2] = 1
    mask = read(segmentation(drawn))
    assert place(mask, PLANES, SHAPE).any(axis=(1, 2)).tolist() == [False, False, True, False]
    bare = Mask(mask.planes, mask.values)  # without its stated spacing the pictures' own counts
    assert np.array_equal(place(bare, PLANES, SHAPE), drawn)


def test_overlapping_segments_are_refused() -> None:
    both = np.zeros((4, *SHAPE, 2), np.uint8)
    both[1, 2:4, 2:4, 0] = both[1, 3:5, 3:5, 1] = 1
    caught = refusal(lambda: read(segmentation(both)))
    assert (caught.reason, caught.detail) == (Reason.mask_unread, "segments overlap")


def test_fractional_segmentations_are_refused(labels: NDArray[np.uint8]) -> None:
    made = segmentation((labels == 1).astype(np.float32), "FRACTIONAL", count=1)
    assert refusal(lambda: read(made)).reason is Reason.mask_unread


def test_segmentation_without_place_is_refused(labels: NDArray[np.uint8]) -> None:
    made = segmentation(labels)
    for frame in made.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    assert refusal(lambda: read(made)).reason is Reason.mask_unread


def test_frames_that_are_not_those_of_the_header_are_refused(labels: NDArray[np.uint8]) -> None:
    made = segmentation(labels)
    assert refusal(lambda: seg_mask(made, made.pixel_array[:-1])).reason is Reason.inconsistent


def test_no_segmentation_is_refused() -> None:
    assert refusal(lambda: seg_mask(Dataset(), np.zeros((1, 2, 2), np.uint8))).reason is Reason.mask_unread


def nifti_file(values: NDArray[Any], affine: NDArray[np.float64], code: int = 1) -> bytes:
    """A NIfTI file; ``values`` (K, J, I) and ``affine`` in DICOM's directions."""
    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1]) @ affine)
    image.header.set_sform(image.affine, code)
    image.header.set_qform(image.affine, code)
    data = bytearray(image.to_bytes())
    if code == 0:  # which nibabel will not write
        data[252:256] = bytes(4)  # qform_code, sform_code
    return bytes(data)


def affine_of(planes: tuple[Plane, ...]) -> NDArray[np.float64]:
    first, rows, columns = planes[0], *planes[0].spacing_mm
    step = np.array(planes[1].position_mm) - np.array(first.position_mm)
    made = np.eye(4)
    made[:3, 0], made[:3, 1] = columns * np.array(first.row), rows * np.array(first.column)
    made[:3, 2], made[:3, 3] = step, first.position_mm
    return made


@pytest.mark.parametrize("packed", [False, True])
def test_nifti_is_laid_where_it_lies(labels: NDArray[np.uint8], packed: bool) -> None:
    data = nifti_file(labels, affine_of(PLANES))
    mask = nifti_mask(gzip.compress(data) if packed else data)
    assert [one.position_mm for one in mask.planes] == [one.position_mm for one in PLANES]
    assert (mask.frame_of_reference, mask.referenced, mask.spacing_mm) == (None, frozenset(), 3)
    assert np.array_equal(place(mask, PLANES, SHAPE), labels)


def flipped(
    values: NDArray[np.uint8], affine: NDArray[np.float64], axis: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The same picture, one axis of the file running the other way."""
    made, last = affine.copy(), values.shape[2 - axis] - 1
    made[:3, 3] += last * made[:3, axis]
    made[:3, axis] *= -1
    return np.flip(values, 2 - axis), made


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1), (0, 2, 1)])
@pytest.mark.parametrize("flip", [0, 1, 2])
def test_axes_of_a_file_may_run_any_way(
    labels: NDArray[np.uint8], order: tuple[int, int, int], flip: int
) -> None:
    values, affine = flipped(labels, affine_of(PLANES), flip)
    turned = affine[:, [*order, 3]]
    stored = values.transpose(2, 1, 0).transpose(order).transpose(2, 1, 0)
    mask = nifti_mask(nifti_file(stored, turned))
    assert np.array_equal(place(mask, PLANES, SHAPE), labels)


def test_scaled_values_may_be_labels(labels: NDArray[np.uint8]) -> None:
    image = nibabel.Nifti1Image(
        (labels * 2).transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1]) @ affine_of(PLANES)
    )
    image.header.set_sform(image.affine, 2)
    data = bytearray(image.to_bytes())
    data[112:120] = np.array([0.5, 0], "<f4").tobytes()  # scl_slope, scl_inter
    assert np.array_equal(place(nifti_mask(bytes(data)), PLANES, SHAPE), labels)


@pytest.mark.parametrize("wrong", [0.5, -1, 256, np.nan, np.inf])
def test_values_that_are_no_labels_are_refused(labels: NDArray[np.uint8], wrong: float) -> None:
    values = labels.astype(np.float32)
    values[1, 1, 1] = wrong
    assert refusal(lambda: nifti_mask(nifti_file(values, affine_of(PLANES)))).reason is Reason.mask_unread


@pytest.mark.parametrize("code", [0, 3, 4])
def test_nifti_without_place_in_a_patient_is_refused(labels: NDArray[np.uint8], code: int) -> None:
    caught = refusal(lambda: nifti_mask(nifti_file(labels, affine_of(PLANES), code)))
    assert caught.reason is Reason.mask_unread


def test_leaning_axes_are_refused(labels: NDArray[np.uint8]) -> None:
    affine = affine_of(PLANES)
    affine[:3, 1] += 0.2 * affine[:3, 0]
    image = nibabel.Nifti1Image(labels.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1]) @ affine)
    image.header.set_sform(image.affine, 1)
    data = bytes(image.to_bytes())
    assert refusal(lambda: nifti_mask(data)).reason is Reason.mask_unread


@pytest.mark.parametrize("data", [b"\x00" * 400, b"plain text, not a picture at all" * 20])
def test_what_is_no_nifti_is_refused(data: bytes) -> None:
    assert refusal(lambda: nifti_mask(data)).reason is Reason.mask_unread


def test_broken_files_are_refused(labels: NDArray[np.uint8]) -> None:
    data = nifti_file(labels, affine_of(PLANES))
    packed = gzip.compress(data)
    assert refusal(lambda: nifti_mask(data[:-10])).reason is Reason.truncated
    assert refusal(lambda: nifti_mask(packed[: len(packed) // 2])).reason is Reason.truncated
    assert refusal(lambda: nifti_mask(b"")).reason is Reason.empty


def test_what_unpacks_to_too_much_is_refused(
    labels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nifti, "MAX_BYTES", 10_000)
    assert refusal(lambda: nifti_mask(gzip.compress(bytes(10_001)))).reason is Reason.too_large
    assert refusal(lambda: nifti_mask(bytes(10_001))).reason is Reason.too_large


def test_finer_and_coarser_masks_are_resampled_to_the_nearest() -> None:
    """A mask of twice the pixels and twice the slices has, at each pixel of the picture, that very pixel."""
    fine_planes = tuple(plane(z, spacing_mm=(0.5, 1.0)) for z in np.arange(0, 10.5, 1.5))
    fine = np.random.default_rng(1).integers(0, 200, (7, 12, 16)).astype(np.uint8)
    laid = place(Mask(fine_planes, fine), PLANES, SHAPE)
    assert np.array_equal(laid, fine[::2, ::2, ::2])
    back = place(Mask(PLANES, laid), fine_planes, (12, 16))
    assert np.array_equal(back[::2, ::2, ::2], laid)


def test_a_mask_of_part_of_the_picture_is_empty_elsewhere() -> None:
    part = Mask((plane(3.0, position_mm=(1.0, -4.0, 3.0)),), np.full((1, 2, 3), 7, np.uint8))
    expected = np.zeros((4, *SHAPE), np.uint8)
    expected[1, 1:3, 2:5] = 7
    assert np.array_equal(place(part, PLANES, SHAPE), expected)


def test_an_empty_mask_that_lies_there_is_fine() -> None:
    assert not place(Mask(PLANES, np.zeros((4, *SHAPE), np.uint8)), PLANES, SHAPE).any()


TILTED: tuple[Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 0.9659258, 0.2588190))


@pytest.mark.parametrize(
    "elsewhere",
    [
        tuple(moved(one, 100) for one in PLANES),
        tuple(plane(one.position_mm[2], position_mm=(500.0, 0.0, one.position_mm[2])) for one in PLANES),
        tuple(plane(z, row=TILTED[0], column=TILTED[1]) for z in (0.0, 3.0, 6.0, 9.0)),
        (),
    ],
)
def test_a_mask_that_lies_elsewhere_is_refused(elsewhere: tuple[Plane, ...]) -> None:
    mask = Mask(elsewhere, np.ones((len(elsewhere), *SHAPE), np.uint8))
    with pytest.raises(MaskElsewhere):
        place(mask, PLANES, SHAPE)


def test_a_mask_finds_its_stack() -> None:
    values = np.zeros((4, *SHAPE), np.uint8)
    mask = Mask(PLANES, values, "1.2.6", frozenset(UIDS))
    away = tuple(moved(one, 1000) for one in PLANES)
    half = tuple(moved(one, 6) for one in PLANES)
    assert matches(mask, PLANES) == 1
    assert 0 < matches(mask, half) < 1
    assert matches(mask, PLANES, UIDS[:1]) == 2
    assert matches(mask, away) == 0 and matches(mask, away, UIDS) == 0 and matches(mask, ()) == 0
    assert matches(mask, PLANES, frame_of_reference="9.9") == 0
    assert matches(mask, PLANES, frame_of_reference="1.2.6") == 1
    assert matches(mask, PLANES, UIDS, frame_of_reference="9.9") == 2  # it names them all the same


def test_of_two_stacks_the_nearer_wins() -> None:
    mask = Mask(PLANES[1:3], np.ones((2, *SHAPE), np.uint8))
    coarse = tuple(plane(z) for z in (0.0, 9.0))
    assert matches(mask, PLANES) > matches(mask, coarse)
