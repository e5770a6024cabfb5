"""Nothing that names a person is left in a de-identified file, and everything a picture is read by is."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import DataElement, Dataset, Sequence, dcmread
from pydicom.config import IGNORE
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from client.dicom.deidentification.deidentify import DEEPEST, deidentify, file_name
from client.dicom.outcomes import Quarantined, Reason
from tests.unit.dicom.planted import (
    BORN,
    FAMILY,
    GIVEN,
    HOSPITAL_UID,
    NUMBER,
    PSEUDONYMS,
    SEEN,
    TOWN,
    everything,
    leaks,
    picture,
    written,
)

# Nothing is left


@pytest.mark.filterwarnings("ignore")  # pydicom's, of what is planted
def test_nothing_planted_anywhere_in_the_dictionary_is_left() -> None:
    dataset = everything()
    assert len(dataset) > 1500
    before = written(dataset)
    assert set(leaks(before)) >= {FAMILY, GIVEN, TOWN, NUMBER, BORN, SEEN, "471108154711"}
    assert leaks(written(deidentify(dataset, PSEUDONYMS))) == []


@pytest.mark.filterwarnings("ignore")
def test_nothing_planted_in_nested_sequences_is_left() -> None:
    dataset, inner = picture(), everything()
    for keyword in (
        "PixelData",
        "CodeValue",
        "LongCodeValue",
        "URNCodeValue",
    ):  # a coded item goes as a whole
        delattr(inner, keyword)
    middle = Dataset()
    middle.SharedFunctionalGroupsSequence = [inner]
    dataset.PerFrameFunctionalGroupsSequence = [middle, Dataset(), inner]
    clean = deidentify(dataset, PSEUDONYMS)
    assert leaks(written(clean)) == []
    assert len(clean.PerFrameFunctionalGroupsSequence) == 3  # frames are counted by their items


def test_private_attributes_file_meta_preamble_and_padding_are_left_behind() -> None:
    dataset = picture(DataSetTrailingPadding=f"{FAMILY}{TOWN}".encode())
    dataset.private_block(0x0009, GIVEN, create=True).add_new(1, "LO", FAMILY)
    dataset.private_block(0x7FE1, TOWN, create=True).add_new(1, "OB", NUMBER.encode())
    dataset.file_meta.SourceApplicationEntityTitle = GIVEN.upper()
    dataset.file_meta.PrivateInformationCreatorUID = f"{HOSPITAL_UID}.4"
    dataset.file_meta.PrivateInformation = f"{FAMILY}{TOWN}".encode()
    file = BytesIO(
        written(
            FileDataset(
                BytesIO(), dataset, f"{FAMILY} {NUMBER}".encode().ljust(128, b"\0"), dataset.file_meta
            )
        )
    )
    assert len(leaks(file.getvalue())) >= 6
    clean = deidentify(dcmread(file), PSEUDONYMS)
    assert leaks(written(clean)) == []
    assert written(clean)[:128] == bytes(128)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Mustermännchen^Erika"),
        ("ISO_IR 192", "山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_in_other_scripts_are_left_behind(charset: str | list[str], name: str) -> None:
    dataset = picture(SpecificCharacterSet=charset, PatientName=name, SeriesDescription=f"Thorax {name[:20]}")
    file = written(dataset)
    parts = tuple(part for part in name.replace("=", "^").split("^"))
    assert set(leaks(file, parts)) == set(parts)
    clean = deidentify(dcmread(BytesIO(file)), PSEUDONYMS)
    assert leaks(written(clean), parts) == []
    assert clean.SeriesDescription == "THORAX"


def test_a_number_that_is_the_patients_identifier_goes_wherever_it_stands() -> None:
    clean = deidentify(picture(AcquisitionNumber=NUMBER, SeriesNumber=7, SliceThickness=NUMBER), PSEUDONYMS)
    assert "AcquisitionNumber" not in clean and "SliceThickness" not in clean
    assert clean.SeriesNumber == 7


@pytest.mark.parametrize("vr", ["US", "UL", "FL", "FD", "LO", "SH", "DS", "IS", "UI", "DA", "AT"])
def test_a_value_under_another_representation_than_the_standards_hides_nothing(vr: str) -> None:
    name = b"MUSTERMANN^ERIKA"
    for tag in (
        0x00180050,
        0x00181310,
        0x00189087,
        0x00200013,
        0x0008103E,
        0x00280009,
        0x00083010,
        0x00181150,
    ):
        head = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(name))
        dataset = dcmread(BytesIO(written(picture()) + head + name))
        assert tag in dataset
        assert name not in written(deidentify(dataset, PSEUDONYMS))


def test_sequences_nested_deeper_than_any_picture_needs_are_left_out() -> None:
    dataset = Dataset()
    for _ in range(3 * DEEPEST):
        outer = Dataset()
        outer.SharedFunctionalGroupsSequence = Sequence([dataset])
        dataset = outer
    clean = deidentify(picture(SharedFunctionalGroupsSequence=Sequence([dataset])), PSEUDONYMS)
    depth = 0
    while "SharedFunctionalGroupsSequence" in clean:
        clean, depth = clean.SharedFunctionalGroupsSequence[0], depth + 1
    assert depth == DEEPEST


# What stands instead


def test_the_patient_has_a_pseudonym_and_the_file_says_what_was_done() -> None:
    clean = deidentify(picture(BurnedInAnnotation="NO"), PSEUDONYMS)
    assert clean.PatientID == clean.PatientName == PSEUDONYMS.patient(NUMBER)
    assert clean.PatientBirthDate == ""
    assert clean.PatientIdentityRemoved == "YES"
    assert clean.LongitudinalTemporalInformationModified == "MODIFIED"
    assert clean.BurnedInAnnotation == "NO"
    codes = [
        (code.CodeValue, code.CodingSchemeDesignator) for code in clean.DeidentificationMethodCodeSequence
    ]
    assert codes == [("113100", "DCM"), ("113105", "DCM"), ("113107", "DCM")]


def test_the_first_of_several_patient_ids_is_the_patients_as_everywhere() -> None:
    dataset = picture()
    dataset.add(DataElement("PatientID", "LO", [NUMBER, "other"]))
    assert deidentify(dataset, PSEUDONYMS).PatientID == PSEUDONYMS.patient(NUMBER)


def test_uids_are_replaced_alike_everywhere_and_the_standards_own_stay() -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, f"{HOSPITAL_UID}.1"
    dataset = picture(ReferencedImageSequence=[reference], FrameOfReferenceUID="1.2.840.10008.1.4.1.1")
    clean = dcmread(BytesIO(written(deidentify(dataset, PSEUDONYMS))))
    instance = PSEUDONYMS.uid(f"{HOSPITAL_UID}.1")
    assert clean.SOPInstanceUID == clean.file_meta.MediaStorageSOPInstanceUID == instance
    assert clean.ReferencedImageSequence[0].ReferencedSOPInstanceUID == instance
    assert clean.SOPClassUID == clean.ReferencedImageSequence[0].ReferencedSOPClassUID == CTImageStorage
    assert clean.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert clean.StudyInstanceUID == PSEUDONYMS.uid(f"{HOSPITAL_UID}.2")


def test_a_class_of_a_younger_standard_stays_and_a_makers_does_not() -> None:
    assert deidentify(picture(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.99"), PSEUDONYMS).SOPClassUID.endswith(
        ".66.99"
    )
    assert "471108154711" not in deidentify(picture(SOPClassUID=HOSPITAL_UID), PSEUDONYMS).SOPClassUID


def test_dates_move_by_the_patients_days_and_times_stay() -> None:
    dataset = picture(SeriesDate="20200102", AcquisitionDateTime="20200102101500.5+0100")
    dataset.add(DataElement("ContentDate", "DA", "soon", validation_mode=IGNORE))
    clean = deidentify(dataset, PSEUDONYMS)
    seen, series = np.datetime64("2019-12-24"), np.datetime64("2020-01-02")
    days = np.timedelta64(PSEUDONYMS.shift_days(NUMBER), "D")
    assert str(seen - days).replace("-", "") == clean.StudyDate
    assert str(series - days).replace("-", "") == clean.SeriesDate == clean.AcquisitionDateTime[:8]
    assert clean.AcquisitionDateTime[8:] == "101500.5"
    assert clean.StudyTime == "101500"
    assert "ContentDate" not in clean


def test_descriptions_keep_the_words_of_radiology() -> None:
    dataset = picture(
        SeriesDescription=f"CT Thorax {GIVEN} 5 mm",
        StudyDescription=f"{TOWN}",
        Manufacturer="SIEMENS",
        ManufacturerModelName="SOMATOM Definition AS 64",
        DeviceSerialNumber="4711",
        OperatorsName=GIVEN,
    )
    clean = deidentify(dataset, PSEUDONYMS)
    assert clean.SeriesDescription == "CT THORAX 5 MM"
    assert "StudyDescription" not in clean and "OperatorsName" not in clean
    assert (clean.Manufacturer, clean.ManufacturerModelName) == ("SIEMENS", "SOMATOM DEFINITION 64")
    assert clean.DeviceSerialNumber == PSEUDONYMS.text("4711")


def test_the_patients_own_name_goes_even_where_it_is_a_word_of_radiology() -> None:
    clean = deidentify(picture(PatientName="Head^Fiesta", SeriesDescription="HEAD t2 fiesta"), PSEUDONYMS)
    assert clean.SeriesDescription == "T2"


def test_an_unknown_term_leaves_its_place_among_others() -> None:
    clean = deidentify(
        picture(ImageType=["ORIGINAL", "PRIMARY", "ERIKA"], BodyPartExamined="ERIKA"), PSEUDONYMS
    )
    assert list(clean.ImageType) == ["ORIGINAL", "PRIMARY", "OTHER"]
    assert "BodyPartExamined" not in clean


def test_codes_stay_if_the_standard_has_them_and_in_its_words() -> None:
    known, local = Dataset(), Dataset()
    known.CodeValue, known.CodingSchemeDesignator, known.CodeMeaning = "T-A0100", "SRT", GIVEN
    local.CodeValue, local.CodingSchemeDesignator, local.CodeMeaning = NUMBER, "99HOSPITAL", TOWN
    clean = deidentify(picture(AnatomicRegionSequence=[known, local], ViewCodeSequence=[local]), PSEUDONYMS)
    assert [code.CodeValue for code in clean.AnatomicRegionSequence] == ["T-A0100"]
    assert clean.AnatomicRegionSequence[0].CodeMeaning.startswith("Brain")
    assert "ViewCodeSequence" not in clean


# What stays


def test_pixels_and_what_they_are_read_by_stay() -> None:
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData, lut.ModalityLUTType = [2, 0, 16], b"\0\0\xff\xff", "HU"
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    kept: dict[str, Any] = {
        "ImagePositionPatient": [1, -2.5, 3e-3],
        "WindowCenter": "40",
        "NumberOfFrames": 1,
        "TriggerTime": "12.5",
        "DiffusionBValue": 1000.0,
        "FrameIncrementPointer": 0x00181063,
        "SmallestImagePixelValue": 3,
    }
    dataset = picture(ModalityLUTSequence=[lut], **kept)
    dataset["SmallestImagePixelValue"].VR = "US"
    clean = dcmread(BytesIO(written(deidentify(dataset, PSEUDONYMS))))
    assert {keyword: clean[keyword].value for keyword in kept} == {
        keyword: dataset[keyword].value for keyword in kept
    }
    assert (clean.pixel_array == dataset.pixel_array).all()
    assert clean.ModalityLUTSequence[0].LUTData == lut.LUTData


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_pixels_stay_in_every_byte_order(syntax: UID) -> None:
    dataset = picture()
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.arange(16, dtype=">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    source = dcmread(BytesIO(written(dataset)))
    clean = dcmread(BytesIO(written(deidentify(source, PSEUDONYMS))))
    assert clean.file_meta.TransferSyntaxUID == syntax
    assert clean.pixel_array.ravel().tolist() == list(range(16))


def test_the_file_that_was_read_stays_as_it_is() -> None:
    file = written(picture(SeriesDescription=GIVEN, ReferencedImageSequence=[Dataset()]))
    dataset = dcmread(BytesIO(file))
    deidentify(dataset, PSEUDONYMS)
    assert written(dataset) == file


def test_it_can_be_done_twice() -> None:
    once = deidentify(picture(), PSEUDONYMS)
    twice = deidentify(once, PSEUDONYMS)
    assert twice.SOPInstanceUID == PSEUDONYMS.uid(once.SOPInstanceUID)
    assert (twice.pixel_array == once.pixel_array).all()


# Where it cannot be done


def test_without_a_patient_dates_go_for_nobody_knows_by_how_much_to_move_them() -> None:
    clean = deidentify(picture(PatientID=" "), PSEUDONYMS)
    assert clean.PatientID == "" and clean.PatientName == ""
    assert "StudyDate" not in clean
    assert clean.LongitudinalTemporalInformationModified == "REMOVED"
    with pytest.raises(Quarantined) as caught:
        file_name(clean)
    assert caught.value.reason is Reason.no_patient


@pytest.mark.parametrize("missing", ["SOPInstanceUID", "SOPClassUID"])
def test_what_is_no_instance_is_refused(missing: str) -> None:
    with pytest.raises(Quarantined) as caught:
        deidentify(picture(**{missing: ""}), PSEUDONYMS)
    assert caught.value.reason is Reason.no_identity


def test_a_transfer_syntax_that_nobody_knows_is_refused_without_being_quoted() -> None:
    dataset = picture()
    dataset.file_meta.TransferSyntaxUID = UID(HOSPITAL_UID)
    with pytest.raises(Quarantined) as caught:
        deidentify(dataset, PSEUDONYMS)
    assert caught.value.reason is Reason.syntax
    assert "4711" not in str(caught.value)


def test_a_file_is_named_by_pseudonyms() -> None:
    name = file_name(deidentify(picture(), PSEUDONYMS))
    assert name.parts[0] == PSEUDONYMS.patient(NUMBER)
    assert [part.removesuffix(".dcm").isdigit() for part in name.parts[1:]] == [True] * 3
    assert len(str(name)) < 150
    assert leaks(str(name).encode()) == []


@pytest.mark.parametrize("level", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_file_without_its_series_has_no_name(level: str) -> None:
    with pytest.raises(Quarantined) as caught:
        file_name(deidentify(picture(**{level: ""}), PSEUDONYMS))
    assert caught.value.reason is Reason.no_identity
