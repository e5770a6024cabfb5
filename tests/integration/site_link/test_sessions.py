"""Sessions: refused, interrupted, cut off or intercepted, the site says why, and comes back by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from client.link import Greeting, LinkClient, SiteIdentity, enrol, link_client, meet
from client.link.identity import COORDINATOR
from common.errors import HomeBusy, SiteRevoked
from common.link import transport
from common.link.link_pb2 import FromCoordinator
from tests.integration.site_link.conftest import QUICK, Recorder, Run
from tests.integration.site_link.scripted import Coordinator, now, until
from tests.integration.site_link.wires import Proxy, Wire, accepting

BLACK_HOLE_S = 4.0


def test_a_revoked_site_stops_with_the_code(
    coordinator: Coordinator, recorder: Recorder, site: SiteIdentity
) -> None:
    coordinator.first = lambda hello: coordinator.goodbye("site-revoked")
    with (
        link_client(site.folder, recorder, greeting=Greeting("test"), timing=QUICK) as client,
        pytest.raises(SiteRevoked) as caught,
    ):
        client.run(threading.Event())
    assert recorder.codes("refused") == ["site-revoked"]
    assert "words of others" not in f"{caught.value} {caught.value.public} {caught.value.hint}"


def test_a_site_that_is_revoked_in_a_session_stops(
    coordinator: Coordinator, recorder: Recorder, site: SiteIdentity
) -> None:
    coordinator.standing = [coordinator.goodbye("site-revoked")]
    with (
        link_client(site.folder, recorder, greeting=Greeting("test"), timing=QUICK) as client,
        pytest.raises(SiteRevoked),
    ):
        client.run(threading.Event())
    assert [state for state, _ in recorder.states] == ["connecting", "connected", "refused"]


@pytest.mark.parametrize("code", ["site-connected-twice", "protocol-mismatch", "clock-skewed"])
def test_a_refusal_that_people_can_mend_is_retried_slowly(
    code: str, coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    answers = [coordinator.goodbye(code)]
    coordinator.first = lambda hello: answers.pop() if answers else coordinator.welcome(hello)
    began = now()
    with running():
        took_s = (now() - began).total_seconds()
    assert recorder.codes("refused") == [code]
    assert took_s >= QUICK.slow_s / 2
    assert len({hello.session_id for hello in coordinator.hellos}) == 1


@pytest.mark.parametrize(
    ("ahead_ms", "protocol", "code"),
    [
        (10 * 60_000, 1, "clock-skewed"),
        (-86_400_000, 1, "clock-skewed"),
        (0, 2, "protocol-mismatch"),
    ],
)
def test_a_coordinator_of_another_time_or_tongue_is_refused(
    ahead_ms: int, protocol: int, code: str, coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    coordinator.first = lambda hello: coordinator.welcome(hello, ahead_ms, protocol)
    with running(wait=False):
        recorder.wait(lambda: recorder.codes("refused"))
    assert recorder.codes("refused")[0] == code
    assert not recorder.is_in()


def test_ten_seconds_between_the_clocks_are_borne(
    coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    coordinator.first = lambda hello: coordinator.welcome(hello, 10_000)
    with running() as client:
        assert client.skew_ms == pytest.approx(10_000, abs=2_000)


def test_a_goodbye_without_a_known_code_is_a_coordinator_that_stops(
    coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    with running():
        coordinator.say(coordinator.goodbye("home-busy"))
        recorder.wait(lambda: recorder.codes("disconnected"))
        recorder.wait(recorder.is_in)
    assert recorder.codes("disconnected") == ["coordinator-unreachable"]


def test_a_first_word_that_is_none_is_an_error(
    coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    answers = [FromCoordinator()]
    coordinator.first = lambda hello: answers.pop() if answers else coordinator.welcome(hello)
    with running():
        pass
    assert recorder.codes("disconnected") == ["coordinator-unreachable"]


@pytest.mark.fault(
    "the coordinator is away for a while",
    "hospitals come back by themselves, for ever; `consilium site status` says `coordinator-unreachable`",
)
def test_a_coordinator_that_was_away_is_found_again(
    coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    with running():
        port = int(coordinator.address.rpartition(":")[2])
        coordinator.stop()
        recorder.wait(lambda: len(recorder.codes("disconnected")) >= 3)
        coordinator.start(port)
        recorder.wait(recorder.is_in)
    assert set(recorder.codes("disconnected")) == {"coordinator-unreachable"}
    assert "nobody listens" in str([error for _, error in recorder.states if error][-1])


def test_a_silent_coordinator_is_not_waited_for(
    coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    silence = threading.Event()
    coordinator.first = lambda hello: coordinator.welcome(hello) if silence.wait(20) else FromCoordinator()
    with running(wait=False, timing=replace(QUICK, answer_s=0.3)):
        recorder.wait(lambda: recorder.codes("disconnected"))
        silence.set()
        recorder.wait(recorder.is_in)


def test_stopping_does_not_wait_for_a_silent_coordinator(
    coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    silence = threading.Event()
    coordinator.first = lambda hello: coordinator.welcome(hello) if silence.wait(20) else FromCoordinator()
    with running(wait=False):
        until(lambda: coordinator.hellos)
        began = now()
    assert (now() - began).total_seconds() < 4
    silence.set()


def test_a_black_hole_is_noticed_in_seconds(
    coordinator: Coordinator, recorder: Recorder, site: SiteIdentity
) -> None:
    """The connection stays, and nothing moves on it: only pings can tell."""

    def dial(identity: SiteIdentity) -> grpc.Channel:
        quick = transport.keepalive(1000, 1000)
        others = [option for option in transport.CHANNEL_OPTIONS if option[0] not in dict(quick)]
        given = (identity.key_pem, identity.certificate, identity.authority)
        return transport.channel(f"127.0.0.1:{port}", identity.federation, *given, options=[*others, *quick])

    wire = Wire(int(coordinator.address.rpartition(":")[2]))
    with accepting(wire.serve) as port, link_client(site.folder, recorder, greeting=Greeting("t")) as opened:
        client = LinkClient(
            site,
            recorder,
            opened.outbox,
            opened.outbox.blobs,
            opened.seen,
            greeting=Greeting("test"),
            timing=QUICK,
            dialled=dial,
        )
        with in_a_thread(client):
            recorder.wait(recorder.is_in)
            wire.alive.clear()
            recorder.wait(lambda: recorder.codes("disconnected"), BLACK_HOLE_S)
            wire.alive.set()
            recorder.wait(recorder.is_in)


@contextmanager
def in_a_thread(client: LinkClient) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=client.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def test_the_certificate_is_renewed_before_it_ends(
    coordinator: Coordinator, recorder: Recorder, tmp_path: Path
) -> None:
    coordinator.certificates_from = lambda: now() - timedelta(days=16)  # of 30: more than half has passed
    old = enrol(tmp_path / "old" / "link", coordinator.invitation(), now())
    coordinator.certificates_from = now
    with running_at(old, recorder) as client:
        until(lambda: len(coordinator.callers) == 3)  # enrolled, connected, connected under the new one
        recorder.wait(recorder.is_in)
        new = client.identity
    assert new.identity.serial != old.identity.serial
    assert new.identity.public == old.identity.public
    assert not new.is_due(now())
    assert coordinator.callers[-1].serial == new.identity.serial
    assert SiteIdentity.read(old.folder, now()).identity == new.identity
    assert recorder.codes("disconnected") == []
    assert all(b"PRIVATE" not in request for request in coordinator.requests)


@contextmanager
def running_at(site: SiteIdentity, recorder: Recorder) -> Iterator[LinkClient]:
    with (
        link_client(site.folder, recorder, greeting=Greeting("test"), timing=QUICK) as client,
        in_a_thread(client),
    ):
        yield client


def test_a_renewal_that_is_refused_is_reported_and_the_session_goes_on(
    coordinator: Coordinator, recorder: Recorder, tmp_path: Path
) -> None:
    coordinator.certificates_from = lambda: now() - timedelta(days=16)
    old = enrol(tmp_path / "old" / "link", coordinator.invitation(), now())
    coordinator.certificates_from = lambda: now() + timedelta(days=2)  # a certificate that is of no use yet
    with running_at(old, recorder):
        recorder.wait(lambda: len(recorder.refusals) >= 2)
        assert recorder.is_in()
    assert set(recorder.refusals) == {("certificate-expired", "certificate")}
    assert SiteIdentity.read(old.folder, now()).identity == old.identity


def test_a_certificate_that_ended_while_nobody_was_there_is_said(
    coordinator: Coordinator, recorder: Recorder, site: SiteIdentity
) -> None:
    with link_client(site.folder, recorder, greeting=Greeting("t")) as opened:
        client = LinkClient(
            site,
            recorder,
            opened.outbox,
            opened.outbox.blobs,
            opened.seen,
            greeting=Greeting("test"),
            timing=QUICK,
            now=lambda: now() + timedelta(days=31),
        )
        with in_a_thread(client):
            recorder.wait(lambda: recorder.codes("refused"))
    assert recorder.codes("refused")[0] == "certificate-expired"


def test_through_a_proxy(coordinator: Coordinator, recorder: Recorder, tmp_path: Path) -> None:
    proxy = Proxy()
    with accepting(proxy.serve) as port:
        url = f"http://alder:s3cret@127.0.0.1:{port}"
        site = enrol(tmp_path / "link", coordinator.invitation(), now(), proxy=url)
        with running_at(site, recorder):
            recorder.wait(recorder.is_in)
        assert meet(site, Greeting("test")).ok
    assert [asked.split("\r\n")[0] for asked in proxy.asked] == 3 * [
        f"CONNECT {coordinator.address} HTTP/1.1"
    ]
    assert (site.folder / COORDINATOR).stat().st_mode & 0o777 == 0o600  # it may hold the proxy's password


def test_one_process_at_a_time(recorder: Recorder, running: Run, site: SiteIdentity) -> None:
    with running(), pytest.raises(HomeBusy), link_client(site.folder, recorder, greeting=Greeting("test")):
        pass


def test_meeting_says_what_the_coordinator_answers(coordinator: Coordinator, site: SiteIdentity) -> None:
    assert meet(site, Greeting("test")).ok
    coordinator.first = lambda hello: coordinator.welcome(hello, 600_000)
    skewed = meet(site, Greeting("test"))
    coordinator.first = lambda hello: coordinator.goodbye("site-connected-twice")
    twice = meet(site, Greeting("test"))
    coordinator.stop()
    gone = meet(site, Greeting("test"), timeout_s=2.0)
    coordinator.start()
    assert (skewed.step, skewed.code) == ("clock", "clock-skewed")
    assert "NTP" in skewed.remedy
    assert (twice.step, twice.code) == ("session", "site-connected-twice")
    assert (gone.step, gone.code) == ("session", "coordinator-unreachable")
