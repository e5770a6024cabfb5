"""A DICOM object without its patient: PS3.15 Annex E, Basic Profile with two options (see ``profile``).

A new object is built from what may stay; nothing is deleted from the old one, so what no rule names is not
there. The same site key gives the same pseudonyms and the same days, so a patient's objects stay together.
No value of a file appears in any message, and pydicom's warnings, which quote values, are kept silent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pydicom import DataElement, Dataset, Sequence
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from client.dicom.dataset.header import quiet, text, texts
from client.dicom.deidentification import codes, descriptors, profile, values
from client.dicom.deidentification.codestreams import without_texts
from client.dicom.deidentification.profile import Action
from client.dicom.outcomes import Quarantined, Reason
from client.dicom.pseudonyms import Pseudonyms

DEEPEST = 32
"""Sequences in sequences that are followed; what lies deeper is left out."""

METHOD = f"Consilium: DICOM PS3.15 {profile.EDITION}"
"""De-identification Method (0012,0063), LO."""

METHOD_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
"""De-identification Method Code Sequence (0012,0064): PS3.16 CID 7050, scheme DCM."""

OWN_WORDS = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "OtherPatientIDs",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientBirthDate",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "ResponsiblePerson",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "RequestingPhysician",
    "AccessionNumber",
)
"""Attributes whose words stay nowhere in the object's texts, also where the vocabulary has them."""

SHORTEST_IDENTIFIER = 5
"""Digits from which a number that is also a word of ``OWN_WORDS`` is no coincidence."""

_PIXEL_DATA = 0x7FE00010
_SOP_CLASS = re.compile(r"1\.2\.840\.10008\.5\.1\.4(?:\.[0-9]{1,4}){1,8}")  # also ones younger than pydicom


