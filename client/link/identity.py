"""Who a site is to its coordinator: the folder ``HOME/link`` and how it comes about.

    key.pem           the site's key, made here; only its public half ever leaves, in a signing request
    certificate.pem   what the coordinator made of it; written last, so that with it the identity is whole
    authority.pem     the federation's authority: nobody else's word for the coordinator is taken
    coordinator.json  where the coordinator is, how to get there, and the key it signs with

A renewal replaces the certificate and keeps the key: what the site signed before stays verifiable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from common.chain import sync_folder
from common.errors import CertificateRefused, KeyUnreadable, NotEnrolled
from common.files import write_atomically
from common.identity.authority import site_request
from common.identity.certificates import Identity, identity_of
from common.identity.keys import PrivateKey, PublicKey, key_pem, public_of, public_text, read_key

KEY, CERTIFICATE, AUTHORITY, COORDINATOR = "key.pem", "certificate.pem", "authority.pem", "coordinator.json"


@dataclass(frozen=True, slots=True)
class SiteIdentity:
    """A site that has enrolled.

    Attributes:
        folder: Where it lies.
        key: The site's key.
        certificate: Its certificate, PEM.
        authority: The federation's authority, PEM.
        coordinator: What the coordinator's envelopes are verified with.
        address: The coordinator's ``host:port``.
        proxy: URL of the HTTP proxy on the way there, or None.
        identity: What the certificate says.
    """

    folder: Path
    key: PrivateKey = field(repr=False)
    certificate: bytes
    authority: bytes
    coordinator: PublicKey
    address: str
    proxy: str | None = field(repr=False)  # there may be a password in it
    identity: Identity

    @property
    def name(self) -> str:
        """The site's name."""
        return self.identity.name

    @property
    def federation(self) -> str:
        """The federation it belongs to."""
        return self.identity.federation

    @property
    def key_pem(self) -> bytes:
        """The key as gRPC takes it: in memory, without a passphrase."""
        return key_pem(self.key)

    @classmethod
    def read(cls, folder: Path, now: datetime, passphrase: bytes | None = None) -> SiteIdentity:
        """The identity in a folder.

        Raises:
            NotEnrolled: There is none.
            KeyUnsafe, KeyUnreadable: The key is open to others, or cannot be read with this passphrase.
            CertificateRefused, CertificateExpired: The certificate is not this federation's, or is over.
        """
        try:
            certificate = (folder / CERTIFICATE).read_bytes()
            authority = (folder / AUTHORITY).read_bytes()
            place = json.loads((folder / COORDINATOR).read_bytes())
            coordinator = public_of(str(place["key"]))
            address, proxy = str(place["address"]), place["proxy"]
        except (OSError, ValueError, KeyError, TypeError, KeyUnreadable) as error:
            raise NotEnrolled(f"{folder} holds no whole identity: {error}") from None
        key = read_key(folder / KEY, passphrase)
        identity = certified(certificate, authority, key, now)
        return cls(folder, key, certificate, authority, coordinator, address, proxy, identity)

    def request(self) -> bytes:
        """A signing request for the same key and name, PEM."""
        return site_request(self.key, self.federation, self.name)

    def is_due(self, now: datetime) -> bool:
        """Whether less than half of the certificate's validity is left."""
        lasts = self.identity.not_after - self.identity.not_before
        return now > self.identity.not_before + lasts / 2

    def renewed(self, certificate: bytes, now: datetime) -> SiteIdentity:
        """The same site with a newer certificate, which is on the disk when this returns.

        Raises:
            CertificateRefused, CertificateExpired: It is not one for this site's key and name.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        identity = certified(certificate, self.authority, self.key, now)
        if (identity.name, identity.federation) != (self.name, self.federation):
            raise CertificateRefused("the renewed certificate is another site's")
        write_atomically(self.folder / CERTIFICATE, certificate, 0o600)
        sync_folder(self.folder)
        return replace(self, certificate=certificate, identity=identity)


def certified(certificate: bytes, authority: bytes, key: PrivateKey, now: datetime) -> Identity:
    """What a certificate says that the authority gave to a site with this key.

    Raises:
        CertificateRefused: It did not, or for another key or purpose.
        CertificateExpired: It is not valid now.
    """
    identity = identity_of(certificate, authority, now)
    if identity.role != "site":
        raise CertificateRefused(f"the certificate is for a {identity.role}, not for a site")
    if public_text(identity.public) != public_text(key.public_key()):
        raise CertificateRefused("the certificate is for another key than the one that lies beside it")
    return identity
