"""Private keys: made, kept in files that only their owner can open, and used to sign.

A key is P-256 or Ed25519 and no other. No text of an error holds a byte of a key or of a passphrase.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TypeGuard

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from common.errors import KeyUnreadable
from common.identity.vault import Folder, read_secret, write_secret

PrivateKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | Ed25519PublicKey

_PASSPHRASE_LIMIT = 1023  # bytes that OpenSSL takes
_LINE_END = re.compile(rb"\r?\n\Z")


def new_tls_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key, for certificates: gRPC offers no Ed25519."""
    return ec.generate_private_key(ec.SECP256R1())


def new_signing_key() -> Ed25519PrivateKey:
    """A new Ed25519 key, for what a coordinator signs: contracts, invitations, envelopes."""
    return Ed25519PrivateKey.generate()


def write_key(path: Path, key: PrivateKey, passphrase: bytes | None = None) -> None:
    """Write a key to a new file with mode 0600, on the disk when this returns.

    Args:
        path: Where; its folder exists and has mode 0700.
        key: What, as PKCS #8 in PEM.
        passphrase: What it is encrypted under; None for not at all.

    Raises:
        IdentityExists: Something is there already; it stays as it is.
        KeyUnsafe: Others may enter the folder, it is somebody else's, or a symbolic link.
        KeyUnreadable: The passphrase is empty or too long to be read again.
        DiskFull, OutputUnwritable: It cannot be written, and nothing of it is left.
    """
    write_secret(path, key_pem(key, passphrase), Folder.CLOSED)


def read_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """The key in a file.

    Raises:
        KeyUnsafe: Others may open the file or enter its folder; or one of them is somebody else's, or a
            symbolic link.
        KeyUnreadable: There is none, it is no P-256 or Ed25519 key, or the passphrase is missing, wrong or
            one too many.
    """
    content = read_secret(path, Folder.CLOSED)
    try:
        return key_of(content, passphrase)
    except KeyUnreadable as error:
        raise KeyUnreadable(f"{path}: {error}") from None


def read_passphrase(path: Path) -> bytes:
    """The passphrase in a file, without the line end that an editor puts behind it.

    Raises:
        KeyUnsafe: Others may open the file or change its folder, it is somebody else's, or a symbolic link.
        KeyUnreadable: There is none, or it is empty or too long.
    """
    # Unlike a key's, its folder may be one that others look into: credentials are often mounted so.
    passphrase = _LINE_END.sub(b"", read_secret(path, Folder.UNCHANGEABLE))
    _check_passphrase(passphrase, f"{path}: ")
    return passphrase


def key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """A key as PKCS #8 in PEM, for a file or for gRPC.

    Raises:
        KeyUnreadable: The passphrase is empty or too long.
    """
    if passphrase is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _check_passphrase(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def key_of(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """The key that :func:`key_pem` wrote.

    Raises:
        KeyUnreadable: It is no P-256 or Ed25519 key, or the passphrase is missing, wrong or one too many.
    """
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError:
        said = "has a passphrase; none was" if passphrase is None else "has no passphrase; one was"
        raise KeyUnreadable(f"the key {said} given") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnreadable("this is no key, or its passphrase is another") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and is_p256(key.public_key()):
        return key
    raise KeyUnreadable("this is neither a P-256 nor an Ed25519 key")


def sign(key: PrivateKey, data: bytes) -> bytes:
    """The signature of ``data``: Ed25519 (RFC 8032), or ECDSA with SHA-256 (FIPS 186-5) in DER."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(data)
    return key.sign(data, ec.ECDSA(SHA256()))


def verify(public: PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether :func:`sign` made ``signature`` of ``data`` with the key that ``public`` belongs to."""
    try:
        if isinstance(public, Ed25519PublicKey):
            public.verify(signature, data)
        else:
            public.verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def is_p256(public: object) -> TypeGuard[ec.EllipticCurvePublicKey]:
    """Whether it is a public key on P-256."""
    return isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)


def public_text(public: PublicKey) -> str:
    """A public key on one line: base64 of its DER SubjectPublicKeyInfo."""
    return base64.b64encode(_der(public)).decode()


def public_of(text: str) -> PublicKey:
    """The key that :func:`public_text` wrote.

    Raises:
        KeyUnreadable: It is no P-256 or Ed25519 key, or not spelt as that function spells it.
    """
    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnreadable("this is no public key") from None
    if (isinstance(key, Ed25519PublicKey) or is_p256(key)) and public_text(key) == text:
        return key
    raise KeyUnreadable("this is no P-256 or Ed25519 public key in its one spelling")


def fingerprint(public: PublicKey) -> str:
    """SHA-256 of a key's DER SubjectPublicKeyInfo, in hexadecimal."""
    return hashlib.sha256(_der(public)).hexdigest()


def _der(public: PublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_passphrase(passphrase: bytes, where: str = "") -> None:
    if not 0 < len(passphrase) <= _PASSPHRASE_LIMIT:
        raise KeyUnreadable(f"{where}a passphrase has 1 to {_PASSPHRASE_LIMIT} bytes")
