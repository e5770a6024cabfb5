"""How a site becomes one: it is invited, enrols once, renews its certificate, and may be revoked.

Invariants:

- Nobody is let in, and nothing is signed for anybody, that the audit log does not name.
- A revocation counts even where the audit log cannot be written.
- The audit log holds names of sites, ids, codes and fingerprints; no address of anybody who tried.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.audit import AuditLog
from common.chain import Clock, utc_now
from common.errors import (
    CertificateRefused,
    EnrolmentLimited,
    InvitationExpired,
    InvitationInvalid,
    InvitationUsed,
    SiteRevoked,
    TrustError,
)
from common.identity import (
    Authority,
    Identity,
    Invitation,
    Role,
    identity_of,
    new_invitation_id,
    public_text,
    signed,
    site_dns,
)
from server.link.members import InvitationRow, Members, SiteRow, iso
from server.link.rates import RateLimit

INVITATION_HOURS = 72
TRIES_EACH, TOGETHER = 5, 6
"""Attempts a minute of one address to enrol, or one site to renew; and how many times that of all of them."""


class Enrolment:
    """Who may become a site of one federation, and stay one; threads may share it.

    Args:
        authority: Issues the certificates.
        signing_key: The coordinator's, which sites learn with the invitation.
        address: Where sites reach the coordinator, as ``host:port``.
        members: What is remembered.
        audit: The coordinator's log.
        now: The clock of certificates.
        monotonic: The clock of the rate limit, in seconds.
        tries_each: Attempts a minute of one address to enrol.
    """

    def __init__(
        self,
        authority: Authority,
        signing_key: Ed25519PrivateKey,
        address: str,
        members: Members,
        audit: AuditLog,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        tries_each: int = TRIES_EACH,
    ) -> None:
        self._authority = authority
        self._signing_key = signing_key
        self._address = address
        self._members = members
        self._audit = audit
        self._now = now
        self._enrolments = RateLimit(tries_each, TOGETHER * tries_each, monotonic)
        self._renewals = RateLimit(TRIES_EACH, TOGETHER * TRIES_EACH, monotonic)
        # Who is turned away for trying too often must not fill the log instead.
        self._noted = RateLimit(1, 1, monotonic)

    def invite(self, site: str, hours: float = INVITATION_HOURS, address: str | None = None) -> Invitation:
        """A new invitation, signed, with which a site of this name can enrol once.

        Args:
            site: Its name. A site of that name that is enrolled loses its certificates when it enrols anew.
            hours: How long it is good.
            address: Where this site reaches the coordinator, if not where all do.

        Raises:
            CertificateRefused: A site cannot have this name.
        """
        site_dns(self._authority.federation, site)
        now, name = self._now(), new_invitation_id()
        key, pem = self._authority.bootstrap(name, now, hours)
        bootstrap = self._identity(pem, now)
        row = InvitationRow(name, site, bootstrap.fingerprint, iso(bootstrap.not_after))
        self._members.add_invitation(
            row, lambda: self._audit.append("site.invited", site=site, invitation=name, expires=row.expires)
        )
        invitation = Invitation(
            id=name,
            federation=self._authority.federation,
            site=site,
            address=address or self._address,
            authority=self._authority.pem.decode(),
            coordinator_key=public_text(self._signing_key.public_key()),
            bootstrap_certificate=pem.decode(),
            bootstrap_key=key.decode(),
            expires=row.expires,
        )
        return signed(invitation, self._signing_key)

    def enrol(self, identity: Identity, csr: bytes, invitation_id: str, peer: str) -> bytes:
        """The certificate, in PEM, of a site that enrols.

        Args:
            identity: Of the bootstrap certificate with which it connected.
            csr: Its request, in PEM.
            invitation_id: The invitation that it names.
            peer: Where it called from, as ``grpc.ServicerContext.peer`` says.

        Raises:
            EnrolmentLimited: Too many tries.
            CertificateRefused: It is no bootstrap certificate, or the request is not what this site may ask.
            InvitationInvalid: No such invitation was given, or with another certificate.
            InvitationUsed, InvitationExpired: It is not good any more.
            SiteRevoked: The site was revoked since it was given.
        """
        with self._refusing(identity, self._enrolments, host_of(peer)):
            now = self._now()
            invitation = self._invitation(identity, invitation_id, now)
            pem = self._authority.site_certificate(csr, invitation.site, now)
            issued = self._identity(pem, now)
            self._members.enrol(
                invitation.id,
                issued,
                now,
                lambda node_id: self._audit.append(
                    "site.enrolled",
                    site=issued.name,
                    node=node_id,
                    invitation=invitation.id,
                    serial=issued.serial,
                    fingerprint=issued.fingerprint,
                ),
            )
            return pem

    def renew(self, identity: Identity, csr: bytes) -> bytes:
        """A further certificate, in PEM, for a site that has one; for the same key or a new one.

        Args:
            identity: Of the certificate with which it connected.
            csr: Its request, in PEM.

        Raises:
            EnrolmentLimited: Too many tries.
            CertificateRefused: It is no site of this federation, or the request is not what it may ask.
            SiteRevoked: It was revoked.
        """
        with self._refusing(identity, self._renewals, identity.name):
            now, site = self._now(), self.admit(identity)
            pem = self._authority.site_certificate(csr, site.name, now)
            issued = self._identity(pem, now)
            self._members.renew(
                issued,
                identity.fingerprint,
                lambda: self._audit.append(
                    "site.renewed", site=issued.name, serial=issued.serial, fingerprint=issued.fingerprint
                ),
            )
            return pem

    def admit(self, identity: Identity) -> SiteRow:
        """The site that a certificate stands for, as long as nobody revoked it.

        Raises:
            CertificateRefused: It is not a site's, or none that was given here.
            SiteRevoked: It was revoked.
        """
        self._require(identity, "site")
        site = self._members.admit(identity.fingerprint)
        if site.name != identity.name:
            raise CertificateRefused("the certificate was given to a site of another name")
        return site

    def revoke(self, site: str) -> bool:
        """Whether anything of a site was good until now: its certificates, invitations and tasks end.

        Raises:
            SiteUninvited: There is no such site, and none was invited by that name.
            AuditBroken, DiskFull, OutputUnwritable: The audit log cannot say so; it is revoked all the same.
        """
        changed = self._members.revoke(site, self._now())
        if changed:
            self._audit.append("site.revoked", site=site)
        return changed

    def _invitation(self, identity: Identity, invitation_id: str, now: datetime) -> InvitationRow:
        self._require(identity, "invitation")
        row = self._members.invitation(identity.name)
        if row is None or (row.id, row.fingerprint) != (invitation_id, identity.fingerprint):
            raise InvitationInvalid("no invitation was given with this id and certificate")
        if row.used_at is not None:
            raise InvitationUsed(f"invitation {row.id} of {row.site} was used at {row.used_at}")
        if row.void_at is not None:
            raise SiteRevoked(f"{row.site} was revoked at {row.void_at}, after it was invited")
        if row.expires <= iso(now):
            raise InvitationExpired(f"invitation {row.id} of {row.site} expired at {row.expires}")
        return row

    def _require(self, identity: Identity, role: Role) -> None:
        if (identity.role, identity.federation) != (role, self._authority.federation):
            raise CertificateRefused(f"a certificate of a {identity.role}; this call is for a {role}'s")

    def _identity(self, pem: bytes, now: datetime) -> Identity:
        return identity_of(pem, self._authority.pem, now)

    @contextmanager
    def _refusing(self, identity: Identity, limit: RateLimit, who: str) -> Iterator[None]:
        """Count a try, and audit it where it is refused."""
        try:
            if not limit.take(who):
                raise EnrolmentLimited("too many tries in a minute")
            yield
        except TrustError as error:
            if not isinstance(error, EnrolmentLimited) or self._noted.take(error.code):
                self._audit.append(
                    "enrolment.refused", code=error.code, role=identity.role, name=identity.name
                )
            raise


def host_of(peer: str) -> str:
    """Who called, without the port, which is another at each call: ``ipv4:192.0.2.7:50412``.

    An IPv6 caller has a whole /64 to call from, so that counts as one.
    """
    kind, _, rest = peer.partition(":")
    host = rest.rpartition(":")[0] if kind in ("ipv4", "ipv6") else peer
    try:
        address = ipaddress.ip_address(
            host.replace("%5B", "").replace("%5D", "").strip("[]").partition("%")[0]
        )
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
