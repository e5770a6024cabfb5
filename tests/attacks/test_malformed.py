"""What is no message, or too large for one, costs its sender that call."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import pytest

from common.identity import key_of
from common.link.link_pb2 import BlobChunk, BlobRequest, EnrolRequest, FromSite, Progress, RenewRequest
from common.link.transport import MAX_MESSAGE_BYTES
from tests.attacks.federation import ALDER, BIRCH, COORDINATOR, Federation, Ward
from tests.integration.link.hospital import WAIT_S, Hospital

UNARY = ("Renew", "FetchBlob", "BlobOffset", "StoreBlob")
RUBBISH = {
    "rubbish": b"\xff\xff\xff",
    "unending": b"\x0a\xff\xff\xff\xff\x0f",
}  # a field of 4 GiB that never comes
FAR_ABOVE = 20 * 2**20


def oversize(rpc: str, size_bytes: int) -> bytes:
    """A message as the call has it, but for its size."""
    filler = "x" * size_bytes
    made = {
        "Enrol": lambda: EnrolRequest(invitation_id=filler),
        "Session": lambda: FromSite(progress=Progress(what=filler)),
        "Renew": lambda: RenewRequest(csr=filler.encode()),
        "FetchBlob": lambda: BlobRequest(digest=filler),
        "BlobOffset": lambda: BlobRequest(digest=filler),
        "StoreBlob": lambda: BlobChunk(digest="d" * 64, size=size_bytes, data=filler.encode()),
    }
    return bytes(made[rpc]().SerializeToString())


def sent(site: Hospital, rpc: str, message: bytes) -> grpc.RpcError:
    """How a call with these bytes ends."""
    service = "Enrolment" if rpc == "Enrol" else "Link"
    with (
        site.channel(options=[("grpc.max_send_message_length", -1)]) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        call = channel.stream_stream(f"/consilium.link.v1.{service}/{rpc}")
        list(call(iter([message]), timeout=WAIT_S))
    return raised.value


def coded(error: grpc.RpcError) -> str:
    return str(error.details()).partition(":")[0]


@pytest.fixture(scope="module")
def cedar(whole_federation: Federation) -> Hospital:
    return whole_federation.guest("cedar")


@pytest.fixture
def guest(cedar: Hospital, federation: Federation) -> Hospital:
    """Somebody with an invitation."""
    invitation = federation.home.enrolment.invite("dogwood")
    key, certificate = invitation.bootstrap_key.encode(), invitation.bootstrap_certificate.encode()
    return cedar.with_certificate(key_of(key), certificate)


@pytest.mark.parametrize("what", [*RUBBISH, "oversize"])
@pytest.mark.parametrize("rpc", ["Enrol", *UNARY])
def test_a_call(what: str, rpc: str, cedar: Hospital, guest: Hospital, federation: Federation) -> None:
    message = RUBBISH.get(what) or oversize(rpc, MAX_MESSAGE_BYTES)
    with federation.refusing(COORDINATOR, "link.refused", "envelope-refused", call=rpc):
        assert coded(sent(guest if rpc == "Enrol" else cedar, rpc, message)) == "envelope-refused"


@pytest.mark.parametrize("rpc", ["Enrol", "Session", *UNARY])
def test_a_call_far_above_all_bounds(
    rpc: str, cedar: Hospital, guest: Hospital, federation: Federation
) -> None:
    """gRPC does not take it in: it ends the call before anything of ours could give a code."""
    with federation.refusing(COORDINATOR, "link.refused", "envelope-refused", call=rpc):
        error = sent(guest if rpc == "Enrol" else cedar, rpc, oversize(rpc, FAR_ABOVE))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("what", [*RUBBISH, "oversize"])
def test_a_session(what: str, cedar: Hospital, federation: Federation) -> None:
    message = RUBBISH.get(what) or oversize("Session", MAX_MESSAGE_BYTES)
    refused = {"site": "cedar", "kind": "session"}
    with federation.refusing(COORDINATOR, "message.refused", "envelope-refused", **refused):
        last = cedar.raw([message])[-1]
    assert last.goodbye.code == "envelope-refused"


def test_a_session_far_above_all_bounds(cedar: Hospital, federation: Federation) -> None:
    with (
        federation.refusing(COORDINATOR, "link.disconnected", "", site="cedar"),
        pytest.raises(grpc.RpcError) as raised,
    ):
        cedar.raw([oversize("Session", FAR_ABOVE)])
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@dataclass(frozen=True)
class Raw:
    """Bytes in place of a message."""

    data: bytes

    def SerializeToString(self) -> bytes:
        return self.data


@pytest.mark.parametrize(
    "message", [RUBBISH["rubbish"], bytes(2 * MAX_MESSAGE_BYTES)], ids=["rubbish", "oversize"]
)
def test_a_coordinator_that_says_it_to_a_site(message: bytes, alder: Ward, federation: Federation) -> None:
    """The site ends that session, and begins another."""
    with federation.refusing(ALDER, "link.disconnected", "coordinator-unreachable", answering=[BIRCH]):
        federation.say(ALDER, Raw(message))
    federation.goes_on(ALDER)
