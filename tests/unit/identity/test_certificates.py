"""Whom a certificate names: what the authority issued directly in its one form, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import CertificateExpired, CertificateRefused
from common.identity import (
    Authority,
    coordinator_name,
    identity_of,
    key_pem,
    new_tls_key,
    site_dns,
    site_request,
)
from common.identity.profile import alternative_name, common_name

FEDERATION = "0123456789ab"
INVITATION_ID = "00112233445566778899aabbccddeeff"
DOMAIN = f"{FEDERATION}.consilium.internal"
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH

Forge = Callable[..., bytes]


def _usage(**changed: bool) -> x509.KeyUsage:
    names = [
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    ]  # fmt: skip
    return x509.KeyUsage(**{**{name: name == "digital_signature" for name in names}, **changed})


def _names(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


def _dns(*names: str) -> x509.SubjectAlternativeName:
    return _names(*(x509.DNSName(name) for name in names))


def test_what_the_forger_starts_from_is_good(authority: Authority, forge: Forge, now: datetime) -> None:
    assert identity_of(forge(), authority.pem, now).name == "alder"
    assert identity_of(forge("coordinator", "coordinator"), authority.pem, now).role == "coordinator"


def test_each_role_is_told(authority: Authority, site_key: ec.EllipticCurvePrivateKey, now: datetime) -> None:
    public = site_key.public_key()
    request = site_request(site_key, FEDERATION, "alder")
    site = identity_of(authority.site_certificate(request, "alder", now), authority.pem, now)
    assert (site.role, site.name, site.federation, site.public) == ("site", "alder", FEDERATION, public)
    assert (site.not_before, site.not_after) == (now - timedelta(minutes=5), now + timedelta(days=30))
    assert int(site.serial, 16).bit_length() > 100
    coordinator = identity_of(authority.coordinator_certificate(public, now), authority.pem, now)
    assert (coordinator.role, coordinator.name) == ("coordinator", "coordinator")
    _, pem = authority.bootstrap(INVITATION_ID, now, hours=1)
    assert (identity_of(pem, authority.pem, now).role, identity_of(pem, authority.pem, now).name) == (
        "invitation",
        INVITATION_ID,
    )
    assert len({site.fingerprint, coordinator.fingerprint, authority.fingerprint}) == 3


def test_a_certificate_of_another_authority_is_refused(
    authority: Authority, impostor: Authority, site_key: ec.EllipticCurvePrivateKey, now: datetime
) -> None:
    elsewhere = Authority.new("ba9876543210", now)
    for other in (impostor, elsewhere):
        request = site_request(site_key, other.federation, "alder")
        pem = other.site_certificate(request, "alder", now)
        assert identity_of(pem, other.pem, now).name == "alder"
        with pytest.raises(CertificateRefused):
            identity_of(pem, authority.pem, now)


def test_another_authoritys_is_refused_even_where_it_claims_to_be_issued_by_this_one(
    authority: Authority, impostor: Authority, forge: Forge, now: datetime
) -> None:
    with pytest.raises(CertificateRefused, match="did not issue"):
        identity_of(forge(key=impostor.key), authority.pem, now)


@pytest.mark.parametrize("role", ["site", "coordinator", "invitation"])
def test_a_self_made_leaf_is_refused(
    authority: Authority, forge: Forge, site_key: ec.EllipticCurvePrivateKey, now: datetime, role: str
) -> None:
    name = {"site": "alder", "coordinator": "coordinator", "invitation": INVITATION_ID}[role]
    for issuer in (common_name(name), None):
        with pytest.raises(CertificateRefused, match="did not issue"):
            identity_of(forge(role, name, issuer=issuer, key=site_key), authority.pem, now)


def test_a_leaf_signs_no_other_leaf(
    authority: Authority, forge: Forge, site_key: ec.EllipticCurvePrivateKey, now: datetime
) -> None:
    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(site_key.public_key())
    second = forge("site", "birch", issuer=common_name("alder"), key=site_key, changed=((own, False),))
    with pytest.raises(CertificateRefused):
        identity_of(second, authority.pem, now)
    with pytest.raises(CertificateRefused):
        identity_of(second + forge(), authority.pem, now)
    with pytest.raises(CertificateRefused):
        identity_of(second, forge(), now)


def test_not_even_a_second_authority_may_be_in_between(
    authority: Authority, forge: Forge, site_key: ec.EllipticCurvePrivateKey, now: datetime
) -> None:
    powers = (
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (_usage(digital_signature=False, key_cert_sign=True), True),
    )
    with pytest.raises(CertificateRefused):
        identity_of(forge(changed=powers), authority.pem, now)


REFUSED_EXTENSIONS: dict[str, tuple[x509.ExtensionType, bool]] = {
    "the other side": (x509.ExtendedKeyUsage([SERVER]), False),
    "both sides": (x509.ExtendedKeyUsage([CLIENT, SERVER]), False),
    "any side": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
    "code signing": (x509.ExtendedKeyUsage([CLIENT, ExtendedKeyUsageOID.CODE_SIGNING]), False),
    "a coordinator's name": (_dns(coordinator_name(FEDERATION)), False),
    "another federation": (_dns(site_dns("ba9876543210", "alder")), False),
    "outside the domain": (_dns("alder.example.com"), False),
    "a domain that only ends alike": (_dns(f"alder.sites.x{DOMAIN}"), False),
    "a wildcard": (_dns(f"*.sites.{DOMAIN}"), False),
    "upper case": (_dns(f"ALDER.sites.{DOMAIN}"), False),
    "a trailing dot": (_dns(f"alder.sites.{DOMAIN}."), False),
    "a zero byte": (_dns(f"alder.sites.{DOMAIN}\0.example.com"), False),
    "another site": (_dns(f"birch.sites.{DOMAIN}"), False),
    "two sites": (_dns(f"alder.sites.{DOMAIN}", f"birch.sites.{DOMAIN}"), False),
    "one site twice": (_dns(f"alder.sites.{DOMAIN}", f"alder.sites.{DOMAIN}"), False),
    "no name in the list": (_names(), False),
    "an address": (_names(x509.IPAddress(IPv4Address("127.0.0.1"))), False),
    "a name and an address": (
        _names(x509.DNSName(f"alder.sites.{DOMAIN}"), x509.IPAddress(IPv4Address("127.0.0.1"))),
        False,
    ),
    "a mail address": (_names(x509.RFC822Name(f"alder@{DOMAIN}")), False),
    "a URI": (_names(x509.UniformResourceIdentifier(f"https://alder.sites.{DOMAIN}")), False),
    "an authority's powers": (x509.BasicConstraints(ca=True, path_length=None), True),
    "constraints that may be ignored": (x509.BasicConstraints(ca=False, path_length=None), False),
    "signing of certificates": (_usage(key_cert_sign=True), True),
    "signing of lists": (_usage(crl_sign=True), True),
    "key agreement": (_usage(key_agreement=True), True),
    "no signatures": (_usage(digital_signature=False, key_agreement=True), True),
    "an unknown extension": (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), False),
    "an unknown critical extension": (
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"),
        True,
    ),
    "another key's identifier": (x509.SubjectKeyIdentifier(b"x" * 20), False),
}


@pytest.mark.parametrize("what", REFUSED_EXTENSIONS)
def test_a_leaf_of_the_authority_in_another_form_is_refused(
    authority: Authority, forge: Forge, now: datetime, what: str
) -> None:
    with pytest.raises(CertificateRefused):
        identity_of(forge(changed=(REFUSED_EXTENSIONS[what],)), authority.pem, now)


@pytest.mark.parametrize(
    "missing",
    [
        x509.SubjectAlternativeName,
        x509.ExtendedKeyUsage,
        x509.KeyUsage,
        x509.BasicConstraints,
        x509.AuthorityKeyIdentifier,
        x509.SubjectKeyIdentifier,
    ],
)
def test_a_leaf_that_lacks_a_part_is_refused(
    authority: Authority, forge: Forge, now: datetime, missing: type[x509.ExtensionType]
) -> None:
    with pytest.raises(CertificateRefused):
        identity_of(forge(dropped=(missing,)), authority.pem, now)


def test_a_coordinator_is_no_client(authority: Authority, forge: Forge, now: datetime) -> None:
    for usage in ([CLIENT], [CLIENT, SERVER]):
        changed = ((x509.ExtendedKeyUsage(usage), False),)
        with pytest.raises(CertificateRefused):
            identity_of(forge("coordinator", "coordinator", changed=changed), authority.pem, now)


@pytest.mark.parametrize(
    "subject",
    [
        common_name("birch"),
        common_name("Alder"),
        common_name("coordinator"),
        common_name(f"alder.sites.{DOMAIN}"),
        x509.Name([]),
        x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, "alder"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Alder"),
            ]
        ),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in ("alder", "birch")]),
    ],
    ids=lambda subject: subject.rfc4514_string() or "none",
)
def test_a_common_name_that_is_not_the_dns_names_is_refused(
    authority: Authority, forge: Forge, now: datetime, subject: x509.Name
) -> None:
    with pytest.raises(CertificateRefused, match="common name"):
        identity_of(forge(subject=subject), authority.pem, now)


@pytest.mark.parametrize(
    "public",
    [
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
    ],
    ids=["RSA", "P-384", "secp256k1", "Ed25519"],
)
def test_another_kind_of_key_is_refused(
    authority: Authority, forge: Forge, now: datetime, public: rsa.RSAPublicKey
) -> None:
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    pem = forge(public=public, changed=((identifier, False),))
    with pytest.raises(CertificateRefused, match="P-256"):
        identity_of(pem, authority.pem, now)


@pytest.mark.parametrize(
    ("offset", "valid"),
    [
        (timedelta(minutes=-5), True),  # issued this much early, for clocks that are behind
        (timedelta(minutes=-5, seconds=-1), False),
        (timedelta(days=-1), False),
        (timedelta(0), True),
        (timedelta(days=30), True),
        (timedelta(days=30, seconds=1), False),  # and no more is borne at the end
        (timedelta(days=30, minutes=5), False),
        (timedelta(days=365 * 10), False),
        (timedelta(days=365 * 20), False),
    ],
)
def test_a_certificate_has_its_time(
    authority: Authority,
    site_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    offset: timedelta,
    valid: bool,
) -> None:
    pem = authority.site_certificate(site_request(site_key, FEDERATION, "alder"), "alder", now)
    if valid:
        assert identity_of(pem, authority.pem, now + offset).name == "alder"
    else:
        with pytest.raises(CertificateExpired):
            identity_of(pem, authority.pem, now + offset)


def test_the_time_zone_of_the_clock_does_not_matter(
    authority: Authority, forge: Forge, now: datetime
) -> None:
    elsewhere = now.astimezone(timezone(timedelta(hours=-11)))
    pem = forge(start=now, end=now + timedelta(hours=1))
    found = identity_of(pem, authority.pem, elsewhere)
    assert found == identity_of(pem, authority.pem, now)
    assert (found.not_before, found.not_before.tzinfo) == (now, UTC)
    for hours in (-1, 2):
        with pytest.raises(CertificateExpired):
            identity_of(pem, authority.pem, elsewhere + timedelta(hours=hours))


def test_only_a_genuine_certificate_is_called_expired(
    authority: Authority, impostor: Authority, forge: Forge, now: datetime
) -> None:
    later = now + timedelta(days=400)
    with pytest.raises(CertificateExpired):
        identity_of(forge(), authority.pem, later)
    with pytest.raises(CertificateRefused):
        identity_of(forge(key=impostor.key), authority.pem, later)


def test_a_leaf_outside_its_authoritys_time_is_refused_or_expired(
    authority: Authority, forge: Forge, now: datetime
) -> None:
    after = now + timedelta(days=365 * 11)
    with pytest.raises(CertificateExpired):
        identity_of(forge(end=after), authority.pem, after - timedelta(days=1))
    with pytest.raises((CertificateRefused, CertificateExpired)):
        identity_of(forge(start=after, end=after + timedelta(days=1)), authority.pem, after)


def test_other_pem_is_no_certificate(authority: Authority, forge: Forge, now: datetime) -> None:
    key = new_tls_key()
    wrong = [forge() * 2, key_pem(key), site_request(key, FEDERATION, "alder"), b"x" * 100_000 + forge()]
    for pem in wrong:
        with pytest.raises(CertificateRefused) as caught:
            identity_of(pem, authority.pem, now)
        assert "PRIVATE" not in str(caught.value)


def test_the_authority_is_none_of_the_three_roles(authority: Authority, now: datetime) -> None:
    with pytest.raises(CertificateRefused):
        identity_of(authority.pem, authority.pem, now)


def test_the_name_a_site_asks_for_is_the_one_it_gets(authority: Authority, now: datetime) -> None:
    key = new_tls_key()
    pem = authority.site_certificate(site_request(key, FEDERATION, "birch"), "birch", now)
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value == alternative_name(FEDERATION, "site", "birch")
