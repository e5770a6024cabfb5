"""One file as a de-identified DICOM file. This runs in a worker that may die of it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from client.dicom.archive import Found, read_bytes
from client.dicom.dataset.header import text
from client.dicom.dataset.kinds import kind_of
from client.dicom.dataset.reading import read
from client.dicom.decoding import decode, has_pixels
from client.dicom.deidentification.burned_in import suspicion
from client.dicom.deidentification.deidentify import deidentify, file_name
from client.dicom.examination import MAX_FILE_BYTES
from client.dicom.outcomes import Kind, Quarantined, Reason
from client.dicom.pseudonyms import Pseudonyms


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A clean file and what it is to be called, relative to the output folder."""

    name: str
    data: bytes


def clean(found: Found, key: bytes, allow_burned_in: bool) -> Cleaned:
    """The file without anything that names a person.

    Raises:
        Quarantined: It cannot be read, is no picture, or may show a name in its pixels.
    """
    dataset = read(read_bytes(found, MAX_FILE_BYTES))
    kind = kind_of(dataset)
    if kind is Kind.directory or not has_pixels(dataset):
        raise Quarantined(Reason.no_pixels)
    if not text(dataset, "PatientID"):
        raise Quarantined(Reason.no_patient)
    if not allow_burned_in and kind is not Kind.segmentation:
        suspected = suspicion(dataset, decode(dataset).frames)
        if suspected is not None:
            raise Quarantined(Reason.burned_in, suspected)
    cleaned = deidentify(dataset, Pseudonyms(key))
    stream = BytesIO()
    cleaned.save_as(stream, enforce_file_format=True)
    return Cleaned(str(file_name(cleaned)), stream.getvalue())
