"""What becomes of one file, and what is kept of it."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import Dataset

from client.dicom.archive import find
from client.dicom.examination import Examined, Orders, Passed, Refused, Taken, examine, examine_object
from client.dicom.outcomes import Kind, Quarantined, Reason
from client.dicom.place import Frame
from client.dicom.pseudonyms import Pseudonyms
from tests.unit.cohorts.archives import AXIAL, laid, picture, report, slice_at, uid, values
from tests.unit.dicom.planted import PLANTED, everything, leaks
from tests.unit.dicom.test_masks import segmentation

KEY = bytes(range(32))
NAMES = Pseudonyms(KEY)
ORDERS = Orders(KEY)


def examined(folder: Path, content: Dataset | bytes, orders: Orders = ORDERS, name: str = "") -> Examined:
    laid(folder, [content])
    path = folder / "IM0000"
    if name:
        path = path.rename(folder / name)
    (found,) = find([path])
    return examine(found, orders)


def took(dataset: Dataset, orders: Orders = ORDERS) -> Taken:
    found = examine_object(dataset, "source", orders)
    assert isinstance(found, Taken), found
    return found


# Pictures


def test_a_picture_is_taken(tmp_path: Path) -> None:
    found = examined(tmp_path, slice_at(4.0, "Anna"))
    assert isinstance(found, Taken)
    instance = found.instance
    assert np.array_equal(found.pixels.frames[0], values("Anna", "1", 5))
    assert instance.patient == NAMES.patient("Anna")
    assert instance.study == NAMES.uid(uid("Anna")) and instance.series == NAMES.uid(uid("Anna", "1"))
    assert instance.sop == NAMES.uid(uid("Anna", "1", 5)) and instance.space == NAMES.uid(
        uid("Anna", "space")
    )
    assert (instance.modality, instance.year, instance.mask) == ("CT", 2019, False)
    assert instance.scanner == f"Siemens {NAMES.text('Ward 7', 4)}"
    plane = instance.frames[0].plane
    assert plane is not None and plane.position_mm == (-10, -20, 4)


@pytest.mark.parametrize("patient", [" Anna", "Anna ", "Anna"])
def test_blanks_around_an_identifier_do_not_count(patient: str) -> None:
    assert took(picture(patient)).instance.patient == NAMES.patient("Anna")


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("PatientID", "", Reason.no_patient),
        ("PatientID", "   ", Reason.no_patient),
        ("PatientID", None, Reason.no_patient),
        ("StudyInstanceUID", "", Reason.no_identity),
        ("SeriesInstanceUID", "", Reason.no_identity),
        ("SOPInstanceUID", "", Reason.no_identity),
        ("PixelData", b"\0", Reason.truncated),
        ("BurnedInAnnotation", "YES", Reason.burned_in),
    ],
)
def test_pictures_that_cannot_be_used(attribute: str, value: Any, reason: Reason) -> None:
    found = examine_object(picture(**{attribute: value}), "source", ORDERS)
    assert isinstance(found, Refused) and found.reason is reason
    assert found.decoded is (attribute != "PixelData")
    assert "Anna" not in found.detail


def test_a_picture_without_pixels_is_not_counted_among_those_to_decode() -> None:
    dataset = picture()
    del dataset.PixelData
    found = examine_object(dataset, "source", ORDERS)
    assert isinstance(found, Refused) and (found.reason, found.decoded) == (Reason.no_pixels, None)


def test_a_person_may_have_looked_at_the_pictures() -> None:
    written = picture(BurnedInAnnotation="YES")
    assert took(written, replace(ORDERS, allow_burned_in=True)).instance.patient == NAMES.patient("A")


@pytest.mark.parametrize(
    ("dates", "year"),
    [
        ({"AcquisitionDate": "20180101"}, 2018),
        ({"AcquisitionDate": "", "StudyDate": "20170101"}, 2017),
        ({"StudyDate": "17.03.2015"}, None),
        ({"StudyDate": "00000000"}, None),
        ({"StudyDate": None}, None),
    ],
)
def test_of_a_date_the_year_is_kept(dates: dict[str, Any], year: int | None) -> None:
    assert took(picture(**dates)).instance.year == year


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ({"PatientSex": "F", "PatientAge": "063Y"}, ("F", "40-64")),
        ({"PatientSex": "Anna", "PatientAge": "Anna"}, ("", "")),
        ({"PatientAge": "", "PatientBirthDate": "19500615", "AcquisitionDate": "20150614"}, ("", "40-64")),
        ({"PatientAge": "", "PatientBirthDate": "19500615", "AcquisitionDate": "20150615"}, ("", "65+")),
        ({"PatientBirthDate": "20200101", "AcquisitionDate": "20190101"}, ("", "")),
        ({"PatientBirthDate": "1950", "PatientSex": ""}, ("", "")),
    ],
)
def test_of_a_patient_the_sex_and_a_band_of_age_are_kept(
    stated: dict[str, Any], kept: tuple[str, str]
) -> None:
    instance = took(picture(**stated)).instance
    assert (instance.sex, instance.age) == kept


# Others


def test_a_report_is_known(tmp_path: Path) -> None:
    assert examined(tmp_path, report()) == Passed(Kind.report, None)


def test_rules_leave_pictures_out_and_take_them_in() -> None:
    scout = picture(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    mip = picture(ImageType=["DERIVED", "SECONDARY", "MIP"])
    for dataset, kind in ((scout, Kind.localiser), (mip, Kind.derived)):
        assert examine_object(dataset, "", ORDERS) == Passed(kind, True)
        took(dataset, replace(ORDERS, keep_derived=True))
        wanted = replace(ORDERS, keep_derived=True, modalities=("MR",))
        assert examine_object(dataset, "", wanted) == Passed(Kind.unwanted, True)


def test_modalities_that_are_not_asked_for() -> None:
    assert examine_object(picture(), "", replace(ORDERS, modalities=("MR", "PT"))) == Passed(
        Kind.unwanted, True
    )
    broken = picture(PixelData=b"\0")
    assert examine_object(broken, "", replace(ORDERS, modalities=("MR",))) == Passed(Kind.unwanted, False)
    took(picture(), replace(ORDERS, modalities=("MR", "CT")))


@pytest.mark.parametrize("content", [b"", b"[autorun]\n"])
def test_companions_are_known_by_their_name(tmp_path: Path, content: bytes) -> None:
    assert examined(tmp_path, content, name="autorun.inf") == Passed(Kind.companion)
    with pytest.raises(Quarantined) as caught:
        examined(tmp_path, content, name="letter.doc")
    assert caught.value.reason is (Reason.not_dicom if content else Reason.empty)


def test_a_picture_that_is_called_like_a_companion_is_a_picture(tmp_path: Path) -> None:
    assert isinstance(examined(tmp_path, picture(), name="autorun.inf"), Taken)


# Masks


def nifti(path: Path, labels: Any) -> Path:
    image: Any = nibabel.Nifti1Image(labels, np.diag([-0.75, -0.5, 2.0, 1.0]))  # type: ignore[no-untyped-call]
    image.set_sform(image.affine, code=1)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["Anna.nii", "Anna.nii.gz"])
def test_a_nifti_file_is_a_mask_where_masks_lie(tmp_path: Path, name: str) -> None:
    (tmp_path / "masks").mkdir()
    labels = (np.arange(6 * 8 * 3) % 3).reshape(8, 6, 3).astype(np.uint8)
    nifti(tmp_path / "masks" / name, labels)
    (found,) = find([tmp_path / "masks"])
    taken = examine(found, replace(ORDERS, mask_places=(f"{tmp_path.resolve()}/masks/",)))
    assert isinstance(taken, Taken) and taken.instance.mask
    assert np.array_equal(taken.pixels.frames, labels.transpose(2, 1, 0))
    assert taken.instance.referenced == tuple(sorted((NAMES.patient("Anna"), NAMES.uid("Anna"))))
    assert taken.instance.apart_mm == 2.0
    for places in ((), (f"{tmp_path.resolve()}/mask/",)):
        with pytest.raises(Quarantined) as caught:
            examine(found, replace(ORDERS, mask_places=places))
        assert caught.value.reason is Reason.not_dicom


@pytest.mark.parametrize("name", ["Anna.NII", "Anna.Nii.GZ"])
def test_names_of_masks_may_be_in_capitals(tmp_path: Path, name: str) -> None:
    made = nifti(tmp_path / name.lower(), np.ones((8, 6, 3), dtype=np.uint8))
    made.rename(tmp_path / name)
    (found,) = find([tmp_path])
    taken = examine(found, replace(ORDERS, mask_places=(f"{tmp_path.resolve()}/",)))
    assert isinstance(taken, Taken) and NAMES.patient("Anna") in taken.instance.referenced


def test_masks_may_lie_in_an_archive_and_be_a_single_file(tmp_path: Path) -> None:
    made = nifti(tmp_path / "Anna.nii", np.ones((8, 6, 3), dtype=np.uint8))
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        archive.write(made, "deep/Anna.nii")
    for place in (made, tmp_path / "masks.zip"):
        (found,) = find([place])
        taken = examine(found, replace(ORDERS, mask_places=(f"{place.resolve()}/",)))
        assert isinstance(taken, Taken) and NAMES.patient("Anna") in taken.instance.referenced


def test_a_segmentation_is_a_mask_where_masks_lie(tmp_path: Path) -> None:
    labels = np.random.default_rng(5).integers(0, 3, (4, 6, 8)).astype(np.uint8)
    made = segmentation(labels)
    assert examined(tmp_path, made) == Passed(Kind.segmentation, True)
    taken = examined(tmp_path, made, replace(ORDERS, mask_places=(f"{tmp_path.resolve()}/",)))
    assert isinstance(taken, Taken) and taken.instance.mask and taken.instance.patient == ""
    assert NAMES.uid("1.2.3.1") in taken.instance.referenced
    assert taken.instance.space == NAMES.uid("1.2.6")


def test_a_mask_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.nii").write_bytes(b"no NIfTI" * 100)
    (found,) = find([tmp_path / "x.nii"])
    with pytest.raises(Quarantined) as caught:
        examine(found, replace(ORDERS, mask_places=(f"{tmp_path.resolve()}/",)))
    assert caught.value.reason is Reason.mask_unread


# What is kept


def test_nothing_that_names_a_person_is_kept_of_a_header() -> None:
    """Every text, date, UID and run of bytes that the standard knows is planted; what is kept is searched."""
    dataset = everything()
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], AXIAL
    dataset.PixelSpacing, dataset.ImageType = [1, 1], ["ORIGINAL", "PRIMARY", PLANTED[0].upper()]
    for modality in ("CT", "MR", PLANTED[1].upper()):
        dataset.Modality = modality
        found = took(dataset, replace(ORDERS, allow_burned_in=True, keep_derived=True))
        kept = (found.instance, found.pixels.display, found.digest)
        assert leaks(repr(kept).encode()) == [], modality


def test_the_name_of_a_stack_is_kept_as_a_pseudonym() -> None:
    one = took(picture(Modality="MR", EchoNumbers=1, ImageType=["ORIGINAL", "PRIMARY", "M"])).instance.frames[
        0
    ]
    same = took(
        picture(Modality="MR", EchoNumbers=1, ImageType=["ORIGINAL", "PRIMARY", "M"])
    ).instance.frames[0]
    other = took(
        picture(Modality="MR", EchoNumbers=2, ImageType=["ORIGINAL", "PRIMARY", "M"])
    ).instance.frames[0]
    assert one.stack == same.stack != other.stack and one.stack.isalnum()
    assert took(picture()).instance.frames[0].stack == Frame().stack
