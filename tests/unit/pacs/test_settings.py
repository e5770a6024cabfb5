"""What site.toml may say of the receiver and of archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from client.pacs.settings import Archive, ClientTls, Receiver, ServerTls
from client.pacs.tls import client_context, server_context
from common.errors import HomeInvalid

DIMSE = {"host": "pacs.example.org", "port": 104, "ae_title": "PACS"}
WEB = {"url": "https://pacs.example.org/dicom-web"}


def test_a_receiver_allows_nobody_and_listens_at_this_machine_only() -> None:
    settings = Receiver()
    assert settings.allowed_ae_titles == () and settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("given", "speaks_dimse", "where"),
    [
        (DIMSE, True, "pacs.example.org:104"),
        (WEB, False, "pacs.example.org:443"),
        ({**DIMSE, "url": "http://pacs.example.org:8042/x"}, True, "pacs.example.org:8042"),
    ],
)
def test_an_archive_speaks_dicom_or_dicomweb_or_both(
    given: dict[str, Any], speaks_dimse: bool, where: str
) -> None:
    archive = Archive.model_validate(given)
    assert archive.speaks_dimse is speaks_dimse
    assert where in (archive.where, archive.where_web)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"host": "pacs.example.org"},
        {**DIMSE, "ae_title": "A TITLE THAT IS TOO LONG"},
        {**DIMSE, "ae_title": "BACK\\SLASH"},
        {**DIMSE, "ae_title": ""},
        {**DIMSE, "port": 0},
        {**DIMSE, "password": "secret"},
        {"url": "https://user:secret@pacs.example.org/dicom-web"},
        {"url": "ftp://pacs.example.org"},
        {**WEB, "user": "us"},
        {**WEB, "password_env": "PASSWORD"},
        {**WEB, "user": "us", "password_env": "PASSWORD", "token_env": "TOKEN"},
        {"url": "http://pacs.example.org", "token_env": "TOKEN"},
        {**WEB, "token_file": "relative/token"},
        {**DIMSE, "tls": {"certificate": "/a.pem"}},
    ],
    ids=str,
)
def test_an_archive_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Archive.model_validate(given)


def test_a_secret_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACS_TOKEN", "from the environment")
    (tmp_path / "password").write_text("from a file\n")
    assert Archive.model_validate(WEB).secret() is None
    token = Archive.model_validate({**WEB, "token_env": "PACS_TOKEN"})
    assert token.secret() == ("token", "from the environment")
    password = Archive.model_validate({**WEB, "user": "us", "password_file": tmp_path / "password"})
    assert password.secret() == ("password", "from a file")
    (tmp_path / "password").unlink()
    monkeypatch.delenv("PACS_TOKEN")
    for archive in (token, password):
        with pytest.raises(HomeInvalid):
            archive.secret()


def test_certificates_that_cannot_be_used_are_a_coded_error(tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("no certificate")
    for path in (tmp_path / "broken.pem", tmp_path / "missing.pem"):
        with pytest.raises(HomeInvalid):
            client_context(ClientTls(ca=path))
        with pytest.raises(HomeInvalid):
            server_context(ServerTls(certificate=path, key=path))
