"""Asking and fetching from Orthanc, by DICOM's own protocol and by DICOMweb."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from client.pacs.query import Found, find
from client.pacs.retrieval import Method, Retrieved, retrieve
from client.pacs.settings import MIB, Archive
from common.errors import (
    ConsiliumError,
    DiskFull,
    PacsIncomplete,
    PacsQueryTooWide,
    PacsRefused,
    PacsUnreachable,
)
from tests.e2e.pacs.conftest import (
    PASSWORD_VARIABLE,
    SECRET,
    Orthanc,
    Pictures,
    assert_same,
    free_port,
    stored,
    write_studies,
)

METHODS: tuple[Method, ...] = ("move", "get", "web")
each_method = pytest.mark.parametrize("method", METHODS)
each_protocol = pytest.mark.parametrize("web", [False, True], ids=["C-FIND", "QIDO-RS"])


@contextmanager
def coded(kind: type[ConsiliumError]) -> Iterator[None]:
    """The block ends in an error of this kind, which names the archive and nothing of a patient."""
    with pytest.raises(kind) as caught:
        yield
    assert "127.0.0.1:" in caught.value.private
    assert SECRET not in caught.value.private and SECRET.partition("^")[0] not in caught.value.private


def of_this_test(orthanc: Orthanc, pictures: Pictures, method: Method) -> list[Found]:
    """The studies of ``pictures``."""
    return [
        one
        for uid in pictures.studies
        for one in find(orthanc.archive, {"StudyInstanceUID": uid}, web=method == "web")
    ]


@each_protocol
def test_studies_and_series_are_found(orthanc: Orthanc, pictures: Pictures, web: bool) -> None:
    study = pictures.studies[0]
    match = {"StudyInstanceUID": study, "StudyDate": "20200101-20200131", "PatientName": "Mue*"}
    studies = find(orthanc.archive, match, web=web)
    assert [(s.study_uid, s.modality, s.date, s.instances) for s in studies] == [
        (study, "CT", "20200102", len(pictures.of(study)))
    ]
    series = find(orthanc.archive, {**match, "Modality": "CT"}, "series", web=web)
    assert sum(one.instances or 0 for one in series) == len(pictures.of(study))
    assert {one.study_uid for one in series} == {study} and len({one.series_uid for one in series}) in (1, 2)


@each_protocol
@pytest.mark.parametrize(
    "match", [{"Modality": "MR"}, {"StudyDate": "20210101-"}, {"PatientID": "nobody"}], ids=str
)
def test_what_does_not_match_is_not_found(
    orthanc: Orthanc, pictures: Pictures, match: dict[str, str], web: bool
) -> None:
    match = {"StudyInstanceUID": pictures.studies[0], **match}
    assert find(orthanc.archive, match, web=web) == []
    assert find(orthanc.archive, match, "series", web=web) == []


@each_protocol
def test_too_wide_a_query_is_refused(orthanc: Orthanc, web: bool) -> None:
    with coded(PacsQueryTooWide):
        find(orthanc.archive, {"PatientName": "Mue*"}, limit=1, web=web)


@each_method
def test_the_same_pictures_arrive(orthanc: Orthanc, pictures: Pictures, inbox: Path, method: Method) -> None:
    shown: list[Retrieved] = []
    found = of_this_test(orthanc, pictures, method)
    result = retrieve(orthanc.archive, found, inbox, orthanc.receiver, method, shown.append)
    assert result == Retrieved(expected=len(pictures.files), new=len(pictures.files))
    assert [one.new for one in shown] == list(range(len(pictures.files) + 1))
    assert_same(inbox, pictures.files)
    assert inbox.stat().st_mode & 0o777 == 0o700


@each_method
def test_only_what_is_missing_is_fetched(
    orthanc: Orthanc, pictures: Pictures, inbox: Path, method: Method
) -> None:
    found = of_this_test(orthanc, pictures, method)
    retrieve(orthanc.archive, found[:1], inbox, orthanc.receiver, method)
    kept = stored(inbox)
    lost = sorted(kept)[:2]
    for uid in lost:
        kept.pop(uid).unlink()
    before = {path: path.stat().st_ino for path in kept.values()}
    result = retrieve(orthanc.archive, found, inbox, orthanc.receiver, method)
    total = len(pictures.files)
    assert result == Retrieved(expected=total, new=total - len(kept), already=len(kept))
    assert {path: path.stat().st_ino for path in before} == before
    assert_same(inbox, pictures.files)


@each_method
def test_an_archive_that_dies_leaves_nothing_half_written(
    tmp_path: Path, inbox: Path, method: Method
) -> None:
    # 15 MB: more than the sockets of a dead process still deliver
    pictures = write_studies(tmp_path / "pictures", [(30,)], seed=1, edge=512)
    orthanc = Orthanc(tmp_path / "orthanc")

    def kill(progress: Retrieved) -> None:
        if progress.new == 2:
            orthanc.kill()

    with orthanc.started():
        orthanc.add(pictures.files.values())
        found = of_this_test(orthanc, pictures, method)
        with coded(PacsIncomplete):
            retrieve(orthanc.archive, found, inbox, orthanc.receiver, method, kill)
    arrived = len(stored(inbox))
    assert 2 <= arrived < len(pictures.files)
    with orthanc.started():
        result = retrieve(orthanc.archive, found, inbox, orthanc.receiver, method)
    assert result == Retrieved(expected=30, new=30 - arrived, already=arrived)
    assert_same(inbox, pictures.files)


@each_method
def test_what_the_inbox_cannot_keep_is_a_coded_error(
    orthanc: Orthanc, pictures: Pictures, inbox: Path, tmp_path: Path, method: Method
) -> None:
    found = of_this_test(orthanc, pictures, method)
    full = orthanc.receiver.model_copy(update={"min_free_bytes": 2**60})
    with pytest.raises(DiskFull):
        retrieve(orthanc.archive, found, inbox, full, method)
    assert not stored(inbox)
    large = write_studies(tmp_path / "large", [(2,)], seed=2, edge=1024)
    orthanc.add(large.files.values())
    small = orthanc.receiver.model_copy(update={"max_object_bytes": MIB})
    with coded(PacsIncomplete):
        retrieve(orthanc.archive, of_this_test(orthanc, large, method), inbox, small, method)
    assert not stored(inbox)


@each_method
def test_nobody_there_is_a_coded_error(orthanc: Orthanc, inbox: Path, method: Method) -> None:
    port = free_port()
    nobody = orthanc.archive.model_copy(update={"port": port, "url": f"http://127.0.0.1:{port}/dicom-web"})
    with coded(PacsUnreachable):
        retrieve(nobody, [Found("1.2.3")], inbox, orthanc.receiver, method)


@pytest.mark.parametrize(
    ("change", "web"),
    [
        ({"ae_title": "SOMEBODY"}, False),
        ({"calling_ae_title": "STRANGER"}, False),
        ({"url": "http://127.0.0.1:{http}/elsewhere"}, True),
        ({"user": "stranger"}, True),
    ],
    ids=["another called title", "unknown title", "wrong path", "wrong user"],
)
def test_a_refusal_is_a_coded_error(orthanc: Orthanc, change: dict[str, Any], web: bool) -> None:
    change = {key: value.format(http=orthanc.http_port) for key, value in change.items()}
    with coded(PacsRefused):
        find(orthanc.archive.model_copy(update=change), {"PatientName": SECRET}, web=web)


def test_a_wrong_password_is_refused(orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    with coded(PacsRefused):
        find(orthanc.archive, {}, web=True)


def test_a_receiver_that_the_archive_does_not_know_is_a_refusal(
    orthanc: Orthanc, pictures: Pictures, inbox: Path
) -> None:
    found = of_this_test(orthanc, pictures, "move")
    unknown = orthanc.receiver.model_copy(update={"ae_title": "UNKNOWN"})
    with coded(PacsRefused):
        retrieve(orthanc.archive, found, inbox, unknown, "move")


def test_plain_dicom_is_no_tls(orthanc: Orthanc) -> None:
    secured = Archive.model_validate({**orthanc.archive.model_dump(), "tls": {}})
    with coded(PacsUnreachable):
        find(secured, {})


@pytest.fixture(scope="module")
def real(orthanc: Orthanc, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Series of real scanners, held by the archive."""
    folder, files = tmp_path_factory.mktemp("real"), {}
    for uid, path in stored(data_folder / "dicom" / "series").items():
        head = dcmread(path, stop_before_pixels=True)
        copy = folder / head.StudyInstanceUID / head.SeriesInstanceUID / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        files[uid] = Path(shutil.copy(path, copy))
    orthanc.add(files.values())
    return Pictures(files)


@each_method
def test_real_series_arrive_as_they_are(
    orthanc: Orthanc, real: Pictures, inbox: Path, method: Method
) -> None:
    found = of_this_test(orthanc, real, method)
    result = retrieve(orthanc.archive, found, inbox, orthanc.receiver, method)
    assert result == Retrieved(expected=len(real.files), new=len(real.files))
    assert_same(inbox, real.files)
