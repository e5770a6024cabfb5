"""The calls of ``link.proto``, each answered behind the door.

Enrol is for the certificate of an invitation and for nothing else; all other calls are for a site's. To gRPC
every call is a stream of bytes, also where one message is all there is: so the caller is known before a
message is waited for, a caller that sends none can be cut off, and one that cannot be read is refused as all
else is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from common.errors import EnvelopeRefused
from common.identity.keys import public_text
from common.link.link_pb2 import (
    BlobRequest,
    BlobStatus,
    EnrolReply,
    EnrolRequest,
    FromCoordinator,
    FromSite,
    RenewReply,
    RenewRequest,
)
from common.link.pieces import decoded
from common.link.transport import MAX_MESSAGE_BYTES
from server.link.conversation import Conversations
from server.link.door import Call, Door
from server.link.home import CoordinatorHome
from server.link.transfers import Transfers

Kind = TypeVar("Kind")
Request = TypeVar("Request", bound=Message)


@dataclass(frozen=True, slots=True)
class Service:
    """Answers calls; gRPC's threads share it.

    Attributes:
        home: Enrols and renews.
        door: Lets callers in.
        conversations: Leads sessions.
        transfers: Moves weights.
    """

    home: CoordinatorHome
    door: Door
    conversations: Conversations
    transfers: Transfers

    def enrol(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> EnrolReply:
        """The certificate of a site that was invited."""
        with self.door.answering("Enrol", context) as call:
            identity = self.door.identify(call)
            asked = _only(call, EnrolRequest, messages)
            call.audited = True  # by the enrolment, with the invitation
            pem = self.home.enrolment.enrol(identity, asked.csr, asked.invitation_id, context.peer())
            return EnrolReply(
                certificate=pem,
                authority=self.home.authority.pem,
                federation=self.home.federation,
                coordinator_key=public_text(self.home.signing_key.public_key()).encode(),
            )

    def renew(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> RenewReply:
        """A further certificate of a site."""
        with self.door.answering("Renew", context) as call:
            identity = self.door.admit(call)
            asked = _only(call, RenewRequest, messages)
            call.audited = True  # by the enrolment
            return RenewReply(certificate=self.home.enrolment.renew(identity, asked.csr))

    def session(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[FromCoordinator]:
        """What is said to a site as long as it is connected."""
        with self.door.answering("Session", context) as call:
            self.door.admit(call)
            yield from self.conversations.hold(call, _all(call, FromSite.FromString, messages))

    def fetch_blob(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Weights of a task, from an offset on."""
        with self.door.answering("FetchBlob", context) as call:
            self.door.admit(call)
            yield from self.transfers.fetch(call, _only(call, BlobRequest, messages))

    def blob_offset(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> BlobStatus:
        """How much of some weights a site has sent."""
        with self.door.answering("BlobOffset", context) as call:
            self.door.admit(call)
            return self.transfers.status(call, _only(call, BlobRequest, messages))

    def store_blob(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> BlobStatus:
        """How much of some weights a site has sent, after these pieces of them."""
        with self.door.answering("StoreBlob", context) as call:
            self.door.admit(call)
            return self.transfers.store(call, _all(call, decoded, messages))


def handlers(service: Service) -> list[grpc.GenericRpcHandler]:
    """The calls as gRPC takes them."""
    one, many = grpc.stream_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
    calls = {
        "Enrolment": {"Enrol": one(service.enrol, None, _encoded)},
        "Link": {
            "Session": many(service.session, None, _encoded),
            "Renew": one(service.renew, None, _encoded),
            "FetchBlob": many(service.fetch_blob),
            "BlobOffset": one(service.blob_offset, None, _encoded),
            "StoreBlob": one(service.store_blob, None, _encoded),
        },
    }
    return [
        grpc.method_handlers_generic_handler(f"consilium.link.v1.{name}", methods)
        for name, methods in calls.items()
    ]


def _encoded(message: Message) -> bytes:
    return bytes(message.SerializeToString())


def _all(call: Call, decode: Callable[[bytes], Kind], messages: Iterator[bytes]) -> Iterator[Kind]:
    """The messages of a call, at least one, decoded as they come.

    Raises:
        EnvelopeRefused: There is none, or one is too large or cannot be read.
    """
    for data in messages:
        call.began = True
        if len(data) > MAX_MESSAGE_BYTES:
            raise EnvelopeRefused(f"a message of {len(data)} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
        try:
            yield decode(data)
        except DecodeError:
            raise EnvelopeRefused("a message that cannot be read") from None
    if not call.began:
        raise EnvelopeRefused("a call without a message")


def _only(call: Call, kind: type[Request], messages: Iterator[bytes]) -> Request:
    """The one message of a call.

    Raises:
        EnvelopeRefused: There is none, it is too large, or it cannot be read.
    """
    asked: Request = next(_all(call, kind.FromString, messages))
    return asked
