"""Asking and fetching from DCMTK's dcmqrscp, which searches level by level and knows few keys."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.pacs.query import find
from client.pacs.retrieval import Method, Retrieved, retrieve
from client.pacs.settings import Archive, Receiver
from common.errors import PacsRefused
from tests.e2e.pacs.conftest import (
    OUR_TITLE,
    Pictures,
    assert_same,
    free_port,
    program,
    running,
    stored,
    write_studies,
)

CONFIGURATION = """
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16

HostTable BEGIN
us = ({title}, 127.0.0.1, {receiver})
HostTable END

VendorTable BEGIN
VendorTable END

AETable BEGIN
DCMQRSCP {folder} RW (200, 1024mb) ANY
AETable END
"""


@pytest.fixture(scope="module")
def receiver() -> Receiver:
    return Receiver(ae_title=OUR_TITLE, port=free_port(), min_free_bytes=0)


@pytest.fixture(scope="module")
def natives(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Uncompressed pictures: dcmqrscp sends all objects of a class in one transfer syntax."""
    return write_studies(tmp_path_factory.mktemp("natives"), [(4, 3), (5,)], seed=3, mixed=False)


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, natives: Pictures, receiver: Receiver
) -> Iterator[Archive]:
    """A dcmqrscp that holds ``natives``."""
    folder, port = tmp_path_factory.mktemp("dcmqrscp"), free_port()
    (folder / "storage").mkdir()
    (folder / "dcmqrscp.cfg").write_text(
        CONFIGURATION.format(port=port, title=OUR_TITLE, receiver=receiver.port, folder=folder / "storage")
    )
    files = [str(path) for path in natives.files.values()]
    subprocess.run(
        [program("dcmqridx"), str(folder / "storage"), *files], check=True, capture_output=True, timeout=60
    )
    command = [program("dcmqrscp"), "-c", str(folder / "dcmqrscp.cfg")]
    with running(command, [port], folder / "log.txt"):
        yield Archive(
            host="127.0.0.1",
            port=port,
            ae_title="DCMQRSCP",
            calling_ae_title=OUR_TITLE,
            network_timeout_s=10.0,
            response_timeout_s=20.0,
        )


def test_studies_and_series_are_found(archive: Archive, natives: Pictures) -> None:
    studies = find(archive, {"StudyDate": "20200101-20200131", "Modality": "CT"})
    assert {one.study_uid for one in studies} == set(natives.studies)
    series = find(archive, {"Modality": "CT", "StudyInstanceUID": natives.studies[0]}, "series")
    assert {one.series_uid for one in series} == {
        path.parent.name for path in natives.files.values() if natives.studies[0] in path.parts
    }
    assert find(archive, {"Modality": "MR"}) == find(archive, {"Modality": "MR"}, "series") == []


def test_a_key_that_is_not_searched_by_is_refused(archive: Archive) -> None:
    with pytest.raises(PacsRefused, match="ManufacturerModelName"):
        find(archive, {"ManufacturerModelName": "nothing"}, "series")


@pytest.mark.parametrize("method", ["move", "get"])
def test_the_same_pictures_arrive(
    archive: Archive, receiver: Receiver, natives: Pictures, inbox: Path, method: Method
) -> None:
    found = find(archive, {"Modality": "CT"})
    total = len(natives.files)
    assert retrieve(archive, found, inbox, receiver, method) == Retrieved(total, new=total)
    assert_same(inbox, natives.files)
    lost = sorted(stored(inbox).items())[:3]
    for _, path in lost:
        path.unlink()
    again = retrieve(archive, found, inbox, receiver, method)
    assert again == Retrieved(total, new=len(lost), already=total - len(lost))
    assert_same(inbox, natives.files)
