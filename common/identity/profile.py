"""What certificates of a federation look like: extensions, names and their builder (RFC 5280).

The authority may sign leaves and no further authorities, and only for DNS names inside its federation's
domain. A leaf has one role: its one DNS name says whose, its extended key usage on which side.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.identity.names import Role, dns_name, domain

# The extensions of a certificate, each with whether a reader that does not know it must refuse it.
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]


def authority_extensions(federation: str, public: ec.EllipticCurvePublicKey) -> Extensions:
    """Those of an authority: leaves only, and only names inside the domain.

    BoringSSL, which gRPC is built on, fails on *permitted* addresses; so all addresses are excluded.
    """
    everywhere = [x509.IPAddress(IPv4Network("0.0.0.0/0")), x509.IPAddress(IPv6Network("::/0"))]
    names = x509.NameConstraints([x509.DNSName(domain(federation))], everywhere)
    return (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(authority=True), True),
        (names, True),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
    )


def leaf_extensions(
    federation: str,
    role: Role,
    name: str,
    public: ec.EllipticCurvePublicKey,
    issuer: ec.EllipticCurvePublicKey,
) -> Extensions:
    """Those of a leaf: one name and one side of a connection.

    Raises:
        CertificateRefused: Nobody may be called so.
    """
    side = ExtendedKeyUsageOID.SERVER_AUTH if role == "coordinator" else ExtendedKeyUsageOID.CLIENT_AUTH
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(authority=False), True),
        (x509.ExtendedKeyUsage([side]), False),  # cryptography's verifier refuses it critical
        (alternative_name(federation, role, name), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        # Python 3.13 refuses chains without the authority's key identifier.
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False),
    )


def alternative_name(federation: str, role: Role, name: str) -> x509.SubjectAlternativeName:
    """The one name that TLS looks at.

    Raises:
        CertificateRefused: Nobody may be called so.
    """
    return x509.SubjectAlternativeName([x509.DNSName(dns_name(federation, role, name))])


def authority_subject(federation: str) -> x509.Name:
    """What an authority is called, alike in no two federations."""
    return common_name(f"Consilium federation {federation}")


def common_name(text: str) -> x509.Name:
    """A subject that is this common name and nothing else."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def signed(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    extensions: Extensions,
    valid: tuple[datetime, datetime],
    issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey],
) -> x509.Certificate:
    """A new certificate under a random serial number."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .issuer_name(issuer[0])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer[1], SHA256())


def request(key: ec.EllipticCurvePrivateKey, name: x509.SubjectAlternativeName, subject: str) -> bytes:
    """A signing request, in PEM, for this name and nothing else."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name(subject))
    return builder.add_extension(name, critical=False).sign(key, SHA256()).public_bytes(Encoding.PEM)


def has_exactly(found: x509.Extensions, extensions: Extensions) -> bool:
    """Whether a certificate has these extensions and no others, in whatever order."""
    there = {extension.oid: (extension.value, extension.critical) for extension in found}
    return there == {value.oid: (value, critical) for value, critical in extensions}


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    """An authority signs certificates, a leaf signs handshakes; neither does more."""
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
