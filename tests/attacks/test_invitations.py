"""An invitation is good for one site, once, for a while, and as it was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from client.cohorts.home import Home, create_home
from client.link import enrol
from common.chain import canonical, utc_now
from common.errors import CertificateRefused, ConsiliumError
from common.identity import (
    Invitation,
    new_invitation_id,
    new_signing_key,
    public_text,
    read_invitation,
    signed,
    write_invitation,
)
from deploy.cli import enrolment
from tests.attacks.federation import ALDER, COORDINATOR, Federation, Ward


@pytest.fixture
def invitation(federation: Federation) -> Invitation:
    """An invitation of a site called juniper."""
    return federation.home.enrolment.invite("juniper")


def code_of(folder: Path, invitation: Invitation) -> str:
    """The code with which an enrolment is turned away."""
    with pytest.raises(ConsiliumError) as raised:
        enrol(folder / "link", invitation, utc_now())
    assert not (folder / "link" / "certificate.pem").exists()
    return raised.value.code


def test_used_twice(invitation: Invitation, federation: Federation, tmp_path: Path) -> None:
    enrol(tmp_path / "first" / "link", invitation, utc_now())
    refused = {"role": "invitation", "name": invitation.id}
    with federation.refusing(COORDINATOR, "enrolment.refused", "invitation-used", **refused):
        assert code_of(tmp_path / "second", invitation) == "invitation-used"


def test_late(invitation: Invitation, federation: Federation, tmp_path: Path) -> None:
    with federation.refusing(COORDINATOR, "link.refused", "certificate-expired", call="Enrol"):
        federation.clock.ahead = timedelta(hours=73)
        assert code_of(tmp_path, invitation) == "certificate-expired"
        federation.clock.ahead *= 0


def test_after_the_site_was_revoked(invitation: Invitation, federation: Federation, tmp_path: Path) -> None:
    assert federation.server.revoke("juniper")
    with federation.refusing(COORDINATOR, "enrolment.refused", "site-revoked", name=invitation.id):
        assert code_of(tmp_path, invitation) == "site-revoked"


def test_forged(invitation: Invitation, federation: Federation, tmp_path: Path) -> None:
    """With a certificate that the authority made, for an invitation that nobody gave."""
    home, name = federation.home, new_invitation_id()
    key, certificate = home.authority.bootstrap(name, utc_now(), 1.0)
    made = replace(
        invitation, id=name, bootstrap_key=key.decode(), bootstrap_certificate=certificate.decode()
    )
    with federation.refusing(COORDINATOR, "enrolment.refused", "invitation-invalid", name=name):
        assert code_of(tmp_path, signed(made, home.signing_key)) == "invitation-invalid"


def test_anothers(invitation: Invitation, federation: Federation, tmp_path: Path) -> None:
    """One invitation's certificate and another's name."""
    other = federation.home.enrolment.invite("juniper")
    mixed = replace(invitation, id=other.id)
    with federation.refusing(COORDINATOR, "enrolment.refused", "invitation-invalid", name=invitation.id):
        assert code_of(tmp_path, mixed) == "invitation-invalid"


@pytest.fixture
def at_the_hospital(alder: Ward, tmp_path: Path) -> Callable[[Invitation], Path]:
    """The file of an invitation, as alder's people have it."""
    path = tmp_path / "alder.invitation"

    def written(invitation: Invitation) -> Path:
        write_invitation(path, invitation)
        return path

    return written


def enrolled(path: Path, home: Home) -> None:
    """Run ``consilium site enrol``."""
    with pytest.raises(ConsiliumError):
        enrolment.enrol(path, home.folder)


@pytest.mark.parametrize("part", ["address", "site", "authority", "signature"])
def test_changed_by_one_byte(
    part: str, invitation: Invitation, at_the_hospital: Any, alder: Ward, federation: Federation
) -> None:
    path = at_the_hospital(invitation)
    document = json.loads(path.read_bytes())
    document[part] = document[part][:-1] + chr(ord(document[part][-1]) ^ 1)
    path.write_bytes(canonical(document) + b"\n")
    with federation.refusing(ALDER, "enrolment.refused", "invitation-invalid"):
        enrolled(path, alder.home)


def test_of_another_signer(
    invitation: Invitation, at_the_hospital: Any, alder: Ward, federation: Federation
) -> None:
    """Signed with a key of its own, which it brings along: the coordinator behind it is another one."""
    impostor = new_signing_key()
    own = replace(invitation, coordinator_key=public_text(impostor.public_key()))
    path = at_the_hospital(signed(own, impostor))
    assert read_invitation(path, utc_now()).site == "juniper"
    folder = alder.home.folder.parent / "elsewhere"
    home = create_home(folder, "juniper")
    with pytest.raises(CertificateRefused):
        enrolment.enrol(path, home.folder)
    assert ("enrolment.refused", "certificate-refused") in [
        (each.event, each.facts.get("code")) for each in home.audit_log.entries()
    ]


def test_late_by_the_hospitals_clock(
    invitation: Invitation,
    at_the_hospital: Any,
    alder: Ward,
    federation: Federation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("common.chain.utc_now", lambda: federation.clock() + timedelta(hours=73))
    with federation.refusing(ALDER, "enrolment.refused", "invitation-expired"):
        enrolled(at_the_hospital(invitation), alder.home)
        monkeypatch.undo()


def test_for_another_name(invitation: Invitation, federation: Federation, tmp_path: Path) -> None:
    with federation.refusing(COORDINATOR, "enrolment.refused", "certificate-refused", name=invitation.id):
        assert code_of(tmp_path, replace(invitation, site="alder")) == "certificate-refused"
