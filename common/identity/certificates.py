"""Who a certificate names, once it was checked against the certificate of the federation's authority.

Chains, signatures, constraints and times are verified by ``cryptography``. What is checked besides is only
narrower than X.509: a certificate has the form of :mod:`common.identity.profile` and no other.

A fingerprint tells two certificates apart, but whoever meets one can spell its ECDSA signature in a second
way and so change it. What is revoked or looked up is therefore a name, a serial number or a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from common.errors import CertificateExpired, CertificateRefused
from common.identity import profile
from common.identity.keys import PublicKey, is_p256
from common.identity.names import Role, coordinator_name, federation_of, holder_of

SIZE_LIMIT = 64 * 1024
# What cryptography raises on bytes that are no certificate, or one with parts that it makes no sense of.
UNREADABLE = (
    CryptographyDeprecationWarning,  # where warnings are errors; what it still reads now is refused later
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate names.

    Attributes:
        role: What its holder may do.
        name: A site's name, an invitation's id, or ``coordinator``.
        federation: The federation whose authority issued it.
        serial: Its serial number, in hexadecimal.
        not_before: When it begins to be valid, in UTC.
        not_after: When it ends to be, in UTC.
        public: Its key.
        fingerprint: SHA-256 of its DER, in hexadecimal.
    """

    role: Role
    name: str
    federation: str
    serial: str
    not_before: datetime
    not_after: datetime
    public: PublicKey
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """An authority's certificate, which every other is checked against.

    Attributes:
        certificate: The certificate.
        federation: The federation it is for.
        public: Its key.
        fingerprint: SHA-256 of its DER, in hexadecimal: what two people compare by telephone.
    """

    certificate: x509.Certificate
    federation: str
    public: ec.EllipticCurvePublicKey
    fingerprint: str


def identity_of(cert_pem: bytes, authority_pem: bytes, now: datetime) -> Identity:
    """Who a certificate names, once it was verified.

    Args:
        cert_pem: One certificate in PEM.
        authority_pem: The authority's certificate in PEM.
        now: The time at which it is to be valid.

    Raises:
        CertificateRefused: The authority did not issue it directly, or it has not the form of a leaf: other
            names, usages, keys, extensions.
        CertificateExpired: It, or the authority's, is not valid at this time.
    """
    anchor, leaf = anchor_of(authority_pem), _certificate(cert_pem)
    role, name, public = _form(leaf, anchor)
    _check_chain(leaf, anchor, role, now)
    check_time(f"the certificate of {role} {name}", leaf, now)
    check_time("the authority's certificate", anchor.certificate, now)
    return Identity(
        role=role,
        name=name,
        federation=anchor.federation,
        serial=f"{leaf.serial_number:x}",
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        public=public,
        fingerprint=_digest(leaf),
    )


@lru_cache(maxsize=16)  # every call of every site is checked against the same one
def anchor_of(authority_pem: bytes) -> Anchor:
    """An authority's certificate, ready to check others against.

    Raises:
        CertificateRefused: It is not one that an authority of Consilium gives itself.
    """
    certificate = _certificate(authority_pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        federation = federation_of(str((names.permitted_subtrees or [x509.DNSName("")])[0].value))
        public = certificate.public_key()
        certificate.verify_directly_issued_by(certificate)
    except (*UNREADABLE, InvalidSignature):
        raise CertificateRefused("this certificate is no authority's") from None
    if (
        not is_p256(public)
        or certificate.subject != profile.authority_subject(federation)
        or not profile.has_exactly(certificate.extensions, profile.authority_extensions(federation, public))
    ):
        raise CertificateRefused("this certificate has not the form of an authority's")
    return Anchor(certificate, federation, public, _digest(certificate))


def check_time(what: str, certificate: x509.Certificate, now: datetime) -> None:
    """Do nothing if a certificate is valid now.

    Raises:
        CertificateExpired: It is not.
    """
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now <= end:
        raise CertificateExpired(
            f"{what} is valid from {begin.isoformat()} to {end.isoformat()}, and it is {now.isoformat()}"
        )


def _certificate(pem: bytes) -> x509.Certificate:
    """The one certificate in ``pem``."""
    if len(pem) > SIZE_LIMIT:
        raise CertificateRefused(f"{len(pem)} bytes are more than any certificate has")
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem)
        # Each part is read when it is first asked for: those that cannot be are to show here.
        _ = certificate.extensions, certificate.subject, certificate.issuer, certificate.public_key()
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except UNREADABLE:
        raise CertificateRefused("this is not one certificate in PEM") from None
    if not ends_with(certificate.public_bytes(Encoding.DER), certificate.signature):
        raise CertificateRefused("the certificate's signature is not spelt as DER wants it")
    return certificate


def ends_with(der: bytes, signature: bytes) -> bool:
    """Whether a signed document ends with its signature as a bit string without unused bits.

    ``cryptography`` accepts one that declares some of its last zero bits unused: a second spelling.
    """
    return der.endswith(b"\0" + signature)


def _form(leaf: x509.Certificate, anchor: Anchor) -> tuple[Role, str, ec.EllipticCurvePublicKey]:
    """Role, name and key in a certificate that looks as the profile wants it; who signed it is left open."""
    public = leaf.public_key()
    try:
        (dns,) = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except UNREADABLE:
        raise CertificateRefused("the certificate has not one name") from None
    if not isinstance(dns, x509.DNSName):
        raise CertificateRefused("the certificate's name is no DNS name")
    if not is_p256(public):
        raise CertificateRefused("the certificate's key is not on P-256")
    role, name = holder_of(anchor.federation, dns.value)
    if leaf.subject != profile.common_name(name):
        raise CertificateRefused("the certificate's common name is not its DNS name's")
    wanted = profile.leaf_extensions(anchor.federation, role, name, public, anchor.public)
    if not profile.has_exactly(leaf.extensions, wanted):
        raise CertificateRefused(f"the certificate's extensions are not those of the role {role}")
    return role, name, public


def _check_chain(leaf: x509.Certificate, anchor: Anchor, role: Role, now: datetime) -> None:
    """Do nothing if the authority issued the certificate itself, and may issue such a one."""
    # At the moment next to now at which both are valid: that one has expired is told apart, afterwards.
    begin = max(leaf.not_valid_before_utc, anchor.certificate.not_valid_before_utc)
    end = min(leaf.not_valid_after_utc, anchor.certificate.not_valid_after_utc)
    policy = PolicyBuilder().store(Store([anchor.certificate])).max_chain_depth(0)
    policy = policy.time(min(max(now, begin), end))
    try:
        if role == "coordinator":
            name = x509.DNSName(coordinator_name(anchor.federation))
            policy.build_server_verifier(name).verify(leaf, [])
        else:
            policy.build_client_verifier().verify(leaf, [])
    except (VerificationError, *UNREADABLE) as error:
        raise CertificateRefused(f"the authority did not issue this certificate: {error}") from None


def _digest(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(SHA256()).hex()
