"""The channel to a site's coordinator, and what can be called over it."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from client.link.identity import SiteIdentity
from common.link.link_pb2 import BlobRequest, BlobStatus
from common.link.link_pb2_grpc import EnrolmentStub, LinkStub
from common.link.pieces import decoded
from common.link.transport import channel

_LINK = "/consilium.link.v1.Link"
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
    """The calls of a site that has enrolled; those that move weights speak :mod:`common.link.pieces`."""
    link = LinkStub(opened)
    link.FetchBlob = opened.unary_stream(
        f"{_LINK}/FetchBlob", request_serializer=BlobRequest.SerializeToString, response_deserializer=decoded
    )
    link.StoreBlob = opened.stream_unary(f"{_LINK}/StoreBlob", response_deserializer=BlobStatus.FromString)
    return link


def enrolment_over(opened: grpc.Channel) -> EnrolmentStub:
    """The call of a site that is invited."""
    return EnrolmentStub(opened)
