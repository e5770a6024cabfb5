"""Replies: on the disk from when they are finished until the coordinator says, signed, that it has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flwr.app import RecordDict

from client.link import LinkClient
from common.identity import new_signing_key
from common.link.envelope import COORDINATOR, Sealed, opened
from common.link.link_pb2 import Cancel, FromCoordinator
from common.link.records import restored
from tests.integration.site_link.conftest import Recorder, Run
from tests.integration.site_link.scripted import Coordinator, Cut, until

Finish = Callable[[LinkClient], Sealed]


@pytest.fixture
def finished(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict, finish: Finish
) -> Callable[[LinkClient], Sealed]:
    """Offers a task and answers it."""

    def put(client: LinkClient) -> Sealed:
        coordinator.say(coordinator.task(content))
        recorder.wait(lambda: recorder.tasks)
        return finish(client)

    return put


def test_a_reply_arrives_signed_after_its_weights(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict, finished: Finish
) -> None:
    with running() as client:
        reply = finished(client)
        until(coordinator.replies)
        statement = opened(
            coordinator.replies()[0],
            client.identity.key.public_key(),
            kind="reply",
            federation=coordinator.federation,
            sender="alder",
            recipient=COORDINATOR,
        )
    assert coordinator.replies()[0] == reply
    assert statement.about == recorder.tasks[0].id
    assert statement.content["audit_head"] == "7:abc"
    there = restored(statement.content["records"], lambda digest: bytes(coordinator.stored[digest]))
    assert there.array_records["arrays"]["w"].data == content.array_records["arrays"]["w"].data
    assert there.config_records == content.config_records


def test_a_reply_is_sent_until_it_is_acknowledged(
    coordinator: Coordinator, recorder: Recorder, running: Run, finished: Finish
) -> None:
    with running() as client:
        reply = finished(client)
        until(lambda: len(coordinator.replies()) == 2)  # the coordinator said nothing for a while
        coordinator.say(coordinator.acknowledgement(recorder.tasks[0].id, reply.digest))
        until(lambda: not client.outbox.held())
        assert set(coordinator.replies()) == {reply}
        assert client.outbox.blobs.has(next(iter(coordinator.stored))) is False


def test_a_reply_survives_a_restart(
    coordinator: Coordinator, recorder: Recorder, running: Run, finished: Finish
) -> None:
    with running() as client:
        reply = finished(client)
        until(coordinator.replies)
    coordinator.acknowledges = lambda sealed: [
        coordinator.acknowledgement(recorder.tasks[0].id, sealed.digest)
    ]
    with running() as client:
        until(lambda: not client.outbox.held())
    assert set(coordinator.replies()) == {reply}
    assert list(coordinator.hellos[-1].holding) == [recorder.tasks[0].id]
    assert recorder.refusals == []


def test_a_reply_that_was_finished_without_a_coordinator_is_sent_later(
    coordinator: Coordinator, recorder: Recorder, running: Run, finish: Finish, content: RecordDict
) -> None:
    with running() as client:
        coordinator.say(coordinator.task(content))
        recorder.wait(lambda: recorder.tasks)
        port = int(coordinator.address.rpartition(":")[2])
        coordinator.stop()
        recorder.wait(lambda: recorder.codes("disconnected"))
        reply = finish(client)
        coordinator.start(port)
        until(coordinator.replies)
    assert coordinator.replies()[0] == reply


def test_weights_go_on_where_they_were_cut(
    coordinator: Coordinator, running: Run, finished: Finish, content: RecordDict
) -> None:
    coordinator.cuts = [Cut(1_000_000), Cut(300_000)]  # the first is the task's own weights, whole
    with running() as client:
        finished(client)
        until(coordinator.replies)
    (_, first), (digest, second) = coordinator.began[:2]
    assert first == 0
    assert second >= 300_000
    assert bytes(coordinator.stored[digest]) == coordinator.blobs[digest]


FORGED: dict[str, Callable[[Coordinator, str, Sealed], FromCoordinator]] = {
    "another's key": lambda told, task, reply: told.acknowledgement(
        task, reply.digest, key=new_signing_key()
    ),
    "another federation": lambda told, task, reply: told.acknowledgement(
        task, reply.digest, federation="0" * 12
    ),
    "another digest": lambda told, task, reply: told.acknowledgement(task, "0" * 64),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_acknowledgement_removes_nothing(
    how: str, coordinator: Coordinator, recorder: Recorder, running: Run, finished: Finish
) -> None:
    with running() as client:
        reply = finished(client)
        until(coordinator.replies)
        coordinator.say(FORGED[how](coordinator, recorder.tasks[0].id, reply))
        recorder.wait(lambda: recorder.refusals)
        assert [held.sealed for held in client.outbox.held()] == [reply]
    assert recorder.refusals == [("envelope-refused", "acknowledgement")]


def test_an_acknowledgement_twice_is_a_replay(
    coordinator: Coordinator, recorder: Recorder, running: Run, finished: Finish
) -> None:
    with running() as client:
        reply = finished(client)
        until(coordinator.replies)
        acknowledgement = coordinator.acknowledgement(recorder.tasks[0].id, reply.digest)
        for _ in range(2):
            coordinator.say(acknowledgement)
        recorder.wait(lambda: recorder.refusals)
        assert client.outbox.held() == ()
    assert recorder.refusals == [("envelope-replayed", "acknowledgement")]


def test_two_acknowledgements_of_one_reply_are_none(
    coordinator: Coordinator, recorder: Recorder, running: Run, finished: Finish
) -> None:
    """The reply was sent twice before the first of them arrived."""
    with running() as client:
        reply = finished(client)
        until(coordinator.replies)
        for _ in range(2):
            coordinator.say(coordinator.acknowledgement(recorder.tasks[0].id, reply.digest))
        coordinator.say(
            coordinator.acknowledgement(recorder.tasks[0].id, reply.digest, key=new_signing_key())
        )
        recorder.wait(lambda: recorder.refusals)
    assert recorder.refusals == [("envelope-refused", "acknowledgement")]


def test_an_unsigned_cancellation_does_not_remove_a_finished_reply(
    coordinator: Coordinator, recorder: Recorder, running: Run, finished: Finish
) -> None:
    with running() as client:
        reply = finished(client)
        until(coordinator.replies)
        coordinator.say(FromCoordinator(cancel=Cancel(task=recorder.tasks[0].id, reason="late")))
        coordinator.say(coordinator.acknowledgement("1" * 32, "0" * 64, key=new_signing_key()))
        recorder.wait(lambda: recorder.refusals)
        assert [held.sealed for held in client.outbox.held()] == [reply]
    assert recorder.cancelled == []
