"""One file, from its bytes to what may be kept of it. This runs in a worker that may die of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydicom import Dataset

from client.ages import age_band
from client.dicom.archive import Found, companion, read_bytes
from client.dicom.dataset.header import text
from client.dicom.dataset.kinds import kind_of
from client.dicom.dataset.reading import read
from client.dicom.decoding import decode, has_pixels
from client.dicom.deidentification.burned_in import suspicion
from client.dicom.geometry.frames import frames_of
from client.dicom.geometry.mosaics import mosaic_of
from client.dicom.instance import Instance, modality_of, scanner_of
from client.dicom.masks import Mask
from client.dicom.masks.nifti import nifti_mask
from client.dicom.masks.segmentations import seg_mask
from client.dicom.outcomes import Kind, Quarantined, Reason
from client.dicom.pixels import Display, Pixels, digest_of
from client.dicom.place import Frame
from client.dicom.pseudonyms import Pseudonyms

MAX_FILE_BYTES = 2**30
"""Largest file that is read whole."""

LEFT_OUT_BY_RULE = frozenset({Kind.localiser, Kind.derived})
_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_YEAR = re.compile(r"(19|20)\d\d")
_DAY = re.compile(r"(19|20)\d{6}")
SEXES = ("F", "M", "O")
"""Terms of Patient's Sex (0010,0040)."""

_DATES = ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate")


@dataclass(frozen=True, slots=True)
class Orders:
    """What the caller wants of every file.

    Attributes:
        key: Of the site's pseudonyms.
        mask_places: Folders and archives below which SEG and NIfTI files are masks.
        modalities: Modalities to keep; empty for all.
        keep_derived: Keep localisers and derived pictures too.
        allow_burned_in: A person has looked at the pictures: they show no names.
    """

    key: bytes
    mask_places: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    keep_derived: bool = False
    allow_burned_in: bool = False

    def as_mask(self, found: Found) -> bool:
        """Whether a file lies where masks lie."""
        return bool(self.mask_places) and f"{found.locator}/".startswith(self.mask_places)


@dataclass(frozen=True, slots=True)
class Taken:
    """An object with its pixels, ready to be stored under their digest."""

    instance: Instance
    pixels: Pixels
    digest: str


