"""How a site gets its identity: one call, under the certificate that an invitation lends it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import grpc

from client.link.dialling import enrolment_over
from client.link.failures import coded
from client.link.identity import AUTHORITY, CERTIFICATE, COORDINATOR, KEY, SiteIdentity, certified
from client.link.route import proxy_of
from common import __version__
from common.chain import sync_folder
from common.errors import CertificateRefused, IdentityExists
from common.files import unwritable, write_atomically
from common.identity.authority import site_request
from common.identity.invitation import Invitation
from common.identity.keys import PrivateKey, new_tls_key, read_key, write_key
from common.link.link_pb2 import EnrolReply, EnrolRequest
from common.link.transport import channel


def enrol(
    folder: Path,
    invitation: Invitation,
    now: datetime,
    *,
    proxy: str | None = None,
    passphrase: bytes | None = None,
    timeout_s: float = 30.0,
) -> SiteIdentity:
    """The identity that the coordinator gave to this site; it is on the disk when this returns.

    The key is made here. If the call fails the key stays, and the next attempt is made with it: a coordinator
    whose answer was lost on the way knows the site again.

    Args:
        folder: Where it is put; made if it is not there.
        invitation: From :func:`common.identity.invitation.read_invitation`, which checked it.
        now: The time.
        proxy: URL of the HTTP proxy on the way to the coordinator.
        passphrase: What the key is encrypted under on the disk; None for not at all.
        timeout_s: How long the coordinator may take.

    Raises:
        IdentityExists: The folder holds one already.
        InvitationUsed, InvitationExpired, InvitationInvalid, EnrolmentLimited: The coordinator says so.
        CoordinatorUnreachable: It says nothing, or the proxy's URL is none.
        CertificateRefused: What it answered is not for this site, this key and this federation.
        KeyUnsafe, KeyUnreadable, DiskFull, OutputUnwritable: The folder cannot be used.
    """
    if (folder / CERTIFICATE).exists():
        raise IdentityExists(f"{folder} holds the identity of a site")
    if proxy is not None:
        proxy_of(proxy)  # gRPC would pass over one that it cannot read, and dial directly
    key = _key_in(folder, passphrase)
    request = EnrolRequest(
        csr=site_request(key, invitation.federation, invitation.site),
        version=__version__,
        invitation_id=invitation.id,
    )
    reply = _ask(invitation, request, proxy, timeout_s)
    _check(reply, invitation, key, now)
    return _kept(folder, reply, invitation, proxy, passphrase, now)


def _key_in(folder: Path, passphrase: bytes | None) -> PrivateKey:
    """The key of an attempt that did not come to its end, or a new one."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    path = folder / KEY
    if not path.exists():
        write_key(path, new_tls_key(), passphrase)
    return read_key(path, passphrase)


def _ask(invitation: Invitation, request: EnrolRequest, proxy: str | None, timeout_s: float) -> EnrolReply:
    with channel(
        invitation.address,
        invitation.federation,
        invitation.bootstrap_key.encode(),
        invitation.bootstrap_certificate.encode(),
        invitation.authority.encode(),
        proxy,
    ) as opened:
        try:
            reply: EnrolReply = enrolment_over(opened).Enrol(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise coded(error) from None
    return reply


def _check(reply: EnrolReply, invitation: Invitation, key: PrivateKey, now: datetime) -> None:
    told = (reply.federation, reply.authority, reply.coordinator_key.decode("ascii", "replace"))
    if told != (invitation.federation, invitation.authority.encode(), invitation.coordinator_key):
        raise CertificateRefused("the coordinator names another federation, authority or key than invited us")
    identity = certified(reply.certificate, reply.authority, key, now)
    if (identity.name, identity.federation) != (invitation.site, invitation.federation):
        raise CertificateRefused(
            f"the certificate is for {identity.name}, the invitation for {invitation.site}"
        )


def _kept(
    folder: Path,
    reply: EnrolReply,
    invitation: Invitation,
    proxy: str | None,
    passphrase: bytes | None,
    now: datetime,
) -> SiteIdentity:
    place = {"address": invitation.address, "key": invitation.coordinator_key, "proxy": proxy}
    write_atomically(folder / AUTHORITY, reply.authority, 0o600)
    write_atomically(folder / COORDINATOR, json.dumps(place, indent=1) + "\n", 0o600)
    sync_folder(folder)
    write_atomically(folder / CERTIFICATE, reply.certificate, 0o600)
    sync_folder(folder)
    return SiteIdentity.read(folder, now, passphrase)
