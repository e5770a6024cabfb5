"""Who was invited, who enrolled, and which certificates are good.

Invariants, whatever threads do at once and wherever the process is killed:

- What a method returned is on the disk; what raised changed nothing.
- An invitation enrols once. Enrolling ends every certificate that the site had before.
- A certificate that was not given here admits nobody, whoever signed it.
- A revoked site has nothing left that is good: certificates, invitations, tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from common.errors import CertificateRefused, InvitationUsed, SiteRevoked, SiteUninvited
from common.identity import Identity, public_text
from server.link.database import Database
from server.link.database import certificate as certificates
from server.link.database import invitation as invitations
from server.link.database import site as sites
from server.link.tasks import cancel_all


@dataclass(frozen=True, slots=True)
class InvitationRow:
    """An invitation as the coordinator remembers it; times are ISO 8601 in UTC.

    Attributes:
        id: Its name in the bootstrap certificate.
        site: Whom it is for.
        fingerprint: Of the bootstrap certificate.
        expires: When.
        used_at: When a site enrolled with it, if one has.
        void_at: When its site was revoked, if that was after it was given.
    """

    id: str
    site: str
    fingerprint: str
    expires: str
    used_at: str | None = None
    void_at: str | None = None


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site that enrolled; times are ISO 8601 in UTC.

    Attributes:
        node_id: Its number, for ever.
        name: Its name.
        serial, fingerprint, public, expires: Of its newest certificate.
        enrolled: When it enrolled last.
        revoked_at: When it was revoked, if it is.
    """

    node_id: int
    name: str
    serial: str
    fingerprint: str
    public: str
    enrolled: str
    expires: str
    revoked_at: str | None = None


class Members:
    """The invitations, sites and certificates in one database; threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_invitation(self, row: InvitationRow, witness: Callable[[], object]) -> None:
        """Remember an invitation; ``witness`` is called before that counts, and stops it by raising."""
        with self._database.writing() as connection:
            values = {"id": row.id, "site": row.site, "fingerprint": row.fingerprint, "expires": row.expires}
            connection.execute(insert(invitations).values(values))
            witness()

    def invitation(self, invitation_id: str) -> InvitationRow | None:
        """An invitation by its id."""
        with self._database.reading() as connection:
            found = connection.execute(select(invitations).where(invitations.c.id == invitation_id)).first()
            return InvitationRow(**found._mapping) if found else None

    def invitations(self) -> list[InvitationRow]:
        """All invitations ever given, by site and expiry."""
        query = select(invitations).order_by(invitations.c.site, invitations.c.expires, invitations.c.id)
        with self._database.reading() as connection:
            return [InvitationRow(**row._mapping) for row in connection.execute(query)]

    def enrol(
        self, invitation_id: str, issued: Identity, now: datetime, witness: Callable[[int], object]
    ) -> int:
        """Node id of the site that enrols: the invitation is used, and its earlier certificates end.

        Args:
            invitation_id: With which it enrols.
            issued: Of the certificate that was made for it.
            now: The time.
            witness: Called with the node id before any of it counts; stops it by raising.

        Raises:
            InvitationUsed: Another call was first.
            SiteRevoked: The site was revoked since the invitation was given.
        """
        with self._database.writing() as connection:
            _use(connection, invitation_id, iso(now))
            node_id = _put_site(connection, issued.name, iso(now))
            _end_certificates(connection, node_id, iso(now))
            _add_certificate(connection, node_id, issued)
            witness(node_id)
        return node_id

    def renew(self, issued: Identity, former: str, witness: Callable[[], object]) -> None:
        """Let a site have a further certificate; those it has stay good until they expire.

        Args:
            issued: Of the new certificate.
            former: Fingerprint of the certificate with which the site asks.
            witness: Called before it counts; stops it by raising.

        Raises:
            SiteRevoked, CertificateRefused: ``former`` admits nobody.
        """
        with self._database.writing() as connection:
            node_id = _admitted(connection, former)
            _add_certificate(connection, node_id, issued)
            witness()

    def admit(self, fingerprint: str) -> SiteRow:
        """The site whose certificate has this fingerprint; ask again to learn of a revocation.

        Raises:
            SiteRevoked: The certificate, or the site, was revoked.
            CertificateRefused: No such certificate was ever given to a site.
        """
        with self._database.reading() as connection:
            node_id = _admitted(connection, fingerprint)
            return _site(connection.execute(_newest().where(sites.c.node_id == node_id)).one())

    def sites(self) -> list[SiteRow]:
        """All sites that ever enrolled, by name."""
        with self._database.reading() as connection:
            return [_site(row) for row in connection.execute(_newest().order_by(sites.c.name))]

    def site(self, name: str) -> SiteRow | None:
        """A site by its name."""
        with self._database.reading() as connection:
            found = connection.execute(_newest().where(sites.c.name == name)).first()
            return _site(found) if found else None

    def node(self, node_id: int) -> SiteRow | None:
        """A site by its node id."""
        with self._database.reading() as connection:
            found = connection.execute(_newest().where(sites.c.node_id == node_id)).first()
            return _site(found) if found else None

    def keys(self, node_id: int) -> tuple[str, ...]:
        """The public keys that a site may sign with, the newest first.

        An answer that waited on the site's disk may be signed with the key before the last.
        """
        query = (
            select(certificates.c.public)
            .where(certificates.c.node_id == node_id, certificates.c.revoked_at.is_(None))
            .order_by(certificates.c.number.desc())
        )
        with self._database.reading() as connection:
            return tuple(dict.fromkeys(connection.scalars(query)))

    def revoke(self, name: str, now: datetime) -> bool:
        """Whether anything of a site was good until now: its certificates, invitations and tasks end.

        Raises:
            SiteUninvited: There is no such site, and none was invited by that name.
        """
        time = iso(now)
        with self._database.writing() as connection:
            node_id = connection.scalar(select(sites.c.node_id).where(sites.c.name == name))
            changed = _void_invitations(connection, name, time)
            if node_id is not None:
                changed += connection.execute(
                    update(sites)
                    .where(sites.c.node_id == node_id, sites.c.revoked_at.is_(None))
                    .values(revoked_at=time)
                ).rowcount
                changed += _end_certificates(connection, node_id, time)
                changed += cancel_all(connection, node_id, SiteRevoked.code)
            elif connection.scalar(select(invitations.c.id).where(invitations.c.site == name)) is None:
                raise SiteUninvited(f"no site {name!r} was invited")
            return changed > 0


def iso(time: datetime) -> str:
    """The time in UTC to the second, ISO 8601: texts that sort as times do."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _use(connection: Connection, invitation_id: str, time: str) -> None:
    """Use an invitation that nobody used: the condition and the change are one statement."""
    mine = invitations.c.id == invitation_id
    unused = invitations.c.used_at.is_(None) & invitations.c.void_at.is_(None)
    if connection.execute(update(invitations).where(mine, unused).values(used_at=time)).rowcount != 1:
        if connection.scalar(select(invitations.c.void_at).where(mine)) is not None:
            raise SiteRevoked("the site was revoked after the invitation was given")
        raise InvitationUsed(f"invitation {invitation_id} was used before")


