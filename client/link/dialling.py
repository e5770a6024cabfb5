"""The channel to a site's coordinator, and what can be called over it."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from client.link.identity import SiteIdentity
from common.link.link_pb2_grpc import EnrolmentStub, LinkStub
from common.link.transport import channel

Dial = Callable[[SiteIdentity], grpc.Channel]


def dial(identity: SiteIdentity) -> grpc.Channel:
    """A channel to the site's coordinator; nothing is sent before the first call."""
    return channel(
        identity.address,
        identity.federation,
        identity.key_pem,
        identity.certificate,
        identity.authority,
        identity.proxy,
    )


def link_over(opened: grpc.Channel) -> LinkStub:
    """The calls of a site that has enrolled."""
    return LinkStub(opened)


def enrolment_over(opened: grpc.Channel) -> EnrolmentStub:
    """The call of a site that is invited."""
    return EnrolmentStub(opened)
