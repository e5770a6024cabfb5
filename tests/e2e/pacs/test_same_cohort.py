"""Whichever way pictures come from the archive, they end as the cohort that the files on disk are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from client.cohorts.home import Home, create_home
from client.cohorts.intake import Request, take_in
from client.cohorts.rules import Rules
from client.pacs.inbox import Inbox
from client.pacs.query import find
from client.pacs.receiver import Listener
from client.pacs.retrieval import Method, retrieve
from tests.e2e.pacs.conftest import OUR_TITLE, Orthanc, Pictures, program

RULES = Rules(sequence="slices")
SLICES = 4 + 3 + 5


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return create_home(tmp_path_factory.mktemp("site") / "home", "alder")


@pytest.fixture(scope="module")
def from_disk(home: Home, pictures: Pictures) -> str:
    """Fingerprint of the cohort that the files on disk are."""
    return taken_in(home, "disk", *pictures.files.values())


def taken_in(home: Home, name: str, *roots: Path) -> str:
    cohort = take_in(home, Request(name, roots, RULES))
    assert cohort.ready and cohort.fingerprint
    return cohort.fingerprint


@pytest.mark.parametrize("method", ["move", "get", "web"])
def test_what_orthanc_sends_is_the_same_cohort(
    home: Home, from_disk: str, orthanc: Orthanc, pictures: Pictures, inbox: Path, method: Method
) -> None:
    for study in pictures.studies:
        found = find(orthanc.archive, {"StudyInstanceUID": study}, web=method == "web")
        retrieve(orthanc.archive, found, inbox, orthanc.receiver, method)
    assert len(list(inbox.rglob("*.dcm"))) == SLICES
    assert taken_in(home, method, inbox) == from_disk


def test_what_dcmtk_sends_is_the_same_cohort(
    home: Home, from_disk: str, orthanc: Orthanc, pictures: Pictures, inbox: Path
) -> None:
    settings = orthanc.receiver.model_copy(update={"port": 0, "allowed_ae_titles": ("STORESCU",)})
    with Inbox(inbox, settings) as box, Listener(settings, box) as listener:
        sender = [program("storescu"), "-xr", "-R", "-aec", OUR_TITLE, "127.0.0.1", str(listener.port)]
        subprocess.run([*sender, *map(str, pictures.files.values())], check=True, capture_output=True)
    assert taken_in(home, "store", inbox) == from_disk


def test_another_picture_is_another_cohort(home: Home, from_disk: str, pictures: Pictures) -> None:
    most = list(pictures.files.values())[1:]
    assert taken_in(home, "less", *most) != from_disk
