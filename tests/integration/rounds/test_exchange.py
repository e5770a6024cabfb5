"""Every node that is asked gives one reply, true or in its stead, by the deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flwr.app import Message, MessageType, RecordDict

from client.site import Site
from common.study import to_canonical
from common.tasks import Describe, SiteDescription, read_about, task_content
from server.exchange import NO_REPLY, Reply, ask

MakeGrid = Callable[..., Any]


@pytest.fixture
def content(make_study: Callable[..., Any]) -> RecordDict:
    return task_content(Describe(to_canonical(make_study())))


def replies(grid: Any, content: RecordDict, deadline_s: float = 5.0) -> dict[int, Reply]:
    got = list(ask(grid, dict.fromkeys(grid.get_node_ids(), content), MessageType.QUERY, "g", deadline_s))
    assert len({reply.node_id for reply in got}) == len(got), "a node replied twice"
    return {reply.node_id: reply for reply in got}


@pytest.mark.parametrize("order", range(3))
def test_each_reply_belongs_to_the_node_that_gave_it(
    grid_of: MakeGrid, content: RecordDict, order: int
) -> None:
    got = replies(grid_of(order=order), content)
    names = {node: read_about(r.content, SiteDescription).site for node, r in got.items() if r.content}
    assert names == {1: "alder", 2: "birch", 3: "cedar", 4: "dogwood"}


def test_nobody_asked_is_nobody_waited_for(grid_of: MakeGrid) -> None:
    assert list(ask(grid_of(), {}, MessageType.QUERY, "g", 60.0)) == []


def test_a_silent_node_is_given_up_at_the_deadline(
    grid_of: MakeGrid, faults: Any, content: RecordDict
) -> None:
    grid = grid_of(faults={"cedar": faults.lost(MessageType.QUERY)})
    began = time.monotonic()
    got = replies(grid, content, deadline_s=0.3)
    assert 0.3 <= time.monotonic() - began < 4.0
    assert got[3].content is None
    assert got[3].refusal is not None and got[3].refusal.code == NO_REPLY
    assert got[3].refusal.public == "no reply within 0.3 s"
    assert all(got[node].refusal is None for node in (1, 2, 4))


def test_replies_are_handed_on_before_the_last_is_there(
    grid_of: MakeGrid, faults: Any, content: RecordDict
) -> None:
    grid = grid_of(faults={"cedar": faults.late(0.8, MessageType.QUERY)})
    began, arrived = time.monotonic(), {}
    for reply in ask(grid, dict.fromkeys(grid.get_node_ids(), content), MessageType.QUERY, "g", 5.0):
        arrived[reply.node_id] = time.monotonic() - began
    assert max(arrived[node] for node in (1, 2, 4)) < 0.7 < 0.8 <= arrived[3] < 4.0


def test_a_message_that_is_not_accepted_is_not_waited_for(
    grid_of: MakeGrid, site_of: Callable[..., Site], content: RecordDict, faults: Any
) -> None:
    class Choosy(type(grid_of())):  # type: ignore[misc]
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            return [i if n else "" for n, i in enumerate(super().push_messages(messages))]

    began = time.monotonic()
    got = replies(Choosy([site_of("alder"), site_of("birch")]), content, deadline_s=20.0)
    assert time.monotonic() - began < 5.0
    assert got[1].refusal is not None and "not accepted" in got[1].refusal.public
    assert got[2].refusal is None


def test_an_error_is_told_without_its_text(
    grid_of: MakeGrid, faults: Any, content: RecordDict, secret: str
) -> None:
    got = replies(grid_of(faults={"cedar": faults.error(MessageType.QUERY)}), content)
    assert got[3].refusal is not None
    assert got[3].refusal.code == NO_REPLY and "Flower error 7" in got[3].refusal.public
    assert secret not in str(got[3])


def test_a_refusal_is_handed_on_as_it_is(grid_of: MakeGrid, faults: Any, content: RecordDict) -> None:
    got = replies(grid_of(faults={"cedar": faults.refused(MessageType.QUERY)}), content)
    assert str(got[3].refusal) == "policy: The hospital says no."


def test_a_reply_that_comes_twice_counts_once(
    grid_of: MakeGrid, site_of: Callable[..., Site], content: RecordDict
) -> None:
    class Stutters(type(grid_of())):  # type: ignore[misc]
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            return [reply for reply in super().pull_messages(message_ids) for _ in range(2)]

    assert set(replies(Stutters([site_of("alder"), site_of("birch")]), content)) == {1, 2}


def test_a_reply_to_somebody_elses_message_is_passed_over(
    grid_of: MakeGrid, site_of: Callable[..., Site], content: RecordDict
) -> None:
    class Mixes(type(grid_of())):  # type: ignore[misc]
        """Answers with everything that is in its box, whatever was asked for."""

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            return super().pull_messages(list(self._inbox))

    grid = Mixes([site_of("alder"), site_of("birch")])
    grid.push_messages([Message(content, 2, MessageType.QUERY, group_id="another")])
    assert set(replies(grid, content)) == {1, 2}
