"""Tasks: what is signed for this site is handed on once and whole; everything else is reported and is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict

from common.identity import new_signing_key
from common.link.envelope import Sealed
from common.link.link_pb2 import Cancel, Envelope, FromCoordinator
from tests.integration.site_link.conftest import Recorder, Run
from tests.integration.site_link.scripted import PIECE, Coordinator, Cut, now_ms, until

Finish = Callable[..., Sealed]
DAY_MS = 24 * 3600 * 1000


def changed(message: FromCoordinator) -> FromCoordinator:
    """The same offer with another byte in its content."""
    body = message.offer.body.replace(b'"train"', b'"traim"')
    return FromCoordinator(offer=Envelope(body=body, signature=message.offer.signature))


def weights(content: RecordDict) -> Any:
    return content.array_records["arrays"]["w"].numpy()


def test_a_signed_task_is_handed_on_whole(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    with running():
        coordinator.say(coordinator.task(content))
        recorder.wait(lambda: recorder.tasks)
        (task,) = recorder.tasks
        until(lambda: coordinator.taken() == [task.id])
    assert (task.message_type, task.contract_digest, task.statement.content["group"]) == ("train", "", "1")
    assert task.content.config_records["about"] == content.config_records["about"]
    assert np.array_equal(weights(task.content), weights(content))
    assert coordinator.hellos[0].code_digest == "c0de"
    assert coordinator.callers[-1].name == "alder"


BAD: dict[str, Callable[[Coordinator, RecordDict], FromCoordinator]] = {
    "another's key": lambda told, content: told.task(content, key=new_signing_key()),
    "a changed byte": lambda told, content: changed(told.task(content)),
    "another federation": lambda told, content: told.task(content, federation="0" * 12),
    "another site": lambda told, content: told.task(content, site="birch"),
    "after its deadline": lambda told, content: told.task(content, says={"deadline_ms": now_ms() - 1}),
    "no deadline": lambda told, content: told.task(content, says={"deadline_ms": None}),
    "no records": lambda told, content: told.task(content, says={"records": {"arrays": 3}}),
    "no message type": lambda told, content: told.task(content, says={"message_type": 3}),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_task_for_this_site_is_reported(
    what: str, coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    with running():
        coordinator.say(BAD[what](coordinator, content))
        recorder.wait(lambda: recorder.refusals)
        until(coordinator.statuses)
        coordinator.say(good := coordinator.task(content))
        recorder.wait(lambda: recorder.tasks)  # and the link goes on
    assert [code for code, _ in recorder.refusals] == ["envelope-refused"]
    assert [task.statement.id.encode() in good.offer.body for task in recorder.tasks] == [True]
    ((state, facts),) = coordinator.statuses()
    assert (state, facts["code"]) == ("refused", "envelope-refused")


def test_a_task_too_old_to_know_is_reported(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    with running():
        coordinator.say(coordinator.task(content, issued=now_ms() - 8 * DAY_MS))
        recorder.wait(lambda: recorder.refusals)
    assert (recorder.refusals, recorder.tasks) == ([("clock-skewed", "task")], [])


def test_an_acknowledged_task_is_a_replay_for_ever_after(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict, finish: Finish
) -> None:
    task = coordinator.task(content)
    with running() as client:
        coordinator.say(task)
        recorder.wait(lambda: recorder.tasks)
        reply = finish(client)
        until(coordinator.replies)
        coordinator.say(coordinator.acknowledgement(recorder.tasks[0].id, reply.digest))
        until(lambda: not client.outbox.held())
    with running():
        coordinator.say(task)
        recorder.wait(lambda: recorder.refusals)
    assert recorder.refusals == [("envelope-replayed", "task")]
    assert len(recorder.tasks) == 1


def test_a_task_offered_again_after_a_cut_is_in_work_already(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    coordinator.standing.append(coordinator.task(content))
    with running():
        until(coordinator.taken)
        coordinator.hang_up()
        until(lambda: len(coordinator.taken()) == 2)
    assert len(recorder.tasks) == 1
    assert recorder.refusals == []


def test_a_task_whose_reply_is_held_is_not_run_again(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict, finish: Finish
) -> None:
    coordinator.standing.append(coordinator.task(content))
    with running() as client:
        recorder.wait(lambda: recorder.tasks)
        finish(client)
    with running():
        until(lambda: len(coordinator.taken()) == 2)
        until(lambda: len(coordinator.replies()) >= 2)
    assert len(recorder.tasks) == 1
    assert list(coordinator.hellos[-1].holding) == [recorder.tasks[0].id]


def test_a_task_without_reply_comes_again_after_a_restart(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    coordinator.standing.append(coordinator.task(content))
    with running():
        recorder.wait(lambda: recorder.tasks)
    with running():
        recorder.wait(lambda: len(recorder.tasks) == 2)
    assert recorder.tasks[0].id == recorder.tasks[1].id
    assert recorder.refusals == []


def test_a_fetch_goes_on_where_it_was_cut(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    coordinator.cuts = [Cut(2 * PIECE), Cut(5 * PIECE)]
    coordinator.standing.append(coordinator.task(content))
    with running():
        recorder.wait(lambda: recorder.tasks)
    assert [offset for _, offset in coordinator.fetched] == [0, 2 * PIECE, 5 * PIECE]
    assert np.array_equal(weights(recorder.tasks[0].content), weights(content))


def test_a_fetch_goes_on_after_a_restart(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    coordinator.cuts = [Cut(2 * PIECE)] + 1000 * [Cut(0)]
    coordinator.standing.append(coordinator.task(content))
    with running(wait=False):
        until(lambda: coordinator.fetched)
        recorder.wait(lambda: recorder.codes("disconnected"))
    coordinator.cuts.clear()
    with running(wait=False):
        recorder.wait(lambda: recorder.tasks)
    assert coordinator.fetched[0][1] == 0
    assert {offset for _, offset in coordinator.fetched[1:]} == {2 * PIECE}
    assert np.array_equal(weights(recorder.tasks[0].content), weights(content))


def test_other_weights_than_announced_are_reported(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    with running():
        task = coordinator.task(content)
        (digest,) = coordinator.blobs
        coordinator.blobs[digest] = coordinator.blobs[digest][:-1] + b"?"
        coordinator.say(task)
        recorder.wait(lambda: recorder.refusals)
    assert [code for code, _ in recorder.refusals] == ["blob-refused"]
    assert recorder.tasks == []


def test_more_weights_than_announced_are_not_taken(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    with running():
        task = coordinator.task(content)
        (digest,) = coordinator.blobs
        coordinator.blobs[digest] *= 100
        coordinator.say(task)
        recorder.wait(lambda: recorder.refusals)
    assert [code for code, _ in recorder.refusals] == ["blob-refused"]


def test_a_cancelled_task_is_given_up_and_does_not_come_again(
    coordinator: Coordinator, recorder: Recorder, running: Run, content: RecordDict
) -> None:
    task = coordinator.task(content)
    with running():
        coordinator.say(task)
        recorder.wait(lambda: recorder.tasks)
        cancel = FromCoordinator(cancel=Cancel(task=recorder.tasks[0].id, reason="quorum\x1b[2J reached"))
        coordinator.say(cancel)
        recorder.wait(lambda: recorder.cancelled)
    with running():
        coordinator.say(task)
        recorder.wait(lambda: recorder.refusals)
    assert recorder.cancelled == [(recorder.tasks[0].id, "quorum [2J reached")]
    assert recorder.refusals == [("envelope-replayed", "task")]
    assert len(recorder.tasks) == 1


def test_a_stranger_s_task_is_not_cancelled(
    coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    with running() as client:
        coordinator.say(FromCoordinator(cancel=Cancel(task="../../key.pem", reason="x")))
        contract = Envelope(body=b"{}", signature=b"s")
        coordinator.say(FromCoordinator(contract=contract))
        recorder.wait(lambda: recorder.contracts)
        assert (client.identity.folder / "key.pem").exists()
    assert recorder.cancelled == []
    assert recorder.contracts == [Sealed(b"{}", b"s")]


def test_progress_status_and_consent_reach_the_coordinator(
    coordinator: Coordinator, recorder: Recorder, running: Run
) -> None:
    with running() as client:
        client.progress("t", 0.5, "epoch 1 of 2")
        client.status("ready", {"studies": "1"})
        client.consent(Sealed(b"body", b"signature"))
        until(lambda: any(message.HasField("consent") for message in coordinator.heard))
    said = {message.WhichOneof("content") for message in coordinator.heard}
    assert said == {"heartbeat", "progress", "status", "consent"}
    assert coordinator.statuses() == [("ready", {"studies": "1"})]


def test_nothing_is_sent_by_a_link_that_is_down(running: Run, coordinator: Coordinator) -> None:
    with running() as client:
        pass
    client.status("ready", {})
    assert coordinator.statuses() == []
