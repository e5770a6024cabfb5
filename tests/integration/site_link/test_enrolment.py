"""Enrolment: the key is made at the site and stays there; what comes back is looked at before it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from client.link import SiteIdentity, enrol
from client.link.identity import AUTHORITY, CERTIFICATE, COORDINATOR, KEY
from common.errors import (
    CertificateRefused,
    CoordinatorUnreachable,
    IdentityExists,
    InvitationUsed,
    KeyUnreadable,
    KeyUnsafe,
)
from common.identity import Authority, new_signing_key, new_tls_key, public_text, read_key, site_request
from common.link.link_pb2 import EnrolReply, EnrolRequest
from tests.integration.site_link.scripted import Coordinator, now


def refuse(request: EnrolRequest) -> EnrolReply:
    raise InvitationUsed


def test_a_site_enrols(coordinator: Coordinator, tmp_path: Path) -> None:
    folder, invitation = tmp_path / "home" / "link", coordinator.invitation()
    site = enrol(folder, invitation, now())
    assert (site.name, site.federation, site.address) == (
        "alder",
        coordinator.federation,
        coordinator.address,
    )
    again = SiteIdentity.read(folder, now())
    assert replace(again, key=site.key) == site
    assert public_text(site.coordinator) == invitation.coordinator_key
    assert coordinator.callers[0].role == "invitation"
    assert folder.stat().st_mode & 0o777 == 0o700
    names = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert names == {KEY: 0o600, CERTIFICATE: 0o600, AUTHORITY: 0o600, COORDINATOR: 0o600}


def test_the_key_stays_here(coordinator: Coordinator, tmp_path: Path) -> None:
    site = enrol(tmp_path / "link", coordinator.invitation(), now())
    key = read_key(tmp_path / "link" / KEY)
    assert public_text(key.public_key()) == public_text(site.identity.public)
    secret = site.key.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
    (request,) = coordinator.requests
    assert b"PRIVATE" not in request
    assert secret not in request


def test_a_key_under_a_passphrase(coordinator: Coordinator, tmp_path: Path) -> None:
    folder = tmp_path / "link"
    site = enrol(folder, coordinator.invitation(), now(), passphrase=b"open sesame")
    assert b"ENCRYPTED" in (folder / KEY).read_bytes()
    assert SiteIdentity.read(folder, now(), b"open sesame").identity == site.identity
    with pytest.raises(KeyUnreadable):
        SiteIdentity.read(folder, now())


def test_an_identity_is_not_replaced(coordinator: Coordinator, tmp_path: Path) -> None:
    enrol(tmp_path / "link", coordinator.invitation(), now())
    before = {path.name: path.read_bytes() for path in (tmp_path / "link").iterdir()}
    with pytest.raises(IdentityExists):
        enrol(tmp_path / "link", coordinator.invitation(), now())
    assert {path.name: path.read_bytes() for path in (tmp_path / "link").iterdir()} == before
    assert len(coordinator.requests) == 1


def test_another_attempt_is_made_with_the_same_key(coordinator: Coordinator, tmp_path: Path) -> None:
    """The coordinator may have given the certificate, and its answer was lost."""
    coordinator.enrols = refuse
    with pytest.raises(InvitationUsed):
        enrol(tmp_path / "link", coordinator.invitation(), now())
    key = (tmp_path / "link" / KEY).read_bytes()
    coordinator.enrols = coordinator.enrolled
    enrol(tmp_path / "link", coordinator.invitation(), now())
    assert (tmp_path / "link" / KEY).read_bytes() == key
    requests = [EnrolRequest.FromString(request) for request in coordinator.requests]
    assert len(requests) == 2


def test_a_folder_that_others_may_enter_is_not_used(coordinator: Coordinator, tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link").chmod(0o755)
    with pytest.raises(KeyUnsafe):
        enrol(tmp_path / "link", coordinator.invitation(), now())
    assert coordinator.requests == []


def test_nobody_is_there(coordinator: Coordinator, tmp_path: Path) -> None:
    invitation = coordinator.invitation()
    coordinator.stop()
    with pytest.raises(CoordinatorUnreachable):
        enrol(tmp_path / "link", invitation, now(), timeout_s=5.0)
    assert not (tmp_path / "link" / CERTIFICATE).exists()
    coordinator.start()


@pytest.mark.parametrize(
    "proxy", ["https://127.0.0.1:3128", "socks5://127.0.0.1:1080", "127.0.0.1:3128", "http://127.0.0.1", ""]
)
def test_a_proxy_that_cannot_be_used_is_not_passed_over(
    coordinator: Coordinator, tmp_path: Path, proxy: str
) -> None:
    with pytest.raises(CoordinatorUnreachable, match="proxy"):
        enrol(tmp_path / "link", coordinator.invitation(), now(), proxy=proxy)
    assert coordinator.requests == []
    assert not (tmp_path / "link").exists()


OTHERS = Authority.new("0123456789ab", now())

WRONG: dict[str, Callable[[Coordinator, EnrolReply, EnrolRequest], EnrolReply]] = {
    "another site": lambda told, reply, request: told.enrolled(other_request(told), "birch"),
    "another key": lambda told, reply, request: told.enrolled(other_request(told, "alder"), "alder"),
    "another federation": lambda told, reply, request: changed(reply, federation="0" * 12),
    "another authority": lambda told, reply, request: changed(reply, authority=OTHERS.pem),
    "another signing key": lambda told, reply, request: changed(
        reply, coordinator_key=public_text(new_signing_key().public_key()).encode()
    ),
    "no certificate": lambda told, reply, request: changed(reply, certificate=b"none"),
    "an invitation's certificate": lambda told, reply, request: changed(
        reply, certificate=told.invitation().bootstrap_certificate.encode()
    ),
}


def changed(reply: EnrolReply, **fields: bytes | str) -> EnrolReply:
    made = EnrolReply()
    made.CopyFrom(reply)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def other_request(coordinator: Coordinator, site: str = "birch") -> EnrolRequest:
    return EnrolRequest(csr=site_request(new_tls_key(), coordinator.federation, site))


@pytest.mark.parametrize("what", WRONG)
def test_an_answer_for_somebody_else_is_not_kept(what: str, coordinator: Coordinator, tmp_path: Path) -> None:
    coordinator.enrols = lambda request: WRONG[what](coordinator, coordinator.enrolled(request), request)
    with pytest.raises(CertificateRefused):
        enrol(tmp_path / "link", coordinator.invitation(), now())
    assert not (tmp_path / "link" / CERTIFICATE).exists()
