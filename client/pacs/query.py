"""What an archive holds: one question and one answer, whether it is asked by C-FIND or by QIDO-RS.

The question goes down DICOM's hierarchy: studies first, then the series of each, since many archives search
a series only within its study. An archive may ignore a key that it does not know and answer with everything;
so an answer that does not bear out the question is not believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from client.pacs.dicomweb import WebIndex
from client.pacs.finding import FindIndex
from client.pacs.index import Answer, Index, Listed
from client.pacs.settings import Archive
from common.errors import PacsQueryTooWide, PacsRefused

Level = Literal["study", "series"]

STUDY_KEYS = frozenset(
    (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "IssuerOfPatientID",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "StudyDescription",
        "AccessionNumber",
        "ReferringPhysicianName",
        "ModalitiesInStudy",
    )
)
SERIES_KEYS = frozenset(
    (
        "Modality",
        "SeriesInstanceUID",
        "SeriesNumber",
        "SeriesDescription",
        "SeriesDate",
        "SeriesTime",
        "BodyPartExamined",
        "ProtocolName",
        "Laterality",
        "Manufacturer",
        "ManufacturerModelName",
        "StationName",
        "InstitutionName",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
    )
)
_STUDY_ANSWER = ("StudyInstanceUID", "StudyDate", "ModalitiesInStudy", "StudyDescription")
_STUDY_COUNT = "NumberOfStudyRelatedInstances"
_SERIES_ANSWER = ("SeriesInstanceUID", "Modality", "SeriesDate", "SeriesDescription")
_SERIES_COUNT = "NumberOfSeriesRelatedInstances"
_INSTANCE_ANSWER = ("SOPInstanceUID", "SOPClassUID")
_MOST_INSTANCES = 10_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """A study or a series that an archive holds.

    Attributes:
        study_uid: Study instance UID (0020,000D).
        series_uid: Series instance UID (0020,000E); empty for a whole study.
        modality: Of the series (0008,0060), or those in the study (0008,0061), with ``\\`` between them.
        date: Of the series (0008,0021) or the study (0008,0020), YYYYMMDD; empty if unknown.
        description: Of the series (0008,103E) or the study (0008,1030).
        instances: How many objects, if the archive says so.
    """

    study_uid: str
    series_uid: str = ""
    modality: str = ""
    date: str = ""
    description: str = ""
    instances: int | None = None


def find(
    archive: Archive,
    match: Mapping[str, str],
    level: Level = "study",
    limit: int = 1000,
    *,
    web: bool = False,
) -> list[Found]:
    """The studies or series that match, sorted by date.

    Args:
        archive: Whom to ask.
        match: Keyword (one of ``STUDY_KEYS`` and ``SERIES_KEYS``) to value; ``*`` and ``?`` stand for
            other characters, and dates may be ranges (PS3.4 C.2.2.2).
        level: What to find. A study matches keys of series if one of its series does.
        limit: How many to find at most.
        web: Ask by QIDO-RS although C-FIND would be possible.

    Raises:
        ValueError: A key is not one that can be asked for.
        PacsUnreachable, PacsRefused: The archive does not answer.
        PacsQueryTooWide: More than ``limit`` match, or more studies had to be looked into.
    """
    check_keys(match)
    with open_index(archive, web=web) as index:
        found = _find(index, match, level, limit)
    return sorted(found, key=lambda one: (one.date, one.study_uid, one.series_uid))


def check_keys(match: Mapping[str, str]) -> None:
    """Nothing, if every key can be asked for.

    Raises:
        ValueError: One cannot; the message names the key and those that can.
    """
    for key, value in match.items():
        if key not in STUDY_KEYS | SERIES_KEYS:
            raise ValueError(f"{key} is none of {', '.join(sorted(STUDY_KEYS | SERIES_KEYS))}")
        if not value or "\\" in value or not value.isprintable():
            raise ValueError(f"{key} needs one value")


def open_index(archive: Archive, *, web: bool = False) -> AbstractContextManager[Index]:
    """Whom to ask: C-FIND where the archive speaks it, unless ``web`` is wanted."""
    return FindIndex.open(archive) if archive.speaks_dimse and not web else WebIndex.open(archive)


def list_instances(index: Index, found: Found) -> Iterator[Listed]:
    """The instances of a study or series."""
    one = [found.series_uid] if found.series_uid else _series_uids(index, found.study_uid)
    for series_uid in one:
        for answer in index.instances(found.study_uid, series_uid, _INSTANCE_ANSWER, _MOST_INSTANCES):
            sop_uid = answer.text("SOPInstanceUID")
            if sop_uid:
                yield Listed(found.study_uid, series_uid, sop_uid, answer.text("SOPClassUID"))


def _series_uids(index: Index, study_uid: str) -> list[str]:
    answers = index.series(study_uid, {}, _SERIES_ANSWER, _MOST_INSTANCES)
    return [uid for answer in answers if (uid := answer.text("SeriesInstanceUID"))]


def _find(index: Index, match: Mapping[str, str], level: Level, limit: int) -> list[Found]:
    study_keys = {key: value for key, value in match.items() if key in STUDY_KEYS}
    series_keys = {key: value for key, value in match.items() if key in SERIES_KEYS}
    # A hint only: archives that do not know it answer with more, and the series are asked anyway.
    hint = {"ModalitiesInStudy": series_keys["Modality"]} if "Modality" in series_keys else {}
    found: list[Found] = []
    studies = index.studies({**hint, **study_keys}, (*_STUDY_ANSWER, _STUDY_COUNT), limit + 1)
    for number, study in enumerate(_borne_out(index, studies, study_keys), start=1):
        _stop_beyond(number, limit, index)
        series = (
            _matching_series(index, study, series_keys, limit) if series_keys or level == "series" else []
        )
        if level == "series":
            found.extend(series)
        elif series or not series_keys:
            found.append(_study(study))
        _stop_beyond(len(found), limit, index)
    return found


def _matching_series(index: Index, study: Answer, keys: Mapping[str, str], limit: int) -> list[Found]:
    study_uid = study.text("StudyInstanceUID")
    answers = index.series(study_uid, keys, (*_SERIES_ANSWER, _SERIES_COUNT), limit + 1)
    return [_series(study, answer) for answer in _borne_out(index, answers, keys)]


def _stop_beyond(count: int, limit: int, index: Index) -> None:
    if count > limit:
        raise PacsQueryTooWide(f"{index.where}: more than {limit} match.")


def _borne_out(index: Index, answers: Iterator[Answer], keys: Mapping[str, str]) -> Iterator[Answer]:
    """The answers that fit what was asked.

    Raises:
        PacsRefused: The archive left a key out of account, so that it cannot be known what it answers.
    """
    for answer in answers:
        ignored = [key for key in keys if answer.ignores(key)]
        if ignored:
            raise PacsRefused(
                f"{index.where}: the archive does not search by {', '.join(ignored)}.",
                hint="Leave that --match away, and narrow the question in another way.",
            )
        if all(fits(value, answer.text(key), key) for key, value in keys.items()):
            yield answer


def fits(asked: str, answered: str, keyword: str) -> bool:
    """Whether an answer can be one to what was asked; True where that cannot be told.

    Args:
        asked: A value, with ``*`` and ``?``, or a range of dates or times.
        answered: One or more values with ``\\`` between them; empty if the archive does not say.
        keyword: Whose. Names and free texts may be compared in ways that only the archive knows.
    """
    if not answered or keyword.endswith(("Name", "Description", "Time")):
        return True
    values = [value.strip() for value in answered.split("\\")]
    if keyword.endswith("Date"):
        first, dash, last = asked.partition("-")
        last = last if dash else first
        return any((not first or first <= value) and (not last or value <= last) for value in values)
    pattern = re.escape(asked.strip()).replace(r"\*", ".*").replace(r"\?", ".")
    return any(re.fullmatch(pattern, value, re.IGNORECASE) for value in values)


def _study(answer: Answer) -> Found:
    return Found(
        study_uid=answer.text("StudyInstanceUID"),
        modality=answer.text("ModalitiesInStudy"),
        date=answer.text("StudyDate"),
        description=answer.text("StudyDescription"),
        instances=_count(answer.text(_STUDY_COUNT)),
    )


def _series(study: Answer, answer: Answer) -> Found:
    return Found(
        study_uid=study.text("StudyInstanceUID"),
        series_uid=answer.text("SeriesInstanceUID"),
        modality=answer.text("Modality"),
        date=answer.text("SeriesDate") or study.text("StudyDate"),
        description=answer.text("SeriesDescription"),
        instances=_count(answer.text(_SERIES_COUNT)),
    )


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
