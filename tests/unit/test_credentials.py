"""The throw-away keys of a federation on the loopback address."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from deploy.engines.superlink.credentials import (
    LOOPBACK,
    LinkCredentials,
    write_link_credentials,
    write_site_key,
)


@pytest.fixture
def credentials(tmp_path: Path) -> LinkCredentials:
    return write_link_credentials(tmp_path)


def _handshake(server_files: LinkCredentials, ca_certificate: Path, name: str) -> str | None:
    """Return the protocol that a strict client and a server with these files agree on."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(server_files.certificate, server_files.key)
    client_side = ssl.create_default_context(cafile=ca_certificate)
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            server_side.wrap_socket(far, server_side=True).close()
        except OSError:  # the client hung up: it is the one that judges
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_side.wrap_socket(near, server_hostname=name) as connection:
            return connection.version()
    finally:
        near.close()
        thread.join()


@pytest.mark.parametrize("name", [LOOPBACK, "localhost"])
def test_a_strict_client_trusts_the_server_on_loopback(credentials: LinkCredentials, name: str) -> None:
    assert _handshake(credentials, credentials.ca_certificate, name) == "TLSv1.3"


def test_no_other_name_is_trusted(credentials: LinkCredentials) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        _handshake(credentials, credentials.ca_certificate, "hospital.example")


def test_two_federations_do_not_trust_each_other(credentials: LinkCredentials, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write_link_credentials(tmp_path / "other")
    assert other.secret.read_bytes() != credentials.secret.read_bytes()
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(other, credentials.ca_certificate, LOOPBACK)


def test_a_site_key_is_the_pair_that_flower_reads(tmp_path: Path) -> None:
    key = write_site_key(tmp_path)
    private = load_ssh_private_key(key.private.read_bytes(), None)
    public = load_ssh_public_key(key.public.read_bytes())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.curve.name == "secp384r1"
    assert private.public_key() == public


def test_all_files_are_for_their_owner_alone(credentials: LinkCredentials, tmp_path: Path) -> None:
    write_site_key(tmp_path)
    files = list(tmp_path.iterdir())
    assert len(files) == 6
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_authority_can_sign_nothing_more(credentials: LinkCredentials) -> None:
    folder = credentials.key.parent
    keys = [file.name for file in folder.iterdir() if b"PRIVATE KEY" in file.read_bytes()]
    assert keys == [credentials.key.name]


def test_existing_keys_are_not_overwritten(credentials: LinkCredentials) -> None:
    with pytest.raises(FileExistsError):
        write_link_credentials(credentials.key.parent)
