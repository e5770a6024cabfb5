"""The table says what the standard says, is at least as strict, and what it does not name is dropped."""

from __future__ import annotations

import importlib

import pytest
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag, tag_for_keyword

from client.dicom.deidentification.profile import BY_VR, EDITION, ROWS, Action, Row, action

CATEGORIES = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}
ALLOWED = {
    "X": {Action.remove},
    "Z": {Action.empty, Action.remove, Action.patient},
    "D": {Action.dummy, Action.empty, Action.remove, Action.patient, Action.letters, Action.uid},
    "U": {Action.uid, Action.remove},
    "U*": {Action.nested, Action.remove},  # its UIDs are replaced within
}
"""What is at least as strict as each of the standard's actions, without options."""
BY_OPTION = {"dates": {Action.move, Action.time}, "descriptors": {Action.clean}}
YOUNGER = [
    "00081301",
    "00081302",
    "00081303",
    "00081304",
    "00100011",
    "00100012",
    "00100013",
    "00100014",
    "00100015",
    "00100016",
    "00100041",
    "00100042",
    "00100043",
    "00100044",
    "00100045",
    "00100046",
    "00100047",
    "00102162",
    "0040a034",
    "0040a035",
    "0040b034",
    "0040b036",
    "0040b03b",
    "0040b03f",
    "0040e012",
]
"""Tags of the table that the tested pydicom does not know yet."""
SINGLE = [row for row in ROWS if len(row.tag) == 8 and "x" not in row.tag]
BY_TAG = {row.tag: row for row in ROWS}


def published(edition: str) -> dict[str, str]:
    """Tag to action as dicom-anonymizer has Table E.1-1; ranges as ``50xxxxxx``."""
    module = importlib.import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{edition}")
    return {name(tag): code for group, code in CATEGORIES.items() for tag in getattr(module, group)}


def name(tag: tuple[int, ...]) -> str:
    if len(tag) == 2:
        return f"{tag[0]:04x}{tag[1]:04x}"
    return f"{tag[0] >> 8:02x}xx" + (f"{tag[1]:04x}" if tag[3] else "xxxx")


@pytest.mark.parametrize("edition", ["2023", "2024b", EDITION])
def test_every_attribute_of_the_standard_has_a_row(edition: str) -> None:
    assert set(published(edition)) - set(BY_TAG) == set()


def test_the_standards_actions_are_those_of_its_edition() -> None:
    ours = {row.tag: row.standard for row in ROWS if row.standard and row.tag != "private"}
    assert ours == published(EDITION)


def is_strict(row: Row) -> bool:
    if row.option:
        return row.action in BY_OPTION[row.option]
    return row.action in {strict for code in row.standard.split("/") for strict in ALLOWED[code]}


def test_ours_is_at_least_as_strict() -> None:
    assert [row for row in ROWS if row.standard and not is_strict(row)] == []


def test_rows_have_the_dictionarys_keywords() -> None:
    differing = [row.tag for row in SINGLE if keyword_for_tag(int(row.tag, 16)) != row.keyword]
    assert set(differing) <= set(YOUNGER)


def test_what_is_moved_is_a_date_and_what_is_kept_as_time_is_one() -> None:
    old = [row for row in SINGLE if row.tag not in YOUNGER]
    vrs = {act: {dictionary_VR(int(row.tag, 16)) for row in old if row.action is act} for act in Action}
    assert vrs[Action.move] == {"DA", "DT"}
    assert vrs[Action.time] == {"TM"}
    assert vrs[Action.uid] == {"UI"}
    assert vrs[Action.keep] == {"OB or OW", "OW", "OF", "OD", "OV", "US or OW"}


@pytest.mark.parametrize(
    "tag",
    [
        0x00091010,  # private
        0x00290010,  # private creator
        0x50000005,  # curve
        0x60020040,  # overlay
        0x60023000,
        0x00020013,  # file meta
        0x00000002,  # command
        0x00040000 | 0x1220,  # DICOMDIR
        0x00280999,  # no such attribute
        0x00102203,  # patient group, coded string, not in the table
        0xFFFCFFFC,
    ],
)
def test_what_nobody_asked_for_is_removed(tag: int) -> None:
    assert action(tag) is Action.remove


def test_without_a_row_no_value_stays_that_could_hold_text() -> None:
    named = {int(row.tag, 16) for row in SINGLE}
    for tag in DicomDictionary:
        if tag not in named and action(tag) is not Action.remove:
            assert dictionary_VR(tag)[:2] in BY_VR


@pytest.mark.parametrize(
    "keyword",
    [
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "ImageType",
        "PatientPosition",
        "Rows",
        "Columns",
        "BitsStored",
        "PixelSpacing",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "InstanceNumber",
        "StackID",
        "PerFrameFunctionalGroupsSequence",
        "RescaleSlope",
        "WindowCenter",
        "WindowWidth",
        "VOILUTSequence",
        "LUTData",
        "PixelData",
        "TemporalPositionIdentifier",
        "DiffusionBValue",
        "SliceThickness",
        "NumberOfFrames",
        "PhotometricInterpretation",
        "RedPaletteColorLookupTableData",
        "BurnedInAnnotation",
        "ConversionType",
        "FrameIncrementPointer",
    ],
)
def test_what_pictures_are_read_by_stays(keyword: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    assert action(tag) is not Action.remove
