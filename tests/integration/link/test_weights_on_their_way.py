"""Blobs: given only to whom they are for, taken only whole, resumed where they were cut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from flwr.app import RecordDict

from common.link.blobs import digest_of
from common.link.link_pb2 import BlobChunk, Heartbeat
from common.link.pieces import MOST_BYTES
from server.link import transfers
from server.link.home import CoordinatorHome
from server.link.server import LinkServer
from server.link.transfers import Transfers
from tests.integration.link.hospital import WAIT_S, Hospital, Line, chunks_of

Told = Callable[..., list[dict[str, Any]]]
Within = Callable[[Callable[[], bool]], bool]
DATA = bytes(range(256)) * 10_000  # three chunks
DIGEST = digest_of([DATA])


@pytest.fixture
def bystander(birch: Hospital) -> Iterator[Line]:
    with birch.session() as line:
        yield line
        line.say(heartbeat=Heartbeat(time_ms=1))
        assert line.expect("heartbeat")


def asked(alder: Hospital, push: Callable[..., str], content: RecordDict) -> str:
    """Digest of the weights of a task that was offered to the site."""
    with alder.session() as line:
        push(alder, content)
        task = alder.task_in(line.expect("offer"))
    [digest] = [row["blob"] for row in task.content["records"]["content"] if row["kind"] == "arrays"]
    return str(digest)


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code(), raised.value.details().split(":")[0]


def test_weights_are_fetched_from_any_offset(
    alder: Hospital, push: Callable[..., str], weights: Callable[..., RecordDict]
) -> None:
    digest = asked(alder, push, weights(1, 800_000))
    whole = alder.fetch(digest)
    assert digest_of([whole]) == digest and len(whole) > 3 * MOST_BYTES
    for offset in (1, MOST_BYTES, len(whole) - 1, len(whole)):
        assert alder.fetch(digest, offset) == whole[offset:]
    code = refusal(lambda: alder.fetch(digest, len(whole) + 1))
    assert code == (grpc.StatusCode.PERMISSION_DENIED, "blob-refused")


def test_weights_are_not_for_other_sites(
    alder: Hospital,
    birch: Hospital,
    push: Callable[..., str],
    weights: Callable[..., RecordDict],
    bystander: Line,
    told: Told,
) -> None:
    digest = asked(alder, push, weights(1))
    assert refusal(lambda: birch.fetch(digest)) == (grpc.StatusCode.PERMISSION_DENIED, "blob-refused")
    assert told("link.refused", site="birch", call="FetchBlob", code="blob-refused")
    alder.store({DIGEST: [DATA]})
    assert refusal(lambda: birch.fetch(DIGEST))[1] == "blob-refused"
    assert birch.offset(DIGEST).offset == 0  # not even that it is there


def test_weights_are_not_for_a_task_that_was_answered(
    alder: Hospital, push: Callable[..., str], weights: Callable[..., RecordDict]
) -> None:
    with alder.session() as line:
        task = push(alder, weights(1))
        offer = alder.task_in(line.expect("offer"))
        [digest] = [row["blob"] for row in offer.content["records"]["content"] if row["kind"] == "arrays"]
        sealed, _ = alder.reply(task, RecordDict())
        assert alder.fetch(digest)
        line.say(reply={"body": sealed.body, "signature": sealed.signature})
        line.expect("ack")
    assert refusal(lambda: alder.fetch(digest))[1] == "blob-refused"


@pytest.mark.parametrize("digest", ["", "../audit.jsonl", "D" * 64, "d" * 63, "/etc/passwd"])
def test_names_that_are_no_digests(digest: str, alder: Hospital, bystander: Line) -> None:
    assert refusal(lambda: alder.fetch(digest))[1] == "blob-refused"
    assert refusal(lambda: alder.offset(digest))[1] == "blob-refused"
    with alder.link() as link:
        code = refusal(lambda: link.StoreBlob(iter([BlobChunk(digest=digest, size=4, data=b"data")])))
    assert code[1] == "blob-refused"


def test_weights_are_stored_in_as_many_goes_as_it_takes(alder: Hospital) -> None:
    with alder.link() as link:
        first = list(chunks_of(DIGEST, DATA))[:1]
        status = link.StoreBlob(iter(first), timeout=WAIT_S)
        assert (status.offset, status.complete) == (MOST_BYTES, False)
        assert alder.offset(DIGEST) == status
        rest = chunks_of(DIGEST, DATA, status.offset)
        assert link.StoreBlob(rest, timeout=WAIT_S).complete
        assert alder.offset(DIGEST).complete
        assert link.StoreBlob(chunks_of(DIGEST, DATA), timeout=WAIT_S).complete  # once more does no harm


def test_weights_whose_digest_is_another_are_not_kept(alder: Hospital, bystander: Line, told: Told) -> None:
    with alder.link() as link:
        wrong = DATA[:-1] + b"?"
        code = refusal(lambda: link.StoreBlob(chunks_of(DIGEST, wrong), timeout=WAIT_S))
    assert code == (grpc.StatusCode.PERMISSION_DENIED, "blob-refused")
    assert told("link.refused", site="alder", call="StoreBlob", code="blob-refused")
    assert alder.offset(DIGEST).offset == 0
    alder.store({DIGEST: [DATA]})


@pytest.mark.parametrize(
    "chunks",
    [
        [BlobChunk(digest=DIGEST, size=len(DATA))],
        [BlobChunk(digest=DIGEST, offset=7, size=len(DATA), data=DATA[7:9])],
        [BlobChunk(digest=DIGEST, size=3, data=b"four")],
        [BlobChunk(digest=DIGEST, size=8, data=b"data"), BlobChunk(digest="e" * 64, size=8, data=b"data")],
        [BlobChunk(digest=DIGEST, size=8, data=b"data"), BlobChunk(digest=DIGEST, size=9, data=b"data")],
        [BlobChunk(digest=DIGEST, size=2**62, data=b"data")],
    ],
    ids=["empty", "gap", "more than announced", "two blobs", "two sizes", "too large"],
)
def test_pieces_that_do_not_fit_are_refused(
    chunks: list[BlobChunk], alder: Hospital, bystander: Line, told: Told
) -> None:
    with alder.link() as link:
        assert refusal(lambda: link.StoreBlob(iter(chunks), timeout=WAIT_S))[1] == "blob-refused"
    assert told("link.refused", site="alder", call="StoreBlob", code="blob-refused")


def test_a_site_has_only_so_much_room(
    home: CoordinatorHome, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Any], clock: Any
) -> None:
    monkeypatch.setattr(transfers, "FROM_A_SITE_BYTES", len(DATA) + 10)
    _, port = serve()
    alder, birch = (Hospital.enrolled(home, port, name, clock()) for name in ("alder", "birch"))
    alder.store({DIGEST: [DATA]})
    with alder.link() as link:
        more = iter([BlobChunk(digest="e" * 64, size=11, data=b"x")])
        assert refusal(lambda: link.StoreBlob(more, timeout=WAIT_S))[1] == "blob-refused"
    birch.store({DIGEST: [DATA]})


@pytest.mark.parametrize("rpc", ["StoreBlob", "BlobOffset", "Renew", "FetchBlob"])
def test_a_call_in_which_nothing_moves_is_cut_off(
    rpc: str, alder: Hospital, server: LinkServer, bystander: Line, within: Within
) -> None:
    """A caller that sends no message holds no thread of the coordinator."""
    done = threading.Event()

    def nothing() -> Iterator[bytes]:
        done.wait(WAIT_S)
        yield from ()

    with alder.channel() as channel:
        call = channel.stream_unary(f"/consilium.link.v1.Link/{rpc}")
        began = time.monotonic()
        code, _ = refusal(lambda: call(nothing(), timeout=WAIT_S))
        done.set()
        assert code is grpc.StatusCode.CANCELLED and time.monotonic() - began < 3.0
        assert within(lambda: [each.rpc for each in server._door.calls()] == ["Session"])


def test_what_no_task_names_is_let_go_of(
    alder: Hospital,
    home: CoordinatorHome,
    push: Callable[..., str],
    weights: Callable[..., RecordDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfers, "UNUSED_S", 0.0)
    monkeypatch.setattr(transfers, "UNCLAIMED_S", 0.0)
    digest = asked(alder, push, weights(1))
    alder.store({DIGEST: [DATA]})
    held = Transfers(home.blobs, home.store.tasks, lambda: 0)
    held.given.put([b"unnamed"])
    held.tidy([alder.node_id])
    assert alder.fetch(digest)
    assert not held.given.has(digest_of([b"unnamed"]))
    assert alder.offset(DIGEST).offset == 0
