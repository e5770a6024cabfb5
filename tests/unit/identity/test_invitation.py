"""An invitation: whole, in time, and good for nothing but enrolling."""

from __future__ import annotations

import json
import stat
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.chain import canonical
from common.errors import CertificateExpired, IdentityExists, InvitationExpired, InvitationInvalid
from common.identity import (
    Authority,
    Invitation,
    identity_of,
    new_signing_key,
    new_tls_key,
    public_text,
    read_invitation,
    signed,
    site_request,
    write_invitation,
)

FEDERATION = "0123456789ab"
NAMES = [field.name for field in fields(Invitation)]

# cryptography remarks on subjects that the certificates of these tests are damaged to have.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "invitation.json"


@pytest.fixture(scope="module")
def content(invitation: Invitation, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What is in the file of a good invitation."""
    path = tmp_path_factory.mktemp("invitation") / "invitation.json"
    write_invitation(path, invitation)
    return path.read_bytes()


def test_it_comes_back(path: Path, invitation: Invitation, now: datetime) -> None:
    write_invitation(path, invitation)
    assert read_invitation(path, now) == invitation
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_bytes())["consilium-invitation"] == 1


def test_it_is_never_written_over_anything(path: Path, invitation: Invitation) -> None:
    path.write_text("something else")
    with pytest.raises(IdentityExists):
        write_invitation(path, invitation)
    assert path.read_text() == "something else"


def test_it_names_the_authority_as_people_compare_it(invitation: Invitation, authority: Authority) -> None:
    assert invitation.authority_fingerprint == authority.fingerprint


def test_its_certificate_is_good_for_an_invitation_alone(
    invitation: Invitation, authority: Authority, now: datetime
) -> None:
    holder = identity_of(invitation.bootstrap_certificate.encode(), authority.pem, now)
    assert (holder.role, holder.name) == ("invitation", invitation.id)


def test_it_shows_nothing_of_its_key(path: Path, invitation: Invitation, now: datetime) -> None:
    lines = [line for line in invitation.bootstrap_key.splitlines() if "-----" not in line]
    assert lines
    broken = signed(replace(invitation, bootstrap_key=invitation.bootstrap_key[:-30]), new_signing_key())
    path.write_bytes(canonical({"consilium-invitation": 1, **_document(broken)}) + b"\n")
    with pytest.raises(InvitationInvalid) as caught:
        read_invitation(path, now)
    assert not [line for line in lines if line in f"{invitation!r}{caught.value!r}{caught.value.hint}"]


def test_an_unsigned_one_is_not_written(path: Path, invitation: Invitation) -> None:
    for wrong in ("", "0" * 128, invitation.signature.upper(), invitation.signature[:-2], "é" * 128):
        with pytest.raises(InvitationInvalid):
            write_invitation(path, replace(invitation, signature=wrong))
    with pytest.raises(InvitationInvalid):
        write_invitation(path, signed(invitation, new_signing_key()))
    assert not path.exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(min_value=0), change=st.integers(1, 255))
def test_any_byte_changed_is_noticed(
    path: Path, content: bytes, now: datetime, position: int, change: int
) -> None:
    spoilt = bytearray(content)
    spoilt[position % len(spoilt)] ^= change
    path.write_bytes(spoilt)
    with pytest.raises(InvitationInvalid):
        read_invitation(path, now)


def test_every_kind_of_change_at_every_byte_of_the_frame_is_noticed(
    path: Path, content: bytes, now: datetime
) -> None:
    """Without drawing lots: the case bit, which base64 and hexadecimal are read by."""
    for position in range(0, len(content), 7):
        spoilt = bytearray(content)
        spoilt[position] ^= 0x20
        path.write_bytes(spoilt)
        with pytest.raises(InvitationInvalid):
            read_invitation(path, now)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(min_value=0), length=st.integers(1, 50), added=st.binary(max_size=5))
def test_anything_cut_out_or_put_in_is_noticed(
    path: Path, content: bytes, now: datetime, start: int, length: int, added: bytes
) -> None:
    at = start % len(content)
    spoilt = content[:at] + added + content[at + length :]
    path.write_bytes(spoilt)
    if spoilt != content:
        with pytest.raises(InvitationInvalid):
            read_invitation(path, now)


def test_blanks_and_a_second_spelling_are_noticed(path: Path, content: bytes, now: datetime) -> None:
    document = json.loads(content)
    spellings = [
        content + b"\n",
        content.rstrip(b"\n"),
        b"\xef\xbb\xbf" + content,
        content.decode().encode("utf-16"),
        json.dumps(document, indent=1).encode(),
        content.replace(b'"consilium-invitation":1', b'"consilium-invitation":1.0'),
        content.replace(b'"consilium-invitation":1', b'"consilium-invitation":true'),
        content.replace(b'{"address"', b'{"address":"evil.example:1","address"'),
    ]
    for spelling in spellings:
        assert spelling != content
        path.write_bytes(spelling)
        with pytest.raises(InvitationInvalid):
            read_invitation(path, now)


def test_another_release_is_told(path: Path, content: bytes, now: datetime) -> None:
    first, second = b'"consilium-invitation":1', b'"consilium-invitation":2'
    for later in (content.replace(first, second), content.replace(b'"site":', b'"hospital":')):
        path.write_bytes(later)
        with pytest.raises(InvitationInvalid, match="another release"):
            read_invitation(path, now)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"1", b"null", b"{}", b'"a"', b"[" * 60_000, b"{" + b" " * 99999]
)
def test_other_json_is_no_invitation(path: Path, now: datetime, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InvitationInvalid):
        read_invitation(path, now)


def test_a_missing_one_is_named(path: Path, now: datetime) -> None:
    with pytest.raises(InvitationInvalid, match=r"invitation\.json"):
        read_invitation(path, now)
    with pytest.raises(InvitationInvalid):
        read_invitation(path.parent, now)


def _document(invitation: Invitation) -> dict[str, Any]:
    return {name: getattr(invitation, name) for name in NAMES}


def _written_anew(path: Path, invitation: Invitation, key: Ed25519PrivateKey, **changes: str) -> None:
    """Write it as somebody would who signs what he likes."""
    write_invitation(path, signed(replace(invitation, **changes), key))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "f" * 32},
        {"id": "../../../etc"},
        {"federation": "ba9876543210"},
        {"federation": ""},
        {"site": "Alder"},
        {"site": ""},
        {"site": "../alder"},
        {"address": "coordinator.example"},
        {"address": "coordinator.example:0"},
        {"address": "coordinator.example:65536"},
        {"address": "http://coordinator.example:443"},
        {"address": "coordinator.example:443/path"},
        {"address": "a b:443"},
        {"address": "unix:/run/x.sock"},
        {"authority": ""},
        {"authority": "é"},
        {"authority": "\ud800"},
        {"bootstrap_certificate": ""},
        {"bootstrap_key": ""},
        {"expires": ""},
        {"expires": "never"},
        {"expires": "2026-03-06T05:06:07"},
        {"expires": "2026-03-06T05:06:07Z"},
        {"expires": "2026-03-06T06:06:07+01:00"},
        {"expires": "9999-12-31T23:59:59-23:00"},
    ],
    ids=str,
)
def test_a_signature_alone_does_not_make_it_good(
    path: Path,
    invitation: Invitation,
    coordinator_key: Ed25519PrivateKey,
    now: datetime,
    changes: dict[str, str],
) -> None:
    _written_anew(path, invitation, coordinator_key, **changes)
    with pytest.raises(InvitationInvalid):
        read_invitation(path, now)


@pytest.mark.parametrize("address", ["10.0.0.1:1", "[::1]:65535", "coordinator.example:443", "a-b:50051"])
def test_addresses_that_can_be_dialled_are_taken(
    path: Path, invitation: Invitation, coordinator_key: Ed25519PrivateKey, now: datetime, address: str
) -> None:
    _written_anew(path, invitation, coordinator_key, address=address)
    assert read_invitation(path, now).address == address


def test_the_coordinators_key_must_be_a_signing_key(
    path: Path, invitation: Invitation, now: datetime
) -> None:
    key = new_tls_key()
    other = replace(invitation, coordinator_key=public_text(key.public_key()))
    path.write_bytes(canonical({"consilium-invitation": 1, **_document(other)}) + b"\n")
    with pytest.raises(InvitationInvalid):
        read_invitation(path, now)


def test_certificates_of_another_authority_role_or_key_do_not_go_with_it(
    path: Path,
    invitation: Invitation,
    authority: Authority,
    impostor: Authority,
    coordinator_key: Ed25519PrivateKey,
    now: datetime,
) -> None:
    key = new_tls_key()
    csr = site_request(key, FEDERATION, "alder")
    wrong = [
        {"authority": impostor.pem.decode()},
        {"bootstrap_certificate": impostor.bootstrap(invitation.id, now, 48)[1].decode()},
        {"bootstrap_certificate": authority.site_certificate(csr, "alder", now).decode()},
        {"bootstrap_certificate": authority.coordinator_certificate(key.public_key(), now).decode()},
        {"bootstrap_certificate": authority.bootstrap("f" * 32, now, 48)[1].decode()},
        {"bootstrap_key": authority.bootstrap(invitation.id, now, 48)[0].decode()},
    ]
    for number, changes in enumerate(wrong):
        there = path.with_name(f"{number}.json")
        _written_anew(there, invitation, coordinator_key, **changes)
        with pytest.raises(InvitationInvalid):
            read_invitation(there, now)


@pytest.mark.parametrize(
    ("offset", "error"),
    [
        (timedelta(hours=48), None),
        (timedelta(hours=48, seconds=1), InvitationExpired),
        (timedelta(days=300), InvitationExpired),
        (timedelta(minutes=-5), None),
        (timedelta(minutes=-6), CertificateExpired),
    ],
)
def test_it_has_its_time(
    path: Path, invitation: Invitation, now: datetime, offset: timedelta, error: type[Exception] | None
) -> None:
    write_invitation(path, invitation)
    when = (now + offset).astimezone(timezone(timedelta(hours=9)))
    if error is None:
        assert read_invitation(path, when) == invitation
        return
    with pytest.raises(error):
        read_invitation(path, when)


def test_a_damaged_one_is_not_called_expired(path: Path, content: bytes, now: datetime) -> None:
    path.write_bytes(content.replace(b'"site":"alder"', b'"site":"birch"'))
    with pytest.raises(InvitationInvalid):
        read_invitation(path, now + timedelta(days=300))
