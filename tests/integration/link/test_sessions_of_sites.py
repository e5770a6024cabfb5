"""Sessions: how they begin, who may have one, and how they end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from flwr.app import Message, RecordDict

from common.errors import DiskFull
from common.link.envelope import Sealed
from common.link.link_pb2 import BlobRequest, FromSite, Heartbeat, Hello, Progress, Status
from server.link.grid import LinkGrid
from server.link.home import CoordinatorHome
from server.link.log import LinkLog
from server.link.server import LinkServer
from server.link.sessions import MOST_UNREAD
from tests.integration.link.hospital import CONTRACT, Clock, Hospital, envelope_of

Told = Callable[..., list[dict[str, Any]]]
MINUTE_MS = 60_000


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def test_a_site_is_welcome(alder: Hospital, server: LinkServer, told: Told, home: CoordinatorHome) -> None:
    about = {"version": "9.9", "code_digest": "a" * 64, "capabilities": {"gpu": "H200"}}
    with alder.calling() as line:
        line.say(hello=alder.hello(session_id="s-1", **about))
        welcome = line.expect("welcome")
        assert abs(welcome.time_ms - now_ms()) < 5000
        assert welcome.audit_head.partition(":")[0].isdigit()
        line.say(status=Status(state="ready", facts={"cohort": "mri"}))
        line.say(heartbeat=Heartbeat(time_ms=1))
        assert line.expect("heartbeat")
        [there] = server.present()
        assert (there.site, there.node_id, there.version) == ("alder", alder.node_id, "9.9")
        assert (there.state, there.facts, there.capabilities) == (
            "ready",
            {"cohort": "mri"},
            {"gpu": "H200"},
        )
        line.say(progress=Progress(task="t", done=0.5, what="epoch 1"))
        line.say(heartbeat=Heartbeat(time_ms=1))
        assert line.expect("heartbeat")
        assert server.present()[0].facts == {"done": "0.500", "what": "epoch 1"}
    assert told("link.connected", site="alder", session="s-1", version="9.9", code_digest="a" * 64)
    assert told("link.disconnected", site="alder", session="s-1", code=None)
    assert server.present() == []


def test_a_session_whose_end_cannot_be_noted_is_over_all_the_same(
    alder: Hospital,
    server: LinkServer,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def note(log: LinkLog, event: str, **facts: Any) -> None:
        if event == "link.disconnected":
            raise DiskFull("audit.jsonl")
        noted(log, event, **facts)

    noted = LinkLog.note
    monkeypatch.setattr(LinkLog, "note", note)
    with alder.calling() as line:
        line.say(hello=alder.hello(session_id="s-1"))
        line.expect("welcome")
    until = time.monotonic() + 10
    while "the end of a session is not in the audit log: disk-full" not in caplog.text:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert server.present() == []
    monkeypatch.undo()
    with alder.calling() as line:  # the next one is as if nothing had been
        line.say(hello=alder.hello(session_id="s-2"))
        line.expect("welcome")
    assert told("link.disconnected", site="alder", session="s-2")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol": 2}, "protocol-mismatch"),
        ({"protocol": 0}, "protocol-mismatch"),
        ({"session_id": ""}, "protocol-mismatch"),
        ({"session_id": "x" * 65}, "protocol-mismatch"),
        ({"version": "\n"}, "protocol-mismatch"),
        ({"version": "x" * 201}, "protocol-mismatch"),
        ({"code_digest": "short"}, "protocol-mismatch"),
        ({"capabilities": {"a": "\x1b[31m"}}, "protocol-mismatch"),
        ({"capabilities": {f"c{n}": "" for n in range(65)}}, "protocol-mismatch"),
        ({"time_ms": now_ms() + 24 * 60 * MINUTE_MS}, "clock-skewed"),
        ({"time_ms": now_ms() - 10 * MINUTE_MS}, "clock-skewed"),
        ({"time_ms": now_ms() - 24 * 60 * MINUTE_MS}, "clock-skewed"),
        ({"time_ms": 0}, "clock-skewed"),
    ],
)
def test_a_hello_that_is_none_is_refused(
    changes: dict[str, Any], code: str, alder: Hospital, server: LinkServer, told: Told
) -> None:
    with alder.calling() as line:
        line.say(hello=alder.hello(**changes))
        goodbye = line.goodbye()
    assert goodbye.code == code and goodbye.public and goodbye.hint
    assert told("link.refused", call="Session", site="alder", code=code)
    assert server.present() == [] and told("link.connected", 0.0) == []


@pytest.mark.parametrize("seconds", [-10, 10, -240, 240])
def test_clocks_that_differ_a_little_are_borne(seconds: int, alder: Hospital) -> None:
    with alder.session(time_ms=now_ms() + 1000 * seconds):
        pass


@pytest.mark.parametrize(
    "first", [FromSite(heartbeat=Heartbeat()), FromSite(), FromSite(status=Status(state="ready"))]
)
def test_a_session_begins_with_hello(first: FromSite, alder: Hospital) -> None:
    with alder.calling() as line:
        line._out.put(first)
        assert line.goodbye().code == "protocol-mismatch"


def test_a_session_has_one_hello(alder: Hospital) -> None:
    with alder.session() as line:
        line.say(hello=Hello())
        assert line.goodbye().code == "protocol-mismatch"


def test_a_second_session_of_a_site_is_refused_and_the_first_goes_on(
    alder: Hospital, server: LinkServer, told: Told
) -> None:
    with alder.session() as first, alder.calling() as second:
        second.say(hello=alder.hello())
        assert second.goodbye().code == "site-connected-twice"
        first.say(heartbeat=Heartbeat(time_ms=1))
        assert first.expect("heartbeat")
        assert [each.site for each in server.present()] == ["alder"]
    assert told("link.refused", site="alder", code="site-connected-twice", call="Session")


def test_a_process_that_lost_its_connection_takes_its_own_place(
    alder: Hospital, server: LinkServer, told: Told
) -> None:
    with alder.session(session_id="mine") as first, alder.session(session_id="mine") as second:
        assert first.over() is None
        second.say(heartbeat=Heartbeat(time_ms=1))
        assert second.expect("heartbeat")
        assert [each.site for each in server.present()] == ["alder"]
    assert told("link.disconnected", site="alder", session="mine")
    assert len(told("link.disconnected")) == 1 and told("link.refused", 0.0) == []


@pytest.mark.parametrize("elsewhere", [False, True], ids=["by the server", "by another process"])
def test_revoking_a_site_ends_its_session_within_a_second(
    elsewhere: bool,
    alder: Hospital,
    birch: Hospital,
    server: LinkServer,
    home: CoordinatorHome,
    told: Told,
    push: Callable[..., str],
    pulled: Callable[..., list[Message]],
    weights: Callable[..., RecordDict],
) -> None:
    with alder.session() as line, birch.session() as other:
        task = push(alder, weights(1))
        line.expect("offer")
        assert home.enrolment.revoke("alder") if elsewhere else server.revoke("alder")
        began = time.monotonic()
        assert line.goodbye(1.0).code == "site-revoked"
        assert time.monotonic() - began < 1.0
        [reply] = pulled(task)
        assert reply.has_error() and reply.error.reason == "site-revoked"
        other.say(heartbeat=Heartbeat(time_ms=1))
        assert other.expect("heartbeat")
        assert [each.site for each in server.present()] == ["birch"]
        late = push(alder, weights(2))
        assert pulled(late)[0].error.reason == "site-revoked"
    assert told("site.revoked", site="alder")
    assert told("link.disconnected", site="alder", code="site-revoked")


def test_revoking_a_site_that_does_not_read_ends_its_calls_within_a_second(
    alder: Hospital,
    server: LinkServer,
    push: Callable[..., str],
    weights: Callable[..., RecordDict],
    within: Callable[[Callable[[], bool]], bool],
) -> None:
    """A transfer that the site holds up is cut off."""
    push(alder, weights(1, 20_000_000))
    with alder.session() as line, alder.link() as link:
        offer = alder.task_in(line.expect("offer"))
        [digest] = [row["blob"] for row in offer.content["records"]["content"] if row["kind"] == "arrays"]
        chunks = link.FetchBlob(BlobRequest(digest=digest))
        next(chunks)
        began = time.monotonic()
        server.revoke("alder")
        assert within(lambda: not server._door.calls())
        assert time.monotonic() - began < 1.0
        with pytest.raises(grpc.RpcError):
            list(chunks)


def test_a_certificate_that_expires_ends_its_session(alder: Hospital, clock: Clock, told: Told) -> None:
    with alder.session() as line:
        clock.ahead = timedelta(days=31)
        assert line.goodbye(2.0).code == "certificate-expired"
    assert told("link.disconnected", site="alder", code="certificate-expired")


def test_a_site_that_does_not_read_is_not_listened_to(alder: Hospital, server: LinkServer) -> None:
    """What it says piles up on its own side, not on the coordinator's."""
    said = [FromSite(heartbeat=Heartbeat(time_ms=1)).SerializeToString()] * 2000
    hello = FromSite(hello=alder.hello()).SerializeToString()
    with alder.channel() as channel:
        call = channel.stream_stream("/consilium.link.v1.Link/Session")(iter([hello, *said]))
        most, heard = 0, 0
        for _ in call:
            heard += 1
            most = max([most, *(len(session._waiting) for session in server._sessions.all())])
        assert heard == 2001 and most <= MOST_UNREAD + 1


