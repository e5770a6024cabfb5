"""Each certificate has one spelling, and the authority's has one form: whatever is changed is refused."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from common.errors import CertificateRefused
from common.identity import (
    Authority,
    anchor_of,
    identity_of,
)
from common.identity.profile import common_name

FEDERATION = "0123456789ab"

Forge = Callable[..., bytes]

# cryptography remarks on subjects that the certificates of these tests are damaged to have.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length")


@pytest.fixture(scope="module")
def good(forge: Forge) -> bytes:
    """A good certificate, in DER."""
    return x509.load_pem_x509_certificate(forge()).public_bytes(Encoding.DER)


@given(position=st.integers(min_value=0), change=st.integers(1, 255))
def test_a_certificate_with_any_byte_changed_is_refused(
    authority: Authority, good: bytes, now: datetime, position: int, change: int
) -> None:
    der = bytearray(good)
    der[position % len(der)] ^= change
    with pytest.raises(CertificateRefused):
        identity_of(_pem(bytes(der)), authority.pem, now)


@given(position=st.integers(min_value=0), change=st.integers(1, 255))
def test_an_authority_with_any_byte_changed_is_refused(
    authority: Authority, position: int, change: int
) -> None:
    der = bytearray(authority.certificate.public_bytes(Encoding.DER))
    der[position % len(der)] ^= change
    with pytest.raises(CertificateRefused):
        anchor_of(_pem(bytes(der)))


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


@given(st.binary(max_size=300))
def test_what_is_no_certificate_is_coded(authority: Authority, now: datetime, content: bytes) -> None:
    for pem in (content, _pem(content)):
        with pytest.raises(CertificateRefused):
            identity_of(pem, authority.pem, now)
        with pytest.raises(CertificateRefused):
            anchor_of(pem)


def test_only_an_authority_of_this_form_is_trusted(
    authority: Authority, forge: Forge, now: datetime, site_key: ec.EllipticCurvePrivateKey
) -> None:
    ca, usage, names, identifier = ((each.value, each.critical) for each in authority.certificate.extensions)
    free = ((x509.BasicConstraints(ca=True, path_length=None), True), usage, names, identifier)
    loose = (ca, usage, (names[0], False), identifier)
    unbound = (ca, usage, identifier)
    wider = x509.NameConstraints([x509.DNSName("internal")], None)
    for parts in (free, loose, unbound, (ca, usage, (wider, True), identifier)):
        pem = _self_signed(authority, parts)
        with pytest.raises(CertificateRefused):
            anchor_of(pem)
    assert anchor_of(_self_signed(authority, (ca, usage, names, identifier))).federation == FEDERATION
    with pytest.raises(CertificateRefused):
        anchor_of(_self_signed(authority, (ca, usage, names, identifier), common_name("Somebody")))
    with pytest.raises(CertificateRefused):
        anchor_of(forge())


def _self_signed(
    authority: Authority,
    parts: tuple[tuple[x509.ExtensionType, bool], ...],
    subject: x509.Name | None = None,
) -> bytes:
    name = subject or authority.certificate.subject
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(authority.key.public_key()).serial_number(1)
    builder = builder.not_valid_before(authority.certificate.not_valid_before_utc)
    builder = builder.not_valid_after(authority.certificate.not_valid_after_utc)
    for value, critical in parts:
        builder = builder.add_extension(value, critical)
    return builder.sign(authority.key, SHA256()).public_bytes(Encoding.PEM)


def test_an_anchor_says_what_people_compare(authority: Authority) -> None:
    anchor = anchor_of(authority.pem)
    assert (anchor.federation, anchor.fingerprint) == (FEDERATION, authority.fingerprint)
    assert len(anchor.fingerprint) == 64


def test_a_second_spelling_of_the_signature_changes_the_fingerprint_but_no_name_serial_or_key(
    authority: Authority, forge: Forge, now: datetime
) -> None:
    pem = forge()
    again = _pem(_respelt(x509.load_pem_x509_certificate(pem)))
    first, second = (identity_of(each, authority.pem, now) for each in (pem, again))
    assert first.fingerprint != second.fingerprint
    assert (first.name, first.serial, first.public) == (second.name, second.serial, second.public)


def _respelt(certificate: x509.Certificate) -> bytes:
    """A certificate in DER with the signature (r, n - s) for (r, s)."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # n of P-256, SEC 2
    r, s = decode_dss_signature(certificate.signature)
    other = b"\0" + encode_dss_signature(r, order - s)
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    body = certificate.tbs_certificate_bytes + ecdsa_with_sha256 + bytes([0x03, len(other)]) + other
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


def test_unused_bits_give_no_second_spelling(authority: Authority, forge: Forge, now: datetime) -> None:
    der = b"\1"
    while der[-1] & 1:  # the last bit must be zero to pass for unused
        der = x509.load_pem_x509_certificate(forge()).public_bytes(Encoding.DER)
    unused = len(der) - len(x509.load_der_x509_certificate(der).signature) - 1
    assert der[unused] == 0
    assert identity_of(_pem(der), authority.pem, now)
    with pytest.raises(CertificateRefused, match="spelt"):
        identity_of(_pem(der[:unused] + b"\1" + der[unused + 1 :]), authority.pem, now)
