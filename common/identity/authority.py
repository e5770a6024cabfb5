"""The authority that issues a federation's certificates, and the requests that it is asked with.

Certificates begin 5 minutes before they are issued, so that a site whose clock is a little behind can use
them at once; that is all the difference between clocks that is borne.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import CertificateRefused, ConsiliumError, KeyUnreadable
from common.identity import profile
from common.identity.certificates import SIZE_LIMIT, UNREADABLE, anchor_of, check_time, ends_with
from common.identity.keys import PrivateKey, PublicKey, is_p256, key_pem, new_tls_key, read_key, write_key
from common.identity.names import COORDINATOR, Role
from common.identity.vault import Folder, write_secret

KEY_FILE, CERTIFICATE_FILE = "key.pem", "certificate.pem"

_BACKDATED = timedelta(minutes=5)
_CURVE = "the key is not on P-256, the one curve that both sides speak"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who issues a federation's certificates.

    Attributes:
        key: Its private key.
        certificate: Its own certificate, signed with that key.
        federation: The federation it is for.
    """

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate
    federation: str

    @classmethod
    def new(cls, federation: str, now: datetime, years: int = 10) -> Authority:
        """An authority with a new key, which is in memory only.

        Raises:
            CertificateRefused: ``federation`` is not what :func:`common.identity.new_federation` gives.
        """
        key, subject = new_tls_key(), profile.authority_subject(federation)
        valid = now - _BACKDATED, now + timedelta(days=365 * years)
        extensions = profile.authority_extensions(federation, key.public_key())
        certificate = profile.signed(subject, key.public_key(), extensions, valid, (subject, key))
        return cls(key, certificate, federation)

    @classmethod
    def read(cls, folder: Path, passphrase: bytes | None = None) -> Authority:
        """The authority that :meth:`write` left in a folder.

        Raises:
            KeyUnsafe: Others than its owner can get at the key.
            KeyUnreadable: Key or certificate are missing, do not belong together, or the passphrase is not
                the key's.
            CertificateRefused: The certificate is no authority's.
        """
        key = read_key(folder / KEY_FILE, passphrase)
        try:
            pem = (folder / CERTIFICATE_FILE).read_bytes()
        except OSError as error:
            raise KeyUnreadable(f"{folder / CERTIFICATE_FILE}: {error.strerror}") from None
        anchor = anchor_of(pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != anchor.public:
            raise KeyUnreadable(f"{folder}: key and certificate do not belong together")
        return cls(key, anchor.certificate, anchor.federation)

    def write(self, folder: Path, passphrase: bytes | None = None) -> None:
        """Write ``key.pem`` and ``certificate.pem``, both or neither.

        Raises:
            IdentityExists: One of them is there already; it stays as it is.
            KeyUnsafe: The folder has not mode 0700, or is somebody else's.
            DiskFull, OutputUnwritable: They cannot be written.
        """
        write_key(folder / KEY_FILE, self.key, passphrase)
        try:
            write_secret(folder / CERTIFICATE_FILE, self.pem, Folder.CLOSED)
        except ConsiliumError:
            (folder / KEY_FILE).unlink()
            raise

    @property
    def pem(self) -> bytes:
        """Its certificate, in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its certificate's DER, in hexadecimal."""
        return self.certificate.fingerprint(SHA256()).hex()

    def coordinator_certificate(self, public: PublicKey, now: datetime, days: int = 90) -> bytes:
        """The coordinator's new certificate, in PEM.

        Raises:
            CertificateRefused: The key is not on P-256.
            CertificateExpired: The authority's own certificate is not valid now.
        """
        return self._issue("coordinator", COORDINATOR, public, now, timedelta(days=days))

    def site_certificate(self, csr_pem: bytes, site: str, now: datetime, days: int = 30) -> bytes:
        """A site's new certificate, in PEM, for the key that :func:`site_request` was made with.

        Raises:
            CertificateRefused: The request is not signed with its own key, that is not on P-256, or it asks
                for anything but a certificate of ``site``.
            CertificateExpired: The authority's own certificate is not valid now.
        """
        public = _requested(csr_pem, self.federation, site)
        return self._issue("site", site, public, now, timedelta(days=days))

    def bootstrap(self, invitation_id: str, now: datetime, hours: float) -> tuple[bytes, bytes]:
        """A new key and its certificate, both in PEM, with which an invited site may enrol.

        Raises:
            CertificateRefused: ``invitation_id`` is not what :func:`common.identity.new_invitation_id` gives.
            CertificateExpired: The authority's own certificate is not valid now.
        """
        key = new_tls_key()
        pem = self._issue("invitation", invitation_id, key.public_key(), now, timedelta(hours=hours))
        return key_pem(key), pem

    def _issue(self, role: Role, name: str, public: PublicKey, now: datetime, lifetime: timedelta) -> bytes:
        check_time("the authority's own certificate", self.certificate, now)
        if not is_p256(public):
            raise CertificateRefused(_CURVE)
        # A leaf that outlived its authority would be refused on its last days for a reason hard to see.
        end = min(now + lifetime, self.certificate.not_valid_after_utc)
        begin = max(now - _BACKDATED, self.certificate.not_valid_before_utc)
        issuer = self.key.public_key()
        extensions = profile.leaf_extensions(self.federation, role, name, public, issuer)
        subject, by = profile.common_name(name), (self.certificate.subject, self.key)
        return profile.signed(subject, public, extensions, (begin, end), by).public_bytes(Encoding.PEM)


def site_request(key: PrivateKey, federation: str, site: str) -> bytes:
    """A signing request, in PEM, for a site's certificate.

    Raises:
        CertificateRefused: The key is not on P-256, or a site may not be called so.
    """
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not is_p256(key.public_key()):
        raise CertificateRefused(_CURVE)
    return profile.request(key, profile.alternative_name(federation, "site", site), site)


def _requested(csr_pem: bytes, federation: str, site: str) -> ec.EllipticCurvePublicKey:
    """The key that a certificate of ``site``, and of nothing else, is asked for."""
    names = profile.alternative_name(federation, "site", site)
    try:
        csr = x509.load_pem_x509_csr(csr_pem[: SIZE_LIMIT + 1])
        public, genuine, extensions = csr.public_key(), csr.is_signature_valid, csr.extensions
        subject, attributes = csr.subject, len(csr.attributes)
    except UNREADABLE:
        raise CertificateRefused("this is no signing request in PEM") from None
    if not genuine or not ends_with(csr.public_bytes(Encoding.DER), csr.signature):
        raise CertificateRefused("the request is not signed with the key that it holds")
    if not is_p256(public):
        raise CertificateRefused(_CURVE)
    asked = subject == profile.common_name(site) and profile.has_exactly(extensions, ((names, False),))
    if not asked or attributes != 1:
        raise CertificateRefused(f"the request asks for more or other than a certificate of site {site}")
    return public