def test_contracts_reach_who_connects_and_who_is_there(
    serve: Callable[..., Any], home: CoordinatorHome, clock: Clock
) -> None:
    first, second = Sealed(b"first", b"s"), Sealed(b"second", b"s")
    server, port = serve(contracts=lambda: [first])
    alder = Hospital.enrolled(home, port, "alder", clock())
    with alder.session() as line:
        assert line.expect("contract") == envelope_of(first)
        server.propose(second)
        assert line.expect("contract") == envelope_of(second)


def test_a_consent_is_taken_once(
    serve: Callable[..., Any], home: CoordinatorHome, clock: Clock, told: Told
) -> None:
    heard: list[tuple[str, str]] = []
    _, port = serve(consents=lambda site, sealed, said: heard.append((site, said.content["decision"])))
    alder = Hospital.enrolled(home, port, "alder", clock())
    birch = Hospital.enrolled(home, port, "birch", clock())
    with alder.session() as line:
        consent = alder.said("consent", CONTRACT, {"decision": "approved"})
        forged = birch.said("consent", CONTRACT, {"decision": "approved"}, sender="alder")
        empty = alder.said("consent", CONTRACT, {})
        for sealed in (consent, consent, forged, empty):
            line.say(consent=envelope_of(sealed))
        assert told("message.refused", site="alder", kind="consent", code="envelope-replayed")
        line.say(heartbeat=Heartbeat(time_ms=1))
        assert line.expect("heartbeat")
    assert heard == [("alder", "approved")]
    [entry] = told("consent.received", site="alder", contract=CONTRACT, decision="approved")
    assert entry["statement"] == consent.digest
    assert len(told("message.refused", code="envelope-refused")) == 2


def test_stopping_lets_the_sites_go(serve: Callable[..., Any], home: CoordinatorHome, clock: Clock) -> None:
    server, port = serve()
    alder = Hospital.enrolled(home, port, "alder", clock())
    with alder.session() as line:
        began = time.monotonic()
        server.stop()
        line.over()
        assert time.monotonic() - began < 2.0
    server.stop()


def test_nodes_are_the_sites_that_are_there(alder: Hospital, birch: Hospital, grid: LinkGrid) -> None:
    assert list(grid.get_node_ids()) == []
    with birch.session(), alder.session():
        assert list(grid.get_node_ids()) == sorted([alder.node_id, birch.node_id])