def deidentify(dataset: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    """A new object that holds what may stay of a file, to be written with ``enforce_file_format=True``.

    Args:
        dataset: As read; no value of it changes.
        pseudonyms: The site's.

    Raises:
        Quarantined: SOP class or instance is not stated, or no known transfer syntax.
    """
    with quiet():
        syntax = _transfer_syntax(dataset)
        patient = _Patient.of(dataset, pseudonyms)
        clean = patient.without(dataset)
        _declare(clean, patient)
        clean.file_meta = _file_meta(clean, syntax)
        _strip_codestream(clean, syntax)
    return clean


def file_name(dataset: Dataset) -> PurePosixPath:
    """Where a de-identified object belongs: PATIENT/STUDY/SERIES/INSTANCE.dcm, of pseudonyms only.

    Args:
        dataset: As ``deidentify`` gave it.

    Raises:
        Quarantined: The patient, the study, the series or the instance is not stated.
    """
    patient = str(dataset.get("PatientID") or "")
    if not patient:
        raise Quarantined(Reason.no_patient)
    uids = [str(dataset.get(f"{level}InstanceUID") or "") for level in ("Study", "Series", "SOP")]
    if not all(re.fullmatch(r"[0-9.]+", uid) for uid in uids):
        raise Quarantined(Reason.no_identity)
    study, series, instance = (uid.removeprefix("2.25.") for uid in uids)
    return PurePosixPath(patient, study, series, f"{instance}.dcm")


@dataclass(frozen=True, slots=True)
class _Patient:
    """Whose object it is, and what becomes of it.

    Attributes:
        pseudonyms: The site's.
        name: The patient's pseudonym; empty if the file states no PatientID.
        days: By how many days dates move back; None if the patient is not known, and dates go.
        own_words: Words in lower case that stay in no text.
    """

    pseudonyms: Pseudonyms
    name: str
    days: int | None
    own_words: frozenset[str]

    @classmethod
    def of(cls, dataset: Dataset, pseudonyms: Pseudonyms) -> _Patient:
        """The patient that a file names."""
        patient_id = text(dataset, "PatientID")
        words = {word for keyword in OWN_WORDS for value in texts(dataset, keyword) for word in _words(value)}
        if patient_id is None:
            return cls(pseudonyms, "", None, frozenset(words))
        days = pseudonyms.shift_days(patient_id)
        return cls(pseudonyms, pseudonyms.patient(patient_id), days, frozenset(words))

    def without(self, dataset: Dataset, depth: int = 0) -> Dataset:
        """What stays of a data set, as a new one."""
        clean = Dataset()
        for tag in dataset.keys():  # noqa: SIM118  a Dataset iterates over elements, and would parse each
            element = self._element(dataset, int(tag), depth)
            if element is not None:
                clean[element.tag] = element
        return clean

    def _element(self, dataset: Dataset, tag: int, depth: int) -> DataElement | None:
        action = profile.action(tag)
        if action is Action.remove:
            return None
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001  pydicom's converters raise whatever a broken value provokes
            return None  # what cannot be read cannot be judged
        if action is Action.nested:
            return self._nested(element, depth)
        value = self._value(action, element)
        return None if value is None else _made(tag, element.VR, action, value)

    def _value(self, action: Action, element: DataElement) -> Any:
        """What stays of a value, or None if nothing may."""
        match action:
            case Action.empty:
                return ""
            case Action.dummy:
                return values.DUMMIES.get(profile.standard_vrs(element.tag)[0])
            case Action.patient:
                return self.name
            case Action.keep:
                return element.value if _is_binary(element.value) else None
            case Action.number:
                return element.value if self._is_number(element) else None
            case Action.pointer:
                return element.value if _is_pointer(element) else None
            case Action.term:
                return _terms(element)
            case _:
                return _each(element.value, self._change(action, element))

    def _change(self, action: Action, element: DataElement) -> Callable[[str], str | None]:
        """What becomes of each text of a value."""
        longest = values.LONGEST.get(profile.standard_vrs(element.tag)[0], 16)
        changes: dict[Action, Callable[[str], str | None]] = {
            Action.uid: self._uid,
            Action.move: self._moved(profile.standard_vrs(element.tag)[0]),
            Action.time: values.time_of_day,
            Action.letters: lambda one: self.pseudonyms.text(one) if one.strip() else "",
            Action.clean: lambda one: descriptors.clean(one, self.own_words, longest=longest) or None,
            Action.model: lambda one: descriptors.clean_model(one, self.own_words, longest=longest) or None,
        }
        return changes[action]

    def _uid(self, uid: str) -> str:
        """A UID of the standard itself as it is, any other's pseudonym."""
        bare = uid.strip(" \0")
        of_standard = not bare or bare in UID_dictionary or _SOP_CLASS.fullmatch(bare)
        return bare if of_standard else self.pseudonyms.uid(bare)

    def _moved(self, vr: str) -> Callable[[str], str | None]:
        days = self.days
        if days is None:
            return lambda _: None
        move = values.moved_datetime if vr == "DT" else values.moved_date
        return lambda one: move(one, days) if one.strip() else ""

    def _is_number(self, element: DataElement) -> bool:
        """Whether it is nothing but numbers, and none of them an identifier of the patient's."""
        numbers = list(_several(element.value))
        if not all(values.is_number(one) and not self._is_own(one) for one in numbers):
            return False
        if element.VR in values.BINARY:
            decimal = values.DECIMAL.intersection(profile.standard_vrs(element.tag))
            return not decimal and not values.spells(element.VR, numbers)
        return element.VR in values.DECIMAL or " or " in element.VR

    def _is_own(self, number: object) -> bool:
        return len(written := str(number)) >= SHORTEST_IDENTIFIER and written in self.own_words

    def _nested(self, element: DataElement, depth: int) -> DataElement | None:
        """The sequence with each item de-identified; items keep their places, as frames count on it."""
        if element.VR != "SQ" or depth >= DEEPEST:
            return None
        items = list(element.value)
        if not any(codes.is_coded(item) for item in items):
            return DataElement(element.tag, "SQ", Sequence(self.without(item, depth + 1) for item in items))
        listed = [clean for item in items if (clean := self._coded(item, depth)) is not None]
        return DataElement(element.tag, "SQ", Sequence(listed)) if listed else None

    def _coded(self, item: Dataset, depth: int) -> Dataset | None:
        """A concept in the standard's own words, with what else the item holds; None for others' codes."""
        concept = codes.listed(*(text(item, key) or "" for key in ("CodingSchemeDesignator", "CodeValue")))
        if concept is None:
            return None
        clean = self.without(item, depth + 1)
        clean.CodeValue, clean.CodingSchemeDesignator, clean.CodeMeaning = concept
        return clean


def _made(tag: int, vr: str, action: Action, value: Any) -> DataElement:
    """The element; what is kept as it was keeps its VR, all else has the dictionary's."""
    same = action in (Action.keep, Action.number)
    return DataElement(tag, vr if same else profile.standard_vrs(tag)[0], value)


def _several(value: Any) -> Iterable[Any]:
    if value is None or value == "":
        return []
    return value if isinstance(value, (MultiValue, list, tuple)) else [value]


def _is_binary(value: Any) -> bool:
    return all(isinstance(one, (bytes, int)) for one in _several(value))


def _is_pointer(element: DataElement) -> bool:
    """Whether it names attributes of the standard: any other four bytes could be letters."""
    return element.VR == "AT" and all(keyword_for_tag(int(tag)) for tag in _several(element.value))


def _each(value: Any, change: Callable[[str], str | None]) -> Any:
    """The value with each of its texts changed; None if any of them goes, or is none."""
    changed = [change(str(one)) for one in _several(value)]
    if None in changed:
        changed = [one for one in changed if one]
        return changed or None
    return changed if len(changed) > 1 else "".join(one or "" for one in changed)


def _terms(element: DataElement) -> Any:
    """Coded strings of known terms; one unknown among several becomes OTHER, as their order has meaning."""
    given = [str(one) for one in _several(element.value)]
    known = [one if descriptors.is_term(one) else "OTHER" for one in given]
    if len(given) == 1:
        return given[0] if known == given else None
    return known or ""


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", descriptors.folded(text)) if len(word) > 1]


def _transfer_syntax(dataset: Dataset) -> UID:
    """The stated transfer syntax (0002,0010), or the one in which a file without file meta was read."""
    stated = UID(str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID") or ""))
    if not stated:
        implicit, little = getattr(dataset, "original_encoding", (False, True))
        return (
            ImplicitVRLittleEndian
            if implicit
            else ExplicitVRBigEndian
            if little is False
            else ExplicitVRLittleEndian
        )
    if UID_dictionary.get(stated, ("", ""))[1] != "Transfer Syntax":
        raise Quarantined(Reason.syntax, "a transfer syntax that no dictionary has")
    return stated


def _file_meta(clean: Dataset, syntax: UID) -> FileMetaDataset:
    """File meta (group 0002) that says what a reader needs, and nothing of the file it comes from."""
    sop_class, instance = clean.get("SOPClassUID"), clean.get("SOPInstanceUID")
    if not sop_class or not instance:
        raise Quarantined(Reason.no_identity, "SOP class or instance")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, instance
    meta.TransferSyntaxUID = syntax
    return meta


def _strip_codestream(clean: Dataset, syntax: UID) -> None:
    """Blanks the texts within compressed pixel data."""
    if syntax.is_encapsulated and _PIXEL_DATA in clean:
        element = clean[_PIXEL_DATA]
        if isinstance(element.value, bytes):
            element.value = without_texts(element.value)
        element.is_undefined_length = True


def _declare(clean: Dataset, patient: _Patient) -> None:
    """Says in the object what was done to it (PS3.15 E.1.1, PS3.3 C.12.1.1.7)."""
    clean.PatientID = clean.PatientName = patient.name
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = METHOD
    clean.DeidentificationMethodCodeSequence = Sequence(_concept(*code) for code in METHOD_CODES)
    clean.LongitudinalTemporalInformationModified = "REMOVED" if patient.days is None else "MODIFIED"


def _concept(value: str, meaning: str) -> Dataset:
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = value, "DCM", meaning
    return concept
