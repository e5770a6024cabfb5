"""Throw-away keys for a federation on this machine's loopback address.

Invariants: every private key file is readable by its owner only, the key of the authority that signs the
server's certificate is never written, and no two federations share anything.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = "127.0.0.1"

# Longer than any run: an expired certificate would break the connections of a training that takes weeks.
_VALID_FOR = timedelta(days=366)
# A clock that is set back while the run goes on must not make the certificate one from the future.
_CLOCK_SLACK = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LinkCredentials:
    """Files that one SuperLink and its peers need."""

    ca_certificate: Path
    certificate: Path
    key: Path
    secret: Path


@dataclass(frozen=True, slots=True)
class SiteKey:
    """Files of one site's authentication key, in the OpenSSH formats that Flower reads."""

    private: Path
    public: Path


def write_link_credentials(folder: Path) -> LinkCredentials:
    """Return new credentials for a server on the loopback address.

    Args:
        folder: An existing folder that the files are written to.

    Returns:
        The authority's certificate, the server's certificate and key, and the secret that a SuperExec
        shows to its SuperLink or SuperNode.
    """
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _ca_certificate(ca_key)
    certificate = _server_certificate(key.public_key(), ca, ca_key)
    return LinkCredentials(
        ca_certificate=_write(folder / "ca.crt", ca.public_bytes(Encoding.PEM)),
        certificate=_write(folder / "server.crt", certificate.public_bytes(Encoding.PEM)),
        key=_write(
            folder / "server.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        ),
        secret=_write(folder / "superexec.secret", secrets.token_hex(32).encode()),
    )


def write_site_key(folder: Path) -> SiteKey:
    """Return a new key pair (NIST P-384) that tells a site from every other.

    Args:
        folder: An existing folder that ``node.key`` and ``node.pub`` are written to.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    return SiteKey(
        private=_write(
            folder / "node.key", key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        ),
        public=_write(
            folder / "node.pub", key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        ),
    )


def _write(path: Path, content: bytes) -> Path:
    # Created with its final mode: a chmod afterwards would leave an instant in which others can open it.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ca_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("Consilium local authority")
    return (
        _unsigned(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _server_certificate(
    key: ec.EllipticCurvePublicKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(LOOPBACK)), x509.DNSName("localhost")])
    # Python 3.13 refuses chains without the authority's key identifier.
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _unsigned(_name("Consilium local SuperLink"), ca.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(issuer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
