"""The authority: what it issues, what it is asked, and how it is kept."""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AttributeOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from common.errors import CertificateExpired, CertificateRefused, IdentityExists, KeyUnreadable, KeyUnsafe
from common.identity import (
    Authority,
    identity_of,
    key_of,
    new_signing_key,
    new_tls_key,
    site_request,
    write_key,
)
from common.identity.profile import alternative_name, common_name

FEDERATION = "0123456789ab"
INVITATION_ID = "00112233445566778899aabbccddeeff"

Builder = x509.CertificateSigningRequestBuilder

# cryptography remarks on subjects that the certificates of these tests are damaged to have.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length")


def _builder(site: str = "alder", subject: str = "alder") -> Builder:
    named = Builder().subject_name(common_name(subject))
    return named.add_extension(alternative_name(FEDERATION, "site", site), critical=False)


def test_the_authority_signs_leaves_for_names_in_its_domain_and_no_more(authority: Authority) -> None:
    extensions = authority.certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not (usage.digital_signature or usage.crl_sign)
    names = extensions.get_extension_for_class(x509.NameConstraints)
    assert names.critical
    permitted, excluded = names.value.permitted_subtrees or [], names.value.excluded_subtrees or []
    assert [each.value for each in permitted] == ["0123456789ab.consilium.internal"]
    assert [str(each.value) for each in excluded] == ["0.0.0.0/0", "::/0"]


def test_two_authorities_share_nothing(authority: Authority, impostor: Authority) -> None:
    assert authority.fingerprint != impostor.fingerprint
    assert authority.key.public_key() != impostor.key.public_key()


def test_no_two_certificates_have_one_serial_number(authority: Authority, now: datetime) -> None:
    public = new_tls_key().public_key()
    pems = [authority.coordinator_certificate(public, now) for _ in range(10)]
    assert len({identity_of(pem, authority.pem, now).serial for pem in pems}) == 10


def test_lifetimes_are_as_asked(authority: Authority, now: datetime) -> None:
    key = new_tls_key()
    issued = {
        90: authority.coordinator_certificate(key.public_key(), now),
        7: authority.site_certificate(site_request(key, FEDERATION, "alder"), "alder", now, days=7),
        0.5: authority.bootstrap(INVITATION_ID, now, hours=12)[1],
    }
    for days, pem in issued.items():
        assert identity_of(pem, authority.pem, now).not_after == now + timedelta(days=days)


def test_no_leaf_outlives_its_authority(authority: Authority, now: datetime) -> None:
    end = authority.certificate.not_valid_after_utc
    late = end - timedelta(days=3)
    pem = authority.coordinator_certificate(new_tls_key().public_key(), late)
    assert identity_of(pem, authority.pem, end).not_after == end
    for outside in (end + timedelta(seconds=1), now - timedelta(minutes=6)):
        with pytest.raises(CertificateExpired, match="authority"):
            authority.coordinator_certificate(new_tls_key().public_key(), outside)


def test_a_bootstrap_key_belongs_to_its_certificate(authority: Authority, now: datetime) -> None:
    key, pem = authority.bootstrap(INVITATION_ID, now, hours=1)
    assert key_of(key).public_key() == identity_of(pem, authority.pem, now).public
    with pytest.raises(CertificateRefused):
        authority.bootstrap("alder", now, hours=1)


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["Ed25519", "RSA", "P-384"],
)
def test_no_other_kind_of_key_gets_a_certificate(authority: Authority, now: datetime, key: Any) -> None:
    with pytest.raises(CertificateRefused, match="P-256"):
        authority.coordinator_certificate(key.public_key(), now)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    csr = _builder().sign(key, algorithm).public_bytes(Encoding.PEM)
    with pytest.raises(CertificateRefused, match="P-256"):
        authority.site_certificate(csr, "alder", now)
    with pytest.raises(CertificateRefused, match="P-256"):
        site_request(key, FEDERATION, "alder")


def test_a_request_of_another_site_is_refused(authority: Authority, now: datetime) -> None:
    csr = site_request(new_tls_key(), FEDERATION, "birch")
    with pytest.raises(CertificateRefused):
        authority.site_certificate(csr, "alder", now)
    assert authority.site_certificate(csr, "birch", now)


def test_a_request_to_another_federation_is_refused(authority: Authority, now: datetime) -> None:
    with pytest.raises(CertificateRefused):
        authority.site_certificate(site_request(new_tls_key(), "ba9876543210", "alder"), "alder", now)


ASKING: dict[str, Callable[[], Builder]] = {
    "another name": lambda: _builder("birch"),
    "another subject": lambda: _builder(subject="birch"),
    "more subject": lambda: (
        Builder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.COMMON_NAME, "alder"),
                    x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
                ]
            )
        )
        .add_extension(alternative_name(FEDERATION, "site", "alder"), critical=False)
    ),
    "two names": lambda: (
        Builder()
        .subject_name(common_name("alder"))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    *alternative_name(FEDERATION, "site", "alder"),
                    *alternative_name(FEDERATION, "coordinator", "coordinator"),
                ]
            ),
            critical=False,
        )
    ),
    "no name": lambda: Builder().subject_name(common_name("alder")),
    "an authority's powers": lambda: _builder().add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    ),
    "an attribute": lambda: _builder().add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"let me in"),
}


