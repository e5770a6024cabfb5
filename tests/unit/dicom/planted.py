"""A small CT object, one with values planted wherever the dictionary allows, and the search for them."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.datadict import DicomDictionary
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from client.dicom.deidentification.profile import Action, action
from client.dicom.pseudonyms import Pseudonyms

PSEUDONYMS = Pseudonyms(bytes(range(32)))
FAMILY, GIVEN, TOWN, NUMBER, BORN, SEEN = (
    "Mustermännchen",
    "Erika",
    "Hintertupfing",
    "47110815",
    "19570312",
    "20191224",
)
HOSPITAL_UID = "1.2.826.0.1.3680043.2.1125.471108154711"
PLANTED = (FAMILY, GIVEN, TOWN, NUMBER, BORN, SEEN, "1957-03-12", "12.03.1957", "471108154711", "山田", "ﾔﾏﾀﾞ")
TEXTS = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "CS"}


def picture(**attributes: Any) -> Dataset:
    """A small CT slice as an archive would hold it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, UID(f"{HOSPITAL_UID}.1")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{HOSPITAL_UID}.2", f"{HOSPITAL_UID}.3"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{FAMILY}^{GIVEN}", NUMBER, BORN
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = SEEN, "101500", "CT"
    dataset.set_pixel_data(
        np.arange(16, dtype=np.uint16).reshape(4, 4), "MONOCHROME2", 16, generate_instance_uid=False
    )
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def written(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def spellings(text: str) -> set[bytes]:
    """The bytes by which a text can stand in a file."""
    cased = {text, text.lower(), text.upper(), text.title(), text.swapcase()}
    encodings = (
        "utf-8",
        "latin-1",
        "utf-16-le",
        "utf-16-be",
        "iso2022_jp_2",
        "shift_jis",
        "gb18030",
        "cp850",
    )
    found = set()
    for one in cased:
        for encoding in encodings:
            try:
                found.add(re.sub(rb"\x1b[$(].", b"", one.encode(encoding)))  # without the shifts of ISO 2022
            except UnicodeEncodeError:
                continue
    return found


def leaks(data: bytes, planted: tuple[str, ...] = PLANTED) -> list[str]:
    return [text for text in planted for spelling in spellings(text) if spelling in data]


def planted_value(vr: str, tag: int) -> Any:
    """A value of this kind that must not be found again; None for a kind that holds no text."""
    name = f"{FAMILY} {GIVEN} {TOWN} {NUMBER}"
    match vr.split(" or ")[0]:
        case "PN" | "LO" | "LT" | "ST" | "UT" | "UC" | "UR":
            return f"{FAMILY}^{GIVEN}" if vr == "PN" else name[:64]
        case "SH" | "AE" | "CS":
            return GIVEN.upper()
        case "AS":
            return "062Y"
        case "DA":
            return BORN
        case "DT":
            return f"{BORN}101500"
        case "UI":
            return f"{HOSPITAL_UID}.{tag}"
        case "OB" | "OW" | "UN":
            return name.encode()
        case _:
            return None


def everything() -> Dataset:
    """A CT slice in which every text, date, UID and run of bytes that the dictionary knows is planted."""
    dataset = picture()
    for tag, (vr, *_) in DicomDictionary.items():
        value = planted_value(vr, tag)
        if (
            value is not None
            and 0x0008 <= tag >> 16 < 0xFFF0
            and tag not in dataset
            and action(tag) is not Action.keep
        ):
            dataset[tag] = DataElement(tag, vr.split(" or ")[0], value)
    return dataset
