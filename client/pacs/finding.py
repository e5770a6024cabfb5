"""Asking by C-FIND (PS3.4 C.4.1), in the Study Root model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from client.pacs.association import LOST, association, lost, status_of
from client.pacs.index import Answer
from client.pacs.settings import Archive
from common.errors import PacsQueryTooWide, PacsRefused

_PENDING, _PENDING_PARTLY, _SUCCESS = 0xFF00, 0xFF01, 0x0000


class FindIndex:
    """An archive that is asked by C-FIND over one association."""

    def __init__(self, archive: Archive, asked: Association) -> None:
        self._archive = archive
        self._association = asked

    @classmethod
    @contextmanager
    def open(cls, archive: Archive) -> Iterator[FindIndex]:
        """An index, as long as its association lasts."""
        with association(archive, [build_context(StudyRootQueryRetrieveInformationModelFind)]) as asked:
            yield cls(archive, asked)

    @property
    def where(self) -> str:
        """``host:port`` for messages."""
        return self._archive.where

    def studies(self, keys: Mapping[str, str], wanted: Sequence[str], most: int) -> Iterator[Answer]:
        """Studies; see :class:`client.pacs.index.Index`."""
        return self._ask("STUDY", {}, keys, wanted, most)

    def series(
        self, study_uid: str, keys: Mapping[str, str], wanted: Sequence[str], most: int
    ) -> Iterator[Answer]:
        """Series of a study."""
        return self._ask("SERIES", {"StudyInstanceUID": study_uid}, keys, wanted, most)

    def instances(
        self, study_uid: str, series_uid: str, wanted: Sequence[str], most: int
    ) -> Iterator[Answer]:
        """Instances of a series."""
        above = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
        return self._ask("IMAGE", above, {}, wanted, most)

    def _ask(
        self, level: str, above: Mapping[str, str], keys: Mapping[str, str], wanted: Sequence[str], most: int
    ) -> Iterator[Answer]:
        """All answers at once: while one is open, nothing else can be asked over the association.

        Raises:
            PacsQueryTooWide: There are more than ``most``; the association is then aborted.
        """
        if not self._association.is_established:
            raise lost(self._archive, self._association, "a query")
        answers: list[Answer] = []
        question = identifier(level, {**dict.fromkeys(wanted, ""), **keys, **above})
        # pydicom warns of values that are no good DICOM, and quotes them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = StudyRootQueryRetrieveInformationModelFind
            for status, answered in self._association.send_c_find(question, model):
                code = status_of(status)
                if code in (_PENDING, _PENDING_PARTLY) and answered is not None:
                    answers.append(Answer(_texts(answered), code == _PENDING_PARTLY))
                else:
                    self._check(code, level)
                if len(answers) > most:
                    raise PacsQueryTooWide(f"{self.where}: more than {most} match.")
        return iter(answers)

    def _check(self, code: int, level: str) -> None:
        if code == LOST:
            raise lost(self._archive, self._association, f"a query ({level})")
        if code not in (_SUCCESS, _PENDING, _PENDING_PARTLY):
            raise PacsRefused(f"{self.where}: the query ({level}) ended with status 0x{code:04X}.")


def identifier(level: str, keys: Mapping[str, str | list[str]]) -> Dataset:
    """What is asked for: the level (0008,0052) and keys by keyword."""
    question = Dataset()
    question.QueryRetrieveLevel = level
    if any(
        not text.isascii()
        for value in keys.values()
        for text in ([value] if isinstance(value, str) else value)
    ):
        question.SpecificCharacterSet = "ISO_IR 192"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a pattern or a range is no good value of its VR
        for keyword, value in keys.items():
            setattr(question, keyword, value)
    return question


def _texts(answered: Dataset) -> dict[str, str]:
    return {key: _text(answered, key) for key in answered.dir()}


def _text(answered: Dataset, keyword: str) -> str:
    try:
        value = getattr(answered, keyword)
    except (ValueError, TypeError, AttributeError, OverflowError, NotImplementedError):
        return ""  # a value that is no value of its VR
    if value is None or isinstance(value, Dataset):
        return ""
    several = value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else [value]
    return "\\".join(str(one).strip(" \0") for one in several)
