"""Questions go down the hierarchy, and an answer that does not bear them out is not believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

import client.pacs.query as module
from client.pacs.index import Answer, Index
from client.pacs.query import Level, check_keys, find, fits
from client.pacs.settings import Archive
from common.errors import PacsQueryTooWide, PacsRefused

ARCHIVE = Archive(url="https://pacs.example.org/dicom-web")
STUDIES = {
    "1": [{"SeriesInstanceUID": "1.1", "Modality": "CT"}, {"SeriesInstanceUID": "1.2", "Modality": "SR"}],
    "2": [{"SeriesInstanceUID": "2.1", "Modality": "MR", "SeriesDate": "20200103"}],
}


@dataclass
class Fake:
    """An archive that searches by the keys it knows and ignores the others."""

    known: tuple[str, ...] = ("StudyInstanceUID", "StudyDate", "Modality", "ModalitiesInStudy")
    silent: tuple[str, ...] = ()  # keys that it does not even repeat
    partly: bool = False
    asked: list[Mapping[str, str]] = field(default_factory=list)
    where: str = "pacs.example.org:443"

    def studies(self, keys: Mapping[str, str], wanted: Sequence[str], most: int) -> Iterator[Answer]:
        rows = [
            {
                "StudyInstanceUID": uid,
                "StudyDate": f"2020010{uid}",
                "ModalitiesInStudy": "\\".join(one["Modality"] for one in series),
                "StudyDescription": "",
                "NumberOfStudyRelatedInstances": "7",
            }
            for uid, series in STUDIES.items()
        ]
        return self._answers(rows, keys)

    def series(
        self, study_uid: str, keys: Mapping[str, str], wanted: Sequence[str], most: int
    ) -> Iterator[Answer]:
        return self._answers(STUDIES[study_uid], keys)

    def instances(
        self, study_uid: str, series_uid: str, wanted: Sequence[str], most: int
    ) -> Iterator[Answer]:
        raise NotImplementedError

    def _answers(self, rows: Sequence[Mapping[str, str]], keys: Mapping[str, str]) -> Iterator[Answer]:
        self.asked.append(dict(keys))
        for row in rows:
            if all(fits(value, row.get(key, "?"), key) for key, value in keys.items() if key in self.known):
                said = {**dict.fromkeys(keys, ""), **row}
                yield Answer({k: v for k, v in said.items() if k not in self.silent}, self.partly)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """What is asked instead of a real archive; may be changed before it is."""
    fake = Fake()

    @contextmanager
    def opened(archive: Archive, *, web: bool = False) -> Iterator[Index]:
        yield fake

    monkeypatch.setattr(module, "open_index", opened)
    return fake


@pytest.mark.parametrize(
    ("match", "level", "found"),
    [
        ({}, "study", ["1", "2"]),
        ({}, "series", ["1.1", "1.2", "2.1"]),
        ({"Modality": "CT"}, "study", ["1"]),
        ({"Modality": "ct"}, "series", ["1.1"]),
        ({"Modality": "?R"}, "series", ["1.2", "2.1"]),
        ({"StudyDate": "20200102-"}, "study", ["2"]),
        ({"StudyDate": "-20200101", "Modality": "MR"}, "study", []),
        ({"StudyInstanceUID": "2"}, "series", ["2.1"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("known", [Fake.known, ("Modality", "StudyDate", "StudyInstanceUID"), ()])
def test_what_matches_is_found_even_if_the_archive_ignores_keys(
    archive: Fake, match: dict[str, str], level: Level, found: list[str], known: tuple[str, ...]
) -> None:
    archive.known = known
    result = find(ARCHIVE, match, level)
    assert [one.series_uid or one.study_uid for one in result] == found


def test_a_series_is_described(archive: Fake) -> None:
    (one,) = find(ARCHIVE, {"Modality": "MR"}, "series")
    assert (one.study_uid, one.modality, one.date, one.instances) == ("2", "MR", "20200103", None)
    (study,) = find(ARCHIVE, {"StudyDate": "20200101"})
    assert (study.modality, study.date, study.instances) == ("CT\\SR", "20200101", 7)


@pytest.mark.parametrize(("silent", "partly"), [(("PatientID",), False), ((), True)])
def test_a_key_that_the_archive_ignores_is_a_refusal(
    archive: Fake, silent: tuple[str, ...], partly: bool
) -> None:
    archive.silent, archive.partly = silent, partly
    with pytest.raises(PacsRefused) as caught:
        find(ARCHIVE, {"PatientID": "4711"})
    assert "PatientID" in caught.value.private and "4711" not in caught.value.private


@pytest.mark.parametrize("level", ["study", "series"])
def test_more_than_the_limit_is_too_wide(archive: Fake, level: Level) -> None:
    assert find(ARCHIVE, {"StudyDate": "20200101"}, level, limit=2)
    with pytest.raises(PacsQueryTooWide):
        find(ARCHIVE, {}, level, limit=1)


@pytest.mark.parametrize(
    "match", [{"PixelData": "1"}, {"Modalitty": "CT"}, {"PatientID": ""}, {"PatientID": "a\\b"}]
)
def test_a_key_that_cannot_be_asked_for_is_an_error_that_quotes_no_value(match: dict[str, str]) -> None:
    with pytest.raises(ValueError) as caught:
        check_keys(match)
    ((key, value),) = match.items()
    assert key in str(caught.value) and (not value or f"{value!r}" not in str(caught.value))


@pytest.mark.parametrize(
    ("asked", "answered", "keyword", "is_fit"),
    [
        ("CT", "CT", "Modality", True),
        ("CT", "MR\\CT", "ModalitiesInStudy", True),
        ("CT", "CTA", "Modality", False),
        ("1.2.*", "1x2.3", "StudyInstanceUID", False),
        ("20200101-20200131", "20200115", "StudyDate", True),
        ("20200101-20200131", "20200201", "StudyDate", False),
        ("Mueller*", "MÜLLER^ANNA", "PatientName", True),
        ("CT", "", "Modality", True),
    ],
)
def test_an_answer_fits_a_question(asked: str, answered: str, keyword: str, is_fit: bool) -> None:
    assert fits(asked, answered, keyword) is is_fit