def _put_site(connection: Connection, name: str, time: str) -> int:
    chosen = sites.c.name == name
    if connection.execute(update(sites).where(chosen).values(enrolled=time, revoked_at=None)).rowcount != 1:
        connection.execute(insert(sites).values(name=name, enrolled=time))
    return int(connection.execute(select(sites.c.node_id).where(chosen)).scalar_one())


def _add_certificate(connection: Connection, node_id: int, issued: Identity) -> None:
    connection.execute(
        insert(certificates).values(
            fingerprint=issued.fingerprint,
            node_id=node_id,
            serial=issued.serial,
            public=public_text(issued.public),
            expires=iso(issued.not_after),
        )
    )


def _end_certificates(connection: Connection, node_id: int, time: str) -> int:
    good = (certificates.c.node_id == node_id) & certificates.c.revoked_at.is_(None)
    return int(connection.execute(update(certificates).where(good).values(revoked_at=time)).rowcount)


def _void_invitations(connection: Connection, name: str, time: str) -> int:
    good = (invitations.c.site == name) & invitations.c.used_at.is_(None) & invitations.c.void_at.is_(None)
    return int(connection.execute(update(invitations).where(good).values(void_at=time)).rowcount)


def _admitted(connection: Connection, fingerprint: str) -> int:
    columns = (certificates.c.node_id, certificates.c.revoked_at)
    found = connection.execute(select(*columns).where(certificates.c.fingerprint == fingerprint)).first()
    if found is None:
        raise CertificateRefused("the certificate is not among those that were given to sites")
    if found.revoked_at is not None:
        raise SiteRevoked(f"the certificate was revoked at {found.revoked_at}")
    return int(found.node_id)


def _newest() -> Select[Any]:
    """Every site with its newest certificate."""
    newest = select(func.max(certificates.c.number)).where(certificates.c.node_id == sites.c.node_id)
    columns = (certificates.c[key] for key in ("serial", "fingerprint", "public", "expires"))
    return (
        select(sites, *columns)
        .join(certificates, certificates.c.node_id == sites.c.node_id)
        .where(certificates.c.number == newest.correlate(sites).scalar_subquery())
    )


def _site(row: Row[Any]) -> SiteRow:
    return SiteRow(**row._mapping)