@pytest.mark.parametrize("what", ASKING)
def test_a_request_for_more_or_other_is_refused(authority: Authority, now: datetime, what: str) -> None:
    csr = ASKING[what]().sign(new_tls_key(), SHA256()).public_bytes(Encoding.PEM)
    with pytest.raises(CertificateRefused):
        authority.site_certificate(csr, "alder", now)


def test_a_request_with_somebody_elses_key_is_refused(authority: Authority, now: datetime) -> None:
    mine, theirs = new_tls_key(), new_tls_key()
    der = x509.load_pem_x509_csr(site_request(mine, FEDERATION, "alder")).public_bytes(Encoding.DER)
    points = [
        key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in (mine, theirs)
    ]
    swapped = x509.load_der_x509_csr(der.replace(points[0], points[1]))
    assert swapped.public_key() == theirs.public_key()
    with pytest.raises(CertificateRefused, match="not signed"):
        authority.site_certificate(swapped.public_bytes(Encoding.PEM), "alder", now)


@pytest.fixture(scope="module")
def good() -> bytes:
    """A good request, in DER."""
    pem = site_request(new_tls_key(), FEDERATION, "alder")
    return x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)


@given(position=st.integers(min_value=0), change=st.integers(1, 255))
def test_a_request_with_any_byte_changed_is_refused(
    authority: Authority, good: bytes, now: datetime, position: int, change: int
) -> None:
    der = bytearray(good)
    der[position % len(der)] ^= change
    kind = b"CERTIFICATE REQUEST-----\n"
    changed = b"-----BEGIN " + kind + base64.encodebytes(bytes(der)) + b"-----END " + kind
    with pytest.raises(CertificateRefused):
        authority.site_certificate(changed, "alder", now)


@given(st.binary(max_size=200))
def test_what_is_no_request_is_coded(authority: Authority, now: datetime, content: bytes) -> None:
    with pytest.raises(CertificateRefused):
        authority.site_certificate(content, "alder", now)


@pytest.mark.parametrize("site", ["", "Alder", "../alder", "a" * 41, "*"])
def test_a_site_may_not_be_called_anything(authority: Authority, now: datetime, site: str) -> None:
    csr = site_request(new_tls_key(), FEDERATION, "alder")
    with pytest.raises(CertificateRefused):
        authority.site_certificate(csr, site, now)
    with pytest.raises(CertificateRefused):
        site_request(new_tls_key(), FEDERATION, site)


@pytest.mark.parametrize("passphrase", [None, b"open sesame"])
def test_an_authority_comes_back_from_its_folder(
    authority: Authority, closed: Path, now: datetime, passphrase: bytes | None
) -> None:
    authority.write(closed, passphrase)
    assert {stat.S_IMODE(file.stat().st_mode) for file in closed.iterdir()} == {0o600}
    again = Authority.read(closed, passphrase)
    assert (again.pem, again.federation) == (authority.pem, authority.federation)
    pem = again.coordinator_certificate(new_tls_key().public_key(), now)
    assert identity_of(pem, authority.pem, now).role == "coordinator"


def test_an_authority_is_never_overwritten(authority: Authority, impostor: Authority, closed: Path) -> None:
    authority.write(closed)
    before = {file.name: file.read_bytes() for file in closed.iterdir()}
    with pytest.raises(IdentityExists):
        impostor.write(closed)
    (closed / "key.pem").unlink()
    with pytest.raises(IdentityExists):
        impostor.write(closed)
    assert {file.name: file.read_bytes() for file in closed.iterdir()} == {
        "certificate.pem": before["certificate.pem"]
    }


def test_an_authority_is_read_only_from_a_closed_folder(authority: Authority, closed: Path) -> None:
    authority.write(closed)
    closed.chmod(0o755)
    with pytest.raises(KeyUnsafe):
        Authority.read(closed)
    closed.chmod(0o700)
    (closed / "key.pem").chmod(0o640)
    with pytest.raises(KeyUnsafe):
        Authority.read(closed)


def test_a_key_and_a_certificate_that_do_not_belong_together_are_no_authority(
    authority: Authority, impostor: Authority, closed: Path
) -> None:
    authority.write(closed)
    (closed / "certificate.pem").write_bytes(impostor.pem)
    with pytest.raises(KeyUnreadable, match="belong together"):
        Authority.read(closed)
    (closed / "certificate.pem").write_bytes(b"")
    with pytest.raises(CertificateRefused):
        Authority.read(closed)
    (closed / "certificate.pem").unlink()
    with pytest.raises(KeyUnreadable, match=r"certificate\.pem"):
        Authority.read(closed)


def test_a_signing_key_is_no_authoritys(authority: Authority, closed: Path) -> None:
    write_key(closed / "key.pem", new_signing_key())
    (closed / "certificate.pem").write_bytes(authority.pem)
    with pytest.raises(KeyUnreadable, match="belong together"):
        Authority.read(closed)


def test_an_authority_shows_nothing_of_its_key(authority: Authority) -> None:
    number = authority.key.private_numbers().private_value
    shown = repr(authority) + str(authority)
    assert "key" not in shown
    assert str(number) not in shown
    assert f"{number:x}" not in shown