@dataclass(frozen=True, slots=True)
class Passed:
    """A known object that is no picture to train on.

    Attributes:
        kind: What it is.
        decoded: Whether its pixels can be decoded; None where it has none.
    """

    kind: Kind
    decoded: bool | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A file for quarantine; ``decoded`` as of :class:`Passed`."""

    reason: Reason
    detail: str = ""
    decoded: bool | None = None


Examined = Taken | Passed | Refused


def examine(found: Found, orders: Orders) -> Examined:
    """What becomes of one file.

    Raises:
        Quarantined: It cannot be read. MemoryError and decoders' own exceptions pass through.
    """
    if found.reason is Reason.empty and companion(found.name):
        return Passed(Kind.companion)
    data = read_bytes(found, MAX_FILE_BYTES)
    source = hashlib.sha256(data).hexdigest()
    as_mask = orders.as_mask(found)
    if as_mask and _NIFTI.search(found.name):
        return _taken_nifti(data, found.name, source, Pseudonyms(orders.key))
    try:
        dataset = read(data)
    except Quarantined as refused:
        if refused.reason is Reason.not_dicom and companion(found.name):
            return Passed(Kind.companion)
        raise
    return examine_object(dataset, source, orders, as_mask=as_mask)


def examine_object(dataset: Dataset, source: str, orders: Orders, *, as_mask: bool = False) -> Examined:
    """What becomes of one object; ``source`` is the digest of the file that held it."""
    kind = _kind(dataset, orders)
    if kind is not None and not (as_mask and kind is Kind.segmentation):
        return Passed(kind, _decodes(dataset))
    decoded: bool | None = False if has_pixels(dataset) else None
    try:
        pixels = decode(dataset)
        decoded = True
        if mosaic := mosaic_of(dataset):
            pixels = replace(pixels, frames=mosaic.cut(pixels.frames))
        if kind is Kind.segmentation:
            return _taken_mask(dataset, pixels, source, Pseudonyms(orders.key))
        instance = _instance(dataset, pixels, source, Pseudonyms(orders.key))
        suspected = None if orders.allow_burned_in else suspicion(dataset, pixels.frames)
    except Quarantined as refused:
        return Refused(refused.reason, refused.detail, decoded)
    return Refused(Reason.burned_in, suspected, decoded) if suspected else _taken(instance, pixels)


def _taken(instance: Instance, pixels: Pixels) -> Taken:
    return Taken(instance, pixels, digest_of(pixels.frames))


def _kind(dataset: Dataset, orders: Orders) -> Kind | None:
    kind = kind_of(dataset)
    if kind in LEFT_OUT_BY_RULE and orders.keep_derived:
        kind = None
    if kind is None and orders.modalities and text(dataset, "Modality") not in orders.modalities:
        return Kind.unwanted
    return kind


def _decodes(dataset: Dataset) -> bool | None:
    if not has_pixels(dataset):
        return None
    try:
        decode(dataset)
    except Quarantined:
        return False
    return True


def _instance(dataset: Dataset, pixels: Pixels, source: str, names: Pseudonyms) -> Instance:
    patient = text(dataset, "PatientID")
    if not patient:
        raise Quarantined(Reason.no_patient)
    uids = {k: text(dataset, k) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
    missing = [keyword for keyword, uid in uids.items() if not uid]
    if missing:
        raise Quarantined(Reason.no_identity, missing[0])
    study, series, sop = (names.uid(uid or "") for uid in uids.values())
    space, model = text(dataset, "FrameOfReferenceUID"), text(dataset, "ManufacturerModelName")
    return Instance(
        patient=names.patient(patient),
        study=study,
        series=series,
        sop=sop,
        space=names.uid(space) if space else "",
        modality=modality_of(text(dataset, "Modality") or ""),
        scanner=scanner_of(text(dataset, "Manufacturer") or "", names.text(model, 4) if model else ""),
        year=_year(dataset),
        frames=tuple(_nameless(frame, names) for frame in frames_of(dataset, len(pixels.frames))),
        source=source,
        sex=_sex(dataset),
        age=_age(dataset),
    )


def _nameless(frame: Frame, names: Pseudonyms) -> Frame:
    """The frame with a pseudonym of its stack, in which a scanner's free text may stand."""
    return replace(frame, stack=names.text(frame.stack, 8)) if frame.stack else frame


def _year(dataset: Dataset) -> int | None:
    for keyword in _DATES:
        if found := _YEAR.match(text(dataset, keyword) or ""):
            return int(found[0])
    return None


def _sex(dataset: Dataset) -> str:
    stated = text(dataset, "PatientSex") or ""
    return stated if stated in SEXES else ""


def _age(dataset: Dataset) -> str:
    """The age that is stated; else from the day of birth to that of the picture."""
    stated = text(dataset, "PatientAge")
    if stated:
        return age_band(stated)
    born = _DAY.fullmatch(text(dataset, "PatientBirthDate") or "")
    taken = (_DAY.fullmatch(text(dataset, keyword) or "") for keyword in _DATES)
    day = next(filter(None, taken), None)
    if born is None or day is None:
        return ""
    return age_band(str((int(day[0]) - int(born[0])) // 10_000))  # yyyymmdd: whole years


def _taken_mask(dataset: Dataset, pixels: Pixels, source: str, names: Pseudonyms) -> Taken:
    """A DICOM segmentation; it need not name a patient, because it is matched by what it was drawn on."""
    mask = seg_mask(dataset, pixels.frames)
    return _stored_mask(mask, source, names, map(names.uid, mask.referenced))


def _taken_nifti(data: bytes, name: str, source: str, names: Pseudonyms) -> Taken:
    """A NIfTI mask, whose name may be that of a patient, study, series or object."""
    stem = _NIFTI.sub("", name.rpartition("/")[2])
    return _stored_mask(nifti_mask(data), source, names, (names.patient(stem), names.uid(stem)))


def _stored_mask(mask: Mask, source: str, names: Pseudonyms, referenced: Iterable[str]) -> Taken:
    instance = Instance(
        patient="",
        study="",
        series="",
        sop=f"mask-{source}",
        space=names.uid(mask.frame_of_reference) if mask.frame_of_reference else "",
        modality="SEG",
        scanner="",
        year=None,
        frames=tuple(Frame(plane=plane) for plane in mask.planes),
        source=source,
        mask=True,
        referenced=tuple(sorted(referenced)),
        apart_mm=mask.spacing_mm,
    )
    return _taken(instance, Pixels(mask.values, Display()))
