"""A task goes out, its reply comes back, once, whatever happens in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from common.errors import EnvelopeRefused
from server.link.grid import LinkGrid
from server.link.home import CoordinatorHome
from tests.integration.link.hospital import CONTRACT, Clock, Hospital, envelope_of

Told = Callable[..., list[dict[str, Any]]]
Weights = Callable[..., RecordDict]
Push = Callable[..., str]
Pulled = Callable[..., list[Message]]


def same(one: RecordDict, other: RecordDict) -> bool:
    return dict(one.config_records) == dict(other.config_records) and all(
        np.array_equal(array.numpy(), other.array_records["arrays"][name].numpy())
        for name, array in one.array_records["arrays"].items()
    )


def test_a_task_is_answered(
    alder: Hospital,
    grid: LinkGrid,
    push: Push,
    pulled: Pulled,
    weights: Weights,
    told: Told,
    home: CoordinatorHome,
) -> None:
    asked, answered = weights(1, 400_000), weights(2, 400_000, site="alder")
    with alder.session() as line:
        assert list(grid.get_node_ids()) == [alder.node_id]
        task = push(alder, asked)
        offer = alder.task_in(line.expect("offer"))
        assert (offer.id, offer.about, offer.contract) == (task, task, CONTRACT)
        assert (offer.content["message_type"], offer.content["group"]) == ("train", "g")
        assert same(alder.content_of(offer), asked)
        line.say(taken={"task": task})
        sealed, parts = alder.reply(task, answered)
        alder.store(parts)
        line.say(reply=envelope_of(sealed))
        assert alder.acknowledged(line.expect("ack")) == (task, sealed.digest, "stored")
    [reply] = pulled(task)
    assert same(reply.content, answered)
    assert (reply.metadata.reply_to_message_id, reply.metadata.src_node_id) == (task, alder.node_id)
    grid.used([task])
    assert list(grid.pull_messages([task])) == []
    assert told("task.sent", task=task, site="alder", contract=CONTRACT)
    [received] = told("reply.received", task=task, site="alder", digest=sealed.digest)
    assert received["bytes"] == len(sealed.body) + sum(len(p) for each in parts.values() for p in each)
    assert told("peer.head", peer="alder", head=f"7:{'a' * 64}", statement=sealed.digest)
    assert offer.content["audit_head"].split(":")[0].isdigit()


def test_a_reply_stays_until_it_is_used_and_its_weights_go_with_it(
    alder: Hospital, grid: LinkGrid, push: Push, pulled: Pulled, weights: Weights
) -> None:
    with alder.session() as line:
        task = push(alder, weights(1))
        sealed = alder.answer(line, weights(2))
        line.expect("ack")
        [digest] = [row["blob"] for row in _records(sealed) if row["kind"] == "arrays"]
        assert alder.offset(digest).complete
        assert pulled(task) and pulled(task)
        assert alder.offset(digest).complete
        grid.used([task])
        assert not alder.offset(digest).complete


def test_all_sites_are_asked_with_one_blob(
    alder: Hospital, birch: Hospital, grid: LinkGrid, weights: Weights, home: CoordinatorHome
) -> None:
    content = weights(1)
    with alder.session() as first, birch.session() as second:
        messages = [Message(content, each.node_id, "train", group_id="g") for each in (alder, birch)]
        ids = list(grid.push_messages(messages))
        offers = [alder.task_in(first.expect("offer")), birch.task_in(second.expect("offer"))]
    assert [offer.id for offer in offers] == ids
    assert offers[0].content["records"] == offers[1].content["records"]
    blobs = [path for path in (home.blobs / "tasks").iterdir() if len(path.name) == 64]
    assert len(blobs) == 1


def test_a_task_waits_for_its_site(alder: Hospital, push: Push, weights: Weights) -> None:
    task = push(alder, weights(1))
    with alder.session() as line:
        assert alder.task_in(line.expect("offer")).id == task
        assert line.silent()


def test_a_task_that_was_taken_is_offered_again_to_whoever_connects_next(
    alder: Hospital, push: Push, weights: Weights
) -> None:
    with alder.session() as line:
        task = push(alder, weights(1))
        line.expect("offer")
        line.say(taken={"task": task})
    with alder.session() as line:
        assert alder.task_in(line.expect("offer")).id == task


def test_a_task_whose_reply_a_site_holds_is_not_offered_again(
    alder: Hospital, push: Push, weights: Weights
) -> None:
    task = push(alder, weights(1))
    with alder.session(holding=[task]) as line:
        assert line.silent()


def test_a_reply_that_was_not_acknowledged_comes_again_and_counts_once(
    alder: Hospital, push: Push, pulled: Pulled, weights: Weights, told: Told, grid: LinkGrid
) -> None:
    with alder.session() as line:
        task = push(alder, weights(1))
        sealed = alder.answer(line, weights(2))
        assert told("reply.received", task=task)  # and the connection is lost before the site knows
    with alder.session() as line:
        line.say(reply=envelope_of(sealed))
        assert alder.acknowledged(line.expect("ack")) == (task, sealed.digest, "stored")
        assert len(pulled(task)) == 1
        grid.used([task])
        line.say(reply=envelope_of(sealed))
        assert alder.acknowledged(line.expect("ack")) == (task, sealed.digest, "stored")
        assert list(grid.pull_messages([task])) == []
    assert len(told("reply.received", task=task)) == 1


def test_a_site_that_holds_an_answer_that_is_here_is_told_so_before_it_sends_anything(
    alder: Hospital, push: Push, weights: Weights, told: Told
) -> None:
    with alder.session() as line:
        task = push(alder, weights(1))
        sealed = alder.answer(line, weights(2))
        assert told("reply.received", task=task)
    with alder.session(holding=[task, "f" * 32]) as line:
        assert alder.acknowledged(line.expect("ack")) == (task, sealed.digest, "stored")
        cancel = line.expect("cancel")
        assert (cancel.task, cancel.reason) == ("f" * 32, "envelope-refused")


def test_a_task_that_expired_has_no_reply_and_its_site_is_told(
    alder: Hospital, push: Push, pulled: Pulled, weights: Weights, clock: Clock, told: Told
) -> None:
    with alder.session() as line:
        task = push(alder, weights(1), ttl=30.0)
        offer = alder.task_in(line.expect("offer"))
        sealed, parts = alder.reply(offer.id, weights(2))
        alder.store(parts)
        clock.ahead = clock.ahead.__class__(seconds=31)
        cancel = line.expect("cancel")
        assert (cancel.task, cancel.reason) == (task, "expired")
        line.say(reply=envelope_of(sealed))
        assert alder.acknowledged(line.expect("ack")) == (task, sealed.digest, "late")
    assert pulled(task, 0.2) == []
    assert told("task.cancelled", task=task, reason="expired")


def test_a_task_that_a_site_cannot_take_is_not_waited_for(
    alder: Hospital, push: Push, pulled: Pulled, weights: Weights, told: Told
) -> None:
    with alder.session() as line:
        task = push(alder, weights(1))
        line.expect("offer")
        line.say(status={"state": "refused", "facts": {"code": "blob-refused", "about": task}})
        [reply] = pulled(task)
    assert reply.has_error() and reply.error.reason == "blob-refused"
    assert told("task.refused", task=task, code="blob-refused", site="alder")


def test_a_study_that_stops_calls_its_tasks_off(
    alder: Hospital, grid: LinkGrid, push: Push, weights: Weights, told: Told
) -> None:
    with alder.session() as line:
        task = push(alder, weights(1))
        line.expect("offer")
        grid.cancel("stopped")
        cancel = line.expect("cancel")
        assert (cancel.task, cancel.reason) == (task, "stopped")
    assert told("task.cancelled", task=task, reason="stopped")


def test_a_coordinator_that_was_restarted_has_the_replies_to_what_it_asked_before(
    serve: Callable[..., Any], home: CoordinatorHome, clock: Clock, weights: Weights
) -> None:
    before, port = serve()
    alder = Hospital.enrolled(home, port, "alder", clock())
    grid = before.grid(CONTRACT)
    ids = list(
        grid.push_messages([Message(weights(n), alder.node_id, "train", group_id="g") for n in (1, 2)])
    )
    with alder.session() as line:
        alder.answer(line, weights(3))
        line.expect("offer")
        line.expect("ack")
    before.stop(0.2)
    after, port = serve()
    alder = Hospital.enrolled(home, port, "birch", clock()).with_certificate(alder.key, alder.certificate)
    again = after.grid(CONTRACT)
    [reply] = again.pull_messages(ids)
    assert reply.metadata.reply_to_message_id == ids[0] and same(reply.content, weights(3))
    assert reply.metadata.message_type == "train" and reply.metadata.group_id == "g"


@pytest.mark.parametrize("missing", [0, 999])
def test_a_message_to_nobody_is_refused(grid: LinkGrid, weights: Weights, missing: int) -> None:
    with pytest.raises(EnvelopeRefused, match="no node"):
        list(grid.push_messages([Message(weights(1), missing, "train", group_id="g")]))


def _records(sealed: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(sealed.body)["content"]["records"]["content"]
    return rows


def test_a_coordinator_that_was_restarted_finds_what_it_asked(
    alder: Hospital, serve: Callable[..., Any], weights: Weights, pulled: Pulled, home: CoordinatorHome
) -> None:
    """Open tasks and answers of a group, under this contract alone, until they are used."""
    server, _ = serve()
    before, after, others = server.grid(CONTRACT), server.grid(CONTRACT), server.grid("d" * 64)
    [task] = before.push_messages([Message(weights(1), alder.node_id, "train", group_id="train-3")])
    assert after.sent_before("train-3") == {task: alder.node_id}
    assert after.sent_before("train-4") == others.sent_before("train-3") == {}
    before.cancel("gone")
    assert after.sent_before("train-3") == {}


def test_a_task_that_is_given_up_is_withdrawn_and_its_answer_acknowledged_as_late(
    alder: Hospital, grid: LinkGrid, weights: Weights
) -> None:
    groups = ("train-1", "train-2", "train-3")
    messages = [Message(weights(1), alder.node_id, "train", group_id=group) for group in groups]
    with alder.session() as line:
        [answered] = grid.push_messages(messages[:1])
        first = alder.answer(line, weights(2))
        assert alder.acknowledged(line.expect("ack")) == (answered, first.digest, "stored")
        task, other = grid.push_messages(messages[1:])
        assert [alder.task_in(line.expect("offer")).id for _ in range(2)] == [task, other]
        grid.give_up([answered, task], "late")
        assert [grid.sent_before(group) for group in groups] == [{}, {}, {other: alder.node_id}]
        assert line.expect("cancel").reason == "late"
        sealed, parts = alder.reply(task, weights(3))
        alder.store(parts)
        line.say(reply=envelope_of(sealed))
        assert alder.acknowledged(line.expect("ack")) == (task, sealed.digest, "late")
