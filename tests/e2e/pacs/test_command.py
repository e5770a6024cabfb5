"""``consilium site receive``, ``query`` and ``retrieve`` as a data manager runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import typer
from click.testing import Result
from typer.testing import CliRunner

from client.cohorts.home import create_home
from client.pacs.settings import Archive, Receiver
from common.errors import ConsiliumError
from deploy.cli import pacs
from tests.e2e.pacs.conftest import (
    OUR_TITLE,
    SECRET,
    Orthanc,
    Pictures,
    assert_same,
    free_port,
    program,
    stored,
    wait_for_listener,
)

app = typer.Typer()
app.command("receive")(pacs.receive)
app.command("query")(pacs.query)
app.command("retrieve")(pacs.retrieve)


def write_home(folder: Path, receiver: Receiver, archive: Archive | None) -> Path:
    """A site that knows the receiver and the archive ``pacs``."""
    create_home(folder, "alder")
    document: dict[str, Any] = {
        "name": "alder",
        "receive": receiver.model_dump(mode="json", exclude_none=True),
    }
    if archive is not None:
        document["archives"] = {"pacs": archive.model_dump(mode="json", exclude_none=True)}
    (folder / "site.toml").write_text(tomli_w.dumps(document))
    return folder


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=True)


@pytest.fixture
def home(tmp_path: Path, orthanc: Orthanc) -> Path:
    return write_home(tmp_path / "home", orthanc.receiver, orthanc.archive)


@pytest.mark.parametrize(
    "options", [["--method", "web"], ["--level", "series", "--method", "get"], []], ids=str
)
def test_a_study_is_found_and_fetched(home: Path, pictures: Pictures, options: list[str]) -> None:
    study = pictures.studies[0]
    match = ["--match", f"StudyInstanceUID={study}", "--match", "Modality=CT", "--home", str(home)]
    found = invoke("query", "pacs", *match, "--json")
    assert found.exit_code == 0, found.output
    assert [one["study_uid"] for one in json.loads(found.stdout)["found"]] == [study]
    shown = invoke("query", "pacs", *match)
    assert study in "".join(shown.stdout.split()) and SECRET not in shown.output
    total = len(pictures.of(study))
    for new in (total, 0):
        fetched = invoke("retrieve", "pacs", *match, *options, "--json")
        assert fetched.exit_code == 0, fetched.output
        counts = json.loads(fetched.stdout)
        assert (counts["expected"], counts["new"], counts["already"]) == (total, new, total - new)
    assert_same(home / "inbox", {uid: pictures.files[uid] for uid in pictures.of(study)})
    audit = (home / "audit.jsonl").read_text()
    assert "pacs.queried" in audit and "pacs.retrieved" in audit
    assert study not in audit and SECRET not in audit


def test_what_failed_is_in_the_audit_log(home: Path, pictures: Pictures) -> None:
    settings = (home / "site.toml").read_text()
    (home / "site.toml").write_text(settings.replace("min_free_bytes = 0", f"min_free_bytes = {2**60}"))
    failed = invoke("retrieve", "pacs", "--home", home, "--match", f"StudyInstanceUID={pictures.studies[0]}")
    assert isinstance(failed.exception, ConsiliumError) and failed.exception.code == "disk-full"
    assert "disk-full" in (home / "audit.jsonl").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["query", "pacs", "--match", "Modalitty=CT"], "Modalitty"),
        (["query", "pacs", "--match", "CT"], "KEY=VALUE"),
        (["retrieve", "pacs", "--match", "Modality=CT", "--match", "Modality=MR"], "once"),
    ],
)
def test_a_question_that_cannot_be_asked_is_wrong_usage(home: Path, arguments: list[str], told: str) -> None:
    result = invoke(*arguments, "--home", home)
    assert result.exit_code == 2 and told in result.output


def test_an_unknown_archive_is_a_coded_error(home: Path) -> None:
    result = invoke("query", "elsewhere", "--home", home)
    assert isinstance(result.exception, ConsiliumError) and "pacs" in result.exception.private


def test_a_receiver_takes_what_is_sent(tmp_path: Path, pictures: Pictures) -> None:
    receiver = Receiver(port=free_port(), allowed_ae_titles=("STORESCU",), min_free_bytes=0)
    home = write_home(tmp_path / "home", receiver, None)
    folder = next(iter(pictures.files.values())).parents[2]

    command = [program("storescu"), "-aec", OUR_TITLE, "-xr", "-R", "+sd", "+r"]

    def send() -> None:
        wait_for_listener(receiver.port)
        subprocess.run([*command, "127.0.0.1", str(receiver.port), str(folder)], check=True, timeout=60)

        os.kill(os.getpid(), signal.SIGTERM)  # as a service is ended

    sender = threading.Thread(target=send)
    sender.start()
    result = invoke("receive", "--home", home, "--inbox", tmp_path / "elsewhere", "--for-s", "60", "--json")
    sender.join()
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["new"] == len(pictures.files)
    assert_same(tmp_path / "elsewhere", pictures.files)
    assert not stored(home / "inbox")
    assert "pacs.received" in (home / "audit.jsonl").read_text()
