"""An invitation: all that a hospital needs to enrol once, in one file.

Whoever holds it can enrol in the site's name until it is used or expires, so it is sent on a way that is
trusted, and the authority's fingerprint in it is compared by telephone. Its signature finds damage; it cannot
show that the file came from the right coordinator, whose key it brings along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common.chain import canonical
from common.errors import (
    CertificateRefused,
    InvitationExpired,
    InvitationInvalid,
    KeyUnreadable,
)
from common.identity.certificates import anchor_of, identity_of
from common.identity.keys import key_of, public_of, sign, verify
from common.identity.names import is_site_name
from common.identity.vault import Folder, write_secret

VERSION_KEY, VERSION = "consilium-invitation", 1

_SIZE_LIMIT = 64 * 1024
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the file holds.

    Attributes:
        id: 32 hexadecimal digits.
        federation: The federation that invites.
        site: The name that the hospital gets.
        address: Where the coordinator listens, ``host:port``.
        authority: The authority's certificate, in PEM.
        coordinator_key: What the coordinator signs with, as :func:`common.identity.public_text` has it.
        bootstrap_certificate: A client certificate that is good for enrolling and for nothing else, in PEM.
        bootstrap_key: Its key, in PEM.
        expires: Until when it can be used, in UTC, ISO 8601 to the second.
        signature: The coordinator's, over all of the above; empty before :func:`signed`.
    """

    id: str
    federation: str
    site: str
    address: str
    authority: str
    coordinator_key: str
    bootstrap_certificate: str
    bootstrap_key: str = field(repr=False)
    expires: str
    signature: str = ""

    @property
    def authority_fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, in hexadecimal: what two people compare by telephone."""
        return anchor_of(self.authority.encode()).fingerprint

    @property
    def expires_at(self) -> datetime:
        """Until when it can be used."""
        return datetime.fromisoformat(self.expires)


def signed(invitation: Invitation, key: Ed25519PrivateKey) -> Invitation:
    """The same, signed by the coordinator."""
    return replace(invitation, signature=sign(key, _content(invitation)).hex())


def write_invitation(path: Path, invitation: Invitation) -> None:
    """Write a signed invitation to a new file with mode 0600.

    Raises:
        InvitationInvalid: It is not signed by the coordinator that it names.
        IdentityExists: Something is there already; it stays as it is.
        DiskFull, OutputUnwritable: It cannot be written.
    """
    _check_signature(invitation)
    write_secret(path, _to_json(invitation), Folder.ANY)


def read_invitation(path: Path, now: datetime) -> Invitation:
    """The invitation in a file, checked in all that can be checked without its coordinator.

    Raises:
        InvitationInvalid: There is none, or it is not what a coordinator wrote.
        InvitationExpired: It can no longer be used.
        CertificateExpired: Its certificate is not valid at this time: one of the two clocks is wrong.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise InvitationInvalid(f"{path}: {error.strerror}") from None
    try:
        invitation = _of_json(content)
        _check_signature(invitation)
        _check(invitation, now)
    except InvitationInvalid as error:
        raise InvitationInvalid(f"{path}: {error}") from None
    return invitation


def _to_json(invitation: Invitation) -> bytes:
    return canonical({VERSION_KEY: VERSION, **asdict(invitation)}) + b"\n"


def _content(invitation: Invitation) -> bytes:
    """What the signature is taken of."""
    document: dict[str, Any] = {VERSION_KEY: VERSION, **asdict(invitation)}
    del document["signature"]
    return canonical(document)


def _of_json(content: bytes) -> Invitation:
    """The invitation in a file's content, which is spelt in the one way that :func:`_to_json` spells it."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise InvitationInvalid("this is no invitation") from None
    names = [each.name for each in fields(Invitation)]
    if not isinstance(document, Mapping) or set(document) != {VERSION_KEY, *names}:
        raise InvitationInvalid("this is no invitation, or one of another release")
    if document[VERSION_KEY] != VERSION:
        raise InvitationInvalid("this is an invitation of another release")
    if not all(isinstance(document[name], str) and document[name].isascii() for name in names):
        raise InvitationInvalid("a part of the invitation is no ASCII text")
    invitation = Invitation(**{name: document[name] for name in names})
    if _to_json(invitation) != content:
        raise InvitationInvalid("the invitation was changed")
    return invitation


def _check_signature(invitation: Invitation) -> None:
    try:
        key = public_of(invitation.coordinator_key)
    except KeyUnreadable:
        raise InvitationInvalid("the coordinator's key cannot be read") from None
    genuine = isinstance(key, Ed25519PublicKey) and _SIGNATURE.fullmatch(invitation.signature)
    if not genuine or not verify(key, bytes.fromhex(invitation.signature), _content(invitation)):
        raise InvitationInvalid("the invitation was changed, or was not signed")


def _check(invitation: Invitation, now: datetime) -> None:
    """Do nothing if the parts go together and it is the time to use them."""
    address = _ADDRESS.fullmatch(invitation.address)
    if not is_site_name(invitation.site) or not address or int(address["port"]) > 65535:
        raise InvitationInvalid("the site's name or the coordinator's address is none")
    if now > _expiry(invitation):
        raise InvitationExpired(f"the invitation of {invitation.site} expired at {invitation.expires}")
    _check_bootstrap(invitation, now)


def _expiry(invitation: Invitation) -> datetime:
    try:
        expires = invitation.expires_at
        exact = expires.astimezone(UTC).isoformat(timespec="seconds") == invitation.expires
    except (ValueError, OverflowError):
        exact = False
    if not exact:
        raise InvitationInvalid("its expiry is no time in UTC")
    return expires


def _check_bootstrap(invitation: Invitation, now: datetime) -> None:
    try:
        holder = identity_of(invitation.bootstrap_certificate.encode(), invitation.authority.encode(), now)
        key = key_of(invitation.bootstrap_key.encode())
    except (CertificateRefused, KeyUnreadable) as error:
        raise InvitationInvalid(f"its certificate or key: {error}") from None
    found = (holder.role, holder.name, holder.federation, holder.public)
    if found != ("invitation", invitation.id, invitation.federation, key.public_key()):
        raise InvitationInvalid("its certificate and key are not those of this invitation")
