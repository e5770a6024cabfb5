"""What becomes of a file: in a case, a known object not to be trained on, a duplicate, or quarantine.

Every file ends as exactly one of the four. Reason codes and kinds are stable: they stand in the site's
database, in reports and in ``docs/dicom.md``, which a test compares with this module.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Outcome(StrEnum):
    """What became of a file; the counts of the four add up to the files seen."""

    case = "case"
    other = "other"
    duplicate = "duplicate"
    quarantined = "quarantined"


class _Told(StrEnum):
    """Codes that carry a line for the person who meets them."""

    hint: str

    def __new__(cls, code: str, hint: str) -> Self:
        """A member that is its code and carries its hint."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.hint = hint
        return member

    @classmethod
    def of(cls, code: str) -> Self:
        """The member that has this code.

        Raises:
            ValueError: There is none.
        """
        for member in cls:
            if member.value == code:
                return member
        raise ValueError(f"no {cls.__name__.lower()} {code!r}")


class Kind(_Told):
    """Known objects that are no picture to train on, and pictures that a rule leaves out."""

    directory = "directory", "DICOMDIR"
    report = "report", "structured reports, key object selections, encapsulated documents"
    presentation = "presentation", "presentation states, hanging protocols, colour palettes"
    plan = "plan", "radiotherapy plans, structure sets, treatment records"
    dose = "dose", "radiotherapy dose grids"
    waveform = "waveform", "ECG, audio"
    registration = "registration", "spatial registrations and fiducials"
    annotation = "annotation", "annotations, surfaces, tractography, measurements"
    mapping = "mapping", "real-world value mappings, raw data, parameters"
    segmentation = "segmentation", "masks that no case is the picture of; give their folder with --masks"
    localiser = "localiser", "scouts that only show where the slices lie; --keep-derived takes them"
    derived = "derived", "reformats, projections, computed maps; --keep-derived takes them"
    unwanted = "unwanted", "another modality, or no sequence of the kind that is asked for"
    companion = "companion", "files that systems lay beside DICOM, as Thumbs.db"


class Reason(_Told):
    """Why a file is in quarantine."""

    unreadable = "file-unreadable", "Check the disk and the permissions of the file."
    empty = "file-empty", "Ask the archive to send it again."
    archive_broken = "archive-broken", "Unpack the archive by hand, or have it made again."
    archive_too_large = "archive-too-large", "Unpack it by hand: it asks for more than an intake may take."
    not_dicom = "not-dicom", "Not a DICOM object; take it out of the folder if it is none."
    header_broken = "header-broken", "Open it in a viewer, or ask the archive to send it again."
    no_pixels = "pixels-missing", "A header without its picture: ask the archive to send it again."
    truncated = "pixels-truncated", "The picture is cut off: ask the archive to send it again."
    inconsistent = "pixels-inconsistent", "Size, frames or bits in the header are not those of the pixels."
    too_large = "pixels-too-large", "It asks for more memory than one file may take."
    syntax = "syntax-unsupported", "Have it converted, for example with gdcmconv --raw."
    undecodable = "decoder-failed", "No installed decoder reads the pixels; open it in a viewer."
    crashed = (
        "decoder-crashed",
        "Decoding ended the process that did it; keep the file away from other programs.",
    )
    hung = "decoder-hung", "Decoding took longer than one file may take."
    memory = "memory-exceeded", "Decoding took more memory than one file may take."
    values = (
        "values-unreadable",
        "Its photometric interpretation or number of bits is not one that can be shown.",
    )
    no_patient = (
        "patient-missing",
        "Without PatientID nobody can keep a patient in one split; have it filled in.",
    )
    no_identity = "identity-missing", "Study, series or SOP instance UID is missing; have the file repaired."
    conflict = "instance-conflict", "Two files say they are the same instance and hold different pictures."
    burned_in = (
        "burned-in-text",
        "The picture may show a name; look at all of them, then run it again with --allow-burned-in.",
    )
    unplaced = "place-missing", "A slice without position and number cannot be put in order."
    incomplete = (
        "moment-incomplete",
        "Slices of its volume are missing at that moment; have the series sent again.",
    )
    mask_unread = (
        "mask-unreadable",
        "The mask is of a kind that is not read: fractional, overlapping or without place.",
    )


def hint_of(code: str) -> str:
    """What a reason or kind says to a person; empty for anything else."""
    return next((member.hint for member in (*Reason, *Kind) if member.value == code), "")


class Quarantined(Exception):
    """A file that cannot be used.

    Args:
        reason: Why.
        detail: What was met, in words that quote no value out of the file.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[Quarantined], tuple[Reason, str]]:
        return Quarantined, (self.reason, self.detail)
